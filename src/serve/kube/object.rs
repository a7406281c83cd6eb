//! An object that is served, of whichever kind. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::events;
use super::kind::Kind;
use super::path::Api;

/// An object. Clones share it.
#[derive(Debug, Clone)]
pub(super) enum Object {
    ConfigMap(Arc<ConfigMap>),
    Event(Arc<Event>),
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Secret(Arc<Secret>),
}

/// What an object is found by, in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Empty for an object that is in none.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Object {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::Event(_) => Kind::Event,
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
            Object::Pod(_) => Kind::Pod,
            Object::Secret(_) => Kind::Secret,
        }
    }

    pub(super) fn metadata(&self) -> &ObjectMeta {
        match self {
            Object::ConfigMap(object) => &object.metadata,
            Object::Event(object) => &object.metadata,
            Object::Namespace(object) => &object.metadata,
            Object::Node(object) => &object.metadata,
            Object::Pod(object) => &object.metadata,
            Object::Secret(object) => &object.metadata,
        }
    }

    pub(super) fn key(&self) -> Key {
        let metadata = self.metadata();
        Key {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Whether both are the same value. A shared one is not compared.
    pub(super) fn is_same(&self, other: &Object) -> bool {
        fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
            Arc::ptr_eq(a, b) || a == b
        }
        match (self, other) {
            (Object::ConfigMap(a), Object::ConfigMap(b)) => same(a, b),
            (Object::Event(a), Object::Event(b)) => same(a, b),
            (Object::Namespace(a), Object::Namespace(b)) => same(a, b),
            (Object::Node(a), Object::Node(b)) => same(a, b),
            (Object::Pod(a), Object::Pod(b)) => same(a, b),
            (Object::Secret(a), Object::Secret(b)) => same(a, b),
            _ => false,
        }
    }

    /// The object as JSON, with this version.
    pub(super) fn json(&self, api: Api, version: u64) -> Value {
        let json = match self {
            Object::ConfigMap(object) => serde_json::to_value(&**object),
            Object::Event(object) if api == Api::Events => Ok(events::in_own_group(object)),
            Object::Event(object) => serde_json::to_value(&**object),
            Object::Namespace(object) => serde_json::to_value(&**object),
            Object::Node(object) => serde_json::to_value(&**object),
            Object::Pod(object) => serde_json::to_value(&**object),
            Object::Secret(object) => serde_json::to_value(&**object),
        };
        let mut json = json.expect("an object of the API is JSON");
        json["metadata"]["resourceVersion"] = version.to_string().into();
        json
    }
}
