//! The packages of the workspace as `cargo metadata` tells them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One package of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Name in its manifest.
    pub name: String,
    /// Folder below the workspace root, with `/`, e.g. `crates/volume`.
    pub folder: String,
    /// Direct dependencies of all kinds and platforms.
    pub dependencies: Vec<Dependency>,
    /// Its `[package.metadata]`.
    pub metadata: Value,
}

/// One line of a dependency table.
#[derive(Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Name of the package depended on.
    pub name: String,
    /// True for `[dev-dependencies]`; build dependencies count as normal ones.
    pub is_dev: bool,
    /// Folder below the workspace root when it is one of ours.
    pub folder: Option<String>,
}

/// Asks cargo for the packages of the workspace; needs no network.
pub fn load(root: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    parse(&output.stdout, root)
}

/// Reads the output of `cargo metadata --no-deps`.
pub fn parse(json: &[u8], root: &Path) -> Result<Vec<Package>> {
    let document: Value = serde_json::from_slice(json).context("output of cargo metadata")?;
    let packages = document["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    packages
        .iter()
        .map(|package| parse_package(package, root))
        .collect()
}

fn parse_package(package: &Value, root: &Path) -> Result<Package> {
    let name = package["name"]
        .as_str()
        .context("package without a name")?
        .to_owned();
    let manifest = package["manifest_path"]
        .as_str()
        .with_context(|| format!("{name}: no manifest path"))?;
    let folder = Path::new(manifest)
        .parent()
        .with_context(|| format!("{name}: manifest without a folder"))?;
    let folder = below(root, folder).with_context(|| format!("{name}: outside the workspace"))?;
    let mut dependencies = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        dependencies.push(Dependency {
            name: dependency["name"]
                .as_str()
                .with_context(|| format!("{name}: nameless dependency"))?
                .to_owned(),
            is_dev: dependency["kind"].as_str() == Some("dev"),
            folder: dependency["path"]
                .as_str()
                .and_then(|path| below(root, Path::new(path))),
        });
    }
    Ok(Package {
        name,
        folder,
        dependencies,
        metadata: package["metadata"].clone(),
    })
}

/// Returns the path relative to the root with `/`, or nothing when it lies elsewhere.
fn below(root: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(root).ok()?.to_str()?.replace('\\', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_kinds_are_read() {
        let json = br#"{"packages":[{"name":"larder-catalog","manifest_path":"/w/crates/catalog/Cargo.toml",
            "dependencies":[{"name":"larder-volume","kind":null,"path":"/w/crates/volume"},
                            {"name":"rusqlite","kind":null},{"name":"proptest","kind":"dev"},
                            {"name":"cc","kind":"build"}]}]}"#;
        let packages = parse(json, Path::new("/w")).expect("sample parses");
        let ours = |name: &str, is_dev, folder: Option<&str>| Dependency {
            name: name.into(),
            is_dev,
            folder: folder.map(Into::into),
        };
        assert_eq!(
            packages,
            [Package {
                name: "larder-catalog".into(),
                folder: "crates/catalog".into(),
                dependencies: vec![
                    ours("larder-volume", false, Some("crates/volume")),
                    ours("rusqlite", false, None),
                    ours("proptest", true, None),
                    ours("cc", false, None),
                ],
                metadata: Value::Null,
            }]
        );
    }

    #[test]
    fn broken_output_is_an_error() {
        assert!(parse(b"{}", Path::new("/w")).is_err());
        assert!(parse(b"nonsense", Path::new("/w")).is_err());
        assert!(
            parse(
                br#"{"packages":[{"name":"x","manifest_path":"/else/Cargo.toml"}]}"#,
                Path::new("/w")
            )
            .is_err()
        );
    }
}
