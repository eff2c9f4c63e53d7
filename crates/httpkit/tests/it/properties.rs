//! Whatever a server sends, the parsers of this crate end, keep their promises, and read what they write.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use larder_destination::{LONGEST_WAIT, Operation, RemoteFile};
use larder_httpkit::http::HeaderMap;
use larder_httpkit::http::header::{DATE, HeaderValue, RETRY_AFTER};
use larder_httpkit::objects::{Overlap, Prefix, etag_md5};
use larder_httpkit::{
    Call, Child, Children, Element, Page, Server, encode, format_http_date, http_date, pages,
    records, retry_after, rfc3339, rfc3339_milliseconds, sentence, text_element,
};
use proptest::prelude::*;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// Names of elements, and texts without the control characters that XML cannot hold.
const NAME: &str = "[a-zA-Z][a-zA-Z0-9]{0,8}";
const TEXT: &str = "[ -~äß€😀&<>'\"]{0,20}";

/// A tree of elements; those without children hold text.
fn element() -> impl Strategy<Value = Element> {
    let leaf = (NAME, TEXT).prop_map(|(name, text)| Element {
        name,
        text,
        children: Vec::new(),
    });
    leaf.prop_recursive(5, 24, 4, |inner| {
        (NAME, prop::collection::vec(inner, 1..4)).prop_map(|(name, children)| Element {
            name,
            text: String::new(),
            children,
        })
    })
}

fn written(element: &Element) -> String {
    if element.children.is_empty() {
        return text_element(&element.name, &element.text);
    }
    let inner: String = element.children.iter().map(written).collect();
    format!("<{0}>{inner}</{0}>", element.name)
}

/// Reads a document in pieces of this length; `None` when it is refused.
fn read_records(document: &[u8], piece: usize) -> Option<Vec<Element>> {
    let pieces: Vec<_> = document
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let call = Call::new("test", Operation::List);
    let source = stream::iter(pieces).boxed();
    block_on(records(&call, source, "DAV:", "multistatus").try_collect()).ok()
}

proptest! {
    #[test]
    fn an_element_is_read_as_it_was_written(element in element()) {
        let document = written(&element);
        prop_assert_eq!(Element::parse(document.as_bytes(), &element.name), Ok(element));
    }

    #[test]
    fn any_bytes_are_an_element_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), markup in "[<>/a&;\"= !?\\[\\]-]{0,80}") {
        let _ = Element::parse(&bytes, "a");
        if let Ok(element) = Element::parse(markup.as_bytes(), "a") {
            prop_assert_eq!(element.name, "a");
        }
        let _ = read_records(&bytes, 7);
        let _ = read_records(markup.as_bytes(), 3);
    }

    #[test]
    fn records_do_not_depend_on_how_they_arrive(inner in prop::collection::vec(element(), 0..5), piece in 1_usize..40) {
        let body: String = inner.iter().map(written).collect();
        let document = format!("<multistatus xmlns=\"DAV:\">{body}</multistatus>");
        let whole = read_records(document.as_bytes(), document.len());
        prop_assert_eq!(whole.as_ref(), Some(&inner));
        prop_assert_eq!(read_records(document.as_bytes(), piece), whole);
        let cut = document.len() - 1;
        prop_assert_eq!(read_records(&document.as_bytes()[..cut], piece), None, "a document that is cut is no listing");
    }

    #[test]
    fn dates_are_read_as_they_were_written(seconds in 0_i64..=253_402_300_799, text in "\\PC{0,40}") {
        prop_assert_eq!(http_date(&format_http_date(seconds)), Some(seconds));
        if let Some(read) = http_date(&text) {
            prop_assert_eq!(http_date(&format_http_date(read)), Some(read));
        }
        let milliseconds = rfc3339_milliseconds(&text);
        prop_assert_eq!(rfc3339(&text).is_some(), milliseconds.is_some());
    }

    #[test]
    fn rfc_3339_is_read(day in 1_i64..=28, hour in 0_i64..24, minute in 0_i64..60, second in 0_i64..60, offset in -12_i64..=12) {
        let sign = if offset < 0 { '-' } else { '+' };
        let text = format!("1970-01-{day:02}T{hour:02}:{minute:02}:{second:02}.250{sign}{:02}:00", offset.abs());
        let expected = ((day - 1) * 24 + hour - offset) * 3600 + minute * 60 + second;
        prop_assert_eq!(rfc3339_milliseconds(&text), Some(expected * 1000 + 250));
    }

    #[test]
    fn no_wish_to_wait_is_longer_than_allowed(wish in prop_oneof!["[0-9]{0,30}", "\\PC{0,30}", (0_i64..4_000_000_000).prop_map(format_http_date)], now in 0_i64..4_000_000_000) {
        let mut headers = HeaderMap::new();
        if let Ok(wish) = HeaderValue::from_bytes(wish.as_bytes()) {
            headers.insert(RETRY_AFTER, wish);
        }
        headers.insert(DATE, HeaderValue::from_str(&format_http_date(now)).expect("a date"));
        let wait = retry_after(&headers);
        prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT));
        if let Ok(seconds) = wish.parse::<u64>() && wish.bytes().all(|byte| byte.is_ascii_digit()) {
            prop_assert_eq!(wait, Some(Duration::from_secs(seconds).min(LONGEST_WAIT)));
        }
    }

    #[test]
    fn only_names_of_this_folder_come_out_of_a_listing(folder in "(/?[ab]){0,3}/?", paths in prop::collection::vec(("(/?[ab]){0,5}/?", any::<bool>()), 0..8)) {
        let mut children = Children::of(&folder);
        for (path, is_folder) in &paths {
            if let Child::Named(name) = children.take(path, *is_folder) {
                prop_assert!(!name.is_empty() && !name.contains('/'), "{}", name);
                prop_assert!(path.trim_matches('/').ends_with(&name));
            }
        }
    }

    #[test]
    fn keys_and_names_belong_together(folders in "([a-c]{1,2}/){0,3}", name in "[^/\\x00]{1,12}", key in "[a-c/]{0,12}") {
        let prefix = Prefix::parse("test", &folders).expect("a prefix");
        let file = prefix.entry(&prefix.key(&name));
        prop_assert_eq!(file.map(|file| (file.name, file.is_folder)), Some((name, false)));
        if let Some(file) = prefix.entry(&key) {
            prop_assert!(!file.name.contains('/') && key.starts_with(prefix.as_str()));
        }
        let _ = etag_md5(&key);
    }

    #[test]
    fn every_page_is_given_out_once(lens in prop::collection::vec(0_usize..4, 1..8)) {
        let lens = &lens;
        let fetch = |cursor: Option<usize>| async move {
            let at = cursor.unwrap_or(0);
            let next = (at + 1 < lens.len()).then_some(at + 1);
            Ok(Page { items: vec![at; lens[at]], next })
        };
        let call = Call::new("test", Operation::List);
        let found: Vec<usize> = block_on(pages(call, None, fetch).try_collect()).expect("pages");
        let expected: Vec<usize> = lens.iter().enumerate().flat_map(|(at, len)| vec![at; *len]).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn pages_that_overlap_give_each_name_once(names in prop::collection::btree_set("[a-z]{1,4}", 0..20), size in 1_usize..6, back in 0_usize..3) {
        let names: Vec<String> = names.into_iter().collect();
        let prefix = Prefix::parse("test", "").expect("a prefix");
        let (overlap, mut found, mut at) = (Overlap::default(), Vec::new(), 0);
        while at < names.len() {
            let from = at.saturating_sub(back.min(size));
            let end = (at + size).min(names.len());
            let mut page: Vec<RemoteFile> = names[from..end].iter().filter_map(|name| prefix.entry(name)).collect();
            overlap.drop_from(&mut page);
            found.extend(page.into_iter().map(|file| file.name));
            at = end;
        }
        prop_assert_eq!(found, names);
    }

    #[test]
    fn servers_are_read_or_refused(text in "\\PC{0,30}", host in "[a-z][a-z0-9.]{0,10}", port in 1_u16.., tls in any::<bool>()) {
        if let Ok((server, _)) = Server::parse(&text) {
            prop_assert!(!server.host.is_empty() && !server.host.contains(['/', '@', '?', '#']));
            prop_assert!(server.path.is_empty() || server.path.starts_with('/') && !server.path.ends_with('/'));
        }
        let scheme = if tls { "https" } else { "http" };
        let (server, said) = Server::parse(&format!("{scheme}://{host}:{port}/")).expect("a server");
        prop_assert_eq!((server.name(), said), (host.as_str(), Some(tls)));
    }

    #[test]
    fn encoding_is_undone(text in "\\PC{0,30}") {
        prop_assert_eq!(encode::decode(&encode::segment(&text)), Some(text.clone()));
        prop_assert_eq!(encode::decode_form(&encode::form(&[("k", &text)])), Some(format!("k={text}")));
        let _ = (encode::decode(&text), encode::decode_form(&text), encode::unhex(&text), encode::unbase64(&text));
    }

    #[test]
    fn a_service_s_words_are_one_short_line(text in "(?s).{0,700}") {
        let line = sentence(&text);
        prop_assert!(line.chars().count() <= 500 && !line.chars().any(char::is_control));
        prop_assert!(!line.ends_with('.'));
    }
}
