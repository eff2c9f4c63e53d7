//! Uploads that break, duplicates of a name, and the refusals of the service.

use larder_destination::{Body, Existing, test};
use larder_testkit::simulators::google_drive::SHARED_DRIVE;
use larder_testkit::simulators::{Answer, Fault, Request, Simulator, Trouble};
use serde_json::json;

use super::*;

const MIB: usize = 1 << 20;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

async fn folder(service: &Service) -> Result<(Arc<dyn Destination>, String)> {
    let store = service.open("a", FULL)?;
    store.create_folder().await?;
    let folder = service.drive.walk("root", &["a"]).pop().unwrap_or_default();
    Ok((store, folder))
}

async fn put(store: &Arc<dyn Destination>, name: &str, content: &[u8]) -> Result<()> {
    let body = Body::from_bytes(content.to_vec());
    store.put(name, body, Existing::Refuse).await
}

fn refuse(status: u16, reason: &str) -> Trouble {
    Trouble::Refuse {
        status,
        reason: reason.to_owned(),
        retry_after: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_broke() -> Test {
    let whole = content(17 * MIB + 1);
    for (what, trouble) in [
        ("a lost reply", Trouble::LoseReply),
        (
            "a cut request",
            Trouble::CutRequest {
                after: 3 * MIB as u64 + 7,
            },
        ),
        ("no answer", Trouble::Close),
        ("a fault", refuse(503, "backendError")),
        ("a limit", refuse(403, "userRateLimitExceeded")),
    ] {
        // Of the three pieces each in turn.
        for skip in 0..3 {
            let service = Service::start(Settings::default()).await?;
            let (store, folder) = folder(&service).await?;
            let fault = Fault::next("PUT", "upload_id", trouble.clone()).after(skip);
            service.server.fault(fault);
            put(&store, "f", &whole).await?;
            let files = service.drive.files(&folder);
            assert_eq!(files.len(), 1, "{what} {skip}");
            assert!(files[0].1 == whole, "{what} {skip}");
            let sent: u64 = service
                .server
                .journal()
                .iter()
                .filter(|line| line.method == "PUT")
                .map(|line| line.body_len)
                .sum();
            assert!(
                sent < 26 * MIB as u64,
                "{what} {skip}: {sent} bytes were sent"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_may_take_a_piece_bit_by_bit() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.stores_at_most = Some(3 * MIB as u64));
    let (store, folder) = folder(&service).await?;
    let whole = content(9 * MIB);
    put(&store, "f", &whole).await?;
    assert!(service.drive.files(&folder)[0].1 == whole);
    Ok(())
}

#[tokio::test]
async fn an_upload_whose_session_is_gone_is_found_by_its_content() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    let begun = |trouble| {
        service
            .server
            .fault(Fault::next("PUT", "upload_id", trouble));
        service
            .server
            .fault(Fault::next("PUT", "upload_id", refuse(404, "notFound")));
    };
    // It arrived, but the answer and then the session were lost.
    begun(Trouble::LoseReply);
    put(&store, "f", b"content").await?;
    assert_eq!(service.drive.files(&folder).len(), 1);
    // It did not arrive: the engine takes another name.
    begun(Trouble::Close);
    assert_eq!(
        kind(put(&store, "g", b"content").await),
        Some(ErrorKind::Exists)
    );
    assert_eq!(service.drive.files(&folder).len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_stored_wrong_is_noticed_and_removed() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    service
        .drive
        .change(|settings| settings.flips_a_byte = true);
    assert_eq!(
        kind(put(&store, "f", b"content").await),
        Some(ErrorKind::Corrupt)
    );
    assert_eq!(service.drive.files(&folder).len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_cut_download_is_an_error() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, _) = folder(&service).await?;
    put(&store, "f", b"content").await?;
    service.server.fault(Fault::next(
        "GET",
        "alt=media",
        Trouble::CutReply { after: 3 },
    ));
    let download = store.get("f").await?;
    assert_eq!(download.len, Some(7));
    assert_eq!(kind(download.bytes().await), Some(ErrorKind::Network));
    Ok(())
}

#[tokio::test]
async fn of_several_files_of_one_name_the_newest_counts() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    for content in ["old", "newer"] {
        service.drive.add(&folder, "f", Some(content.as_bytes()));
    }
    assert_eq!(names(store.as_ref()).await?, ["f", "f"]);
    assert_eq!(store.get("f").await?.bytes().await?, b"newer");
    assert_eq!(kind(put(&store, "f", b"x").await), Some(ErrorKind::Exists));
    let newest = Body::from_bytes("newest");
    store.put("f", newest, Existing::Replace).await?;
    let expected = vec![("f".to_owned(), b"newest".to_vec())];
    assert_eq!(service.drive.files(&folder), expected);
    // Exactly one is changed in place.
    store
        .put("f", Body::from_bytes("last"), Existing::Replace)
        .await?;
    assert_eq!(
        service.drive.files(&folder),
        [("f".to_owned(), b"last".to_vec())]
    );
    service.drive.add(&folder, "f", Some(b"another"));
    store.delete("f").await?;
    // The one that nobody had seen is not deleted, and found when asked for.
    assert_eq!(store.get("f").await?.bytes().await?, b"another");
    Ok(())
}

#[tokio::test]
async fn files_of_one_name_without_end_are_an_error() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    for _ in 0..1_000 {
        service.drive.add(&folder, "f", Some(b"old"));
    }
    service.drive.add(&folder, "f", Some(b"newest"));
    let error = store.get("f").await.map(drop).expect_err("a refusal");
    assert_eq!(*error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("more than 1000"), "{error}");
    // A listing shows them all; to read one, they are asked for again.
    assert_eq!(names(store.as_ref()).await?.len(), 1_001);
    assert_eq!(kind(store.delete("f").await), Some(ErrorKind::Config));
    assert_eq!(service.drive.files(&folder).len(), 1_001);
    Ok(())
}

#[tokio::test]
async fn a_failed_replacement_leaves_the_old_files() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    for content in ["one", "two"] {
        service.drive.add(&folder, "f", Some(content.as_bytes()));
    }
    service.drive.change(|settings| settings.quota = 10);
    let body = Body::from_bytes(vec![0; 100]);
    let refused = store.put("f", body, Existing::Replace).await;
    assert_eq!(kind(refused), Some(ErrorKind::Quota));
    assert_eq!(service.drive.files(&folder).len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_there_twice_is_not_guessed_between() -> Test {
    let service = Service::start(Settings::default()).await?;
    service.drive.add("root", "a", None);
    service.drive.add("root", "a", None);
    let error = test(service.open("a/b", FULL)?.as_ref())
        .await
        .expect_err("a refusal");
    assert_eq!(*error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains("more than one folder called a"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_folder_in_the_bin_is_missing_and_not_empty() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    put(&store, "f", b"content").await?;
    service.drive.trash(&folder);
    assert_eq!(
        kind(names(store.as_ref()).await),
        Some(ErrorKind::FolderMissing)
    );
    assert_eq!(
        kind(put(&store, "g", b"x").await),
        Some(ErrorKind::FolderMissing)
    );
    assert_eq!(
        kind(store.delete("g").await),
        Some(ErrorKind::FolderMissing)
    );
    Ok(())
}

#[tokio::test]
async fn members_who_may_not_delete_move_to_the_bin() -> Test {
    let service = Service::start(Settings::default()).await?;
    service
        .drive
        .change(|settings| settings.may_delete_shared = false);
    let options = [FULL, &[("googledrive-teamdrive-id", SHARED_DRIVE)]].concat();
    let store = service.open("a", &options)?;
    store.create_folder().await?;
    put(&store, "f", b"content").await?;
    store.delete("f").await?;
    assert_eq!(service.drive.trashed(), 1);
    assert_eq!(names(store.as_ref()).await?.len(), 0);
    assert_eq!(kind(store.delete("f").await), Some(ErrorKind::NotFound));
    Ok(())
}

#[tokio::test]
async fn what_a_scanner_takes_for_dangerous_is_fetched_all_the_same() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, _) = folder(&service).await?;
    put(&store, "f", b"content").await?;
    service.drive.change(|settings| settings.is_abusive = true);
    assert_eq!(store.get("f").await?.bytes().await?, b"content");
    Ok(())
}

#[tokio::test]
async fn refusals_have_their_meaning() -> Test {
    for (status, reason, expected) in [
        (403, "storageQuotaExceeded", ErrorKind::Quota),
        (403, "dailyLimitExceeded", ErrorKind::Busy(None)),
        (403, "downloadQuotaExceeded", ErrorKind::Busy(None)),
        (403, "userRateLimitExceeded", ErrorKind::Busy(None)),
        (429, "rateLimitExceeded", ErrorKind::Busy(None)),
        (403, "insufficientFilePermissions", ErrorKind::Denied),
        (403, "appNotAuthorizedToFile", ErrorKind::Denied),
        (500, "backendError", ErrorKind::Network),
        (400, "invalid", ErrorKind::Other),
    ] {
        let service = Service::start(Settings::default()).await?;
        let (store, _) = folder(&service).await?;
        put(&store, "f", b"content").await?;
        let trouble = refuse(status, reason);
        service
            .server
            .fault(Fault::next("GET", "alt=media", trouble).times(9));
        let error = store.get("f").await.map(drop).expect_err("a refusal");
        assert_eq!(*error.kind(), expected, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_that_repeat_and_pages_of_html_are_errors() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, folder) = folder(&service).await?;
    service.drive.add(&folder, "f", Some(b"x"));
    service
        .server
        .fault(Fault::next("GET", "q=", Trouble::Html).times(9));
    assert_eq!(kind(names(store.as_ref()).await), Some(ErrorKind::Network));
    let service = Service::start(Settings::default()).await?;
    let store = service.open("", FULL)?;
    service
        .drive
        .change(|settings| settings.repeats_pages = true);
    let error = names(store.as_ref()).await.expect_err("no end");
    assert!(
        error.to_string().contains("repeats the same page"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn space_is_that_of_the_account() -> Test {
    let service = Service::start(Settings::default()).await?;
    let (store, _) = folder(&service).await?;
    put(&store, "f", b"content").await?;
    let space = store.extra().space.ok_or("no space")?.space().await?;
    assert_eq!(
        (space.total, space.free),
        (Some(15 << 30), Some((15 << 30) - 7))
    );
    Ok(())
}

/// A folder with 150 files whose names are as long as Google admits.
struct LongNames;

impl Simulator for LongNames {
    fn answer(&self, request: &Request) -> Answer {
        let number = |name: &str| request.parameter(name).and_then(|text| text.parse().ok());
        let query = request.parameter("q").unwrap_or_default();
        if request.path == "/refresh" {
            return Answer::json(200, &json!({"access_token": "t", "expires": 3599}));
        }
        if query.contains("mimeType='") {
            return Answer::json(200, &json!({"files": [{"id": "f", "name": "a"}]}));
        }
        let begin: usize = number("pageToken").unwrap_or(0);
        let end = (begin + number("pageSize").unwrap_or(100)).min(150);
        let file = |at: usize| json!({"id": at.to_string(), "name": format!("{at:032000}")});
        let files: Vec<_> = (begin..end).map(file).collect();
        let next = (end < 150).then(|| end.to_string());
        Answer::json(200, &json!({"files": files, "nextPageToken": next}))
    }

    fn refusal(&self, _: &Request, status: u16, _: &str) -> Answer {
        Answer::empty(status)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_too_long_is_asked_for_in_smaller_ones() -> Test {
    let server = Server::start(Arc::new(LongNames), "127.0.0.1:0", None).await?;
    let config = config(&server.address(), "a", FULL);
    let store = (larder_googledrive::PROVIDER.open)(&config, &Tools::system())?.destination;
    assert_eq!(names(store.as_ref()).await?.len(), 150);
    let journal = server.journal();
    let sizes: Vec<_> = journal
        .iter()
        .filter(|entry| {
            entry
                .query
                .iter()
                .all(|(_, value)| !value.contains("mimeType="))
        })
        .flat_map(|entry| entry.query.iter().filter(|(name, _)| name == "pageSize"))
        .map(|(_, size)| size.as_str())
        .collect();
    assert_eq!(sizes, ["1000", "100", "1000"]);
    Ok(())
}
