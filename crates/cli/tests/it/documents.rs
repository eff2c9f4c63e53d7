//! What the documents promise about exit codes is what the help says.

use super::support::Place;

#[test]
fn help_and_reference_name_the_same_exit_codes() {
    let page = include_str!("../../../../docs/reference/exit-codes.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .filter(|code| code.parse::<u8>().is_ok())
        .collect();
    let help = Place::new().run(["help", "exitcodes"]).code(0).out;
    let told: Vec<&str> = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u8>().is_ok())
        .collect();
    assert_eq!(told, documented);
}
