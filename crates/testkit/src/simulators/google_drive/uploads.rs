//! Uploads of all three kinds (Drive API guide, "Upload file data"): simple, multipart and resumable.

use bytes::Bytes;
use hyper::header::{LOCATION, RANGE};
use serde_json::Value;

use super::{Drive, Item, Target, bad_request};
use crate::simulators::accounts::{Grant, google_error};
use crate::simulators::server::{Answer, Request};

/// Resumable uploads come in multiples of this, the last piece excepted.
pub(super) const UNIT: u64 = 256 * 1024;

/// One resumable upload.
#[derive(Debug)]
pub(super) struct Session {
    metadata: Value,
    target: Target,
    grant: Grant,
    content: Vec<Bytes>,
    received: u64,
    total: Option<u64>,
    done: Option<String>,
}

/// What a piece says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// `bytes */total`: a question.
    Question(Option<u64>),
    /// `bytes first-last/total`.
    Part {
        first: u64,
        last: u64,
        total: Option<u64>,
    },
}

impl Drive {
    /// `POST /upload/…/files` and `PATCH /upload/…/files/{id}`.
    pub(super) fn upload(&mut self, request: &Request, grant: Grant, target: Target) -> Answer {
        match request.parameter("uploadType") {
            Some("resumable") => self.begin(request, grant, target),
            Some("multipart") => {
                let content_type = request.header("content-type").unwrap_or_default();
                let Some((metadata, content)) = multipart(content_type, &request.body) else {
                    return bad_request("badContent", "Malformed multipart body.");
                };
                self.store(request, &grant, &target, &metadata, vec![content])
            }
            Some("media") => {
                let content = vec![request.body.clone()];
                self.store(request, &grant, &target, &Value::Null, content)
            }
            _ => bad_request("invalidParameter", "Invalid value for uploadType"),
        }
    }

    fn begin(&mut self, request: &Request, grant: Grant, target: Target) -> Answer {
        let metadata = if request.body.is_empty() {
            Value::Null
        } else {
            match serde_json::from_slice(&request.body) {
                Ok(metadata) => metadata,
                Err(_) => return bad_request("parseError", "Parse Error"),
            }
        };
        let total = match request.header("x-upload-content-length").map(str::parse) {
            Some(Ok(total)) => Some(total),
            None => None,
            Some(Err(_)) => return bad_request("invalid", "Invalid Upload-Content-Length"),
        };
        if let Err(refusal) = self.check_target(request, &grant, &target, &metadata) {
            return refusal;
        }
        if let Some(refusal) = self.over_quota(total.unwrap_or(0)) {
            return refusal;
        }
        let id = self.random("AEnB2U");
        let session = Session {
            metadata,
            target,
            grant,
            content: Vec::new(),
            received: 0,
            total,
            done: None,
        };
        self.sessions.insert(id.clone(), session);
        // What the first request asked for, e.g. `fields`, holds for the last reply of the session.
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&request.query)
            .append_pair("upload_id", &id)
            .finish();
        let location = request.sibling(&format!("{}?{query}", request.path));
        Answer::empty(200).with(LOCATION, &location)
    }

    /// A request to the address of a session.
    pub(super) fn resume(&mut self, request: &Request, id: &str) -> Answer {
        let at_most = self.settings.stores_at_most;
        let Some(session) = self.sessions.get_mut(id) else {
            return google_error(404, "notFound", "Upload session not found");
        };
        if let Some(done) = &session.done {
            let done = done.clone();
            return self.describe(request, &done);
        }
        let len = request.body.len() as u64;
        let range = request.header("content-range");
        let piece = match range {
            None => Some(Piece::Part {
                first: 0,
                last: len.wrapping_sub(1),
                total: Some(len),
            }),
            Some(text) => content_range(text),
        };
        let (first, last, total) = match piece {
            None => return bad_request("badRequest", "Failed to parse Content-Range header."),
            // The only way to send nothing at all.
            Some(Piece::Question(Some(0))) => (0, u64::MAX, Some(0)),
            Some(Piece::Question(_)) => return incomplete(session.received),
            Some(Piece::Part { first, last, total }) => (first, last, total),
        };
        if first > session.received {
            let text = "Invalid request. The part does not begin where the last one ended.";
            return bad_request("badRequest", text);
        }
        let is_last = total.is_some_and(|total| last.wrapping_add(1) == total);
        if let (Some(told), Some(total)) = (session.total, total)
            && told != total
        {
            return bad_request("badRequest", "The length differs from what was announced.");
        }
        let announced = last.wrapping_add(1) - first;
        if request.is_whole && announced != len {
            return bad_request(
                "badRequest",
                "The body does not have the length of its range.",
            );
        }
        if !is_last && announced % UNIT != 0 {
            let text = "Invalid request. The number of bytes uploaded is required to be equal or greater than 262144, except for the final request (it's recommended to be the exact multiple of 262144).";
            return bad_request("badRequest", text);
        }
        let mut kept = len;
        if !request.is_whole {
            kept -= kept % UNIT;
        }
        if let Some(most) = at_most.filter(|most| *most < len) {
            kept = kept.min(most - most % UNIT);
        }
        // Bytes that are stored already are ignored (Cloud Storage guide, "Resumable uploads": overlapping requests).
        let known = (session.received - first).min(kept);
        let index = |at| usize::try_from(at).unwrap_or(0);
        session
            .content
            .push(request.body.slice(index(known)..index(kept)));
        session.received += kept - known;
        if !(is_last && kept == announced) {
            return incomplete(session.received);
        }
        let content = std::mem::take(&mut session.content);
        let (metadata, grant, target) = (
            session.metadata.clone(),
            session.grant.clone(),
            session.target.clone(),
        );
        match self.keep(request, &grant, &target, &metadata, content) {
            Ok(stored) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.done = Some(stored.clone());
                }
                self.describe(request, &stored)
            }
            Err(refusal) => {
                self.sessions.remove(id);
                refusal
            }
        }
    }

    fn store(
        &mut self,
        request: &Request,
        grant: &Grant,
        target: &Target,
        metadata: &Value,
        content: Vec<Bytes>,
    ) -> Answer {
        if !request.is_whole {
            return Answer::empty(400);
        }
        match self.keep(request, grant, target, metadata, content) {
            Ok(id) => self.describe(request, &id),
            Err(refusal) => refusal,
        }
    }

    /// Makes the file, or gives one its new content.
    fn keep(
        &mut self,
        request: &Request,
        grant: &Grant,
        target: &Target,
        metadata: &Value,
        content: Vec<Bytes>,
    ) -> Result<String, Answer> {
        self.check_target(request, grant, target, metadata)?;
        let size: u64 = content.iter().map(|piece| piece.len() as u64).sum();
        if let Some(refusal) = self.over_quota(size) {
            return Err(refusal);
        }
        let id = match target {
            Target::New => self.create(grant, metadata),
            Target::File(id) => id.clone(),
        };
        let flips = self.settings.flips_a_byte;
        let now = self.next_time();
        if let Some(item) = self.items.get_mut(&id) {
            item.set_content(content, flips);
            item.modified = now;
            if let (Target::File(_), Some(name)) = (target, metadata["name"].as_str()) {
                item.name = name.to_owned();
            }
        }
        Ok(id)
    }
}

impl Item {
    fn set_content(&mut self, mut content: Vec<Bytes>, flips: bool) {
        if flips && let Some(first) = content.iter_mut().find(|piece| !piece.is_empty()) {
            let mut bytes = first.to_vec();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
            }
            *first = bytes.into();
        }
        self.size = content.iter().map(|piece| piece.len() as u64).sum();
        self.md5 = super::md5(&content);
        self.content = content;
    }
}

/// 308 with what was stored; without `Range` when that is nothing.
fn incomplete(received: u64) -> Answer {
    let answer = Answer::empty(308);
    match received.checked_sub(1) {
        Some(last) => answer.with(RANGE, &format!("bytes=0-{last}")),
        None => answer,
    }
}

fn content_range(text: &str) -> Option<Piece> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total = match total {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    if range == "*" {
        return Some(Piece::Question(total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let fits = first <= last && total.is_none_or(|total| last < total);
    fits.then_some(Piece::Part { first, last, total })
}

/// The two parts of a `multipart/related` body (RFC 2387).
fn multipart(content_type: &str, body: &Bytes) -> Option<(Value, Bytes)> {
    let boundary = content_type
        .strip_prefix("multipart/related")?
        .split(';')
        .find_map(|part| part.trim().strip_prefix("boundary="))?
        .trim_matches(['"', '\'']);
    let mark = format!("--{boundary}");
    let find = |from: usize, needle: &[u8]| {
        let rest = body.get(from..)?;
        let at = rest.windows(needle.len()).position(|w| w == needle)?;
        Some(from + at)
    };
    // A line may end with a bare LF: the client for Python sends such.
    let part = |from: usize| {
        let lf = find(from, b"\n\n").map(|at| (at, at + 2));
        let crlf = find(from, b"\r\n\r\n").map(|at| (at, at + 4));
        let (_, start) = lf.into_iter().chain(crlf).min()?;
        Some(start)
    };
    let first = find(0, mark.as_bytes())?;
    let start = part(first)?;
    let second = find(start, mark.as_bytes())?;
    let metadata = serde_json::from_slice(body.get(start..second)?).ok()?;
    let start = part(second)?;
    let closing = format!("\n{mark}--");
    let mut end = find(start.saturating_sub(1), closing.as_bytes())?.max(start);
    if end > start && body.get(end - 1) == Some(&b'\r') {
        end -= 1;
    }
    Some((metadata, body.slice(start..end)))
}
