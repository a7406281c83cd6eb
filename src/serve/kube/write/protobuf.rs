//! ConfigMaps and Secrets as Kubernetes' protobuf, in which newer releases of `kubectl create configmap` and `kubectl create
//! secret` send them (`k8s.io/api/core/v1/generated.proto`). Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value, json};

/// What a message begins with (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// Why a message is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has another kind.
    Kind(String),
    /// It is damaged.
    Damaged,
}

/// The object of a message as JSON.
pub(super) fn read(body: &[u8]) -> Result<Value, Unread> {
    let message = body.strip_prefix(MAGIC).ok_or(Unread::Damaged)?;
    let unknown = Unknown::decode(message).map_err(|_| Unread::Damaged)?;
    let type_meta = unknown.type_meta.unwrap_or_default();
    let raw = unknown.raw.as_slice();
    let mut object = match (type_meta.api_version.as_str(), type_meta.kind.as_str()) {
        ("v1", "ConfigMap") => config_map(ConfigMap::decode(raw).map_err(|_| Unread::Damaged)?),
        ("v1", "Secret") => secret(Secret::decode(raw).map_err(|_| Unread::Damaged)?),
        (_, kind) => return Err(Unread::Kind(kind.to_owned())),
    };
    object["apiVersion"] = type_meta.api_version.into();
    object["kind"] = type_meta.kind.into();
    Ok(object)
}

fn config_map(map: ConfigMap) -> Value {
    let mut object = json!({"metadata": metadata(map.metadata)});
    set(&mut object, "data", text(map.data));
    set(&mut object, "binaryData", binary(map.binary_data));
    set(&mut object, "immutable", map.immutable.map(Value::from));
    object
}

fn secret(secret: Secret) -> Value {
    let mut object = json!({"metadata": metadata(secret.metadata)});
    set(&mut object, "data", binary(secret.data));
    set(&mut object, "stringData", text(secret.string_data));
    set(&mut object, "type", secret.secret_type.map(Value::from));
    set(&mut object, "immutable", secret.immutable.map(Value::from));
    object
}

fn metadata(metadata: Option<Metadata>) -> Value {
    let metadata = metadata.unwrap_or_default();
    let mut object = json!({});
    let stated = |text: String| Some(text).filter(|text| !text.is_empty()).map(Value::from);
    set(&mut object, "name", stated(metadata.name));
    set(&mut object, "namespace", stated(metadata.namespace));
    set(&mut object, "resourceVersion", stated(metadata.resource_version));
    set(&mut object, "labels", text(metadata.labels));
    set(&mut object, "annotations", text(metadata.annotations));
    object
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[field] = value;
    }
}

fn text(map: BTreeMap<String, String>) -> Option<Value> {
    let map = map.into_iter().map(|(key, value)| (key, value.into()));
    Some(Value::Object(map.collect())).filter(|map| *map != json!({}))
}

fn binary(map: BTreeMap<String, Vec<u8>>) -> Option<Value> {
    let encoded = map.into_iter().map(|(key, value)| (key, STANDARD.encode(value)));
    text(encoded.collect())
}

/// `runtime.Unknown`, in which each message is wrapped.
#[derive(Clone, PartialEq, prost::Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// `ObjectMeta`, as far as a manifest has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(btree_map = "string, string", tag = "2")]
    data: BTreeMap<String, String>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    binary_data: BTreeMap<String, Vec<u8>>,
    #[prost(bool, optional, tag = "4")]
    immutable: Option<bool>,
}

// No Debug of it is written anywhere: it has the values.
#[derive(Clone, PartialEq, prost::Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    data: BTreeMap<String, Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    secret_type: Option<String>,
    #[prost(btree_map = "string, string", tag = "4")]
    string_data: BTreeMap<String, String>,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, raw: Vec<u8>) -> Vec<u8> {
        let type_meta = TypeMeta {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
        };
        let unknown = Unknown {
            type_meta: Some(type_meta),
            raw,
        };
        [MAGIC, &unknown.encode_to_vec()].concat()
    }

    #[test]
    fn an_object_is_the_same_as_in_json() {
        let metadata = Some(Metadata {
            name: "a".to_owned(),
            labels: [("x".to_owned(), "y".to_owned())].into(),
            ..Metadata::default()
        });
        let map = ConfigMap {
            metadata: metadata.clone(),
            data: [("k".to_owned(), "v".to_owned())].into(),
            binary_data: [("b".to_owned(), vec![0, 1])].into(),
            immutable: Some(true),
        };
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}},
            "data": {"k": "v"}, "binaryData": {"b": "AAE="}, "immutable": true,
        });
        assert_eq!(read(&message("ConfigMap", map.encode_to_vec())), Ok(expected));
        let secret = Secret {
            metadata,
            data: [("k".to_owned(), b"hunter2".to_vec())].into(),
            secret_type: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": {"x": "y"}},
            "data": {"k": "aHVudGVyMg=="}, "type": "Opaque",
        });
        assert_eq!(read(&message("Secret", secret.encode_to_vec())), Ok(expected));
    }

    #[test]
    fn anything_else_is_not_read() {
        let pod = read(&message("Pod", Vec::new()));
        assert_eq!(pod, Err(Unread::Kind("Pod".to_owned())));
        assert_eq!(read(b"{}"), Err(Unread::Damaged));
        assert_eq!(read(b"k8s\0\xff\xff"), Err(Unread::Damaged));
        let broken = read(&message("ConfigMap", vec![0xff]));
        assert_eq!(broken, Err(Unread::Damaged));
    }
}
