//! `--json`: one document on standard output, whose shape docs/guide/json.md promises.

use serde_json::Value;

use super::support::{PASSPHRASE, Place};

/// The page with an example for each command.
const PAGE: &str = include_str!("../../../../docs/guide/json.md");

#[test]
fn the_documented_examples_have_the_real_shape() {
    let place = Place::with_source();
    let mut documents: Vec<(&str, Value)> = Vec::new();
    let mut run = |name: &'static str, ran: super::support::Ran| {
        assert!(ran.out.starts_with('{'), "{name}: {}", ran.out);
        if std::env::var_os("LARDER_PRINT_EXAMPLES").is_some() {
            println!("## {name}\n{}", ran.out);
        }
        documents.push((name, ran.json()));
    };
    run("backup", place.backup(&["--json"]).code(0));
    // Metadata of folders lies there, and later names are in no order.
    let first = place.stored_with("dblock").remove(0);
    place.write("source/letter.txt", b"changed");
    place.backup(&[]).code(0);
    run("list", place.on("list", ["--json"]).code(0));
    run("find", place.on("find", ["letter.txt", "--json"]).code(0));
    run(
        "list-filesets",
        place.on("list-filesets", ["--json"]).code(0),
    );
    let source = place.text("source");
    run(
        "list-folder-content",
        place
            .on("list-folder-content", [source.as_str(), "--json"])
            .code(0),
    );
    let letter = place.text("source/letter.txt");
    run(
        "list-file-versions",
        place
            .on("list-file-versions", [letter.as_str(), "--json"])
            .code(0),
    );
    run(
        "search-files",
        place.on("search-files", ["letter", "--json"]).code(0),
    );
    let stored = place.stored_with("dblock");
    run(
        "affected",
        place.on("affected", [stored[0].as_str(), "--json"]).code(0),
    );
    run("compare", place.on("compare", ["--json"]).code(0));
    let (url, passphrase) = (place.url(), format!("--passphrase={PASSPHRASE}"));
    place
        .run(["recovery", "download", &url, "volumes", &passphrase])
        .code(0);
    run(
        "recovery",
        place
            .run(["recovery", "index", "volumes", "--json"])
            .code(0),
    );
    run("restore", place.restore("out", &["--json"]).code(0));
    run("repair", place.on("repair", ["--json"]).code(0));
    run(
        "delete",
        place
            .on("delete", ["--version=1", "--dry-run", "--json"])
            .code(0),
    );
    run("vacuum", place.on("vacuum", ["--json"]).code(0));
    run(
        "purge",
        place
            .on("purge", ["*/letter.txt", "--dry-run", "--json"])
            .code(0),
    );
    run(
        "purge-broken-files",
        place
            .on("purge-broken-files", ["--dry-run", "--json"])
            .code(0),
    );
    run(
        "compact",
        place.on("compact", ["--dry-run", "--json"]).code(0),
    );
    run(
        "test-filters",
        place.run(["test-filters", "source", "--json"]).code(0),
    );
    run(
        "a failure",
        place
            .run([
                "list",
                &place.url(),
                "*",
                "--json",
                "--passphrase=Falsch-Pferd-9182",
            ])
            .code(100),
    );
    std::fs::write(place.path(&format!("destination/{first}")), b"damaged").expect("written");
    run("test", place.on("test", ["all", "--json"]).code(3));
    run(
        "list-broken-files",
        place.on("list-broken-files", ["--json"]).code(0),
    );
    let mut wrong = Vec::new();
    for (name, document) in documents {
        let example = example(name);
        let (mut real, mut promised) = (Vec::new(), Vec::new());
        shape("", &document, &mut real);
        shape("", &example, &mut promised);
        real.sort();
        real.dedup();
        promised.sort();
        promised.dedup();
        if promised != real {
            wrong.push((name, promised, real));
        }
    }
    assert!(
        wrong.is_empty(),
        "examples in docs/guide/json.md differ from what the program prints: {wrong:#?}"
    );
}

/// The example under the heading of a command.
fn example(name: &str) -> Value {
    let heading = format!("\n## {name}\n");
    let text = PAGE
        .split(&heading)
        .nth(1)
        .unwrap_or_else(|| panic!("no heading {name}"));
    let block = text
        .split("```json\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap_or_else(|| panic!("no example for {name}"));
    serde_json::from_str(block).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All names with their types; elements of lists count as one.
fn shape(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(facts) => {
            for (name, value) in facts {
                shape(&format!("{at}.{name}"), value, found);
            }
        }
        Value::Array(items) => {
            found.push(format!("{at}: list"));
            for item in items {
                shape(&format!("{at}[]"), item, found);
            }
        }
        Value::Null => found.push(format!("{at}: null")),
        Value::Bool(_) => found.push(format!("{at}: boolean")),
        Value::Number(_) => found.push(format!("{at}: number")),
        Value::String(_) => found.push(format!("{at}: text")),
    }
}

#[test]
fn nothing_but_the_document_is_on_standard_output() {
    let place = Place::with_source();
    let ran = place
        .backup(&["--json", "--zzz", "--console-log-level=Verbose"])
        .code(2);
    assert_eq!(ran.json()["ParsedResult"], "Warning");
    assert_eq!(ran.json()["WarningsActualLength"], 1);
    let ran = ran.complains("Warning [UnsupportedOption]");
    assert_eq!(
        ran.json()["Warnings"][0],
        "[UnsupportedOption] option --zzz is not known"
    );
    let ran = place.backup(&["--JSON=true", "--full-result"]).code(1);
    assert_eq!(ran.json()["AddedFiles"], 0);
    let ran = place.on("list", ["*.nothing", "--json"]).code(0);
    assert_eq!(ran.json()["Files"], serde_json::json!([]));
}

#[test]
fn failures_are_documents_too() {
    let place = Place::with_source();
    let passphrase = format!("--passphrase={PASSPHRASE}");
    let url = place.url();
    for (args, code, operation, id) in [
        (
            &["list", url.as_str()][..],
            100,
            "List",
            Some("FolderMissing"),
        ),
        (
            &["backup", &url, "nowhere"],
            100,
            "Backup",
            Some("NoSources"),
        ),
        (&["backup", &url], 200, "Backup", None),
        (
            &["restore", &url, "--version=x"],
            100,
            "Restore",
            Some("OptionValidationError"),
        ),
        (&["frobnicate"], 200, "", None),
        (&["list", &url, "--exclude"], 200, "", None),
    ] {
        let ran = place
            .run([args, &["--json", &passphrase]].concat())
            .code(code);
        let document = ran.json();
        assert_eq!(document["ParsedResult"], "Fatal", "{args:?}");
        assert_eq!(document["MainOperation"], operation, "{args:?}");
        assert_eq!(document["Error"]["ExitCode"], code, "{args:?}");
        assert_eq!(document["Error"]["Id"].as_str(), id, "{args:?}");
        assert!(
            document["Error"]["Message"]
                .as_str()
                .is_some_and(|m| m.len() > 10),
            "{args:?}"
        );
    }
}

#[test]
fn damage_makes_the_result_of_a_test_an_error() {
    let place = Place::with_backup();
    let data = place.stored_with("dblock");
    std::fs::write(place.path(&format!("destination/{}", data[0])), b"x").expect("written");
    let ran = place.on("test", ["all", "--json"]).code(3);
    assert_eq!(ran.json()["ParsedResult"], "Error");
}
