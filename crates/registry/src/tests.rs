//! From URL texts to destinations and to sentences.

use super::*;

fn refused(url: &str) -> String {
    match open(url, &Values::new(), Path::new("/w"), &Tools::system()) {
        Ok(opened) => panic!("{url} opened {}", opened.destination.about().display),
        Err(error) => {
            assert_eq!(*error.kind(), larder_destination::ErrorKind::Config);
            error.to_string()
        }
    }
}

#[test]
fn schemes_and_aliases_are_unique() {
    let mut keys: Vec<_> = providers()
        .iter()
        .flat_map(|provider| provider.schemes)
        .collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all);
    for key in keys {
        assert!(
            planned(key).is_none_or(|planned| planned.scheme != *key),
            "{key} is both built and planned"
        );
        assert!(find(&key.to_uppercase()).is_some());
    }
}

#[test]
fn declarations_are_sound() {
    for provider in providers() {
        assert!(provider.help.ends_with('.') && !provider.name.is_empty());
        for decl in provider.options {
            assert!(decl.help.ends_with('.'), "{}", decl.name);
            assert!(!decl.is_secret() || decl.default.is_none(), "{}", decl.name);
            if decl.is_secret() {
                assert!(
                    larder_destination::is_secret_name(decl.name),
                    "{} would be shown in URLs",
                    decl.name
                );
            }
        }
    }
}

#[test]
#[cfg(feature = "file")]
fn local_paths_open() {
    for (url, display) in [
        ("/a/b", "file:///a/b"),
        ("file://c", "file:///w/c"),
        ("c", "file:///w/c"),
    ] {
        assert_eq!(
            open(url, &Values::new(), Path::new("/w"), &Tools::system())
                .unwrap()
                .destination
                .about()
                .display,
            display
        );
    }
    assert!(find("files").is_none(), "there is no TLS for folders");
}

#[test]
#[cfg(feature = "s3")]
fn an_s_after_the_scheme_means_tls() {
    use larder_options::engine::USE_SSL;

    for (url, expected) in [
        ("s3s://b/p", Some(true)),
        ("S3S://b/p?use-ssl=false", Some(false)),
        ("s3://b/p", None),
    ] {
        let Configured { found, config, .. } =
            configure(url, &Values::new(), Path::new("/")).unwrap();
        assert_eq!(found.provider.schemes.first(), Some(&"s3"));
        assert_eq!(config.url.scheme(), "s3");
        assert_eq!(
            config
                .values
                .is_set(USE_SSL)
                .then(|| config.values.get(USE_SSL).unwrap()),
            expected,
            "{url}"
        );
    }
}

#[test]
#[cfg(all(feature = "file", feature = "s3"))]
fn other_schemes_are_explained() {
    let mut known: Vec<&str> = providers()
        .iter()
        .flat_map(|provider| provider.schemes)
        .copied()
        .collect();
    known.sort_unstable();
    let known = known.join(", ");
    for (url, expected) in [
        (
            "http://h/p",
            "destination open: http:// is not a kind of destination; a WebDAV server is written webdav://host/folder; this version knows {known}",
        ),
        (
            "https://h/p",
            "destination open: https:// is not a kind of destination; a WebDAV server is written webdav://host/folder?use-ssl=true; this version knows {known}",
        ),
        (
            "b2://u:geheim@b",
            "destination open: b2:// (Backblaze B2) is not in this version yet; this version knows {known}",
        ),
        (
            "ftps://h",
            "destination open: ftps:// (FTP) is not in this version yet; this version knows {known}",
        ),
        (
            "hubic://x",
            "destination open: hubic:// (HubiC) is a service that has closed; this version knows {known}",
        ),
        (
            "fiel://x",
            "destination open: the scheme fiel:// is unknown, did you mean file://? Known are {known}",
        ),
        (
            "flie2://x",
            "destination open: the scheme flie2:// is unknown; known are {known}",
        ),
        (
            "fil://x",
            "destination open: the scheme fil:// is unknown, did you mean file://? Known are {known}",
        ),
        ("", "destination open: the storage URL is empty"),
    ] {
        assert_eq!(refused(url), expected.replace("{known}", &known));
    }
}
