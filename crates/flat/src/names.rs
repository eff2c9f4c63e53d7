//! Names of files on their way to their name.

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
    random.is_some_and(|random| {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        random.len() == 16 && random.bytes().all(is_digit)
    })
}

/// Refuses the name of an unfinished file, which would never be listed.
///
/// # Errors
/// `Config` for such a name.
pub(crate) fn check_new(call: &Call, name: &str) -> Result<()> {
    match is_temporary(name) {
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
}
