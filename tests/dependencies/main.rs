//! Holds the dependency graph against `deny.toml`: licences, doubled versions, origins. cargo-deny does the same and
//! more, but takes long to build; this needs nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const DENY: &str = include_str!("../../deny.toml");

/// The text between the brackets of `key = [ … ]`.
fn list(key: &str) -> &'static str {
    let start = DENY
        .find(&format!("\n{key} = ["))
        .unwrap_or_else(|| panic!("deny.toml has no list `{key}`"));
    let rest = &DENY[start..];
    &rest[..rest
        .find("\n]")
        .or_else(|| rest.find(']'))
        .expect("the list ends")]
}

/// Every quoted string of a list.
fn quoted(text: &'static str) -> Vec<&'static str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// The packages that are built for Linux, as `cargo metadata` lists them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .args(["--filter-platform", "aarch64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or("")
}

/// Whether a licence expression can be satisfied with allowed licences: every term of an AND, one term of an OR.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        part.trim_matches(['(', ')', ' '])
            .split(" OR ")
            .any(|licence| allowed.contains(&licence.trim_matches(['(', ')', ' '])))
    })
}

#[test]
fn licence_expressions_are_read_right() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception"];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0 WITH LLVM-exception", true),
        ("", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_allowed() {
    let allowed = quoted(list("allow"));
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !satisfied(text(package, "license"), &allowed))
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package["name"], package["version"], package["license"]
            )
        })
        .collect();
    assert!(
        refused.is_empty(),
        "licences not in deny.toml:\n{}",
        refused.join("\n")
    );
}

#[test]
fn every_package_is_from_the_registry() {
    let registries = quoted(list("allow-registry"));
    for package in packages() {
        let Some(source) = package["source"].as_str() else {
            continue;
        }; // a member of the workspace
        let origin = source.strip_prefix("registry+").unwrap_or(source);
        assert!(
            registries.contains(&origin),
            "{} comes from {source}",
            package["name"]
        );
    }
}

#[test]
fn no_package_is_there_twice_without_a_reason() {
    let skipped: Vec<(&str, &str)> = quoted(list("skip"))
        .into_iter()
        .filter_map(|entry| entry.split_once('@'))
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let (name, version) = (text(&package, "name"), text(&package, "version"));
        let excused = |(of, old): &(&str, &str)| {
            *of == name && (version == *old || version.starts_with(&format!("{old}.")))
        };
        if !skipped.iter().any(excused) {
            versions
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(
        versions.is_empty(),
        "several versions of one package, no reason in deny.toml: {versions:?}"
    );
}
