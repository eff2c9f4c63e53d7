//! The choices that engine and program read: each word with its meaning.

choice! {
    /// `--compression-module`: the container of new volumes.
    Container {
        /// Zip files.
        Zip = "zip",
        /// Tar archives packed with gzip.
        TarGzip = "tgz",
        /// Tar archives packed with Zstandard.
        TarZstandard = "tzstd",
    }
}

choice! {
    /// `--zip-compression-method`: how entries of zip volumes are packed.
    ZipMethod {
        /// Zstandard.
        Zstandard = "Zstandard",
        /// Deflate.
        Deflate = "Deflate",
        /// Stored as they are.
        Stored = "None",
    }
}

choice! {
    /// `--encryption-module`: how new volumes are encrypted.
    EncryptionModule {
        /// AES Crypt files.
        Aes = "aes",
        /// GnuPG.
        Gpg = "gpg",
    }
}

choice! {
    /// `--aes-version`: the version of AES Crypt files to write.
    AesFileVersion {
        /// Version 2.
        V2 = "2",
        /// Version 3.
        V3 = "3",
    }
}

choice! {
    /// `--block-hash-algorithm` and `--file-hash-algorithm`.
    HashChoice {
        /// SHA-256.
        Sha256 = "SHA256",
        /// SHA-1.
        Sha1 = "SHA1",
        /// MD5.
        Md5 = "MD5",
        /// SHA-384.
        Sha384 = "SHA384",
        /// SHA-512.
        Sha512 = "SHA512",
    }
}

choice! {
    /// `--index-file-policy`: what goes into index volumes.
    IndexContent {
        /// There are no index volumes.
        None = "None",
        /// The place of each block.
        Lookup = "Lookup",
        /// The lists of blocks of large files, too.
        Full = "Full",
    }
}

choice! {
    /// `--full-remote-verification`: what a check looks into.
    RemoteVerification {
        /// The content of all volumes.
        Full = "True",
        /// No content: only the hash of each volume.
        HashOnly = "False",
        /// The content of list and index volumes.
        ListAndIndexes = "ListAndIndexes",
        /// The content of index volumes.
        IndexesOnly = "IndexesOnly" | "IndexOnly",
    }
}

choice! {
    /// `--restore-all-files`: which versions are restored into folders of their own.
    RestoredVersions {
        /// Only one version is restored, and into no folder of its own.
        One = "False",
        /// All that were chosen.
        All = "True",
        /// All, without files whose content another version gave already.
        Unique = "Unique",
    }
}

choice! {
    /// `--symlink-policy`: what happens to symbolic links.
    SymlinkChoice {
        /// The link is stored.
        Store = "Store",
        /// What it points to is stored.
        Follow = "Follow",
        /// It is left out.
        Ignore = "Ignore",
    }
}

choice! {
    /// `--hardlink-policy`: what happens to files with several names.
    HardlinkChoice {
        /// Only the first name is stored.
        First = "First",
        /// Each name is a file of its own.
        All = "All",
        /// They are left out.
        None = "None",
    }
}

choice! {
    /// `--snapshot-policy` and other policies of that kind.
    SnapshotChoice {
        /// Used where possible.
        Auto = "Auto",
        /// Used, with a warning where that is not possible.
        On = "On",
        /// Not used.
        Off = "Off",
        /// Used, or the run stops.
        Required = "Required",
    }
}

choice! {
    /// The levels of messages, the least important first.
    LogLevel {
        /// Everything.
        ExplicitOnly = "ExplicitOnly",
        /// Time spent.
        Profiling = "Profiling",
        /// Each path.
        Verbose = "Verbose",
        /// Repeated attempts.
        Retry = "Retry",
        /// Normal progress.
        Information = "Information",
        /// What a dry run would do.
        DryRun = "DryRun",
        /// What is not as it should be.
        Warning = "Warning",
        /// What failed.
        Error = "Error",
    }
}
