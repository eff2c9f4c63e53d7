//! `list`, `find`, `list-filesets`, `list-folder-content`, `list-file-versions`, `search-files`,
//! `affected`, `list-broken-files` and `compare`.

use std::io;

use larder_engine::{
    CompareRequest, FileVersionsReport, FolderRequest, FoundFiles, HistoryRequest, ListReport,
    ListRequest, ListedFile, Page, Run, SearchRequest,
};
use larder_options::engine as opt;
use larder_options::value::{Direction, parse_time};

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::{Access, Session};
use crate::output;
use crate::paths::expand_variables;

/// Runs `list`; gives the exit code.
pub fn list(call: &Invocation) -> Result<i32, Failure> {
    versions_or_files(call, false)
}

/// Runs `find`: as `list`, but in all versions unless one is named.
pub fn find(call: &Invocation) -> Result<i32, Failure> {
    versions_or_files(call, true)
}

/// Runs `compare`; gives the exit code.
pub fn compare(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(2)?;
    let mut versions = call.texts()?.into_iter().map(|text| text.to_owned());
    let request = CompareRequest {
        base: versions.next(),
        compare: versions.next(),
        filters: call.filters.clone(),
    };
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, |engine| engine.compare(&request))?;
    output::compare(&report, call)
}

/// Runs `list-folder-content`; gives the exit code.
pub fn list_folder_content(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    if call.values.get(opt::ALL_VERSIONS)? {
        return Err(Failure::usage(
            "list-folder-content lists folders of one version: leave --all-versions out",
        ));
    }
    let request = FolderRequest {
        folders: expanded(call)?,
        page: Page::default(),
    };
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, |engine| engine.list_folder(&request))?;
    if call.json() {
        output::json(&report);
    } else {
        output::folder(&report);
    }
    Ok(0)
}

/// Runs `list-file-versions`; gives the exit code.
pub fn list_file_versions(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let request = HistoryRequest {
        paths: expanded(call)?,
        page: Page::default(),
    };
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, |engine| engine.list_file_versions(&request))?;
    Ok(file_versions(&report, call))
}

/// Runs `search-files`; gives the exit code.
pub fn search_files(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let request = SearchRequest {
        arguments: expanded(call)?,
        filters: call.filters.clone(),
        page: Page::default(),
    };
    if request.arguments.is_empty() && request.filters.is_empty() {
        return Err(Failure::usage(
            "search-files needs a word, a pattern, a folder or a filter to look for",
        ));
    }
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, |engine| engine.search_files(&request))?;
    Ok(file_versions(&report, call))
}

/// Runs `affected`; gives the exit code.
pub fn affected(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let names = expanded(call)?;
    if names.is_empty() {
        return Err(Failure::usage(
            "affected needs the name of a remote file, as the destination has it",
        ));
    }
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, |engine| engine.affected(&names))?;
    output::affected(&report, call)
}

fn file_versions(report: &FileVersionsReport, call: &Invocation) -> i32 {
    if call.json() {
        output::json(report);
    } else {
        output::file_versions(report);
    }
    output::file_versions_code(report)
}

/// The arguments, with variables of the environment in them replaced.
fn expanded(call: &Invocation) -> Result<Vec<String>, Failure> {
    let texts = call.texts()?;
    Ok(texts.iter().map(|text| expand_variables(text)).collect())
}

fn versions_or_files(call: &Invocation, all_versions: bool) -> Result<i32, Failure> {
    call.need_url()?;
    let values = &call.values;
    let mut request = ListRequest {
        patterns: expanded(call)?,
        filters: call.filters.clone(),
        all_versions,
        version_argument: None,
    };
    if let [only] = request.patterns.as_slice()
        && is_version_argument(only)
    {
        request.version_argument = Some(only.clone());
        request.patterns.clear();
    }
    if values.get(opt::LIST_SETS_ONLY)? {
        request.patterns.clear();
        request.filters.clear();
        request.version_argument = None;
    }
    let only_versions = request.patterns.is_empty()
        && request.filters.is_empty()
        && request.version_argument.is_none();
    let session = Session::new(call, RunKind::Listing)?;
    if call.wants_control_files()? {
        let report = session.reading(Access::Reads, |e| e.list_control_files(&request))?;
        if call.json() {
            output::json(&report);
        } else {
            output::files(&report);
        }
        return Ok(0);
    }
    let mut report = session.reading(Access::Reads, |engine| engine.list(&request))?;
    let unreadable = |error: io::Error| {
        Failure::general(format!("what was found cannot be read again: {error}"))
    };
    if values.get(opt::LIST_FOLDER_CONTENTS)? {
        keep_children(&mut report, &request.patterns).map_err(unreadable)?;
    }
    if values.get(opt::LIST_PREFIX_ONLY)? {
        keep_prefix(&mut report).map_err(unreadable)?;
    }
    Ok(output::listing(&report, only_versions, call))
}

/// A number or a time stands for a version; everything else is a pattern.
fn is_version_argument(text: &str) -> bool {
    !text.is_empty()
        && (text.parse::<u64>().is_ok()
            || parse_time(text, &jiff::Zoned::now(), Direction::Backwards).is_ok())
}

/// `--list-folder-contents`: what lies directly in one of the folders, or at the top when none is named.
fn keep_children(report: &mut ListReport, folders: &[String]) -> io::Result<()> {
    if folders.is_empty() {
        let depth = |file: &ListedFile| file.path.matches(['/', '\\']).count();
        let mut top = None;
        report.files.each(|file| {
            let depth = depth(&file);
            top = Some(top.map_or(depth, |top: usize| top.min(depth)));
            Ok(())
        })?;
        report.files.retain(move |file| Some(depth(file)) == top);
        return Ok(());
    }
    let folders: Vec<String> = folders
        .iter()
        .map(|f| {
            f.trim_end_matches('*')
                .trim_end_matches(['/', '\\'])
                .to_owned()
        })
        .collect();
    report.files.retain(move |file| {
        let path = &file.path;
        let inner = path.strip_suffix(['/', '\\']).unwrap_or(path);
        let parent = inner
            .rfind(['/', '\\'])
            .and_then(|at| inner.get(..=at))
            .unwrap_or_default()
            .trim_end_matches(['/', '\\']);
        folders.iter().any(|folder| folder == parent)
    });
    Ok(())
}

/// `--list-prefix-only`: one entry, the folder that all matching paths lie in.
fn keep_prefix(report: &mut ListReport) -> io::Result<()> {
    let mut only: Option<ListedFile> = None;
    report.files.each(|file| {
        let only = match &mut only {
            Some(only) => only,
            None => only.insert(file.clone()),
        };
        while !file.path.starts_with(&only.path) {
            let shorter = only
                .path
                .strip_suffix(['/', '\\'])
                .unwrap_or(&only.path)
                .rfind(['/', '\\'])
                .map_or(0, |at| at + 1);
            only.path.truncate(shorter);
        }
        Ok(())
    })?;
    if let Some(only) = &mut only {
        only.kind = "Folder";
        only.sizes.iter_mut().for_each(|size| *size = Some(-1));
    }
    report.files = FoundFiles::from(Vec::from_iter(only));
    Ok(())
}

/// Runs `list-filesets`; gives the exit code.
pub fn list_filesets(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    if call.values.is_set(opt::VERSION) || call.values.is_set(opt::TIME) {
        return Err(Failure::usage(
            "list-filesets lists all versions: leave --version and --time out",
        ));
    }
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, Run::list_filesets)?;
    if call.json() {
        output::json(&report);
    } else {
        output::versions(&report, output::Count::Entries);
    }
    Ok(output::listing_code(&report))
}

/// Runs `list-broken-files`; gives the exit code.
pub fn list_broken_files(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Listing)?;
    let report = session.reading(Access::Reads, Run::list_broken_files)?;
    output::broken_files(&report, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(paths: &[&str]) -> ListReport {
        let file = |path: &&str| ListedFile {
            path: (*path).to_owned(),
            kind: "File",
            sizes: vec![Some(1)],
        };
        ListReport {
            files: FoundFiles::from(paths.iter().map(file).collect::<Vec<_>>()),
            ..ListReport::default()
        }
    }

    fn paths(report: &ListReport) -> Vec<String> {
        let files = report.files.to_vec().expect("in memory");
        files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn version_arguments_are_told_from_patterns() {
        for (text, version) in [
            ("0", true),
            ("12", true),
            ("1D", true),
            ("now", true),
            ("2024-02-29", true),
            ("*.odt", false),
            ("letter.odt", false),
            ("", false),
        ] {
            assert_eq!(is_version_argument(text), version, "{text}");
        }
    }

    #[test]
    fn children_of_a_folder() {
        let all = [
            "/h/",
            "/h/a.txt",
            "/h/sub/",
            "/h/sub/b.txt",
            "/h/sub/deep/",
            "/h/sub/deep/c",
        ];
        let keep = |listed: &mut ListReport, folders: &[String]| {
            keep_children(listed, folders).expect("in memory");
        };
        let mut listed = report(&all);
        keep(&mut listed, &[]);
        assert_eq!(paths(&listed), ["/h/", "/h/a.txt"]);
        let mut listed = report(&all);
        keep(&mut listed, &["/h/sub/".to_owned()]);
        assert_eq!(paths(&listed), ["/h/sub/b.txt", "/h/sub/deep/"]);
        let mut listed = report(&all);
        keep(&mut listed, &["/h/sub/*".to_owned()]);
        assert_eq!(paths(&listed), ["/h/sub/b.txt", "/h/sub/deep/"]);
    }

    #[test]
    fn the_common_folder() {
        let mut listed = report(&["/h/a/x.txt", "/h/a/y/", "/h/ab/z"]);
        keep_prefix(&mut listed).expect("in memory");
        assert_eq!(paths(&listed), ["/h/"]);
        let mut listed = report(&["/h/a/x.txt", "/q"]);
        keep_prefix(&mut listed).expect("in memory");
        assert_eq!(paths(&listed), ["/"]);
        let mut listed = report(&["C:\\a\\x", "D:\\b"]);
        keep_prefix(&mut listed).expect("in memory");
        assert_eq!(paths(&listed), [""]);
    }
}
