//! The objects, made from what the agent publishes. What has not changed since the last time keeps its `Arc`, so that a
//! comparison costs a pointer. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, NamespaceStatus, Node, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::object::{Key, Object};
use crate::model::event::RecordedEvent;
use crate::model::object::content::Content;
use crate::model::object::{self, HIDDEN_VALUES, Known, ObjectKey, Objects, Reference};
use crate::model::pod::PodName;
use crate::model::report::PodsReport;
use crate::serve::events::event_object;

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 2] = ["default", "kube-system"];
/// The type of a Secret that states none.
const OPAQUE: &str = "Opaque";

type EventsOfPod = (Arc<Vec<RecordedEvent>>, Vec<Object>);

/// What the objects were made from last time.
#[derive(Debug, Default)]
pub(super) struct Gather {
    events: BTreeMap<PodName, EventsOfPod>,
    objects: BTreeMap<Reference, (Arc<object::Object>, Object)>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
}

impl Gather {
    /// All objects. `files`: those of the manifests directory.
    pub(super) fn objects(
        &mut self,
        report: &PodsReport,
        node: &Arc<Node>,
        files: Option<&Objects>,
    ) -> BTreeMap<Key, Object> {
        self.remember_events(report, node.metadata.name.as_deref());
        self.remember_objects(files);
        self.remember_namespaces(report);
        let node = node.metadata.name.as_ref().map(|_| Object::Node(node.clone()));
        let all = report.pods.values().cloned().map(Object::Pod);
        let all = all.chain(node);
        let all = all.chain(
            self.events
                .values()
                .flat_map(|(_, events)| events.iter().cloned()),
        );
        let all = all.chain(self.objects.values().map(|(_, object)| object.clone()));
        let all = all.chain(self.namespaces.values().cloned().map(Object::Namespace));
        all.map(|object| (object.key(), object)).collect()
    }

    fn remember_events(&mut self, report: &PodsReport, host: Option<&str>) {
        let mut before = std::mem::take(&mut self.events);
        for (pod, events) in &report.events {
            let known = before.remove(pod).filter(|(from, _)| Arc::ptr_eq(from, events));
            let made = || {
                let objects = events.iter().map(|event| event_object(pod, event, host));
                let objects = objects.map(|event| Object::Event(Arc::new(event)));
                (events.clone(), objects.collect())
            };
            self.events.insert(pod.clone(), known.unwrap_or_else(made));
        }
    }

    fn remember_objects(&mut self, files: Option<&Objects>) {
        let mut before = std::mem::take(&mut self.objects);
        for reference in files.into_iter().flat_map(Objects::keys) {
            let known = files.and_then(|files| files.get(reference));
            let (Reference::Object(key), Some(Known::Found(found))) = (reference, known) else {
                continue;
            };
            let remembered = before.remove(reference);
            let remembered = remembered.filter(|(from, _)| Arc::ptr_eq(from, found));
            let made = || Some((found.clone(), shown(key, found)?));
            if let Some(pair) = remembered.or_else(made) {
                self.objects.insert(reference.clone(), pair);
            }
        }
    }

    fn remember_namespaces(&mut self, report: &PodsReport) {
        let of_pods = report.pods.keys().map(|name| name.namespace.as_str());
        let of_events = report.events.keys().map(|name| name.namespace.as_str());
        let of_objects = self.objects.keys().filter_map(|reference| match reference {
            Reference::Object(key) => Some(key.namespace.as_str()),
            _ => None,
        });
        let all = NAMESPACES.into_iter().chain(of_pods).chain(of_events);
        let names: BTreeSet<String> = all.chain(of_objects).map(str::to_owned).collect();
        self.namespaces.retain(|name, _| names.contains(name));
        for name in names {
            let made = || Arc::new(namespace(name.clone()));
            self.namespaces.entry(name.clone()).or_insert_with(made);
        }
    }
}

fn namespace(name: String) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name),
            ..ObjectMeta::default()
        },
        status: Some(NamespaceStatus {
            phase: Some("Active".to_owned()),
            ..NamespaceStatus::default()
        }),
        ..Namespace::default()
    }
}

/// A ConfigMap as it is, a Secret without its values.
fn shown(key: &ObjectKey, object: &object::Object) -> Option<Object> {
    let metadata = ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        ..ObjectMeta::default()
    };
    match object {
        object::Object::ConfigMap(map) => {
            let text = |(key, content): (&String, &Content)| (key.clone(), content.text());
            let bytes = |(key, content): (&String, &Content)| (key.clone(), ByteString(content.0.to_vec()));
            let data: BTreeMap<_, _> = map.data.iter().map(text).collect();
            let binary: BTreeMap<_, _> = map.binary_data.iter().map(bytes).collect();
            Some(Object::ConfigMap(Arc::new(ConfigMap {
                metadata,
                data: Some(data).filter(|data| !data.is_empty()),
                binary_data: Some(binary).filter(|data| !data.is_empty()),
                immutable: map.immutable.then_some(true),
            })))
        }
        object::Object::Secret(secret) => {
            let keys = secret
                .data
                .keys()
                .map(|key| (key.clone(), ByteString(Vec::new())));
            let data: BTreeMap<_, _> = keys.collect();
            let (name, text) = HIDDEN_VALUES;
            let stated = Some(secret.secret_type.clone()).filter(|stated| !stated.is_empty());
            Some(Object::Secret(Arc::new(Secret {
                metadata: ObjectMeta {
                    annotations: Some([(name.to_owned(), text.to_owned())].into()),
                    ..metadata
                },
                data: Some(data).filter(|data| !data.is_empty()),
                immutable: secret.immutable.then_some(true),
                type_: Some(stated.unwrap_or_else(|| OPAQUE.to_owned())),
                ..Secret::default()
            })))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::{ObjectKind, kinds};
    use crate::serve::fixture;

    fn files() -> Objects {
        let key = |kind, name: &str| {
            Reference::Object(ObjectKey {
                kind,
                namespace: "app".to_owned(),
                name: name.to_owned(),
            })
        };
        let data = BTreeMap::from([("key".to_owned(), Content::from("hunter2"))]);
        let map = kinds::ConfigMap {
            data: data.clone(),
            binary_data: [("bin".to_owned(), Content::from("hunter2"))].into(),
            immutable: true,
        };
        let secret = kinds::Secret {
            data,
            ..kinds::Secret::default()
        };
        let found = |object| Known::Found(Arc::new(object));
        Objects::from_iter([
            (
                key(ObjectKind::ConfigMap, "map"),
                found(object::Object::ConfigMap(map)),
            ),
            (
                key(ObjectKind::Secret, "secret"),
                found(object::Object::Secret(secret)),
            ),
        ])
    }

    #[tokio::test]
    async fn everything_that_the_agent_knows_is_an_object_and_no_secret_has_a_value() {
        let changing = fixture::changing();
        let report = changing.pods.borrow().clone();
        let node = changing.world.node.borrow().clone();
        let mut gather = Gather::default();
        let first = gather.objects(&report, &node, Some(&files()));
        let keys: Vec<String> = first
            .keys()
            .map(|key| format!("{:?} {}/{}", key.kind, key.namespace, key.name))
            .collect();
        assert_eq!(
            keys,
            [
                "ConfigMap app/map",
                "Namespace /app",
                "Namespace /default",
                "Namespace /kube-system",
                "Node /vm",
                "Pod default/web-vm",
                "Secret app/secret",
            ]
        );
        for (key, object) in &first {
            let text = object.json(super::super::path::Api::Core, 7).to_string();
            let is_map = matches!(object, Object::ConfigMap(_));
            assert_eq!(text.contains("hunter2"), is_map, "{key:?} {text}");
            assert!(text.contains("\"resourceVersion\":\"7\""), "{text}");
        }
        let second = gather.objects(&report, &node, Some(&files()));
        for (key, object) in &second {
            assert!(object.is_same(&first[key]), "{key:?}");
        }
    }

    #[test]
    fn before_anything_is_known_there_are_the_usual_namespaces() {
        let objects = Gather::default().objects(&PodsReport::default(), &Arc::default(), None);
        assert_eq!(objects.len(), NAMESPACES.len());
    }
}
