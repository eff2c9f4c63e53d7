//! `files.list`: what it admits, and its pages.

use serde_json::{Value, json};

use super::query::Query;
use super::{Drive, Grant, Item, bad_request, not_found, picked};
use crate::simulators::server::{Answer, Request};

/// The parameters of a listing.
pub(super) const PARAMETERS: &[&str] = &[
    "q",
    "pageSize",
    "pageToken",
    "spaces",
    "corpora",
    "driveId",
    "includeItemsFromAllDrives",
    "orderBy",
];

/// Where a listing goes on.
#[derive(Debug)]
pub(super) struct Page {
    /// The parameters the token belongs to.
    asked: Vec<(String, String)>,
    offset: usize,
}

impl Drive {
    pub(super) fn list(&mut self, request: &Request, grant: &Grant) -> Answer {
        let query = request.parameter("q").unwrap_or("trashed = false");
        let Some(query) = Query::parse(query) else {
            return bad_request("invalid", "Invalid Value");
        };
        let admitted = match Admitted::of(request) {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal,
        };
        for folder in query.folders() {
            let known = self.items.get(&self.resolve(folder));
            let is_seen = known.is_some_and(|item| {
                self.is_visible(item, grant) && (item.drive.is_none() || admitted.all_drives)
            });
            if !is_seen {
                return not_found(".");
            }
        }
        let (asked, offset) = match self.page(request) {
            Ok(page) => page,
            Err(refusal) => return refusal,
        };
        let wanted = request.parameter("pageSize").map_or(Ok(100), str::parse);
        let Some(wanted) = wanted.ok().filter(|wanted| (1..=1000).contains(wanted)) else {
            return bad_request("invalidParameter", "Invalid value for pageSize");
        };
        let size = self.settings.page_size.min(wanted);
        let is_empty = self.settings.begins_with_empty_page && offset == 0;
        let mut found: Vec<&Item> = self
            .items
            .values()
            .filter(|item| !item.parent.is_empty())
            .filter(|item| self.is_visible(item, grant) && admitted.holds(item))
            .filter(|item| query.holds(item, &|id| self.resolve(id)))
            .collect();
        found.sort_by_key(|item| std::cmp::Reverse(item.modified));
        // An empty first page moves all others by one place, which the offset remembers.
        let begin = offset.saturating_sub(usize::from(self.settings.begins_with_empty_page));
        let count = if is_empty { 0 } else { size };
        let files: Vec<Value> = found
            .iter()
            .skip(begin)
            .take(count)
            .map(|item| item.describe())
            .collect();
        let goes_on = is_empty || begin + count < found.len() || self.settings.repeats_pages;
        let mut reply =
            json!({"kind": "drive#fileList", "incompleteSearch": false, "files": files});
        if goes_on {
            let token = match request.parameter("pageToken") {
                Some(token) if self.settings.repeats_pages => token.to_owned(),
                _ => self.random("~!!~"),
            };
            let offset = if is_empty { 1 } else { offset + count };
            let offset = if self.settings.repeats_pages {
                0
            } else {
                offset
            };
            self.pages.insert(token.clone(), Page { asked, offset });
            reply["nextPageToken"] = json!(token);
        }
        let fields = request
            .parameter("fields")
            .unwrap_or("kind,incompleteSearch,nextPageToken,files(kind,id,name,mimeType)");
        picked(Some(fields), reply)
    }

    /// The parameters of a listing and where it goes on: a token belongs to the parameters it was made with.
    fn page(&self, request: &Request) -> Result<(Vec<(String, String)>, usize), Answer> {
        let mut asked = request.query.clone();
        asked.retain(|(name, _)| !["pageToken", "fields", "pageSize"].contains(&name.as_str()));
        asked.sort();
        let Some(token) = request.parameter("pageToken") else {
            return Ok((asked, 0));
        };
        match self.pages.get(token) {
            Some(page) if page.asked == asked => Ok((asked, page.offset)),
            _ => Err(bad_request("invalid", "Invalid Value")),
        }
    }
}

/// Which drives a listing looks into.
struct Admitted {
    all_drives: bool,
    only: Option<String>,
}

impl Admitted {
    fn of(request: &Request) -> Result<Self, Answer> {
        let is_true = |name| request.parameter(name) == Some("true");
        let includes = is_true("includeItemsFromAllDrives");
        if includes && !is_true("supportsAllDrives") {
            let text = "The includeItemsFromAllDrives parameter requires supportsAllDrives.";
            return Err(bad_request("invalid", text));
        }
        let spaces = request.parameter("spaces").unwrap_or("drive");
        if spaces != "drive" {
            return Err(bad_request("invalid", "Invalid Value"));
        }
        let only = request.parameter("driveId").map(str::to_owned);
        match request.parameter("corpora").unwrap_or("user") {
            "drive" if only.is_some() && includes => {}
            "user" | "allDrives" if only.is_none() => {}
            _ => {
                let text = "The driveId parameter must be specified if and only if corpora is set to drive.";
                return Err(bad_request("invalid", text));
            }
        }
        Ok(Self {
            all_drives: includes,
            only,
        })
    }

    fn holds(&self, item: &Item) -> bool {
        match &self.only {
            Some(only) => item.drive.as_ref() == Some(only),
            None => item.drive.is_none() || self.all_drives,
        }
    }
}
