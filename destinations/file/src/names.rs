//! Names in the folder: which are allowed and which are ours.

/// Says why a name cannot stand for a file directly in the folder.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if matches!(name, "." | "..") || name.contains(is_separator) {
        return Err("the name leads out of the folder");
    }
    if name.contains('\0') {
        return Err("the name holds a NUL character");
    }
    Ok(())
}

/// As [`check`], for names to be written: one of a temporary file would never be listed.
pub(crate) fn check_new(name: &str) -> Result<(), &'static str> {
    check(name)?;
    if is_temporary(name) {
        Err("the name is that of a temporary file")
    } else {
        Ok(())
    }
}

fn is_separator(c: char) -> bool {
    c == '/' || (cfg!(windows) && (c == '\\' || c == ':'))
}

/// The name under which a file is written before it gets its own: `<name>.<8 hex digits>.part`.
pub(crate) fn temporary(name: &str, random: u32) -> String {
    // Only the end makes it recognisable, so the beginning may be cut to what file systems take (255 bytes).
    let room = LONGEST_NAME - TAIL_LEN;
    let end = (0..=room.min(name.len()))
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    let start = name.get(..end).unwrap_or("");
    format!("{start}.{random:08x}.part")
}

/// True for the names that [`temporary`] makes.
pub(crate) fn is_temporary(name: &str) -> bool {
    let Some((_, random)) = name
        .strip_suffix(".part")
        .and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    random.len() == 8
        && random
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const LONGEST_NAME: usize = 255;
const TAIL_LEN: usize = ".01234567.part".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["", ".", "..", "../x", "a/b", "/etc/x", "a/", "x\0"] {
            assert!(check(name).is_err(), "{name:?}");
        }
        for name in [
            "a",
            "...",
            "..a",
            "a b+%#&~!()'",
            "\u{fc}",
            ".hidden",
            "a.part",
        ] {
            assert!(check_new(name).is_ok(), "{name:?}");
        }
        assert!(check_new(&temporary("a", 7)).is_err());
        assert!(check(&temporary("a", 7)).is_ok());
    }

    #[test]
    fn temporary_names_are_recognised() {
        assert_eq!(temporary("a.zip", 0xab), "a.zip.000000ab.part");
        for name in ["a", &"\u{fc}".repeat(127), &"n".repeat(255)] {
            let temporary = temporary(name, 0xdead_beef);
            assert!(
                is_temporary(&temporary) && temporary.len() <= 255,
                "{temporary}"
            );
        }
        for name in [
            "a.part",
            "a.0000000g.part",
            "a.0000000.part",
            "0000000a.part",
            "a.DEADBEEF.part",
            "a.deadbeef.part.x",
        ] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
