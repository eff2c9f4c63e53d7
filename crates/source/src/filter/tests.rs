//! The worked examples of docs/guide/filters.md and what else a list must do.

use proptest::prelude::*;

use super::*;

fn filter(texts: &[&str], case_sensitive: bool) -> Filter {
    let list: Vec<_> = texts
        .iter()
        .map(|text| match text.split_at(1) {
            ("+", rest) => (Action::Include, rest.to_owned()),
            (_, rest) => (Action::Exclude, rest.to_owned()),
        })
        .collect();
    Filter::parse(&list, case_sensitive).unwrap_or_else(|error| panic!("{texts:?}: {error}"))
}

/// Whether a path below a root is recorded: all folders on the way are entered, and it is taken.
fn recorded(root: &str, path: &str, filter: &Filter) -> bool {
    let below = &path[root.len()..];
    let folders = below
        .match_indices('/')
        .map(|(at, _)| &path[..root.len() + at + 1])
        .filter(|folder| *folder != path);
    let entered = |folder: &str| {
        let evaluation = filter.evaluate(folder.as_bytes());
        evaluation.verdict == Verdict::Included || evaluation.rule.is_none()
    };
    folders.into_iter().all(entered) && filter.matches(path.as_bytes()) == Verdict::Included
}

#[test]
fn worked_examples() {
    let rows: [(u32, &str, &[&str], bool); 25] = [
        (1, "/data/a.txt", &[], true),
        (2, "/data/a.tmp", &["-*.tmp"], false),
        (3, "/data/x/a.tmp", &["-*.tmp"], false),
        (4, "/data/cache/f", &["-/data/cache/"], false),
        (5, "/data/cache/f", &["-/data/cache"], true),
        (6, "/data/p/node_modules/q.js", &["-*/node_modules/"], false),
        (7, "/data/node_modules", &["-*/node_modules/"], true),
        (8, "/data/a.TXT", &["-*.txt"], true),
        (9, "/data/doc/a.txt", &["+*.txt"], true),
        (10, "/data/doc/b.pdf", &["+*.txt"], false),
        (11, "/data/doc/", &["+*.txt"], false),
        (12, "/data/doc/b.pdf", &["+*.txt", "-*.tmp"], true),
        (13, "/data/doc/b.pdf", &["+*/", "+*.txt", "-*"], false),
        (14, "/data/doc/a.txt", &["+*/", "+*.txt", "-*"], true),
        (15, "/data/doc/a.txt", &["+*.txt", "-*"], false),
        (16, "/data/a.txt", &["+*.txt", "-*"], true),
        (17, "/data/keep/x.iso", &["+/data/keep/*", "-*.iso"], true),
        (18, "/data/keep/x.iso", &["-*.iso", "+/data/keep/*"], false),
        (19, "/data/log1.txt", &[r"-[.*/log\d\.txt]"], false),
        (20, "/data/log12.txt", &[r"-[.*/log\d\.txt]"], true),
        (21, "/data/log1.txt", &[r"-[log\d\.txt]"], true),
        (22, "/data/a?b", &["-@/data/a?b"], false),
        (23, "/data/aXb", &["-@/data/a?b"], true),
        (24, "/data/u/.cache/z", &["-{CacheFiles}"], false),
        (25, "/data/f~", &["-{Temp,OS}"], false),
    ];
    for (number, path, texts, expected) in rows {
        assert_eq!(
            recorded("/data/", path, &filter(texts, true)),
            expected,
            "example {number}"
        );
    }
    assert!(
        !recorded("/data/", "/data/a.TXT", &filter(&["-*.txt"], false)),
        "example 8 without case"
    );
    // Example 28: the nested source as the include that `prepare_sources` puts in front.
    let nested = filter(&["-/data/sub/"], true).prepend(Action::Include, &[b"/data/sub/".to_vec()]);
    assert!(recorded("/data/", "/data/sub/f", &nested), "example 28");
    // Example 29: variables are put in by the caller.
    assert!(
        !recorded("/home/", "/home/ann/x", &filter(&["-/home/ann/x"], true)),
        "example 29"
    );
}

#[test]
fn first_match_decides_whatever_the_kind_of_pattern() {
    let list = filter(
        &[
            "-/a/x",
            "+*.txt",
            r"-[.*\.md]",
            "+/a/*.md",
            "-@/a/y.txt",
            "+/a/?",
        ],
        true,
    );
    let rows = [
        ("/a/x", Some((Action::Exclude, 0))),
        ("/a/y.txt", Some((Action::Include, 1))),
        ("/a/y.md", Some((Action::Exclude, 2))),
        ("/a/q", Some((Action::Include, 5))),
        ("/a/qq", None),
    ];
    for (path, expected) in rows {
        assert_eq!(list.first_match(path.as_bytes()), expected, "{path}");
    }
    assert_eq!(list.text(2), r"[.*\.md]");
    assert_eq!(list.text(99), "");
    assert_eq!(list.action(1), Some(Action::Include));
}

#[test]
fn lists_know_what_they_are() {
    assert!(Filter::empty().is_empty() && !Filter::empty().only_includes());
    assert_eq!(Filter::empty().matches(b"/x"), Verdict::Included);
    assert!(filter(&["+*.a", "+{None}"], true).only_includes());
    assert_eq!(filter(&["+{None}"], true).matches(b"/x"), Verdict::Excluded);
    assert!(!filter(&["+*.a", "-b"], true).only_includes());
    assert!(
        filter(&["+"], true).is_empty(),
        "a filter without text is none"
    );
    assert_eq!(filter(&["+"], true).matches(b"/x"), Verdict::Included);
    assert_eq!(filter(&["-*", "+a"], true).excludes_everything(), Some(0));
    assert_eq!(
        filter(&["-x", "-[.*]"], true).excludes_everything(),
        Some(1)
    );
    assert_eq!(filter(&["+a", "-*"], true).excludes_everything(), None);
    assert_eq!(filter(&[], true).excludes_everything(), None);
    let both = filter(&["-a"], true).append(&filter(&["+*"], true));
    assert_eq!(both.first_match(b"b"), Some((Action::Include, 1)));
}

#[test]
fn case_may_be_ignored_for_all_kinds() {
    let list = filter(
        &["-/A/ÜNÏ", "-*.JPG", "-*/Tm?/*", r"-[/re\d]", "-@/LIT*"],
        false,
    );
    for path in ["/a/ünï", "/a/Ünï", "/x.jpg", "/q/tMP/f", "/RE1", "/lit*"] {
        assert_eq!(list.matches(path.as_bytes()), Verdict::Excluded, "{path}");
    }
    assert_eq!(list.matches(b"/a/\xff.jPg"), Verdict::Excluded);
    assert_eq!(list.matches(b"/a/\xff"), Verdict::Included);
}

#[test]
fn names_that_are_not_text_still_match() {
    let list = filter(
        &["-*.jpg", r"-[.*\.(mp3|ogg)]", r"-[(?!.*keep).*\.iso]"],
        true,
    );
    assert_eq!(list.matches(b"/\xff\xfe.jpg"), Verdict::Excluded);
    assert_eq!(list.matches(b"/\xff\xfe.mp3"), Verdict::Excluded);
    assert_eq!(list.matches(b"/\xff\xfe.iso"), Verdict::Excluded);
    assert_eq!(list.matches(b"/\xff\xfe.txt"), Verdict::Included);
    let exact = Filter::empty().prepend(Action::Exclude, &[b"/\xff".to_vec()]);
    assert_eq!(exact.matches(b"/\xff"), Verdict::Excluded);
    assert_eq!(exact.matches("/\u{fffd}".as_bytes()), Verdict::Included);
}

#[test]
fn faults_name_the_filter() {
    let parse = |text: &str| Filter::parse(&[(Action::Exclude, text.to_owned())], true).map(|_| ());
    let rows = [
        (
            "{Nonsense}",
            "filter {Nonsense}: there is no filter group named \"Nonsense\"",
        ),
        (
            "{Temp, Nope}",
            "filter {Temp, Nope}: there is no filter group named \"Nope\"",
        ),
        ("[a(]", "filter [a(]: unclosed group"),
        (
            "[(?<!a(]",
            "filter [(?<!a(]: Parsing error at position 6: Opening parenthesis without closing parenthesis",
        ),
    ];
    for (text, message) in rows {
        assert_eq!(
            parse(text).map_err(|error| error.to_string()),
            Err(message.to_owned()),
            "{text}"
        );
    }
    assert_eq!(parse("{Temp;OS:Cache|Sys}"), Ok(()));
}

#[test]
fn an_expression_that_gives_up_is_told() {
    let list = filter(&[r"-[(?=a)(a|a|aa|aaa)*(?!x)b\1]", "-*a"], true);
    let evaluation = list.evaluate("a".repeat(200).as_bytes());
    assert_eq!(
        evaluation,
        Evaluation {
            verdict: Verdict::Excluded,
            rule: Some(1),
            gave_up: Some(0)
        }
    );
    let evaluation = list.evaluate(("a".repeat(200) + "c").as_bytes());
    assert_eq!(evaluation.gave_up, Some(0));
}

proptest! {
    #[test]
    fn no_text_makes_a_list_panic(text in "\\PC{0,20}", path in prop::collection::vec(any::<u8>(), 0..12)) {
        for text in [text.clone(), format!("[{text}]"), format!("{{{text}}}"), format!("@{text}")] {
            for case_sensitive in [true, false] {
                if let Ok(list) = Filter::parse(&[(Action::Exclude, text.clone())], case_sensitive) {
                    list.evaluate(&path);
                }
            }
        }
    }

    /// The arrangement of the rules must not change which one is the first to match.
    #[test]
    fn a_list_is_its_rules_one_by_one(
        texts in prop::collection::vec(("[+-]", "([ab/]{0,3}|[*][ab/]{0,3}|[ab*?/]{0,4}|\\[[ab]{1,2}[.*]{0,1}\\]|@[a*]{1,2})"), 0..6),
        path in "[ab/*]{0,6}",
    ) {
        let list: Vec<_> = texts
            .iter()
            .map(|(sign, text)| (if sign == "+" { Action::Include } else { Action::Exclude }, text.clone()))
            .collect();
        let whole = Filter::parse(&list, true).expect("valid filters");
        let one_by_one = list.iter().enumerate().find_map(|(at, rule)| {
            let single = Filter::parse(std::slice::from_ref(rule), true).expect("a valid filter");
            single.first_match(path.as_bytes()).map(|(action, _)| (action, at))
        });
        prop_assert_eq!(whole.first_match(path.as_bytes()), one_by_one);
    }
}
