//! The checkpoint of the API server's pods: what it contains for a start without the API server, and which pods may be
//! started from it. Pure; [`super::store`] has the disk.
//!
//! It never contains tokens, nor pods that are being deleted or have ended: those are not started again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::model::api::{ApiPods, Cluster, CutOffStart, has_final_phase};
use crate::model::object::{Known, Objects, Reference};
use crate::model::pod::{Pod, PodName, SourceSet};
use crate::model::reference::all_references;
use crate::model::service::{ByName, Service, ServicePort, Services};

/// The version of the file's format; other versions are rejected.
const VERSION: u32 = 1;
/// The namespace whose Services all pods get.
const COMMON: &str = "default";
/// The taint of a node that its control plane no longer hears from.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Where the pods come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The node's name.
    pub node: String,
    /// The API server.
    pub cluster: Cluster,
}

/// The checkpoint.
#[derive(Debug, Default)]
pub struct Stored {
    /// The pod objects from the API server.
    pub(in crate::source) pods: Vec<k8s::Pod>,
    /// The referenced objects that existed.
    found: Objects,
    /// The referenced objects that did not exist.
    absent: BTreeSet<Reference>,
    /// The Services for the environment of their containers.
    pub(in crate::source) services: BTreeMap<String, ByName>,
    /// The boot ID when it was written.
    boot: String,
    /// When the control plane last heard from the node.
    pub(in crate::source) heard: Timestamp,
}

/// Why a file is not used. It does not repeat the content, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It is truncated or was changed.
    #[error("it is damaged or was written by another version of gantry")]
    Damaged,
    /// It belongs to another node or another API server.
    #[error("it belongs to another node or another API server")]
    Foreign,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    owner: Owner,
    boot: String,
    pods: Vec<k8s::Pod>,
    objects: Vec<Entry>,
    services: BTreeMap<String, BTreeMap<String, Address>>,
}

/// An address, and each port's name, number and protocol.
type Address = (String, Vec<(String, i32, String)>);

/// The pods of a set that are saved, with their API objects.
pub(super) fn lasting<'a>(
    set: &'a SourceSet,
    known: &'a ApiPods,
) -> impl Iterator<Item = (&'a PodName, &'a Pod, &'a k8s::Pod)> {
    set.pods.iter().filter_map(|(name, pod)| {
        let object = known.pods.get(name)?;
        let same = object.metadata.uid.as_deref() == Some(pod.uid.0.as_str());
        let lasts = pod.deletion.is_none() && !has_final_phase(object.status.as_ref());
        (same && lasts).then_some((name, &**pod, &**object))
    })
}

/// The file's content.
pub(super) fn encode(
    set: &SourceSet,
    known: &ApiPods,
    services: &Services,
    owner: &Owner,
    boot: &str,
) -> Vec<u8> {
    let mut file = File {
        version: VERSION,
        owner: owner.clone(),
        boot: boot.to_owned(),
        pods: Vec::new(),
        objects: Vec::new(),
        services: BTreeMap::new(),
    };
    let mut wanted = BTreeSet::new();
    for (name, pod, object) in lasting(set, known) {
        let mut object = object.clone();
        object.metadata.managed_fields = None;
        file.pods.push(object);
        wanted.extend(all_references(pod, |key| set.objects.get(key)));
        for namespace in [name.namespace.as_str(), COMMON] {
            if let Some(own) = services.of_namespace(namespace) {
                let own = own.iter().map(|(name, service)| (name.clone(), address(service)));
                file.services.insert(namespace.to_owned(), own.collect());
            }
        }
    }
    file.objects = wanted
        .iter()
        .filter_map(|key| Entry::of(key, set.objects.get(key)))
        .collect();
    let json = serde_json::to_vec(&file).expect("Kubernetes objects serialize to JSON");
    [format!("{:016x}\n", sum(&json)).into_bytes(), json].concat()
}

/// Reads a file if `is_ours` accepts its owner.
pub(super) fn decode(
    bytes: &[u8],
    is_ours: impl FnOnce(&Owner) -> bool,
    heard: Timestamp,
) -> Result<Stored, Unusable> {
    let at = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(Unusable::Damaged)?;
    let (head, json) = (&bytes[..at], &bytes[at + 1..]);
    if head != format!("{:016x}", sum(json)).as_bytes() {
        return Err(Unusable::Damaged);
    }
    let file: File = serde_json::from_slice(json).map_err(|_| Unusable::Damaged)?;
    if file.version != VERSION {
        return Err(Unusable::Damaged);
    }
    if !is_ours(&file.owner) {
        return Err(Unusable::Foreign);
    }
    let mut stored = Stored {
        pods: file.pods,
        boot: file.boot,
        heard,
        ..Stored::default()
    };
    for entry in file.objects {
        let (key, object) = entry.into_object();
        match object {
            Some(Some(object)) => {
                stored.found.insert(key, Known::Found(object.into()));
            }
            Some(None) => {
                stored.absent.insert(key);
            }
            None => {}
        }
    }
    for (namespace, own) in file.services {
        let own = own.into_iter().map(|(name, address)| (name, service(address)));
        stored.services.insert(namespace, own.collect());
    }
    Ok(stored)
}

impl Stored {
    /// The saved value of an object: `None` where nothing was saved, `Some(None)` where the object did not exist.
    pub(in crate::source) fn object(&self, key: &Reference) -> Option<Option<Known>> {
        match self.found.get(key) {
            Some(known) => Some(Some(known.clone())),
            None => self.absent.contains(key).then_some(None),
        }
    }

    /// The pods that may be started while the API server is unreachable.
    ///
    /// During the boot in which the file was written they have kept running, so no pod starts that could also have
    /// started elsewhere. After a reboot the cluster may have moved them to another node.
    pub(in crate::source) fn startable(&self, how: CutOffStart, boot: &str, now: Timestamp) -> Vec<k8s::Pod> {
        let away = Duration::try_from(now.duration_since(self.heard)).unwrap_or_default();
        let may = |pod: &&k8s::Pod| match how {
            CutOffStart::Never => false,
            CutOffStart::Always => true,
            CutOffStart::Tolerated if self.boot == boot => true,
            CutOffStart::Tolerated => left_to_its_node(pod).is_none_or(|limit| away < limit),
        };
        self.pods.iter().filter(may).cloned().collect()
    }
}

/// How long a pod stays bound to an unreachable node: its toleration of the unreachable taint, the shortest time where
/// several entries match; `None`: forever (`pkg/controller/tainteviction`).
pub(crate) fn left_to_its_node(pod: &k8s::Pod) -> Option<Duration> {
    let all = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let fits = |own: &&k8s::Toleration| {
        let key = matches!(text(&own.key).as_str(), "" | UNREACHABLE);
        let effect = matches!(text(&own.effect).as_str(), "" | "NoExecute");
        let any_value = text(&own.operator) == "Exists";
        key && effect && (any_value || (own.value.as_deref().unwrap_or("").is_empty() && own.key.is_some()))
    };
    let fitting: Vec<_> = all.filter(fits).collect();
    if fitting.is_empty() {
        return Some(Duration::ZERO);
    }
    let seconds = fitting.iter().filter_map(|own| own.toleration_seconds).min()?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The checksum that tells two contents apart.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

fn address(service: &Service) -> Address {
    let ports = service.ports.iter();
    let ports = ports.map(|port| (port.name.clone(), port.port, port.protocol.clone()));
    (service.address.clone(), ports.collect())
}

fn service((address, ports): Address) -> Service {
    let port = |(name, port, protocol)| ServicePort { name, port, protocol };
    Service {
        address,
        ports: ports.into_iter().map(port).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::ManifestContext;
    use crate::manifest::read_api_pod;
    use crate::model::object::kinds::{Secret, Token};
    use crate::model::object::lookup::Lookup;
    use crate::model::object::{Object, ObjectKey, ObjectKind};
    use crate::model::reference::references;

    fn owner() -> Owner {
        Owner {
            node: "n".to_owned(),
            cluster: Cluster {
                server: "https://a".to_owned(),
                authority: "1".to_owned(),
            },
        }
    }

    fn object(name: &str, more: serde_json::Value) -> k8s::Pod {
        let mut object = serde_json::json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]},
        });
        for (part, fields) in more.as_object().unwrap() {
            if object[part].is_null() {
                object[part] = serde_json::json!({});
            }
            for (field, value) in fields.as_object().unwrap() {
                object[part][field] = value.clone();
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn loaded(objects: Vec<k8s::Pod>) -> (SourceSet, ApiPods) {
        let (mut set, mut known) = (SourceSet::default(), ApiPods::default());
        for object in objects {
            let context = ManifestContext::default();
            let pod = read_api_pod(object.clone(), &context, Timestamp::UNIX_EPOCH).unwrap();
            known.pods.insert(pod.name.clone(), Arc::new(object));
            set.pods.insert(pod.name.clone(), Arc::new(pod));
        }
        (set, known)
    }

    fn names(pods: &[k8s::Pod]) -> Vec<&str> {
        pods.iter()
            .map(|pod| pod.metadata.name.as_deref().unwrap())
            .collect()
    }

    #[test]
    fn what_is_written_is_read_again_without_what_has_ended_and_without_tokens() {
        let refers = serde_json::json!({"spec": {
            "serviceAccountName": "default",
            "imagePullSecrets": [{"name": "s"}, {"name": "gone"}, {"name": "unread"}],
            "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        }});
        let ended = serde_json::json!({"status": {"phase": "Succeeded"}});
        let goes = serde_json::json!({"metadata": {"deletionTimestamp": "2026-11-20T08:00:05Z"}});
        let (mut set, known) = loaded(vec![
            object("web", refers),
            object("done", ended),
            object("goes", goes),
        ]);
        let key = |name: &str| {
            Reference::Object(ObjectKey {
                kind: ObjectKind::Secret,
                namespace: "ns".to_owned(),
                name: name.to_owned(),
            })
        };
        let secret = Object::Secret(Secret {
            data: [("k".to_owned(), [0u8, 255][..].into())].into(),
            secret_type: "Opaque".to_owned(),
            immutable: false,
            uid: "u".to_owned(),
        });
        let token = references(set.pods.values().last().unwrap())
            .into_iter()
            .find(|key| matches!(key, Reference::Token(_)))
            .unwrap();
        let given = Object::Token(Token {
            content: "geheim".into(),
            expires: jiff::Timestamp::MAX,
        });
        set.objects.insert(key("s"), Known::Found(secret.clone().into()));
        set.objects.insert(key("unread"), Known::Unread("why".into()));
        set.objects.insert(token.clone(), Known::Found(given.into()));
        let service = Service {
            address: "10.0.0.1".to_owned(),
            ports: vec![ServicePort {
                name: String::new(),
                port: 443,
                protocol: "TCP".to_owned(),
            }],
        };
        let of = |name: &str| -> (String, ByName) {
            (name.to_owned(), [("svc".to_owned(), service.clone())].into())
        };
        let services = Services::Known([of("default"), of("ns"), of("other")].into());
        let bytes = encode(&set, &known, &services, &owner(), "b");
        assert!(!String::from_utf8_lossy(&bytes).contains("Z2VoZWlt"));
        let stored = decode(&bytes, |found| *found == owner(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(names(&stored.pods), ["web"]);
        assert_eq!(stored.object(&key("s")), Some(Some(Known::Found(secret.into()))));
        assert_eq!(stored.object(&key("gone")), Some(None));
        assert_eq!(stored.object(&key("unread")), None);
        assert_eq!(stored.object(&token), None);
        assert_eq!(stored.services, [of("default"), of("ns")].into());
    }

    #[test]
    fn the_file_of_an_agent_without_kinds_of_objects_is_read_and_written_alike() {
        let old = include_bytes!("fixtures/before_kinds.txt");
        let stored = decode(old, |found| *found == owner(), Timestamp::UNIX_EPOCH).unwrap();
        let (mut set, known) = loaded(stored.pods.clone());
        let wanted = references(set.pods.values().last().unwrap());
        let mut absent = Vec::new();
        for key in wanted {
            match stored.object(&key) {
                Some(Some(known)) => set.objects.insert(key, known),
                Some(None) => absent.push(key.to_string()),
                None => panic!("{key} is not in the file"),
            }
        }
        assert_eq!(absent, ["Secret ns/gone"]);
        let class = set.objects.runtime_class("sandboxed");
        assert!(
            matches!(class, Lookup::Found(class) if class.handler == "runsc"),
            "{class:?}"
        );
        assert_eq!(set.objects.keys().count(), 5);
        let services = Services::Known(BTreeMap::new());
        let new = encode(&set, &known, &services, &owner(), "b");
        assert_eq!(String::from_utf8_lossy(&new), String::from_utf8_lossy(old));
    }

    #[test]
    fn what_is_damaged_or_foreign_is_not_read() {
        let (set, known) = loaded(vec![object("web", serde_json::json!({}))]);
        let bytes = encode(&set, &known, &Services::Asked, &owner(), "b");
        let read = |bytes: &[u8], owner: &Owner| {
            decode(bytes, |found| found == owner, Timestamp::UNIX_EPOCH).map(|_| ())
        };
        assert_eq!(read(&bytes, &owner()), Ok(()));
        for end in [0, 5, 17, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(read(&bytes[..end], &owner()), Err(Unusable::Damaged), "{end}");
        }
        let mut changed = bytes.clone();
        let last = changed.len() - 3;
        changed[last] ^= 1;
        assert_eq!(read(&changed, &owner()), Err(Unusable::Damaged));
        let change = |change: fn(&mut Owner)| {
            let mut other = owner();
            change(&mut other);
            other
        };
        for other in [
            change(|owner| owner.node.push('x')),
            change(|owner| owner.cluster.server.push('x')),
            change(|owner| owner.cluster.authority.push('x')),
        ] {
            assert_eq!(read(&bytes, &other), Err(Unusable::Foreign), "{other:?}");
        }
    }

    #[test]
    fn a_pod_is_started_for_as_long_as_it_is_left_to_its_node() {
        let with = |name: &str, tolerations: serde_json::Value| {
            object(name, serde_json::json!({"spec": {"tolerations": tolerations}}))
        };
        let unreachable = |seconds: serde_json::Value| {
            serde_json::json!({
                "key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
            })
        };
        let stored = Stored {
            pods: vec![
                object("none", serde_json::json!({})),
                with("usual", serde_json::json!([unreachable(300.into())])),
                with(
                    "short",
                    serde_json::json!([unreachable(300.into()), unreachable(20.into())]),
                ),
                with(
                    "daemon",
                    serde_json::json!([unreachable(serde_json::Value::Null)]),
                ),
                with("all", serde_json::json!([{"operator": "Exists"}])),
                with("other", serde_json::json!([{"key": "a", "operator": "Exists"}])),
            ],
            boot: "b".to_owned(),
            heard: Timestamp::from_second(1000).unwrap(),
            ..Stored::default()
        };
        let check = |how, boot: &str, second: i64, expected: &[&str]| {
            let now = Timestamp::from_second(second).unwrap();
            let may = stored.startable(how, boot, now);
            assert_eq!(names(&may), expected, "{how:?} {boot} {second}");
        };
        let all = ["none", "usual", "short", "daemon", "all", "other"];
        check(
            CutOffStart::Tolerated,
            "c",
            1010,
            &["usual", "short", "daemon", "all"],
        );
        check(CutOffStart::Tolerated, "c", 1030, &["usual", "daemon", "all"]);
        check(CutOffStart::Tolerated, "c", 1300, &["daemon", "all"]);
        // A clock that was set back shows no time away.
        check(
            CutOffStart::Tolerated,
            "c",
            10,
            &["usual", "short", "daemon", "all"],
        );
        check(CutOffStart::Tolerated, "b", 9000, &all);
        check(CutOffStart::Always, "c", 9000, &all);
        check(CutOffStart::Never, "b", 1000, &[]);
    }
}
