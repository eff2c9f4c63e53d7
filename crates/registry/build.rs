//! Makes the list of providers from the features of this crate: feature `x` is the provider of the crate `larder-x`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut names: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_ascii_lowercase()))
        .filter(|name| name != "default")
        .collect();
    names.sort();
    let providers: String = names
        .iter()
        .map(|name| format!("larder_{name}::PROVIDER,"))
        .collect();
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    let list = std::path::Path::new(&folder).join("providers.rs");
    std::fs::write(list, format!("&[{providers}]"))
}
