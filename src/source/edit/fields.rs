//! Fields that an object's kind does not have, or that an object has twice: refused, warned about or passed over, as the
//! client asks (`fieldValidation`). Pure.

use serde_json::Value;

use crate::model::manifest_edit::{EditOptions, FieldValidation, ManifestKind, NotEdited, Target, Wrong};
use crate::model::pod::{Problem, ProblemKind};

/// How many fields are named, as in `sigs.k8s.io/json`, by which an API server reads objects.
const MOST_NAMED: usize = 100;

/// What a client sent: an API server words its refusals by it (`pkg/endpoints/handlers/{create,patch}.go` of
/// `k8s.io/apiserver`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Object,
    Patch,
}

/// `unknown field "spec.colour"`, of each field that the version of Kubernetes does not have.
pub(super) fn unknown(warnings: &[Problem]) -> Vec<String> {
    let unknown = warnings
        .iter()
        .filter(|warning| warning.kind == ProblemKind::UnknownField);
    unknown.map(|warning| named("unknown", &warning.field)).collect()
}

/// Takes the fields from a ConfigMap or a Secret that its kind does not have: a manifest with them would be rejected.
pub(super) fn take_unknown(object: &mut Value, kind: ManifestKind) -> Vec<String> {
    let known: &[&str] = match kind {
        // A pod is read with what it has too much, which is a warning.
        ManifestKind::Pod => return Vec::new(),
        ManifestKind::ConfigMap => &[
            "apiVersion",
            "kind",
            "metadata",
            "data",
            "binaryData",
            "immutable",
        ],
        ManifestKind::Secret => &[
            "apiVersion",
            "kind",
            "metadata",
            "data",
            "stringData",
            "type",
            "immutable",
        ],
    };
    let Some(fields) = object.as_object_mut() else {
        return Vec::new();
    };
    let unknown: Vec<String> = fields
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .map(|key| named("unknown", key))
        .collect();
    fields.retain(|key, _| known.contains(&key.as_str()));
    unknown
}

fn named(what: &str, field: &str) -> String {
    format!("{what} field {field:?}")
}

/// The warnings about these fields and the ones that were sent twice, or the refusal.
pub(super) fn judge(
    options: &EditOptions,
    unknown: Vec<String>,
    (target, sent): (&Target, Sent),
) -> Result<Vec<String>, NotEdited> {
    let twice = options.duplicates.iter().map(|field| named("duplicate", field));
    let found: Vec<String> = twice.chain(unknown).take(MOST_NAMED).collect();
    match options.fields {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(found),
        FieldValidation::Strict if found.is_empty() => Ok(found),
        FieldValidation::Strict => {
            let error = format!("strict decoding error: {}", found.join(", "));
            let kind = target.kind.as_str();
            Err(match sent {
                Sent::Object => NotEdited::BadRequest(format!(
                    "{kind} in version \"v1\" cannot be handled as a {kind}: {error}"
                )),
                Sent::Patch => NotEdited::Invalid {
                    target: target.clone(),
                    problems: vec![Wrong {
                        field: "patch".to_owned(),
                        message: error,
                    }],
                },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::manifest_edit::Mode;

    #[test]
    fn a_hundred_fields_are_named_at_most() {
        let target = Target {
            kind: ManifestKind::Pod,
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        };
        let options = EditOptions {
            fields: FieldValidation::Warn,
            duplicates: vec!["spec.x".to_owned()],
            ..EditOptions::from(Mode::Write)
        };
        let unknown = (0..MOST_NAMED).map(|number| named("unknown", &number.to_string()));
        let judged = judge(&options, unknown.collect(), (&target, Sent::Object)).unwrap();
        assert_eq!(judged.len(), MOST_NAMED);
        assert_eq!(judged[0], r#"duplicate field "spec.x""#);
    }

    #[test]
    fn a_client_chooses_what_an_unknown_field_is() {
        let target = Target {
            kind: ManifestKind::Pod,
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        };
        let check = |fields, unknown: &[&str], sent, expected: Result<&[&str], &str>| {
            let options = EditOptions {
                fields,
                duplicates: vec!["spec.x".to_owned()],
                ..EditOptions::from(Mode::Write)
            };
            let unknown = unknown.iter().map(|field| named("unknown", field)).collect();
            let judged = judge(&options, unknown, (&target, sent)).map_err(|error| error.to_string());
            match (judged, expected) {
                (Ok(warnings), Ok(expected)) => assert_eq!(warnings, expected),
                (judged, expected) => assert_eq!(judged.unwrap_err(), expected.unwrap_err()),
            }
        };
        let both = [r#"duplicate field "spec.x""#, r#"unknown field "spec.colour""#];
        check(FieldValidation::Ignore, &["spec.colour"], Sent::Object, Ok(&[]));
        check(FieldValidation::Warn, &["spec.colour"], Sent::Object, Ok(&both));
        check(
            FieldValidation::Strict,
            &["spec.colour"],
            Sent::Object,
            Err(
                r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: duplicate field "spec.x", unknown field "spec.colour""#,
            ),
        );
        check(
            FieldValidation::Strict,
            &[],
            Sent::Patch,
            Err(r#"Pod "web" is invalid: patch: strict decoding error: duplicate field "spec.x""#),
        );
    }

    #[test]
    fn a_config_map_keeps_its_own_fields() {
        let mut map =
            json!({"kind": "ConfigMap", "metadata": {}, "data": {"spec": "x"}, "spec": {}, "stringData": {}});
        let unknown = take_unknown(&mut map, ManifestKind::ConfigMap);
        assert_eq!(
            unknown,
            [r#"unknown field "spec""#, r#"unknown field "stringData""#]
        );
        assert_eq!(
            map,
            json!({"kind": "ConfigMap", "metadata": {}, "data": {"spec": "x"}})
        );
        assert!(take_unknown(&mut json!([]), ManifestKind::Secret).is_empty());
    }
}
