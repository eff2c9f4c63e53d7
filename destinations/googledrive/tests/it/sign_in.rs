//! The ways of signing in, renewals, and what is told when they fail.

use std::sync::Arc;

use larder_destination::{Body, Existing, RetryClass, TokenLock, TokenStore, Tools, test};
use larder_options::Secret;
use larder_testkit::simulators::google_drive::Settings;
use larder_testkit::simulators::{Fault, Trouble};

use super::*;

const CLIENT: &[(&str, &str)] = &[
    ("oauth-client-id", known::CLIENT_ID),
    ("oauth-client-secret", known::CLIENT_SECRET),
    ("oauth-refresh-token", known::REFRESH_TOKEN),
];

fn refuse(status: u16, reason: &str) -> Trouble {
    Trouble::Refuse {
        status,
        reason: reason.to_owned(),
        retry_after: None,
    }
}

#[tokio::test]
async fn every_way_leads_in() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.accounts.offloads = true);
    let json = [("googledrive-service-account-json", known::SERVICE_ACCOUNT)];
    for options in [FULL, &[("authid", known::AUTHID)], CLIENT, &json] {
        test(service.open("", options)?.as_ref()).await?;
    }
    let journal = service.server.journal();
    let agent = |line: &larder_testkit::simulators::Entry| {
        line.header("user-agent")
            .is_some_and(|agent| agent.starts_with("larder/"))
    };
    assert!(journal.iter().all(agent));
    let in_address = |line: &larder_testkit::simulators::Entry| {
        line.query
            .iter()
            .any(|(_, value)| value.contains("ya29") || value.contains("1//"))
    };
    assert!(!journal.iter().any(in_address));
    Ok(())
}

#[tokio::test]
async fn a_key_file_is_read_and_others_are_refused() -> Test {
    let service = Service::start(Settings::default()).await?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("good"), known::SERVICE_ACCOUNT)?;
    std::fs::write(
        path("user"),
        r#"{"type":"authorized_user","client_secret":"s3cr3t"}"#,
    )?;
    std::fs::write(path("broken"), known::SERVICE_ACCOUNT.replace("MII", "XXX"))?;
    for (name, expected) in [
        ("good", None),
        ("user", Some("is not the key file of a service account")),
        ("broken", Some("holds no usable RSA key")),
        ("none", Some("cannot be read")),
    ] {
        let file = path(name);
        let opened = service.open("", &[("googledrive-service-account-file", &file)]);
        match (opened, expected) {
            (Ok(opened), None) => test(opened.as_ref()).await?,
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
            (opened, _) => panic!("{name}: {:?}", opened.err()),
        }
    }
    Ok(())
}

#[tokio::test]
async fn none_and_several_are_refused_with_what_to_do() -> Test {
    let service = Service::start(Settings::default()).await?;
    let both = [FULL, CLIENT].concat();
    for (options, expected) in [
        (&[][..], "?type=googledrive, or --oauth-client-id"),
        (&both, "more than one sign-in: --authid, --oauth-client-id"),
        (&[("oauth-refresh-token", "t")], "belong together"),
        (
            &[
                ("authid", "a:b"),
                ("oauth-url", "http://example.com/refresh"),
            ],
            "option --oauth-url: the address must begin with https://",
        ),
    ] {
        let error = service.open("", options).map(drop).expect_err("a refusal");
        assert_eq!(*error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_transfers_need_one_renewal() -> Test {
    let service = Service::start(Settings::default()).await?;
    let store = service.open("a", FULL)?;
    store.create_folder().await?;
    assert_eq!(service.renewals(), 1);
    // The service forgets the token before its time.
    service.drive.expire_tokens();
    let puts = (0..8).map(|n| {
        let store = Arc::clone(&store);
        async move {
            let body = Body::from_bytes(vec![n; 100]);
            store.put(&format!("f{n}"), body, Existing::Refuse).await
        }
    });
    futures_util::future::try_join_all(puts).await?;
    assert_eq!(service.renewals(), 2);
    assert_eq!(names(store.as_ref()).await?.len(), 8);
    Ok(())
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() -> Test {
    let settings = Settings::default();
    let service = Service::start(settings).await?;
    service.drive.change(|settings| {
        settings.accounts.said_seconds = 100;
    });
    let clock = Arc::new(larder_destination::FixedClock::new(1_000));
    let tools = Tools {
        clock: Arc::clone(&clock) as _,
        ..Tools::system()
    };
    let store = service.open_with("", FULL, &tools)?;
    for (time, renewals) in [(1_000, 1), (1_069, 1), (1_071, 2)] {
        clock.set(time);
        test(store.as_ref()).await?;
        assert_eq!(service.renewals(), renewals, "{time}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_stays_refused_is_an_error_and_no_loop() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.accounts.requests = 0);
    let store = service.open("", FULL)?;
    assert_eq!(
        kind(test(store.as_ref()).await),
        Some(ErrorKind::SignInNeeded)
    );
    assert!(service.renewals() <= 3, "{}", service.renewals());
    Ok(())
}

#[tokio::test]
async fn a_rotated_token_is_stored_and_used_by_the_next_run() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.accounts.rotates = true);
    let tools = Tools::system();
    for renewals in 1..=3 {
        // The refresh token of the options is worthless after the first. A new run finds the access token, too.
        for _ in 0..2 {
            test(service.open_with("", CLIENT, &tools)?.as_ref()).await?;
            assert_eq!(service.renewals(), renewals);
        }
        service.drive.expire_tokens();
    }
    let other = service.open_with("", CLIENT, &Tools::system())?;
    let error = test(other.as_ref()).await.expect_err("a refusal");
    assert_eq!(*error.kind(), ErrorKind::SignInNeeded);
    assert!(
        error
            .to_string()
            .contains("expired or revoked. (invalid_grant)"),
        "{error}"
    );
    Ok(())
}

/// A store in which two runs meet: who reads waits a moment for the other to read, too.
#[derive(Default)]
struct Meeting {
    tokens: larder_destination::MemoryTokens,
    readers: std::sync::Mutex<u32>,
    came: std::sync::Condvar,
}

impl TokenStore for Meeting {
    fn try_lock(&self, key: &str) -> Result<Option<TokenLock>> {
        self.tokens.try_lock(key)
    }

    fn get(&self, key: &str) -> Result<Option<Secret>> {
        let found = self.tokens.get(key);
        let mut readers = self.readers.lock().expect("a lock");
        *readers += 1;
        self.came.notify_all();
        let moment = std::time::Duration::from_millis(500);
        let alone = |readers: &mut u32| *readers < 2;
        drop(self.came.wait_timeout_while(readers, moment, alone));
        found
    }

    fn put(&self, key: &str, token: &Secret) -> Result<()> {
        self.tokens.put(key, token)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runs_that_renew_at_once_do_not_lose_the_sign_in() -> Test {
    let service = Service::start(Settings::default()).await?;
    service.drive.change(|settings| {
        settings.accounts.rotates = true;
        settings.accounts.ends_reused = true;
    });
    let tools = Tools {
        tokens: Arc::new(Meeting::default()),
        ..Tools::system()
    };
    let (one, two) = (
        service.open_with("", CLIENT, &tools)?,
        service.open_with("", CLIENT, &tools)?,
    );
    let (one, two) = tokio::join!(test(one.as_ref()), test(two.as_ref()));
    one?;
    two?;
    assert_eq!(service.renewals(), 1, "the second run found the new token");
    // And the sign-in goes on.
    service.drive.expire_tokens();
    test(service.open_with("", CLIENT, &tools)?.as_ref()).await?;
    assert_eq!(service.renewals(), 2);
    Ok(())
}

/// A store that another run locks until it is told to let go.
#[derive(Default)]
struct Locked {
    tokens: larder_destination::MemoryTokens,
    is_free: std::sync::atomic::AtomicBool,
    tried: std::sync::atomic::AtomicUsize,
}

impl TokenStore for Locked {
    fn try_lock(&self, key: &str) -> Result<Option<TokenLock>> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        match self.is_free.load(Ordering::SeqCst) {
            true => self.tokens.try_lock(key),
            false => Ok(None),
        }
    }

    fn get(&self, key: &str) -> Result<Option<Secret>> {
        self.tokens.get(key)
    }

    fn put(&self, key: &str, token: &Secret) -> Result<()> {
        self.tokens.put(key, token)
    }
}

#[tokio::test]
async fn the_wait_for_another_run_can_be_given_up() -> Test {
    let service = Service::start(Settings::default()).await?;
    let locked = Arc::new(Locked::default());
    let tools = Tools {
        tokens: Arc::clone(&locked) as _,
        ..Tools::system()
    };
    let store = service.open_with("", CLIENT, &tools)?;
    let moment = std::time::Duration::from_millis(200);
    let waiting = tokio::time::timeout(moment, test(store.as_ref())).await;
    assert!(waiting.is_err(), "it does not wait");
    let tried = locked.tried.load(Ordering::SeqCst);
    assert!(tried > 1, "{tried}");
    tokio::time::sleep(moment).await;
    // Nobody goes on waiting for a turn that nobody wants.
    assert!(locked.tried.load(Ordering::SeqCst) <= tried + 1);
    assert_eq!(service.renewals(), 0);
    locked.is_free.store(true, Ordering::SeqCst);
    test(store.as_ref()).await?;
    assert_eq!(service.renewals(), 1);
    Ok(())
}

/// A store that another run writes to right after it was read.
struct Raced(
    larder_destination::MemoryTokens,
    std::sync::Mutex<Option<Secret>>,
);

impl TokenStore for Raced {
    /// Files on a system that knows no locks.
    fn try_lock(&self, _: &str) -> Result<Option<TokenLock>> {
        Ok(Some(TokenLock::new(())))
    }

    fn get(&self, key: &str) -> Result<Option<Secret>> {
        let before = self.0.get(key)?;
        if let Some(newer) = self.1.lock().expect("a lock").take() {
            self.0.put(key, &newer)?;
        }
        Ok(before)
    }

    fn put(&self, key: &str, token: &Secret) -> Result<()> {
        self.0.put(key, token)
    }
}

#[tokio::test]
async fn a_token_that_another_run_rotated_is_read_again() -> Test {
    let service = Service::start(Settings::default()).await?;
    let newer = Secret::from(known::REFRESH_TOKEN);
    let tools = Tools {
        tokens: Arc::new(Raced(
            Default::default(),
            std::sync::Mutex::new(Some(newer)),
        )),
        ..Tools::system()
    };
    let options = [CLIENT, &[("oauth-refresh-token", "1//old")]].concat();
    test(service.open_with("", &options, &tools)?.as_ref()).await?;
    assert_eq!(service.renewals(), 2);
    Ok(())
}

#[tokio::test]
async fn the_authid_service_s_refusals_say_what_helps() -> Test {
    let service = Service::start(Settings::default()).await?;
    let wrong_password = format!("{}:x", &known::AUTHID[..30]);
    for (id, expected) in [
        (
            "ffffffffffffffffffffffffffffff:x",
            "the AuthID was refused: No such key; a new AuthID is to be had at http://",
        ),
        (&wrong_password, "Invalid authid password; a new AuthID"),
        (
            "v2:googledrive:1//gone",
            "does not accept the AuthID any more; a new AuthID",
        ),
    ] {
        let store = service.open("", &[("authid", id)])?;
        let error = test(store.as_ref()).await.expect_err("a refusal");
        assert_eq!(*error.kind(), ErrorKind::SignInNeeded, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains(id), "{error}");
    }
    for (reason, expected) in [("Ratelimited", "Ratelimited"), ("", "in a few hours")] {
        service
            .server
            .fault(Fault::next("GET", "/refresh", refuse(503, reason)));
        let store = service.open("", FULL)?;
        let error = test(store.as_ref()).await.expect_err("a refusal");
        assert!(matches!(error.kind(), ErrorKind::Busy(Some(_))), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_pause_of_an_hour_is_neither_waited_for_nor_prolonged() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.accounts.authid_limit = 1);
    let clock = Arc::new(larder_destination::FixedClock::new(1_000));
    let tools = Tools {
        clock: Arc::clone(&clock) as _,
        ..Tools::system()
    };
    let store = service.open_with("", FULL, &tools)?;
    test(store.as_ref()).await?;
    service.drive.expire_tokens();
    let begin = std::time::Instant::now();
    // 1,000 and an hour of 3,600 seconds are 01:16:40.
    for (time, left) in [(1_000, 3_600), (2_500, 2_100)] {
        clock.set(time);
        let error = test(store.as_ref()).await.expect_err("a refusal");
        let left = std::time::Duration::from_secs(left);
        assert_eq!(error.retry_class(), RetryClass::Later(left), "{error}");
        let words = "Ratelimited, wait 60 minutes; it may be asked again from 1970-01-01 01:17 on";
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.advised().is_some());
    }
    assert_eq!(service.renewals(), 2, "the service is left alone");
    // What is left is short enough to be waited for.
    clock.set(4_500);
    let error = test(store.as_ref()).await.expect_err("a refusal");
    let left = std::time::Duration::from_secs(100);
    assert_eq!(error.retry_class(), RetryClass::After(left));
    assert!(begin.elapsed() < std::time::Duration::from_secs(60));
    assert_eq!(service.renewals(), 2);
    service
        .drive
        .change(|settings| settings.accounts.authid_limit = 9);
    clock.set(4_600);
    test(store.as_ref()).await?;
    assert_eq!(service.renewals(), 3);
    Ok(())
}

#[tokio::test]
async fn the_pause_is_that_which_the_service_names() -> Test {
    let service = Service::start(Settings::default()).await?;
    let busy = |status, reason: &str, wait: Option<&str>| Trouble::Refuse {
        status,
        reason: reason.to_owned(),
        retry_after: wait.map(str::to_owned),
    };
    let seconds = std::time::Duration::from_secs;
    for (trouble, expected) in [
        (
            busy(503, "wait 45 minutes", None),
            RetryClass::Later(seconds(2_700)),
        ),
        (
            busy(503, "too many", None),
            RetryClass::Later(seconds(3_600)),
        ),
        (
            busy(429, "", Some("1800")),
            RetryClass::Later(seconds(1_800)),
        ),
        (
            busy(503, "", Some("4294967295")),
            RetryClass::Later(seconds(86_400)),
        ),
        (
            busy(503, "wait 99999999999999999999 minutes", None),
            RetryClass::Later(seconds(3_600)),
        ),
        (busy(503, "", Some("120")), RetryClass::After(seconds(120))),
        (busy(503, "", None), RetryClass::After(seconds(300))),
    ] {
        let fault = Fault::next("GET", "/refresh", trouble.clone());
        service.server.fault(fault);
        let store = service.open("", FULL)?;
        let error = test(store.as_ref()).await.expect_err("a refusal");
        assert_eq!(error.retry_class(), expected, "{trouble:?}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn limited_and_full_access_see_different_files() -> Test {
    let service = Service::start(Settings::default()).await?;
    service.drive.add("root", "theirs", None);
    let limited = service.open("theirs", &[("authid", known::AUTHID)])?;
    assert_eq!(
        kind(test(limited.as_ref()).await),
        Some(ErrorKind::FolderMissing)
    );
    test(service.open("theirs", FULL)?.as_ref()).await?;
    Ok(())
}

#[tokio::test]
async fn places_tell_accounts_and_drives_apart() -> Test {
    let service = Service::start(Settings::default()).await?;
    let place = |folder: &str, options: &[(&str, &str)]| {
        let config = service.config(folder, options);
        (larder_googledrive::PROVIDER.identity)(&config).map(|place| place.to_string())
    };
    let one = place("a/b", FULL)?;
    assert_eq!(one, place("/a//b/", FULL)?);
    assert!(!one.contains("1//full"), "{one}");
    for other in [
        place("a/c", FULL)?,
        place("a/b", &[("authid", known::AUTHID)])?,
        place("a/b", CLIENT)?,
        place(
            "a/b",
            &[FULL, &[("googledrive-teamdrive-id", "x")]].concat(),
        )?,
    ] {
        assert_ne!(one, other);
    }
    Ok(())
}
