//! What the URL parser must agree on with Duplicati, and where it must not.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Vectors where Larder answers otherwise; the reasons are in `docs/decisions/0009-url-differences.md`.
const DIFFERENCES: &[(&str, Difference)] = &[
    ("", Difference::Error(UrlError::Empty)),
    ("http://h:99999/p", Difference::Error(UrlError::Port)),
    ("x://h/p#frag", Difference::Error(UrlError::Fragment)),
    ("ssh://[::1]:22/p", Difference::Text("ssh://[::1]:22/p")),
    ("x://h/p?a+b=c+d", Difference::Text("x://h/p?a%20b=c%20d")),
    ("x://u@h/p", Difference::Text("x://u@h/p")),
    ("x://u:@h/p", Difference::Text("x://u@h/p")),
    ("file://~/x", Difference::Text("file://~/x")),
    ("x://h/p?k=v1&k=v2", Difference::Query("v2")),
];

enum Difference {
    Error(UrlError),
    Text(&'static str),
    Query(&'static str),
}

fn parse(text: &str) -> Result<Url, UrlError> {
    Url::parse(text, Path::new("/cwd"))
}

fn part<'a>(vector: &'a Value, name: &str) -> Option<&'a str> {
    vector[name].as_str().filter(|text| !text.is_empty())
}

#[test]
#[cfg(unix)]
fn duplicati_vectors_agree_or_are_listed() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert!(vectors.len() >= 30);
    for vector in &vectors {
        let text = vector["url"].as_str().unwrap();
        let difference = DIFFERENCES
            .iter()
            .find(|(url, _)| *url == text)
            .map(|(_, difference)| difference);
        if let Some(Difference::Error(expected)) = difference {
            assert_eq!(parse(text).unwrap_err(), *expected, "{text}");
            continue;
        }
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.scheme(), vector["scheme"].as_str().unwrap(), "{text}");
        assert_eq!(url.host(), part(vector, "host"), "{text}");
        assert_eq!(url.path(), vector["path"].as_str().unwrap(), "{text}");
        assert_eq!(
            url.host_and_path(),
            vector["hostAndPath"].as_str().unwrap(),
            "{text}"
        );
        assert_eq!(url.user(), part(vector, "user"), "{text}");
        assert_eq!(
            url.password().map(Secret::expose),
            part(vector, "password"),
            "{text}"
        );
        assert_eq!(
            url.port().map_or(-1, i64::from),
            vector["port"].as_i64().unwrap(),
            "{text}"
        );
        for (name, value) in vector["query"].as_object().unwrap() {
            let expected = match difference {
                Some(Difference::Query(expected)) => expected,
                _ => value.as_str().unwrap(),
            };
            assert_eq!(url.query_value(name).unwrap_or(""), expected, "{text}");
        }
        let expected = match difference {
            Some(Difference::Text(expected)) => expected,
            _ => vector["text"].as_str().unwrap(),
        };
        assert_eq!(url.expose(), expected, "{text}");
    }
}

#[test]
#[cfg(unix)]
fn local_paths_are_resolved_once() {
    for (text, expected) in [
        ("/a b/c", "/a b/c"),
        ("/a%20b", "/a%20b"),
        ("file:///a%20b", "/a b"),
        ("file:///a%2Fb", "/a/b"),
        ("file:///a+b", "/a+b"),
        ("file:///a#b", "/a#b"),
        ("file:////mnt/disk", "//mnt/disk"),
        ("file:///a@b:c", "/a@b:c"),
        ("FILE:///a", "/a"),
        ("file://sub/dir", "/cwd/sub/dir"),
        ("sub/dir", "/cwd/sub/dir"),
        ("\"/folder for backup\"", "/folder for backup"),
        ("C:\\x", "/cwd/C:\\x"),
        (
            "file://F:\\a@b?alternate-target-paths=E%3A%5Cb%3BG%3A%5Cb",
            "/cwd/F:\\a@b",
        ),
        ("file:///C:\\x", "/C:\\x"),
        ("file:///\u{fc}%C3%BC%FF", "/\u{fc}\u{fc}%FF"),
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.scheme(), "file", "{text}");
        assert_eq!(url.local_path(), Some(Path::new(expected)), "{text}");
        assert_eq!(url.unc(), None, "{text}");
    }
}

#[test]
fn network_paths_are_recognised() {
    for (text, unc) in [
        ("\\\\192.168.1.10\\backup", "\\\\192.168.1.10\\backup"),
        (
            "file://\\\\server\\folder%20for%20backup",
            "\\\\server\\folder for backup",
        ),
        (
            "file://user:p%40w@\\\\server\\share\\dir",
            "\\\\server\\share\\dir",
        ),
        ("//server/share/dir", "\\\\server\\share\\dir"),
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.unc(), Some(unc), "{text}");
        assert!(url.host().is_some(), "{text}");
        assert_eq!(url.local_path().is_some(), cfg!(windows), "{text}");
    }
    let url = parse("file://user:p%40w@\\\\server\\share\\dir").unwrap();
    assert_eq!(
        (url.user(), url.password().map(Secret::expose)),
        (Some("user"), Some("p@w"))
    );
    assert_eq!((url.host(), url.path()), (Some("server"), "share/dir"));
    assert_eq!(url.to_string(), "file://user:***@\\\\server\\share\\dir");
}

#[test]
fn examples_of_the_manual_parse() {
    let url =
        parse("webdav://user:p%40ss@host:8080/a%20b?use-ssl=true&accept-specified-ssl-hash=AB12")
            .unwrap();
    assert_eq!(
        (url.host(), url.port(), url.path()),
        (Some("host"), Some(8080), "a b")
    );
    assert_eq!(
        (url.user(), url.password().map(Secret::expose)),
        (Some("user"), Some("p@ss"))
    );
    assert_eq!(url.query_value("Accept_Specified-SSL-hash"), Some("AB12"));
    let url = parse("s3://My.Bucket/pre%20fix?s3-server-name=127.0.0.1%3A9000").unwrap();
    assert_eq!((url.host(), url.path()), (Some("My.Bucket"), "pre fix"));
    assert_eq!(url.query_value("s3-server-name"), Some("127.0.0.1:9000"));
    let url = parse("azure://acct:KEY%3D%3D@cont").unwrap();
    assert_eq!(
        (url.host(), url.password().map(Secret::expose)),
        (Some("cont"), Some("KEY=="))
    );
    let url = parse("ssh://host:2222/folder?ssh-key=sshkey%3A%2F%2Fx").unwrap();
    assert_eq!(url.query_value("ssh-key"), Some("sshkey://x"));
    let url = parse("rclone://u:a:b@c@remote/x").unwrap();
    assert_eq!(
        (url.user(), url.password().map(Secret::expose)),
        (Some("u"), Some("a:b@c"))
    );
    let url = parse("x://:secret@h/p").unwrap();
    assert_eq!(
        (url.user(), url.password().map(Secret::expose)),
        (None, None)
    );
}

#[test]
fn nonsense_is_refused() {
    for (text, error) in [
        ("  ", UrlError::Empty),
        ("\"\"", UrlError::Empty),
        ("file://", UrlError::Empty),
        ("?a=b", UrlError::Empty),
        ("/a\0b", UrlError::Nul),
        ("file:///a%00b", UrlError::Nul),
        ("://x", UrlError::Scheme),
        ("sc heme://x", UrlError::Scheme),
        ("ftp://h:0/", UrlError::Port),
        ("ftp://h:/", UrlError::Port),
        ("ftp://h:abc/", UrlError::Port),
        ("ftp://user:pa/ss@h/x", UrlError::Port),
        ("ftp://h:+21/", UrlError::Port),
        ("ssh://[::1/x", UrlError::Brackets),
        ("ssh://[::1]x/x", UrlError::Brackets),
        ("x://h/p?=v", UrlError::NamelessOption),
    ] {
        assert_eq!(parse(text).unwrap_err(), error, "{text:?}");
    }
    for error in [UrlError::Empty, UrlError::Port, UrlError::Fragment] {
        assert!(error.to_string().starts_with(|c: char| c.is_lowercase()));
    }
}

#[test]
fn secrets_are_hidden() {
    let url = parse(
        "s3://me:geheim1@b/p?auth-password=geheim2&AWS_Secret_access_key=geheim3&authid=geheim4&x-token=geheim5\
         &proxy=http://a:geheim6@h&use-ssl=true&s3-server-name=host",
    )
    .unwrap();
    for text in [
        url.to_string(),
        format!("{url:?}"),
        format!("{:#?}", Some(&url)),
    ] {
        assert!(!text.contains("geheim"), "{text}");
        assert!(text.contains("me:***@b/p?auth-password=***&"), "{text}");
        assert!(text.contains("use-ssl=true&s3-server-name=host"), "{text}");
    }
    for number in 1..=6 {
        assert!(url.expose().contains(&format!("geheim{number}")));
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_quietly(text in "\\PC*") {
        let _ = parse(&text).map(|url| url.to_string());
    }

    #[test]
    fn near_urls_parse_or_fail_quietly(text in "(file|x|s3|\"file)?(://|:|//|\\\\\\\\)?[a-c@:/?&=%+#\\\\\\[\\]\"0-9F\u{fc}]{0,30}") {
        if let Ok(url) = parse(&text) {
            let again = Url::parse(&url.expose(), Path::new("/other")).unwrap();
            prop_assert_eq!(again.expose(), url.expose());
            prop_assert_eq!(again.user(), url.user());
            prop_assert_eq!(again.host(), url.host());
            prop_assert_eq!(again.query(), url.query());
            if cfg!(unix) {
                prop_assert_eq!(again.unc(), url.unc());
            }
        }
    }

    #[test]
    fn parts_survive_a_round_trip(user in "\\PC{1,8}", password in "\\PC{1,8}", host in "[^\\p{C}\\[]{1,8}", path in "\\PC{0,12}", value in "\\PC{0,8}") {
        let mut url = Url::empty("x".to_owned());
        url.user = Some(user);
        url.password = Some(Secret::from(password.as_str()));
        url.host = Some(host);
        url.port = Some(8080);
        url.path = path;
        url.query = vec![("name".to_owned(), Some(value)), ("flag".to_owned(), None)];
        let again = parse(&url.expose()).unwrap();
        prop_assert_eq!(again.user(), url.user());
        prop_assert_eq!(again.password().map(Secret::expose), Some(password.as_str()));
        prop_assert_eq!(again.host(), url.host());
        prop_assert_eq!(again.port(), url.port());
        prop_assert_eq!(again.path(), url.path());
        prop_assert_eq!(again.query(), url.query());
    }
}
