//! What must hold for every declared option. Providers' tables are held to the same rules by `conformance`.

use std::collections::HashSet;

use larder_options::engine::{DEPRECATED_ALIASES, TABLE};
use larder_options::{Kind, Origin, Status, Values, check, is_secret};

#[test]
fn the_tables_keep_the_rules() {
    assert_eq!(
        larder_options::check::table_faults(&[TABLE]),
        Vec::<String>::new()
    );
}

#[test]
fn every_default_passes_the_check_as_if_it_had_been_given() {
    for decl in TABLE
        .iter()
        .filter(|decl| matches!(decl.status, Status::Active))
    {
        let Some(default) = decl.default else {
            continue;
        };
        let mut values = Values::new();
        values.set(decl.name, Some(default), Origin::CommandLine);
        assert_eq!(check::check(&values, &[TABLE]), [], "{}", decl.name);
    }
}

#[test]
fn old_aliases_are_aliases() {
    for alias in DEPRECATED_ALIASES {
        assert!(
            TABLE.iter().any(|decl| decl.aliases.contains(alias)),
            "{alias}"
        );
    }
}

#[test]
fn the_secrets_are_secret() {
    let secrets: HashSet<&str> = TABLE
        .iter()
        .filter(|decl| decl.is_secret())
        .map(|decl| decl.name)
        .collect();
    let wanted = [
        "auth-password",
        "authid",
        "new-passphrase",
        "passphrase",
        "secret-provider",
        "send-mail-password",
        "send-telegram-api-key",
        "send-xmpp-password",
    ];
    assert_eq!(secrets, HashSet::from(wanted));
    assert!(wanted.iter().all(|name| is_secret(name)));
    assert!(
        is_secret("AWS_Secret_Access_Key")
            && is_secret("azure-access-key")
            && is_secret("b2-applicationkey-token")
    );
    assert!(!is_secret("blocksize") && !is_secret("unknown-option"));
}

/// Options that Duplicati does not have.
const OWN: &[&str] = &[
    "accept-source-changes",
    "allow-unencrypted-volumes",
    "checkpoint-interval",
    "compact-max-bytes",
    "compact-max-time",
    "delete-aside-after",
    "device",
    "ignore-inode-changes",
    "json",
    "max-source-change",
    "max-source-loss",
    "move-unreadable-aside",
    "network-outage-limit",
    "restore-sync",
];

#[test]
fn no_option_of_duplicati_is_missing() {
    let listed = include_str!("duplicati-options.txt");
    let names: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    for name in &names {
        assert!(TABLE.iter().any(|decl| decl.answers_to(name)), "{name}");
    }
    for decl in TABLE {
        assert!(
            OWN.contains(&decl.name) != names.contains(&decl.name),
            "{} is in none of the lists, or in both",
            decl.name
        );
    }
    for name in OWN {
        assert!(TABLE.iter().any(|decl| decl.name == *name), "{name}");
    }
    assert!(
        !TABLE
            .iter()
            .any(|decl| matches!(decl.kind, Kind::Text) && decl.is_secret())
    );
}
