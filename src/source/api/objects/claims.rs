//! PersistentVolumeClaims and PersistentVolumes. A node may get those of its pods and may not watch them (Node
//! authorizer), so each is requested again: often while a claim is not bound, and then slowly (`refresh`, with up to half of it added).

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::disks;
use super::early::{self, News};
use super::teller::ValueSender;
use crate::manifest::{convert, names};
use crate::model::backoff::{self, Doubling};
use crate::model::csi::CsiSource;
use crate::model::nfs::NfsExport;
use crate::model::object::{Known, Object};
use crate::model::persistent::{AccessMode, Claim, ClaimKey, PersistentSource, PersistentVolume};
use crate::source::api::pods;

/// The finalizer with which the control plane keeps a claim while pods use it.
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The annotation that came before `mountOptions`, and before which it comes (`MountOptionAnnotation` in the core API).
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// The waits while a claim is not bound: nothing tells when it is.
const UNBOUND: Doubling = Doubling::new(Duration::from_millis(250), Duration::from_secs(2));
/// The waits after failed requests.
const FAILED: Doubling = Doubling::new(Duration::from_millis(250), Duration::from_secs(15));

/// Sends a claim until the receiver is gone.
pub(super) async fn keep_claim(
    key: ClaimKey,
    refresh: Duration,
    clients: watch::Receiver<kube::Client>,
    to: ValueSender,
) {
    let api = |client| kube::Api::<k8s::PersistentVolumeClaim>::namespaced(client, &key.namespace);
    keep(api, &key.name, refresh, clients, to, |claim| Ok(of_claim(claim))).await;
}

/// Sends a volume until the receiver is gone.
pub(super) async fn keep_volume(
    name: String,
    refresh: Duration,
    clients: watch::Receiver<kube::Client>,
    to: ValueSender,
) {
    let api = kube::Api::<k8s::PersistentVolume>::all;
    keep(api, &name, refresh, clients, to, of_volume).await;
}

async fn keep<K>(
    api: impl Fn(kube::Client) -> kube::Api<K>,
    name: &str,
    refresh: Duration,
    mut clients: watch::Receiver<kube::Client>,
    to: ValueSender,
    read: fn(K) -> Result<Object, String>,
) where
    K: Clone + DeserializeOwned + Debug,
{
    let (mut unbound, mut failed) = (UNBOUND.waits(), FAILED.waits());
    let news = News::begins(Instant::now());
    let mut is_answered = false;
    loop {
        let client = clients.borrow_and_update().clone();
        let wait = match api(client).get_opt(name).await {
            Ok(found) => {
                is_answered = true;
                failed.reset();
                let known = found.map(read).map(known);
                let is_settled = matches!(&known, Some(Known::Found(object)) if is_settled(object));
                if to.send_value(known).is_err() {
                    return;
                }
                match is_settled {
                    true => {
                        unbound.reset();
                        refresh
                    }
                    false => unbound.fail(),
                }
            }
            Err(error) => {
                let why = pods::refusal_of(&error);
                tracing::debug!(object = %to.key, why = why.as_deref().unwrap_or("no answer"), "cannot get the object; \
                 retrying");
                let is_early = why.as_deref().is_some_and(early::is_of_authorizer);
                if is_early && news.travels(Instant::now()) {
                    early::ASK_AGAIN
                } else {
                    // The last answer stays, whatever happens to the API server.
                    let why = why.unwrap_or_else(|| "the API server does not answer".to_owned());
                    if !is_answered && to.send_value(Some(Known::Unread(why.into()))).is_err() {
                        return;
                    }
                    failed.fail()
                }
            }
        };
        let wait = backoff::spread(wait, RandomState::new().hash_one(name));
        // Either may be canceled: the next turn requests it again.
        tokio::select! {
            Ok(()) = clients.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn known(read: Result<Object, String>) -> Known {
    match read {
        Ok(object) => Known::Found(Arc::new(object)),
        Err(why) => Known::Unread(why.into()),
    }
}

/// Whether no change is expected soon.
fn is_settled(object: &Object) -> bool {
    match object {
        Object::Claim(claim) => claim.bound_to().is_ok(),
        Object::PersistentVolume(volume) => volume.claim.is_some(),
        _ => true,
    }
}

/// The object of a claim for pods.
pub fn of_claim(claim: k8s::PersistentVolumeClaim) -> Object {
    let metadata = claim.metadata;
    let is_protected = metadata.finalizers.iter().flatten().any(|own| own == PROTECTION);
    let mut owners = metadata.owner_references.unwrap_or_default().into_iter();
    let status = claim.status.unwrap_or_default();
    let resize = status.allocated_resource_statuses.as_ref();
    let resize = resize.and_then(|all| all.get("storage")).map(String::as_str);
    let allocated = status.allocated_resources.as_ref();
    let allocated = allocated
        .and_then(|all| all.get("storage"))
        .map(|size| size.0.clone());
    Object::Claim(Claim {
        uid: metadata.uid.unwrap_or_default(),
        owner: owners
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid),
        is_leaving: metadata.deletion_timestamp.is_some() && !is_protected,
        is_bound: status.phase.as_deref() == Some("Bound"),
        grows_to: match resize {
            Some("NodeResizePending" | "NodeResizeInProgress") => allocated,
            _ => None,
        },
        volume: claim.spec.and_then(|spec| spec.volume_name).unwrap_or_default(),
    })
}

/// The object of a volume for pods; or why it is not used.
pub fn of_volume(volume: k8s::PersistentVolume) -> Result<Object, String> {
    let spec = volume.spec.unwrap_or_default();
    let source = source(&spec)?;
    let annotations = volume.metadata.annotations.unwrap_or_default();
    let stated = annotations.get(MOUNT_OPTIONS);
    let stated = stated.filter(|_| !matches!(source, PersistentSource::Csi(_)));
    let mount_options: Vec<String> = match stated {
        Some(stated) => stated.split(',').map(str::to_owned).collect(),
        None => spec.mount_options.unwrap_or_default(),
    };
    if let Some(option) = mount_options
        .iter()
        .find(|option| option.contains(char::is_control))
    {
        return Err(format!(
            "the mount option {option:?} contains a control character"
        ));
    }
    let required = spec.node_affinity.and_then(|affinity| affinity.required);
    let capacity = spec
        .capacity
        .as_ref()
        .and_then(|capacity| capacity.get("storage"));
    Ok(Object::PersistentVolume(PersistentVolume {
        capacity: capacity.map(|size| size.0.clone()).unwrap_or_default(),
        claim: spec.claim_ref.and_then(|claim| claim.uid),
        is_block: spec.volume_mode.as_deref() == Some("Block"),
        affinity: required.map(|required| convert::node_terms(&required)),
        access: spec
            .access_modes
            .iter()
            .flatten()
            .filter_map(|mode| access(mode))
            .collect(),
        mount_options,
        source,
    }))
}

/// What it is.
fn source(spec: &k8s::PersistentVolumeSpec) -> Result<PersistentSource, String> {
    if let Some(own) = &spec.iscsi {
        return disks::iscsi(own).map(|own| PersistentSource::Iscsi(Box::new(own)));
    }
    if let Some(own) = &spec.fc {
        return disks::fc(own).map(|own| PersistentSource::Fc(Box::new(own)));
    }
    Ok(match (&spec.host_path, &spec.local, &spec.csi, &spec.nfs) {
        (Some(own), ..) => PersistentSource::HostPath {
            path: path(&own.path)?,
            kind: convert::host_path_kind(own.type_.as_deref()),
        },
        (None, Some(own), ..) => PersistentSource::Local {
            path: path(&own.path)?,
            fs_type: own.fs_type.as_deref().map(file_system).transpose()?,
        },
        (None, None, Some(own), _) => PersistentSource::Csi(Box::new(csi(own)?)),
        (None, None, None, Some(own)) => PersistentSource::Nfs(NfsExport {
            server: own.server.clone(),
            path: own.path.clone(),
        }),
        (None, None, None, None) => PersistentSource::Unsupported(source_name(spec)),
    })
}

fn file_system(name: &str) -> Result<String, String> {
    match names::file_system(name) {
        None => Ok(name.to_owned()),
        Some(complaint) => Err(format!("fsType {name:?} {complaint}")),
    }
}

/// What is kept of `spec.csi`. The name of the driver becomes part of paths.
fn csi(own: &k8s::CSIPersistentVolumeSource) -> Result<CsiSource, String> {
    if let Some(complaint) = names::csi_driver(&own.driver) {
        return Err(format!("the driver {:?} {complaint}", own.driver));
    }
    let secret = |own: &Option<k8s::SecretReference>| own.as_ref().map(convert::secret_name);
    Ok(CsiSource {
        driver: own.driver.clone(),
        handle: own.volume_handle.clone(),
        fs_type: own.fs_type.clone().unwrap_or_default(),
        attributes: own.volume_attributes.clone().unwrap_or_default(),
        stage_secret: secret(&own.node_stage_secret_ref),
        publish_secret: secret(&own.node_publish_secret_ref),
        expand_secret: secret(&own.node_expand_secret_ref),
    })
}

fn access(mode: &str) -> Option<AccessMode> {
    Some(match mode {
        "ReadWriteOnce" => AccessMode::OneNode,
        "ReadOnlyMany" => AccessMode::Readers,
        "ReadWriteMany" => AccessMode::Many,
        "ReadWriteOncePod" => AccessMode::OnePod,
        _ => return None,
    })
}

/// The name of a volume's source, as it stands in `spec`. By its JSON, so that a type that a later version of Kubernetes
/// adds has a name, too.
fn source_name(spec: &k8s::PersistentVolumeSpec) -> String {
    let json = serde_json::to_value(spec).unwrap_or_default();
    let fields = json.as_object().into_iter().flatten();
    // Only `claimRef` and `nodeAffinity` are objects beside the source, and `capacity`.
    let others = ["capacity", "claimRef", "nodeAffinity"];
    let mut sources =
        fields.filter(|(name, value)| matches!(value, Value::Object(_)) && !others.contains(&name.as_str()));
    sources
        .next()
        .map_or_else(|| "no source".to_owned(), |(name, _)| name.clone())
}

/// Checks what the API server has checked: the agent mounts it as root.
fn path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(format!("the path {path:?} is not absolute, or contains '..'"));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check_volume(spec: Value, expected: Expect) {
        let volume = serde_json::json!({"metadata": {"name": "pv"}, "spec": spec});
        let read = of_volume(serde_json::from_value(volume).unwrap());
        expected.assert_eq(&match read {
            Ok(Object::PersistentVolume(volume)) => serde_json::to_string(&volume).unwrap(),
            other => format!("{other:?}"),
        });
    }

    #[test]
    fn what_is_read_of_a_volume() {
        check_volume(
            serde_json::json!({
                "hostPath": {"path": "/srv/a", "type": "DirectoryOrCreate"}, "claimRef": {"uid": "u"},
                "capacity": {"storage": "1Gi"}, "mountOptions": ["ro"],
            }),
            expect![[
                r#"{"claim":"u","is_block":false,"affinity":null,"capacity":"1Gi","access":[],"mount_options":["ro"],"source":{"HostPath":{"path":"/srv/a","kind":"DirectoryOrCreate"}}}"#
            ]],
        );
        check_volume(
            serde_json::json!({
                "local": {"path": "/mnt/d"}, "volumeMode": "Block",
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]},
                ]}},
            }),
            expect![[
                r#"{"claim":null,"is_block":true,"affinity":[{"labels":[{"key":"kubernetes.io/hostname","test":{"In":["n1"]}}],"fields":[]}],"capacity":"","access":[],"mount_options":[],"source":{"Local":{"path":"/mnt/d","fs_type":null}}}"#
            ]],
        );
        check_volume(
            serde_json::json!({"rbd": {"image": "s", "monitors": []}, "claimRef": {"uid": "u"}}),
            expect![[
                r#"{"claim":"u","is_block":false,"affinity":null,"capacity":"","access":[],"mount_options":[],"source":{"Unsupported":"rbd"}}"#
            ]],
        );
        check_volume(
            serde_json::json!({"nfs": {"server": "s", "path": "/"}, "claimRef": {"uid": "u"}, "mountOptions": ["hard"]}),
            expect![[
                r#"{"claim":"u","is_block":false,"affinity":null,"capacity":"","access":[],"mount_options":["hard"],"source":{"Nfs":{"server":"s","path":"/"}}}"#
            ]],
        );
        check_volume(
            serde_json::json!({"local": {"path": "/dev/x", "fsType": "xfs"}}),
            expect![[
                r#"{"claim":null,"is_block":false,"affinity":null,"capacity":"","access":[],"mount_options":[],"source":{"Local":{"path":"/dev/x","fs_type":"xfs"}}}"#
            ]],
        );
        check_volume(
            serde_json::json!({"local": {"path": "/dev/x", "fsType": "../../bin/sh"}}),
            expect![[
                r#"Err("fsType \"../../bin/sh\" is no name of a file system: use one like ext4 or xfs")"#
            ]],
        );
        check_volume(
            serde_json::json!({"nfs": {"server": "s", "path": "/"}, "mountOptions": ["hard\nx"]}),
            expect![[r#"Err("the mount option \"hard\\nx\" contains a control character")"#]],
        );
        for bad in ["srv", "/srv/../etc", ""] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_read_of_a_claim() {
        let check = |claim: Value, want: Claim| {
            let read = of_claim(serde_json::from_value(claim).unwrap());
            assert_eq!(read, Object::Claim(want));
        };
        check(
            serde_json::json!({
                "metadata": {"name": "c", "uid": "u", "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "x"},
                    {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1", "controller": true},
                ]},
                "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"},
            }),
            Claim {
                uid: "u".to_owned(),
                owner: Some("p1".to_owned()),
                is_bound: true,
                volume: "pv".to_owned(),
                ..Claim::default()
            },
        );
        let deleted = |finalizers: &[&str]| {
            serde_json::json!({"metadata": {
                "name": "c", "deletionTimestamp": "2026-11-30T00:00:00Z", "finalizers": finalizers,
            }, "status": {"phase": "Pending"}})
        };
        check(deleted(&[PROTECTION]), Claim::default());
        let leaving = Claim {
            is_leaving: true,
            ..Claim::default()
        };
        check(deleted(&[]), leaving);
    }
}
