//! The objects, made from what the agent publishes. What has not changed since the last time keeps its `Arc`, so that a
//! comparison costs a pointer. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, NamespaceStatus, Node, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::heartbeat::is_as_shown;
use super::identity::uid;
use super::kind::Kind;
use super::object::{Key, Object};
use crate::model::event::RecordedEvent;
use crate::model::manifest_edit::Target;
use crate::model::object::content::Content;
use crate::model::object::{self, HIDDEN_VALUES, Known, ObjectKey, Reference};
use crate::model::pod::{PodName, SourceSet};
use crate::model::report::PodsReport;
use crate::model::stated::Stated;
use crate::serve::events::{event_object, node_event_object};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 2] = ["default", "kube-system"];
/// The label with the name of a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The type of a Secret that states none.
const OPAQUE: &str = "Opaque";

/// Events, and the objects that were made of them.
type Recorded = (Arc<Vec<RecordedEvent>>, Vec<Object>);
/// An object of the manifests directory with what its manifest states, and what was made of both.
type Made = (Arc<object::Object>, Option<Arc<Stated>>, Object);

/// The Node as it was measured last, as it was measured when it was shown, and what was made of that.
#[derive(Debug)]
struct ShownNode {
    last: Arc<Node>,
    from: Arc<Node>,
    object: Object,
}

/// What the objects were made from last time.
#[derive(Debug, Default)]
pub(super) struct Gather {
    events: BTreeMap<PodName, Recorded>,
    node_events: Option<Recorded>,
    node: Option<ShownNode>,
    objects: BTreeMap<Reference, Made>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
}

impl Gather {
    /// All objects. `files`: those of the manifests directory.
    pub(super) fn objects(
        &mut self,
        report: &PodsReport,
        node: &Arc<Node>,
        files: Option<&SourceSet>,
    ) -> BTreeMap<Key, Object> {
        let host = node.metadata.name.as_deref();
        self.remember_events(report, host);
        self.remember_node_events(&report.node_events, host);
        self.remember_node(node);
        self.remember_objects(files);
        self.remember_namespaces(report, node);
        let all = report.pods.values().cloned().map(Object::Pod);
        let all = all.chain(self.node.iter().map(|node| node.object.clone()));
        let events = self.events.values().chain(&self.node_events);
        let all = all.chain(events.flat_map(|(_, events)| events.iter().cloned()));
        let all = all.chain(self.objects.values().map(|(_, _, object)| object.clone()));
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

    fn remember_node_events(&mut self, events: &Arc<Vec<RecordedEvent>>, host: Option<&str>) {
        let known = self.node_events.take();
        let known = known.filter(|(from, _)| Arc::ptr_eq(from, events));
        self.node_events = known.or_else(|| {
            let host = host?;
            let objects = events.iter().map(|event| node_event_object(event, host));
            let objects = objects.map(|event| Object::Event(Arc::new(event)));
            Some((events.clone(), objects.collect()))
        });
    }

    fn remember_node(&mut self, node: &Arc<Node>) {
        let known = self.node.take();
        let known = known.filter(|known| Arc::ptr_eq(&known.last, node) || is_as_shown(&known.from, node));
        let known = known.map(|known| ShownNode {
            last: node.clone(),
            ..known
        });
        self.node = known.or_else(|| {
            let name = node.metadata.name.as_deref()?;
            let mut shown = Node::clone(node);
            // Without one kubectl finds the node's events twice. A node comes back as the same one.
            shown.metadata.uid = Some(uid(Kind::Node, ("", name), Timestamp::UNIX_EPOCH));
            Some(ShownNode {
                last: node.clone(),
                from: node.clone(),
                object: Object::Node(Arc::new(shown)),
            })
        });
    }

    fn remember_objects(&mut self, files: Option<&SourceSet>) {
        let mut before = std::mem::take(&mut self.objects);
        let Some(files) = files else { return };
        for reference in files.objects.keys() {
            let known = files.objects.get(reference);
            let (Reference::Object(key), Some(Known::Found(found))) = (reference, known) else {
                continue;
            };
            let stated = files.stated.get(&Target::from(key)).cloned();
            let remembered = before.remove(reference).filter(|(from, by, _)| {
                let is_same = match (by, &stated) {
                    (Some(by), Some(stated)) => Arc::ptr_eq(by, stated),
                    (by, stated) => by.is_none() && stated.is_none(),
                };
                is_same && Arc::ptr_eq(from, found)
            });
            let made = || {
                let shown = shown(key, found, stated.as_deref())?;
                Some((found.clone(), stated.clone(), shown))
            };
            if let Some(made) = remembered.or_else(made) {
                self.objects.insert(reference.clone(), made);
            }
        }
    }

    /// A namespace is as old as the oldest thing in it, and those of every cluster at least as old as the node.
    fn remember_namespaces(&mut self, report: &PodsReport, node: &Node) {
        let mut all: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
        let mut note = |name, created: Option<&Time>| {
            let oldest = all.entry(name).or_default();
            *oldest = [*oldest, created.map(|time| time.0)].into_iter().flatten().min();
        };
        for name in NAMESPACES {
            note(name, node.metadata.creation_timestamp.as_ref());
        }
        for (name, pod) in &report.pods {
            note(&name.namespace, pod.metadata.creation_timestamp.as_ref());
        }
        for name in report.events.keys() {
            note(&name.namespace, None);
        }
        for (reference, (_, _, object)) in &self.objects {
            if let Reference::Object(key) = reference {
                note(&key.namespace, object.metadata().creation_timestamp.as_ref());
            }
        }
        self.namespaces.retain(|name, _| all.contains_key(name.as_str()));
        for (name, oldest) in all {
            let known = self.namespaces.get(name);
            let known_since = known.and_then(|known| known.metadata.creation_timestamp.as_ref());
            // What was the oldest may have gone since.
            let created = [oldest, known_since.map(|time| time.0)]
                .into_iter()
                .flatten()
                .min();
            if known.is_none() || created != known_since.map(|time| time.0) {
                let made = Arc::new(namespace(name, created));
                self.namespaces.insert(name.to_owned(), made);
            }
        }
    }
}

fn namespace(name: &str, created: Option<Timestamp>) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid(Kind::Namespace, ("", name), Timestamp::UNIX_EPOCH)),
            creation_timestamp: created.map(Time),
            // As an API server has it, for selectors.
            labels: Some([(NAME_LABEL.to_owned(), name.to_owned())].into()),
            ..ObjectMeta::default()
        },
        status: Some(NamespaceStatus {
            phase: Some("Active".to_owned()),
            ..NamespaceStatus::default()
        }),
        ..Namespace::default()
    }
}

fn metadata(key: &ObjectKey, stated: Option<&Stated>) -> ObjectMeta {
    let kind = Kind::from(Target::from(key).kind);
    let texts = |texts: &BTreeMap<String, String>| Some(texts.clone()).filter(|texts| !texts.is_empty());
    let created = stated.map(|stated| stated.created);
    ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: created.map(|created| uid(kind, (&key.namespace, &key.name), created)),
        creation_timestamp: created.map(Time),
        labels: stated.and_then(|stated| texts(&stated.labels)),
        annotations: stated.and_then(|stated| texts(&stated.annotations)),
        ..ObjectMeta::default()
    }
}

/// A ConfigMap as it is, a Secret without its values.
fn shown(key: &ObjectKey, object: &object::Object, stated: Option<&Stated>) -> Option<Object> {
    let mut metadata = metadata(key, stated);
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
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(name.to_owned(), text.to_owned());
            let stated = Some(secret.secret_type.clone()).filter(|stated| !stated.is_empty());
            Some(Object::Secret(Arc::new(Secret {
                metadata,
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
    use crate::model::manifest_edit::ManifestKind;
    use crate::model::object::{ObjectKind, Objects, kinds};
    use crate::serve::fixture;

    fn files() -> SourceSet {
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
        let both = [
            (
                key(ObjectKind::ConfigMap, "map"),
                found(object::Object::ConfigMap(map)),
            ),
            (
                key(ObjectKind::Secret, "secret"),
                found(object::Object::Secret(secret)),
            ),
        ];
        let target = Target {
            kind: ManifestKind::Secret,
            namespace: "app".to_owned(),
            name: "secret".to_owned(),
        };
        let stated = Stated {
            version: Some("1".to_owned()),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: BTreeMap::new(),
            created: "2026-11-20T00:00:00Z".parse().unwrap(),
            manifest: None,
        };
        SourceSet {
            objects: Objects::from_iter(both),
            stated: Arc::new([(target, Arc::new(stated))].into()),
            ..SourceSet::default()
        }
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
        let of = |kind, namespace: &str, name: &str| {
            let key = Key {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            first[&key].metadata().clone()
        };
        let secret = of(Kind::Secret, "app", "secret");
        assert_eq!(secret.labels.unwrap()["a"], "b");
        let namespace = of(Kind::Namespace, "", "app");
        assert_eq!(namespace.creation_timestamp, secret.creation_timestamp);
        assert!(secret.creation_timestamp.is_some() && secret.uid.is_some());
        assert!(of(Kind::Node, "", "vm").uid.is_some());
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
