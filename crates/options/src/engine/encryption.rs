//! Keys and encryption of volumes.

use super::choices::{AesFileVersion, EncryptionModule};
use crate::{Choice, Group, Kind, Secret, Status};

table! { Group::Encryption;
    PASSPHRASE: Secret = "passphrase", Kind::Password,
        "Sets the passphrase that volumes are encrypted with.",
        long: "Without it the environment variable PASSPHRASE is used, and then the terminal is asked. There is no way \
               to read a backup whose passphrase is lost.";
    NEW_PASSPHRASE: Secret = "new-passphrase", Kind::Password,
        "Names a second passphrase for tools that encrypt a backup anew.",
        advanced: true,
        status: Status::NoEffect { why: "no command encrypts a backup anew" };
    NO_ENCRYPTION: bool = "no-encryption", Kind::Bool,
        "Stores volumes without encryption.",
        long: "No passphrase is asked for. Everybody who can read the destination can read the files.";
    ENCRYPTION_MODULE: EncryptionModule = "encryption-module", Kind::StrictChoice(EncryptionModule::NAMES),
        "Chooses how new volumes are encrypted.",
        default: Some("aes"),
        long: "aes writes AES Crypt files, gpg runs GnuPG. Existing volumes are read by the ending of their name, \
               whatever is chosen here.";
    AES_VERSION: AesFileVersion = "aes-version", Kind::StrictChoice(AesFileVersion::NAMES),
        "Chooses the version of the AES Crypt file format to write.",
        default: Some("2"),
        advanced: true,
        long: "Version 3 makes guessing a passphrase much slower, but older programs cannot read it. Both \
               are read, whatever is chosen here.";
    AES_V3_ITERATIONS: i64 = "aes-v3-iterations", Kind::Integer { min: 1, max: 1_000_000 },
        "Sets the rounds of key derivation for AES Crypt version 3.",
        default: Some("300000"),
        advanced: true,
        long: "More rounds make guessing slower, and opening each volume too. Volumes with more than a million are \
               neither written nor read. When some volumes with another number of rounds than those of the backup \
               could not be opened, further ones are passed over; naming their number here has them read.";
    AES_MINIMAL_HEADER: bool = "aes-minimal-header", Kind::Bool,
        "Leaves the program name and the time out of the header of encrypted volumes.",
        advanced: true,
        long: "The header is not encrypted, so this hides which program wrote a volume and when.";
    AES_IGNORE_PADDING_BYTES: bool = "aes-ignore-padding-bytes", Kind::Bool,
        "Accepts encrypted volumes whose padding is wrong.",
        advanced: true,
        long: "Some old programs wrote such files. The checksum of the whole volume is still checked.";
    GPG_PROGRAM_PATH: String = "gpg-program-path", Kind::Path,
        "Names the gpg program to run.",
        advanced: true,
        long: "Without it gpg2 or gpg is looked for in the search path.";
    GPG_ENCRYPTION_COMMAND: String = "gpg-encryption-command", Kind::Text,
        "Sets the command that makes gpg encrypt.",
        default: Some("--symmetric"),
        advanced: true,
        long: "With --encrypt and a recipient among the switches, volumes are encrypted for a public key.";
    GPG_DECRYPTION_COMMAND: String = "gpg-decryption-command", Kind::Text,
        "Sets the command that makes gpg decrypt.",
        default: Some("--decrypt"),
        advanced: true;
    GPG_ENCRYPTION_SWITCHES: String = "gpg-encryption-switches", Kind::Text,
        "Adds arguments to gpg when it encrypts.",
        default: Some(""),
        advanced: true;
    GPG_DECRYPTION_SWITCHES: String = "gpg-decryption-switches", Kind::Text,
        "Adds arguments to gpg when it decrypts.",
        default: Some(""),
        advanced: true;
    GPG_ENCRYPTION_ENABLE_ARMOR: bool = "gpg-encryption-enable-armor", Kind::Bool,
        "Makes gpg write text instead of bytes.",
        advanced: true,
        long: "Volumes become a third larger.";
    ALLOW_UNENCRYPTED_VOLUMES: bool = "allow-unencrypted-volumes", Kind::Bool,
        "Reads volumes without encryption in a backup that is encrypted.",
        advanced: true,
        long: "Only for a backup that was begun without encryption. Anybody who can write to the destination can make \
               such volumes, so each command that reads them gives a warning.";
    ALLOW_PASSPHRASE_CHANGE: bool = "allow-passphrase-change", Kind::Bool,
        "Permits a passphrase that differs from the one used before.",
        advanced: true,
        long: "Commands that write refuse a change all the same, because a backup would then need two passphrases.",
        status: Status::NoEffect { why: "a passphrase other than the one of the backup is always refused" };
}
