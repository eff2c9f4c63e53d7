//! Tests of the catalog through its public interface.

mod support;

mod basics;
mod damage;
mod entries;
mod model;
mod opening;
mod versions;

#[test]
fn no_file_is_forgotten() {
    let main = include_str!("main.rs");
    for item in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap() {
        let name = item.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not part of the tests"
        );
    }
}
