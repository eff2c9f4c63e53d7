//! Whom it trusts, and how it signs in.

use std::path::Path;
use std::process::{Child, Command};

use larder_destination::ErrorKind;

use crate::{
    ASKING, ENCODED, FOLDER, OPENSSH, PASSWORD, PLAIN, Parts, Test, encoded, kind, names, open,
    printed, store, text, variable,
};

#[tokio::test]
async fn every_form_of_a_fingerprint_is_known() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let parts = Parts::of(&url).ok_or("a URL")?;
    for (file, kind, bits) in [
        ("host_ed25519.pub", "ssh-ed25519", "256"),
        ("host_rsa.pub", "ssh-rsa", "3072"),
        ("host_ecdsa.pub", "ecdsa-sha2-nistp256", "256"),
    ] {
        let path = format!("{folder}/{file}");
        let line = text(Path::new(&path))?;
        let sha256 = printed("ssh-keygen", &["-lf", &path])?;
        let md5 = printed("ssh-keygen", &["-E", "md5", "-lf", &path])?;
        let word = |text: &str| text.split(' ').nth(1).unwrap_or_default().to_owned();
        let bare = word(&md5).replace("MD5:", "");
        let mut forms = vec![
            format!("{kind} {bits} {bare}"),
            format!("{kind} {bits} {}", bare.to_uppercase()),
            bare.clone(),
            word(&md5),
            word(&sha256),
            format!("{kind} {bits} {}", word(&sha256)),
            line.trim().to_owned(),
            sha256.clone(),
            format!("aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99; {kind} {bits} {bare}"),
        ];
        if kind == "ssh-rsa" {
            forms.push(format!("rsa-sha2-512 {bits} {bare}"));
            forms.push(format!("rsa-sha2-256 {bits} {bare}"));
        }
        for form in forms {
            let query = format!("ssh-fingerprint={}", encoded(&form));
            let listed = names(store(&parts.url(&format!(":{ENCODED}"), &query))?.as_ref()).await;
            assert!(listed.is_ok(), "{form}: {listed:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_with_the_option_that_takes_it() -> Test {
    let Some(url) = variable(OPENSSH) else {
        return Ok(());
    };
    let parts = Parts::of(&url).ok_or("a URL")?;
    let password = format!(":{ENCODED}");
    let unknown = store(&parts.url(&password, "x=y"))?;
    let error = names(unknown.as_ref())
        .await
        .err()
        .ok_or("it was trusted")?;
    assert!(
        matches!(error.kind(), ErrorKind::Untrusted(print) if print.starts_with("SHA256:")),
        "{error:?}"
    );
    let told = error.to_string();
    assert!(told.contains("is not known yet"), "{told}");
    let options: Vec<&str> = told.split("--ssh-fingerprint=\"").skip(1).collect();
    assert_eq!(options.len(), 2, "{told}");
    for option in options {
        let print = option.split('"').next().ok_or("a value")?;
        let query = format!("ssh-fingerprint={}", encoded(print));
        assert!(
            names(store(&parts.url(&password, &query))?.as_ref())
                .await
                .is_ok(),
            "{print}"
        );
    }
    // Another one, with and without a type: as a possible attack.
    for wrong in [
        "ssh-ed25519 256 aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99",
        "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99",
    ] {
        let query = format!("ssh-fingerprint={}", encoded(wrong));
        let error = names(store(&parts.url(&password, &query))?.as_ref())
            .await
            .err()
            .ok_or("it was trusted")?;
        assert!(
            error.to_string().contains("somebody may stand in between"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
    }
    let any = open(&parts.url(&password, "ssh-accept-any-fingerprints=true"))?;
    assert_eq!(
        any.notices.first().map(|notice| notice.id),
        Some("AnyHostKeyAccepted")
    );
    assert!(names(any.destination.as_ref()).await.is_ok());
    // A fingerprint that is given has to be right, whatever else is accepted.
    let wrong = "SHA256%3A47DEQpj8HBSa%2B/TImW%2B5JCeuQeRkm5NMpJWZG3hSuFU";
    let query = format!("ssh-accept-any-fingerprints=true&ssh-fingerprint={wrong}");
    let both = names(store(&parts.url(&password, &query))?.as_ref()).await;
    assert!(matches!(kind(both), Some(ErrorKind::Untrusted(_))));
    let nonsense = open(&parts.url(&password, "ssh-fingerprint=nonsense"));
    assert_eq!(kind(nonsense), Some(ErrorKind::Config));
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_once_and_never_shown() -> Test {
    for variable_name in [OPENSSH, PLAIN, ASKING] {
        let Some(url) = variable(variable_name) else {
            continue;
        };
        let mut parts = Parts::of(&url).ok_or("a URL")?;
        let target = parts.port().ok_or("a port")?;
        let line = larder_testkit::TcpLine::to(target).await?;
        let (old, new) = (format!(":{target}"), format!(":{}", line.port()));
        parts.rest = parts.rest.replacen(&old, &new, 1);
        let wrong = store(&parts.url(":not-the-password", &parts.query))?;
        for _ in 0..3 {
            let error = names(wrong.as_ref()).await.err().ok_or("it was let in")?;
            assert_eq!(error.kind(), &ErrorKind::SignInNeeded, "{error:?}");
            // The server is not asked again, also where it hangs up.
            assert_eq!(line.connections(), 1, "{variable_name}");
            assert!(
                !format!("{error:?}").contains("not-the-password"),
                "{error:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn questions_are_answered_with_the_password() -> Test {
    let Some(url) = variable(ASKING) else {
        return Ok(());
    };
    assert!(names(store(&url)?.as_ref()).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn private_keys_in_all_forms_sign_in() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let parts = Parts::of(&url).ok_or("a URL")?;
    for (file, first_line, encrypted) in [
        ("id_ed25519", "OPENSSH PRIVATE KEY", false),
        ("id_rsa", "OPENSSH PRIVATE KEY", false),
        ("id_ecdsa", "OPENSSH PRIVATE KEY", false),
        ("id_ed25519_bcrypt", "OPENSSH PRIVATE KEY", true),
        ("id_rsa_bcrypt", "OPENSSH PRIVATE KEY", true),
        ("id_ecdsa_bcrypt", "OPENSSH PRIVATE KEY", true),
        ("id_rsa_pem", "RSA PRIVATE KEY", true),
        ("id_rsa_pem256", "RSA PRIVATE KEY", true),
        ("id_rsa_plain", "RSA PRIVATE KEY", false),
        ("id_ecdsa_pem", "EC PRIVATE KEY", true),
        ("id_ecdsa_plain", "EC PRIVATE KEY", false),
        ("id_rsa_pkcs8", "ENCRYPTED PRIVATE KEY", true),
        ("id_ecdsa_pkcs8", "ENCRYPTED PRIVATE KEY", true),
    ] {
        let path = format!("{folder}/{file}");
        let key = text(Path::new(&path))?;
        assert!(
            key.starts_with(&format!("-----BEGIN {first_line}")),
            "{file} is another kind of key"
        );
        let by_file = format!("{}&ssh-keyfile={}", parts.query, encoded(&path));
        let inline = encoded(&format!("sshkey://{}", encoded(&key)));
        let by_inline = format!("{}&ssh-keyfile={inline}", parts.query);
        let by_key = format!("{}&ssh-key={inline}", parts.query);
        let by_text = format!("{}&ssh-key={}", parts.query, encoded(&key));
        let by_text_as_file = format!("{}&ssh-keyfile={}", parts.query, encoded(&key));
        let password = format!(":{ENCODED}");
        for query in [
            by_file.clone(),
            by_inline,
            by_key.clone(),
            by_text,
            by_text_as_file,
        ] {
            let listed = names(store(&parts.url(&password, &query))?.as_ref()).await;
            assert!(listed.is_ok(), "{file}: {listed:?}");
        }
        if !encrypted {
            assert!(
                names(store(&parts.url("", &by_file))?.as_ref())
                    .await
                    .is_ok(),
                "{file}"
            );
            continue;
        }
        let secret = key.lines().nth(4).unwrap_or_default();
        for (password, says) in [
            ("", "is encrypted"),
            (":not-the-passphrase", "does not open"),
        ] {
            let error = names(store(&parts.url(password, &by_key))?.as_ref())
                .await
                .err()
                .ok_or("it was let in")?;
            assert_eq!(error.kind(), &ErrorKind::Config, "{file}: {error:?}");
            assert!(error.to_string().contains(says), "{file}: {error}");
            let shown = format!("{error:?}");
            assert!(
                !shown.contains("not-the-passphrase") && !shown.contains(secret),
                "{shown}"
            );
        }
    }
    // A key that the server does not know; one that is no private key; a file that is not there.
    let strange = names(
        store(&parts.url("", &format!("{}&ssh-keyfile={folder}/strange", parts.query)))?.as_ref(),
    )
    .await;
    assert_eq!(kind(strange), Some(ErrorKind::SignInNeeded));
    // A key without encryption needs no passphrase, so that the password is one.
    let query = format!("{}&ssh-keyfile={folder}/strange", parts.query);
    let both = names(store(&parts.url(&format!(":{ENCODED}"), &query))?.as_ref()).await;
    assert!(both.is_ok(), "{both:?}");
    let public = names(
        store(&parts.url(
            "",
            &format!("{}&ssh-keyfile={folder}/id_rsa.pub", parts.query),
        ))?
        .as_ref(),
    )
    .await;
    let public = public.err().ok_or("it was let in")?;
    assert!(public.to_string().contains("public key"), "{public}");
    let missing = open(&parts.url("", &format!("{}&ssh-keyfile={folder}/none", parts.query)));
    assert_eq!(kind(missing), Some(ErrorKind::Config));
    Ok(())
}

#[tokio::test]
async fn without_key_and_password_the_agent_is_asked() -> Test {
    let (Some(url), Some(folder)) = (variable(OPENSSH), variable(FOLDER)) else {
        return Ok(());
    };
    let parts = Parts::of(&url).ok_or("a URL")?;
    let disabled = open(&parts.url("", &format!("{}&ssh-disable-agent=true", parts.query)));
    assert_eq!(kind(disabled), Some(ErrorKind::Config));
    // The socket's name is read from the environment, which only a program of its own can have.
    let own = tempfile::tempdir()?;
    let socket = own.path().join("agent");
    let agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let _agent = Ended(agent);
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let key = own.path().join("key");
    for (file, is_known) in [("strange", false), ("id_rsa", true)] {
        std::fs::copy(format!("{folder}/{file}"), &key)?;
        printed("chmod", &["600", &key.to_string_lossy()])?;
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(&key)
            .env("SSH_AUTH_SOCK", &socket)
            .status()?;
        assert!(added.success());
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "trust::signs_in_with_the_agent", "--ignored"])
            .env("SSH_AUTH_SOCK", &socket)
            .output()?;
        let said = String::from_utf8_lossy(&child.stdout);
        assert_eq!(child.status.success(), is_known, "{file}: {said}");
        assert!(said.contains("running 1 test"), "{said}");
    }
    Ok(())
}

/// Ends a program when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "run by without_key_and_password_the_agent_is_asked, with an agent"]
async fn signs_in_with_the_agent() -> Test {
    let parts = Parts::of(&std::env::var(OPENSSH)?).ok_or("a URL")?;
    names(store(&parts.url("", &parts.query))?.as_ref()).await?;
    Ok(())
}
