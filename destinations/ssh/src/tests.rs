//! What the options mean, and which are refused.

use std::path::PathBuf;

use larder_destination::{ErrorKind, Url};
use larder_options::{Origin, Values, is_secret_in};

use super::*;

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

fn config(url: &str) -> std::result::Result<Config, Box<dyn std::error::Error>> {
    let root = PathBuf::from("/");
    let url = Url::parse(url, &root)?;
    Ok(Config::with_options(url, Values::new(), root, TABLE))
}

fn opened(url: &str) -> std::result::Result<Opened, Box<dyn std::error::Error>> {
    Ok(open(&config(url)?, &Tools::system())?)
}

#[test]
fn folders_and_servers_have_one_identity() -> Test {
    let place = |url: &str| -> std::result::Result<String, Box<dyn std::error::Error>> {
        Ok(identity(&config(url)?)?.to_string())
    };
    let usual = place("ssh://ann@Host/home//ann/")?;
    for same in [
        "ssh://ann:pw@host:22/home/ann",
        "sftp://host/home/ann?auth-username=ann",
        "ssh://ann@host./home/ann?ssh-fingerprint=SHA256:x",
    ] {
        assert_eq!(place(same)?, usual, "{same}");
    }
    for other in [
        "ssh://bob@host/home/ann",
        "ssh://ann@host:2222/home/ann",
        "ssh://ann@host/home/ann?ssh-relative-path=true",
        "ssh://ann@host/home",
    ] {
        assert_ne!(place(other)?, usual, "{other}");
    }
    Ok(())
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_connected() -> Test {
    for (url, told) in [
        ("ssh://host/x", "no user name"),
        ("ssh://ann:pw@/x", "names no server"),
        ("ssh://ann:pw@host/a/../b", ". or .."),
        (
            "ssh://ann:pw@host/x?ssh-fingerprint=nonsense",
            "no fingerprint",
        ),
        (
            "ssh://ann@host/x?ssh-disable-agent=true",
            "nothing to sign in with",
        ),
        ("ssh://ann@host/x?ssh-keyfile=/no/such/key", "/no/such/key"),
    ] {
        let error = open(&config(url)?, &Tools::system())
            .err()
            .ok_or("it was opened")?;
        assert_eq!(error.kind(), &ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(told), "{url}: {error}");
    }
    Ok(())
}

#[test]
fn what_to_sign_in_with_follows_from_what_is_given() -> Test {
    for (url, key, password, agent) in [
        ("ssh://ann@host/x", false, false, true),
        ("ssh://ann:pw@host/x", false, true, false),
        ("ssh://ann@host/x?ssh-key=k", true, false, false),
        ("ssh://ann:pw@host/x?ssh-key=k", true, true, false),
        (
            "ssh://ann@host/x?ssh-keyfile=sshkey%3A%2F%2Fk",
            true,
            false,
            false,
        ),
        (
            "ssh://ann@host/x?ssh-keyfile=-----BEGIN%20X-----",
            true,
            false,
            false,
        ),
        ("ssh://ann@host/x?ssh-key=&ssh-keyfile=", false, false, true),
    ] {
        let given = sign_in(&config(url)?)?;
        assert_eq!(given.key.is_some(), key, "{url}");
        assert_eq!(given.password.is_some(), password, "{url}");
        assert_eq!(given.agent, agent, "{url}");
    }
    Ok(())
}

#[test]
fn a_key_in_place_of_its_file_is_never_shown() -> Test {
    for name in ["ssh-keyfile", "ssh-key", "SSH_KEYFILE"] {
        assert!(is_secret_in(name, &[TABLE]), "{name}");
    }
    assert!(!is_secret_in("ssh-fingerprint", &[TABLE]));
    // Keys that lost their first line, or their lines.
    let secret = "secret".repeat(50);
    for text in [
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nsecret\n",
        "MIIEowIBAAKCAQEAsecret/more",
        "MHcCAQEEIBsecret/more",
        "AAAAB3NzaC1yc2EAsecret/more",
        secret.as_str(),
    ] {
        let mut given = config("ssh://ann@host/x")?;
        given
            .values
            .set("ssh-keyfile", Some(text), Origin::CommandLine);
        // Nothing is connected yet: it was taken for a key, not for a file that is not there.
        let opened = open(&given, &Tools::system());
        let told = match &opened {
            Ok(opened) => opened.destination.about().display.clone(),
            Err(error) => format!("{error:?}"),
        };
        assert!(opened.is_ok() && !told.contains("secret"), "{told}");
    }
    Ok(())
}

#[test]
fn times_are_spans_and_none_is_no_bound() -> Test {
    let usual = times(&config("ssh://ann@host/x")?)?;
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    assert_eq!(seconds(usual.short), Some(30));
    assert_eq!(seconds(usual.list), Some(600));
    assert_eq!(seconds(usual.stall), Some(30));
    let given =
        config("ssh://ann@host/x?short-timeout=0&list-timeout=2m&ssh-operation-timeout=1h")?;
    let set = times(&given)?;
    assert_eq!(seconds(set.short), None);
    assert_eq!(seconds(set.list), Some(120));
    assert_eq!(
        seconds(super::seconds(&given, SSH_OPERATION_TIMEOUT)?),
        Some(3600)
    );
    Ok(())
}

#[test]
fn only_a_server_that_anybody_could_be_is_noticed() -> Test {
    let any = "ssh://ann:pw@host/x?ssh-accept-any-fingerprints=true";
    let notices = opened(any)?.notices;
    assert_eq!(
        notices.first().map(|notice| notice.id),
        Some("AnyHostKeyAccepted")
    );
    let known = format!("{any}&ssh-fingerprint=aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99");
    assert!(opened(&known)?.notices.is_empty());
    Ok(())
}

#[test]
fn the_display_has_no_secret() -> Test {
    let opened = opened("ssh://ann:pw@[::1]:2222/a%20b?ssh-key=k")?;
    assert_eq!(opened.destination.about().display, "ssh://[::1]:2222/a b");
    Ok(())
}
