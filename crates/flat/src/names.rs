//! Names of files on their way to their name, and of those that make room for them.

use std::time::Duration;

use larder_destination::{Call, ErrorKind, Random, Result, TEMPORARY_PREFIX};

/// A temporary file of this age belongs to no run that is still at work, where nothing else tells.
pub const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A name that no other program has chosen: [`TEMPORARY_PREFIX`] and sixteen hexadecimal digits.
///
/// # Errors
/// `Other` when there are no random numbers.
pub fn temporary_name(call: &Call, random: &dyn Random) -> Result<String> {
    let mut number = [0; 8];
    random.fill(&mut number).map_err(|error| {
        call.error(ErrorKind::Other, "there are no random numbers")
            .caused_by(error)
    })?;
    let number = u64::from_ne_bytes(number);
    Ok(format!("{TEMPORARY_PREFIX}{number:016x}"))
}

/// True for the names that [`temporary_name`] gives.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(TEMPORARY_PREFIX);
    random.is_some_and(is_random)
}

fn is_random(digits: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.len() == 16 && digits.bytes().all(is_digit)
}

/// The name of a file that makes room for its successor: a temporary name, then when that was and whose place it left, so
/// that it finds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The whole name.
    pub name: String,
    /// When it was moved, in seconds since 1970 by the server's clock; 0 where the server has no times.
    pub since: u64,
    /// The name that it had.
    pub target: String,
}

impl Aside {
    /// A name for the file `target` that is moved aside at `since`.
    ///
    /// # Errors
    /// `Other` when there are no random numbers.
    pub fn new(call: &Call, random: &dyn Random, since: i64, target: &str) -> Result<Self> {
        let since = u64::try_from(since).unwrap_or(0);
        let temporary = temporary_name(call, random)?;
        Ok(Self {
            name: format!("{temporary}.{since:x}.{target}"),
            since,
            target: target.to_owned(),
        })
    }

    /// The file that has this name, when it is that of one.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(TEMPORARY_PREFIX)?;
        let (random, rest) = rest.split_once('.')?;
        let (since, target) = rest.split_once('.')?;
        let is_number = since.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_name = !matches!(target, "" | "." | "..");
        let is_ours = is_random(random) && is_number && is_name;
        is_ours.then_some(())?;
        Some(Self {
            name: name.to_owned(),
            since: u64::from_str_radix(since, 16).ok()?,
            target: target.to_owned(),
        })
    }
}

/// Refuses the name of an unfinished file, which would never be listed.
///
/// # Errors
/// `Config` for such a name.
pub(crate) fn check_new(call: &Call, name: &str) -> Result<()> {
    match is_temporary(name) || Aside::parse(name).is_some() {
        true => Err(call.error(ErrorKind::Config, "the name is that of a temporary file")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use larder_destination::{Operation, SystemRandom};

    use super::*;

    #[test]
    fn temporary_names_are_known() -> Result<()> {
        let call = Call::new("x", Operation::Put);
        let given = temporary_name(&call, &SystemRandom)?;
        assert_ne!(given, temporary_name(&call, &SystemRandom)?);
        for (name, temporary) in [
            (given.as_str(), true),
            ("tmp.larder.0123456789abcdef", true),
            ("mp.larder.0123456789abcdef", false),
            ("TMP.LARDER.0123456789ABCDEF", false),
            ("tmp.larder.0123456789abcdef0", false),
            ("tmp.larder.x", false),
            (TEMPORARY_PREFIX, false),
        ] {
            assert_eq!(is_temporary(name), temporary, "{name}");
            assert_eq!(check_new(&call, name).is_err(), temporary, "{name}");
        }
        Ok(())
    }

    #[test]
    fn what_was_moved_aside_finds_back() -> Result<()> {
        let call = Call::new("x", Operation::Put);
        for (since, target) in [(1_700_000_000, "duplicati-i1.dindex.zip.aes"), (0, "a")] {
            let aside = Aside::new(&call, &SystemRandom, since, target)?;
            assert_eq!(Aside::parse(&aside.name), Some(aside.clone()));
            assert_eq!(aside.target, target);
            assert!(check_new(&call, &aside.name).is_err());
            assert!(!is_temporary(&aside.name));
        }
        for name in [
            "tmp.larder.0123456789abcdef",
            "tmp.larder.0123456789abcdef.5",
            "tmp.larder.0123456789abcdef.5.",
            "tmp.larder.0123456789abcdef.5..",
            "tmp.larder.0123456789abcdef.5...",
            "tmp.larder.0123456789abcdef.x.a",
            "tmp.larder.0123456789abcde.5.a",
            "tmp.larder.0123456789abcdef.11112222333344445.a",
        ] {
            assert_eq!(Aside::parse(name), None, "{name}");
        }
        Ok(())
    }
}
