//! The same scalar in a manifest and in a configuration file.

use serde_json::Value as Json;

use crate::manifest::yaml::documents;
use crate::manifest::yaml::tree::Value;
use crate::model::yaml::document;

/// The value of `a`, and the key beside it, as a manifest's reader has them; `None` for what it refuses.
fn in_a_manifest(text: &str) -> Option<(Option<Json>, String)> {
    let document = documents(text).into_iter().next()?;
    let is_refused = document
        .faults
        .iter()
        .any(|fault| fault.kind != crate::model::pod::ProblemKind::Dubious);
    if is_refused {
        return None;
    }
    let root = document.root?;
    let Value::Mapping(entries) = &root.value else {
        return None;
    };
    let Value::Scalar(scalar) = &entries[0].value.value else {
        return None;
    };
    Some((scalar.clone().json(), entries[1].key.clone()))
}

/// The same as a configuration's reader has them.
fn in_a_configuration(text: &str) -> Option<(Option<Json>, String)> {
    let document = document::read(text).ok()?.into_iter().next()?;
    let entries = document.value.as_object()?;
    let key = entries.keys().find(|key| *key != "a")?;
    Some((entries.get("a").cloned(), key.clone()))
}

#[test]
fn a_scalar_means_the_same_in_a_manifest_and_in_a_configuration() {
    let mut refused = Vec::new();
    for scalar in [
        "0644",
        "0o17",
        "0x1F",
        "0b101",
        "-0b101",
        "1_000",
        "+5",
        "-7",
        "0",
        "0899",
        "1e3",
        "1.5",
        ".5",
        "5.",
        "1e400",
        "18446744073709551615",
        "99999999999999999999",
        "y",
        "Y",
        "yes",
        "n",
        "No",
        "on",
        "OFF",
        "true",
        "FALSE",
        "yEs",
        "~",
        "null",
        "NULL",
        "",
        ".inf",
        "-.Inf",
        ".nan",
        "12:30:45",
        "2001-12-14",
        "10.0.0.1",
        "100m",
        "2Gi",
        "'0644'",
        "\"y\"",
        "!!str 0644",
        "!!int '5'",
        "!!float 1",
        "!!bool yes",
        "!!binary aGk=",
        "!!int x",
        "!other 5",
        "! '5'",
        "|-\n  0644",
    ] {
        // A block scalar cannot be a key.
        let key = if scalar.contains('\n') { "k" } else { scalar };
        let text = format!("a: {scalar}\n? {key}\n: 1\n");
        let ours = in_a_manifest(&text);
        assert_eq!(ours, in_a_configuration(&text), "{text}");
        if ours.is_none() {
            refused.push(scalar);
        }
    }
    // A key cannot be null or too large a number; JSON has no infinity.
    assert_eq!(
        refused,
        [
            "18446744073709551615",
            "~",
            "null",
            "NULL",
            "",
            ".inf",
            "-.Inf",
            ".nan",
            "!!int x"
        ]
    );
}
