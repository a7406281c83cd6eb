//! A ConfigMap or a Secret in a manifest. It is read from the tree by hand: no message about it may repeat its content.

use std::collections::BTreeMap;
use std::rc::Rc;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value as Json, json};

use super::deserializer;
use crate::manifest::names;
use crate::manifest::path::{Fault, Faults, FieldPath};
use crate::manifest::read::ReadObject;
use crate::manifest::yaml::tree::{Entry, Node, Value};
use crate::model::object::content::Content;
use crate::model::object::kinds::{ConfigMap, Secret, Values};
use crate::model::object::{Object, ObjectKey, ObjectKind};
use crate::model::yaml::scalar::Scalar;

/// The most bytes that the values of one object may have in total (`MaxSecretSize`).
const MOST_BYTES: usize = 1 << 20;
/// The longest key.
const MOST_KEY_BYTES: usize = 253;

/// Reads the object of a document if it is valid, and reports every problem and warning.
pub(crate) fn read(node: &Rc<Node>, kind: ObjectKind) -> (Option<ReadObject>, Vec<Fault>) {
    let mut faults = Faults::default();
    let top = FieldPath::default();
    let metadata = metadata(node, &mut faults);
    let Value::Mapping(entries) = &node.value else {
        faults.add(&top, "is not an object");
        return (None, faults.into_vec());
    };
    let read = match kind {
        ObjectKind::ConfigMap => {
            let map = config_map(entries, &mut faults);
            check_size(Values::ConfigMap(&map), &mut faults);
            let complete = || {
                complete(
                    kind,
                    &metadata,
                    fields_of_config_map(&map),
                    Object::ConfigMap(map),
                )
            };
            faults.is_empty().then(complete)
        }
        ObjectKind::Secret => {
            let secret = secret(entries, &mut faults);
            check_size(Values::Secret(&secret), &mut faults);
            let complete = || complete(kind, &metadata, fields_of_secret(&secret), Object::Secret(secret));
            faults.is_empty().then(complete)
        }
    };
    (read, faults.into_vec())
}

fn check_size(values: Values<'_>, faults: &mut Faults) {
    let size: usize = values.files().map(|(_, content)| content.0.len()).sum();
    if size > MOST_BYTES {
        faults.add(
            &FieldPath::default().field("data"),
            format!("has {size} bytes in total, more than the limit of {MOST_BYTES}: split it"),
        );
    }
}

fn config_map(entries: &[Entry], faults: &mut Faults) -> ConfigMap {
    let top = FieldPath::default();
    let mut map = ConfigMap::default();
    for entry in entries {
        let at = top.field(entry.key.clone());
        match entry.key.as_str() {
            "data" => contents(entry, &at, plain, &mut map.data, faults),
            "binaryData" => contents(entry, &at, decoded, &mut map.binary_data, faults),
            _ => common(entry, ObjectKind::ConfigMap, &mut map.immutable, faults),
        }
    }
    for key in map.binary_data.keys().filter(|key| map.data.contains_key(*key)) {
        faults.add(
            &top.field("binaryData").key(key.clone()),
            "is already in data: keep one of the two",
        );
    }
    map
}

fn secret(entries: &[Entry], faults: &mut Faults) -> Secret {
    let top = FieldPath::default();
    let mut secret = Secret::default();
    for entry in entries {
        let at = top.field(entry.key.clone());
        match entry.key.as_str() {
            "data" => contents(entry, &at, decoded, &mut secret.data, faults),
            // Read below: it takes precedence where both are set.
            "stringData" => {}
            "type" => secret.secret_type = secret_type(entry, &at, faults),
            _ => common(entry, ObjectKind::Secret, &mut secret.immutable, faults),
        }
    }
    if let Some(entry) = entries.iter().find(|entry| entry.key == "stringData") {
        let at = top.field("stringData");
        contents(entry, &at, plain, &mut secret.data, faults);
    }
    secret
}

/// Reads a field that both kinds have.
fn common(entry: &Entry, kind: ObjectKind, is_immutable: &mut bool, faults: &mut Faults) {
    let at = FieldPath::default().field(entry.key.clone());
    match (entry.key.as_str(), &entry.value.value) {
        ("apiVersion" | "kind" | "metadata", _) => {}
        ("immutable", Value::Scalar(Scalar::Bool(immutable))) => *is_immutable = *immutable,
        ("immutable", Value::Scalar(Scalar::Null)) => {}
        ("immutable", _) => faults.add(&at, "must be true or false"),
        _ => faults.add(&at, format!("is not a field of a {}: remove it", kind.as_str())),
    }
}

fn secret_type(entry: &Entry, at: &FieldPath, faults: &mut Faults) -> String {
    let text = entry.value.as_str();
    if text.is_none() && !entry.value.is_null() {
        faults.add(at, "must be text (Opaque)");
    }
    text.unwrap_or_default().to_owned()
}

fn metadata(node: &Rc<Node>, faults: &mut Faults) -> ObjectMeta {
    let at = FieldPath::default().field("metadata");
    let Some(own) = node.get("metadata") else {
        faults.add(&at, "is missing: every object has a name");
        return ObjectMeta::default();
    };
    let decoded = deserializer::decode::<ObjectMeta>(own, &at);
    faults.extend(decoded.faults);
    let metadata = decoded.value.unwrap_or_default();
    match metadata.name.as_deref().unwrap_or("") {
        "" => faults.add(&at.field("name"), "is missing: every object has a name"),
        name => faults.complain(&at.field("name"), name, names::dns_subdomain(name)),
    }
    if let Some(namespace) = metadata
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
    {
        faults.complain(&at.field("namespace"), namespace, names::dns_label(namespace));
    }
    metadata
}

/// Reads the values of a map.
fn contents(
    entry: &Entry,
    at: &FieldPath,
    read: fn(&str) -> Result<Vec<u8>, &'static str>,
    into: &mut BTreeMap<String, Content>,
    faults: &mut Faults,
) {
    let entries = match &entry.value.value {
        Value::Scalar(Scalar::Null) => return,
        Value::Mapping(entries) => entries,
        _ => return faults.add(at, "must be a mapping of keys to text"),
    };
    for Entry { key, value, .. } in entries {
        let at = at.key(key.clone());
        if let Some(complaint) = key_complaint(key) {
            faults.add(&at, complaint);
        }
        let text = match &value.value {
            Value::Scalar(Scalar::Str(text)) => text.as_str(),
            Value::Scalar(Scalar::Null) => "",
            _ => {
                faults.add(&at, "must be text: put it in quotes");
                continue;
            }
        };
        match read(text) {
            Ok(bytes) => {
                into.insert(key.clone(), Content(bytes.into()));
            }
            Err(complaint) => faults.add(&at, complaint),
        }
    }
}

fn plain(text: &str) -> Result<Vec<u8>, &'static str> {
    Ok(text.as_bytes().to_vec())
}

/// Standard base64; line breaks in it are ignored.
fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    serde_json::from_value::<ByteString>(Json::String(text))
        .map(|bytes| bytes.0)
        .map_err(|_| "must be base64 (in a Secret, plain text goes into stringData)")
}

/// What is wrong with a key (`IsConfigMapKey`), which becomes a file name.
pub(crate) fn key_complaint(key: &str) -> Option<String> {
    let characters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let right = (1..=MOST_KEY_BYTES).contains(&key.len())
        && key.bytes().all(characters)
        && key != "."
        && !key.starts_with("..");
    (!right).then(|| {
        format!(
            "must consist of letters, digits, '-', '_' and '.', not start with '..', and have at most \
             {MOST_KEY_BYTES} characters (key.name, KEY_NAME)"
        )
    })
}

fn complete(kind: ObjectKind, metadata: &ObjectMeta, own: Map<String, Json>, object: Object) -> ReadObject {
    let namespace = metadata
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    let key = ObjectKey {
        kind,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
    };
    let mut json = own;
    json.insert("apiVersion".to_owned(), json!("v1"));
    json.insert("kind".to_owned(), json!(kind.as_str()));
    let metadata = json!({"name": key.name, "namespace": key.namespace});
    json.insert("metadata".to_owned(), metadata);
    if object.is_immutable() {
        json.insert("immutable".to_owned(), json!(true));
    }
    ReadObject {
        key,
        object,
        document: 0,
        json: crate::manifest::read::Json(Json::Object(json).to_string().into()),
    }
}

/// The fields of a ConfigMap that reproduce its values.
fn fields_of_config_map(map: &ConfigMap) -> Map<String, Json> {
    let text = |(key, content): (&String, &Content)| (key.clone(), Json::from(content.text()));
    let data: Map<String, Json> = map.data.iter().map(text).collect();
    Map::from_iter([
        ("data".to_owned(), data.into()),
        ("binaryData".to_owned(), base64(&map.binary_data)),
    ])
}

/// The fields of a Secret that reproduce its type and values.
fn fields_of_secret(secret: &Secret) -> Map<String, Json> {
    let mut fields = Map::from_iter([("data".to_owned(), base64(&secret.data))]);
    if !secret.secret_type.is_empty() {
        fields.insert("type".to_owned(), json!(secret.secret_type));
    }
    fields
}

fn base64(map: &BTreeMap<String, Content>) -> Json {
    let value = |content: &Content| serde_json::to_value(ByteString(content.0.to_vec()));
    let entry = |(key, content): (&String, &Content)| {
        let value = value(content).expect("bytes serialize to JSON as base64");
        (key.clone(), value)
    };
    Json::Object(map.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::manifest::context::ManifestContext;
    use crate::manifest::read_with_content;

    fn check(text: &str, expected: Expect) {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let content = read_with_content(
            text.as_bytes(),
            Path::new("/m/a"),
            &ManifestContext::default(),
            now,
        );
        let mut lines: Vec<String> = content.problems.iter().map(ToString::to_string).collect();
        for read in &content.objects {
            lines.push(format!("{} immutable={}", read.key, read.object.is_immutable()));
            lines.extend(
                read.object
                    .values()
                    .into_iter()
                    .flat_map(Values::files)
                    .map(|(key, content)| format!("  {key}={:?}", content.text())),
            );
            // The saved copy reads back as the same object.
            let again = read_with_content(
                read.json.0.as_bytes(),
                Path::new("/m/a"),
                &ManifestContext::default(),
                now,
            );
            assert_eq!(again.objects[0].object, read.object);
        }
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn objects_are_read() {
        check(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, namespace: ns, labels: {a: b}}\ndata:\n  a: '1'\n  file.txt: |\n    hello\n  empty:\nbinaryData: {bin: aGk=}\nimmutable: true\n",
            expect![[r#"
                ConfigMap ns/cm immutable=true
                  a="1"
                  empty=""
                  file.txt="hello\n"
                  bin="hi""#]],
        );
        check(
            "{apiVersion: v1, kind: Secret, metadata: {name: s}, type: Opaque, data: {a: aGk=, b: \"aG\\nk=\"}, stringData: {a: plain}}",
            expect![[r#"
                Secret default/s immutable=false
                  a="plain"
                  b="hi""#]],
        );
        check(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\napiVersion: v1\nkind: SecretList\nitems:\n- metadata: {name: b}\n",
            expect![[r#"
                ConfigMap default/a immutable=false
                Secret default/a immutable=false
                Secret default/b immutable=false"#]],
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        check(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: Bad_Name, namespace: Ns, foo: 1}\ndata:\n  a: not-base64!\n  ../b: aGk=\n  c: 7777\nstringData: [geheim]\nimmutable: geheim\ntype: [geheim]\nspec: geheim\n",
            expect![[r#"
                /m/a:3: metadata.name: "Bad_Name" must consist of lower case letters, digits, '-' and '.', start and end with a letter or a digit, and have at most 253 characters (example.com)
                /m/a:3: metadata.namespace: "Ns" must consist of lower case letters, digits and '-', start and end with a letter or a digit, and have at most 63 characters (my-name, 123-abc)
                /m/a:5: data[a]: must be base64 (in a Secret, plain text goes into stringData)
                /m/a:6: data[../b]: must consist of letters, digits, '-', '_' and '.', not start with '..', and have at most 253 characters (key.name, KEY_NAME)
                /m/a:7: data[c]: must be text: put it in quotes
                /m/a:8: stringData: must be a mapping of keys to text
                /m/a:9: immutable: must be true or false
                /m/a:10: type: must be text (Opaque)
                /m/a:11: spec: is not a field of a Secret: remove it"#]],
        );
        check(
            "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\nbinaryData: {a: aGk=}\n",
            expect![[r#"
                /m/a:1: metadata: is missing: every object has a name
                /m/a:4: binaryData[a]: is already in data: keep one of the two"#]],
        );
        check(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n",
            expect![[r#"
                /m/a:3 (document 2): metadata.name: this file already has a ConfigMap default/a: names must differ
                ConfigMap default/a immutable=false"#]],
        );
    }

    #[test]
    fn a_mebibyte_is_the_most() {
        // The file is smaller, but an alias repeats a value.
        let with = |size: usize| {
            let half = "x".repeat(size / 2);
            let rest = "x".repeat(size % 2);
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{k: &x \"{half}\", l: *x, m: \"{rest}\"}}}}"
            )
        };
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let read = |text: String| {
            read_with_content(
                text.as_bytes(),
                Path::new("/m/a"),
                &ManifestContext::default(),
                now,
            )
            .problems
        };
        assert_eq!(read(with(1 << 20)), []);
        let problems = read(with((1 << 20) + 1));
        assert!(
            problems[0]
                .to_string()
                .ends_with("data: has 1048577 bytes in total, more than the limit of 1048576: split it")
        );
    }
}
