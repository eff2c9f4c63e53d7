//! Paths of another system, for a restore on this one.

/// Maps a stored path to a relative path of this system.
///
/// A path that begins with `/` is cut of that separator and otherwise left alone. Any other path is
/// taken for a Windows path (docs/format/paths.md): `C:\x` becomes `C/x`, `\\server\share\x`
/// becomes `server/share/x`, `\\?\` and `\\.\` prefixes are dropped, and backslashes become
/// separators. Characters that are legal here are kept as they are. A separator at the end (a
/// folder) stays.
///
/// The result may still hold `..` or be empty; [`crate::TargetRoot`] refuses such paths.
pub fn map_foreign(path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') {
        return trim_separators(path).to_vec();
    }
    let mut mapped: Vec<u8> = path
        .iter()
        .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
        .collect();
    for prefix in [b"//?/UNC/".as_slice(), b"//?/", b"//./"] {
        if mapped
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        {
            mapped.drain(..prefix.len());
            break;
        }
    }
    let rest = trim_separators(&mapped);
    match rest {
        [drive, b':', tail @ ..]
            if drive.is_ascii_alphabetic() && matches!(tail.first(), None | Some(b'/')) =>
        {
            let mut out = vec![*drive];
            out.extend_from_slice(tail);
            out
        }
        _ => rest.to_vec(),
    }
}

fn trim_separators(path: &[u8]) -> &[u8] {
    let skip = path.iter().take_while(|byte| **byte == b'/').count();
    path.get(skip..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_paths_become_relative_paths() {
        let rows: [(&str, &str); 12] = [
            (r"C:\x", "C/x"),
            (r"C:\dir\sub\", "C/dir/sub/"),
            (r"C:\", "C/"),
            (r"C:", "C"),
            (r"\\server\share\x", "server/share/x"),
            (r"\\?\C:\long\x", "C/long/x"),
            (r"\\?\UNC\server\share\x", "server/share/x"),
            (r"C:\file.txt:stream", "C/file.txt:stream"),
            ("/home/ann/x", "home/ann/x"),
            ("/", ""),
            ("/a\\b", "a\\b"),
            (r"dir\x", "dir/x"),
        ];
        for (stored, mapped) in rows {
            assert_eq!(
                map_foreign(stored.as_bytes()),
                mapped.as_bytes(),
                "{stored}"
            );
        }
    }
}
