//! The names that the program may be started under: those of Duplicati's tools, in its packages and in its own folder.

/// Names of packages, names of files, and the command that each is.
const TOOLS: &[(&str, &str, &[&str])] = &[
    ("backend-tool", "BackendTool", &["destination"]),
    ("backend-tester", "BackendTester", &["destination", "test"]),
    ("recovery-tool", "RecoveryTool", &["recovery"]),
    ("aescrypt", "SharpAESCrypt", &["aescrypt"]),
];

/// The words that the name of the program stands for, to be put before its arguments.
pub fn words_of_name(program: &str) -> &'static [&'static str] {
    let bare = program.strip_suffix(".exe").unwrap_or(program);
    let tool = |text: &str, prefix| bare.strip_prefix(prefix).is_some_and(|rest| rest == text);
    TOOLS
        .iter()
        .find(|(package, file, _)| {
            tool(package, "duplicati-") || tool(file, "Duplicati.CommandLine.")
        })
        .map_or(&[], |(_, _, words)| words)
}

#[cfg(test)]
mod tests {
    use super::words_of_name;

    #[test]
    fn tools_are_known_by_both_of_their_names() {
        let none: [&str; 0] = [];
        assert_eq!(words_of_name("larder"), none);
        assert_eq!(words_of_name("duplicati-cli"), none);
        assert_eq!(
            words_of_name("duplicati-backend-tester"),
            ["destination", "test"]
        );
        assert_eq!(words_of_name("duplicati-recovery-tool"), ["recovery"]);
        assert_eq!(
            words_of_name("Duplicati.CommandLine.RecoveryTool.exe"),
            ["recovery"]
        );
        assert_eq!(
            words_of_name("Duplicati.CommandLine.SharpAESCrypt"),
            ["aescrypt"]
        );
        assert_eq!(words_of_name("duplicati-aescrypt"), ["aescrypt"]);
        assert_eq!(words_of_name("Duplicati.CommandLine.aescrypt"), none);
    }
}
