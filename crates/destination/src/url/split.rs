//! Cutting a storage URL into its parts, before anything is decoded.

use std::path::PathBuf;

use super::UrlError;
use super::text::decode_query;

pub(super) fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

pub(super) fn split_scheme(text: &str) -> Result<Option<(String, &str)>, UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(None);
    };
    if scheme.contains(['/', '\\', '?']) {
        return Ok(None);
    }
    let mut letters = scheme.chars();
    let begins_well = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    if !begins_well || !letters.all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c)) {
        return Err(UrlError::Scheme);
    }
    Ok(Some((scheme.to_ascii_lowercase(), rest)))
}

pub(super) fn split_query(text: &str) -> (&str, &str) {
    // `\\?\` begins a long Windows path, not a query.
    let skip = if text.starts_with(LONG_PATH) {
        LONG_PATH.len()
    } else {
        0
    };
    let at = text
        .get(skip..)
        .and_then(|rest| rest.find('?'))
        .map(|at| at + skip);
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((before, query)) => (before, query.get(1..).unwrap_or("")),
        None => (text, ""),
    }
}

pub(super) fn parse_query(query: &str) -> Result<Vec<(String, Option<String>)>, UrlError> {
    let mut options = Vec::new();
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (decode_query(name), Some(decode_query(value))),
            None => (decode_query(item), None),
        };
        if name.trim().is_empty() {
            return Err(UrlError::NamelessOption);
        }
        if name.contains('\0') || value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(UrlError::Nul);
        }
        options.push((name, value));
    }
    Ok(options)
}

pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or(UrlError::Brackets)?;
        let (host, after) = authority
            .split_at_checked(end + 1)
            .ok_or(UrlError::Brackets)?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(UrlError::Brackets),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let Some(port) = port else {
        return Ok((host, None));
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => Err(UrlError::Port),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// The text from the drive letter on, when `rest` is a Windows drive path such as `C:\x`, `C:/x` or `C:`.
///
/// `/C:\x`, as in `file:///C:\x`, is one on Windows only: elsewhere it is a proper absolute path.
pub(super) fn drive_path(rest: &str) -> Option<&str> {
    let rest = if cfg!(windows) {
        rest.strip_prefix('/').unwrap_or(rest)
    } else {
        rest
    };
    let mut bytes = rest.bytes();
    let is_drive = bytes
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic())
        && bytes.next() == Some(b':')
        && matches!(bytes.next(), None | Some(b'\\' | b'/'));
    is_drive.then_some(rest)
}

pub(super) fn local_absolute(without_slash: &str, path: &str) -> PathBuf {
    if cfg!(windows) && drive_path(without_slash).is_some() {
        return PathBuf::from(without_slash);
    }
    PathBuf::from(path)
}

pub(super) fn is_unc(path: &str) -> bool {
    path.strip_prefix("\\\\")
        .is_some_and(|rest| rest.starts_with(|c| c != '\\' && c != '/'))
}

/// `//server/share` typed without a scheme; `file:////x` is a local path with one slash too many instead.
pub(super) fn is_slash_unc(path: &str) -> bool {
    path.strip_prefix("//").is_some_and(|rest| {
        let (server, share) = rest.split_once('/').unwrap_or((rest, ""));
        !server.is_empty()
            && !server.contains('\\')
            && !share.is_empty()
            && !share.starts_with(['/', '\\'])
    })
}

const LONG_PATH: &str = r"\\?\";
