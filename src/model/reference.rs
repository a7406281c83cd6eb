//! Which objects a pod refers to: what a source has to know for it, and whose change concerns it.

use std::collections::BTreeSet;

use super::object::{ObjectKey, ObjectKind};
use super::pod::{Pod, VolumeSource};
use super::value::{EnvValue, FileSource};

/// The objects that a pod refers to, by its volumes and its containers' environments, whether or not they may be
/// missing.
pub fn references(pod: &Pod) -> BTreeSet<ObjectKey> {
    let mut all = BTreeSet::new();
    let mut add = |kind: ObjectKind, name: &str| {
        all.insert(key(pod, kind, name));
    };
    for volume in &pod.volumes {
        let VolumeSource::Projected { sources, .. } = &volume.source else {
            continue;
        };
        for source in sources {
            if let FileSource::Object { kind, name, .. } = source {
                add(*kind, name);
            }
        }
    }
    for container in pod.all_containers() {
        for from in &container.env_from {
            add(from.kind, &from.name);
        }
        for (_, value) in &container.env {
            if let EnvValue::Key { kind, name, .. } = value {
                add(*kind, name);
            }
        }
    }
    all
}

/// The key of an object that a pod names.
pub fn key(pod: &Pod, kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: pod.name.namespace.clone(),
        name: name.to_owned(),
    }
}

/// What is said of an object that nobody could be asked for: the words of the kubelet, which has waited a second.
pub fn unsynced(kind: ObjectKind) -> String {
    format!(
        "failed to sync {} cache: timed out waiting for the condition",
        kind.word()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{RestartPolicy, Volume};
    use crate::model::sample;
    use crate::model::value::{EnvFrom, Projection};

    #[test]
    fn volumes_and_environments_of_all_containers_count() {
        let mut pod = sample::pod(RestartPolicy::Always, &["i"], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::Projected {
                kind: Projection::Projected,
                mode: 0o644,
                sources: vec![
                    FileSource::Object {
                        kind: ObjectKind::ConfigMap,
                        name: "a".to_owned(),
                        items: Vec::new(),
                        optional: true,
                    },
                    FileSource::Downward(Vec::new()),
                ],
            },
        });
        pod.init_containers[0].env_from.push(EnvFrom {
            prefix: String::new(),
            kind: ObjectKind::Secret,
            name: "b".to_owned(),
            optional: false,
        });
        let value = EnvValue::Key {
            kind: ObjectKind::ConfigMap,
            name: "a".to_owned(),
            key: "k".to_owned(),
            optional: false,
        };
        pod.containers[0].env.push(("A".to_owned(), value));
        let names: Vec<_> = references(&pod).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ConfigMap ns/a", "Secret ns/b"]);
    }
}
