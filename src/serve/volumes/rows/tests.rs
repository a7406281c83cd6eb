use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::model::memory::Backoff;
use crate::model::outcome::{Failure, StepError};
use crate::model::sample::{self, at};
use crate::model::stats::{MountedUsage, VolumeNumbers};
use crate::model::volume_work::{Awaited, Unstaging};

const ROOT: &str = "/r";

/// A node with a pod of an API server: its volumes, mounted by the container `c`.
struct Node {
    report: PodsReport,
    desired: Desired,
    memory: PodMemory,
    work: VolumeWork,
    found: Found,
    usages: MountedUsages,
}

impl Node {
    fn new(volumes: Value, mounts: Value) -> Node {
        let desired = sample::claims::desired();
        let pod = desired.pods().next().unwrap().clone();
        let object = json!({
            "metadata": {"name": pod.name.name, "namespace": pod.name.namespace, "uid": pod.uid.0},
            "spec": {"containers": [{"name": "c", "volumeMounts": mounts}], "volumes": volumes},
            "status": {"phase": "Pending"},
        });
        let mut report = PodsReport::default();
        let object = serde_json::from_value(object).unwrap();
        report.pods.insert(pod.name.clone(), Arc::new(object));
        Node {
            report,
            desired,
            memory: PodMemory::new(pod.uid.clone(), at(0)),
            work: VolumeWork::default(),
            found: Found::default(),
            usages: MountedUsages::default(),
        }
    }

    /// What is on the disk since that second.
    fn has(&mut self, pod: &str, directory: &str, second: i64) -> &mut FoundVolume {
        let of_pod = self.found.pods.entry(sample::uid(pod)).or_default();
        let volume = of_pod.entry(PathBuf::from(directory)).or_default();
        *volume = FoundVolume {
            is_made: true,
            is_mount_point: true,
            since: Some(at(second)),
            of_driver: None,
        };
        volume
    }

    fn fails(&mut self, work: FailedWork, message: &str) {
        let failure = PodFailure {
            error: StepError {
                reason: "Why",
                message: message.to_owned(),
                failure: Failure::Failed,
            },
            backoff: Backoff {
                delay: Duration::from_secs(1),
                since: at(9),
            },
        };
        self.memory.failures.insert(work, failure);
    }

    fn waits(&mut self, pod: &str, path: &str, goal: Goal) {
        let wait = Wait {
            goal,
            awaited: Awaited::Driver {
                what: "NodePublishVolume",
                driver: "d1".to_owned(),
            },
            since: at(8),
        };
        self.work
            .of_pods
            .insert((sample::uid(pod), PathBuf::from(path)), wait);
    }

    fn check(&self, expected: Expect) {
        let name = self
            .report
            .pods
            .keys()
            .next()
            .cloned()
            .unwrap_or_else(sample::name);
        let memory = Memory {
            pods: BTreeMap::from([(name, Arc::new(self.memory.clone()))]),
            ..Memory::default()
        };
        let all = list(&Known {
            root: Path::new(ROOT),
            report: &self.report,
            desired: &self.desired,
            memory: &memory,
            work: &self.work,
            found: &self.found,
            usages: Some(&self.usages),
        });
        let line = |volume: &ListedVolume| {
            let since = volume.since.map(|since| since.duration_since(at(0)).as_secs());
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let mounts: Vec<String> = volume
                .mounts
                .iter()
                .map(|mount| {
                    let mode = if mount.read_only { "ro" } else { "rw" };
                    format!(
                        "{}:{} {mode} {}",
                        mount.container,
                        mount.path,
                        or(&mount.sub_path)
                    )
                })
                .collect();
            let size = volume.capacity.zip(volume.used);
            format!(
                "{} | {} | {} | {} | {:?} {since:?} {} | {} | {} | {size:?}\n",
                or(&volume.pod),
                volume.name,
                volume.kind,
                or(&volume.source),
                volume.state,
                or(&volume.message),
                or(&volume.path),
                mounts.join(", "),
            )
        };
        expected.assert_eq(&all.items.iter().map(line).collect::<String>());
    }
}

fn mount(name: &str) -> Value {
    json!({"name": name, "mountPath": format!("/{name}")})
}

#[test]
fn each_kind_is_there_when_what_it_consists_of_is() {
    let volumes = json!([
        {"name": "e", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
        {"name": "conf", "configMap": {"name": "settings"}},
        {"name": "s", "secret": {"secretName": "key"}},
        {"name": "p", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}},
        ]}},
        {"name": "h", "hostPath": {"path": "/srv"}},
        {"name": "i", "csi": {"driver": "d2"}},
        {"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "unknown", "persistentVolumeClaim": {"claimName": "none"}},
        {"name": "lone", "emptyDir": {}},
    ]);
    let part = json!({"name": "conf", "mountPath": "/a", "subPath": "b"});
    let mut mounts: Vec<Value> = ["e", "m", "conf", "s", "p", "h", "i", "v", "unknown"]
        .map(mount)
        .into();
    mounts.push(part);
    let mut node = Node::new(volumes, json!(mounts));
    node.has("u1", "volumes/kubernetes.io~empty-dir/e", 1);
    // After a reboot the mark is there, and what was mounted is not.
    node.has("u1", "volumes/kubernetes.io~empty-dir/m", 2)
        .is_mount_point = false;
    node.has("u1", "volumes/kubernetes.io~configmap/conf", 3);
    // A changed ConfigMap is written into it.
    node.waits(
        "u1",
        "/r/pods/u1/volumes/kubernetes.io~configmap/conf",
        Goal::SetUp,
    );
    node.has("u1", "volumes/kubernetes.io~secret/s", 4);
    node.has("u1", "volumes/kubernetes.io~csi/i", 5).is_made = false;
    node.has("u1", "volumes/kubernetes.io~csi/pv", 6);
    let numbers = VolumeNumbers {
        at: at(0),
        capacity: 100,
        available: 60,
        used: 40,
        inodes: 0,
        inodes_free: 0,
        inodes_used: 0,
        health: None,
    };
    let usage = MountedUsage {
        plugin: MountedPlugin::Csi,
        name: "pv".to_owned(),
        numbers,
    };
    node.usages.0.insert(sample::uid("u1"), vec![usage]);
    node.check(expect![[r#"
        p | e | emptyDir | - | Mounted Some(1) - | /r/pods/u1/volumes/kubernetes.io~empty-dir/e | c:/e rw - | None
        p | m | emptyDir | Memory | Pending None not set up yet | /r/pods/u1/volumes/kubernetes.io~empty-dir/m | c:/m rw - | None
        p | conf | configMap | settings | Mounted Some(3) - | /r/pods/u1/volumes/kubernetes.io~configmap/conf | c:/conf ro -, c:/a ro b | None
        p | s | secret | key | Mounted Some(4) - | /r/pods/u1/volumes/kubernetes.io~secret/s | c:/s ro - | None
        p | p | projected | serviceAccountToken, configMap kube-root-ca.crt | Pending None not set up yet | /r/pods/u1/volumes/kubernetes.io~projected/p | c:/p ro - | None
        p | h | hostPath | /srv | Pending None no container that mounts it runs | /srv | c:/h rw - | None
        p | i | csi/d2 | - | Pending None not set up yet | /r/pods/u1/volumes/kubernetes.io~csi/i/mount | c:/i rw - | None
        p | v | csi/d1 | claim data (pv) | Mounted Some(6) - | /r/pods/u1/volumes/kubernetes.io~csi/pv/mount | c:/v rw - | Some((100, 40))
        p | unknown | persistentVolumeClaim | claim none | Pending None not set up yet | - | c:/unknown rw - | None
        p | lone | emptyDir | - | Unused None no container mounts it | /r/pods/u1/volumes/kubernetes.io~empty-dir/lone |  | None
    "#]]);
}

#[test]
fn what_is_waited_for_and_what_failed_is_said() {
    let volumes = json!([
        {"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "i", "csi": {"driver": "d2"}},
        {"name": "unknown", "persistentVolumeClaim": {"claimName": "none"}},
    ]);
    let mounts = json!(["v", "i", "unknown"].map(mount));
    let mut node = Node::new(volumes, mounts);
    node.has("u1", "volumes/kubernetes.io~csi/pv", 6);
    node.waits("u1", "/r/pods/u1/volumes/kubernetes.io~csi/pv/mount", Goal::SetUp);
    node.fails(FailedWork::Volume("i".to_owned()), "it is broken");
    node.fails(FailedWork::Volume("unknown".to_owned()), "PVC is not bound");
    node.check(expect![[r#"
        p | v | csi/d1 | claim data (pv) | Waiting Some(8) waiting for NodePublishVolume of driver d1 | /r/pods/u1/volumes/kubernetes.io~csi/pv/mount | c:/v rw - | None
        p | i | csi/d2 | - | Failed Some(9) it is broken | /r/pods/u1/volumes/kubernetes.io~csi/i/mount | c:/i rw - | None
        p | unknown | persistentVolumeClaim | claim none | Failed Some(9) PVC is not bound | - | c:/unknown rw - | None
    "#]]);
    // Enlarging a volume fails while it stays mounted.
    node.work = VolumeWork::default();
    node.memory.failures.clear();
    node.fails(FailedWork::Expansion("v".to_owned()), "no space");
    // So it does while it is published again.
    node.has("u1", "volumes/kubernetes.io~csi/i", 7);
    node.waits(
        "u1",
        "/r/pods/u1/volumes/kubernetes.io~csi/i/mount",
        Goal::Refresh,
    );
    node.check(expect![[r#"
        p | v | csi/d1 | claim data (pv) | Mounted Some(6) no space | /r/pods/u1/volumes/kubernetes.io~csi/pv/mount | c:/v rw - | None
        p | i | csi/d2 | - | Mounted Some(7) waiting for NodePublishVolume of driver d1 | /r/pods/u1/volumes/kubernetes.io~csi/i/mount | c:/i rw - | None
        p | unknown | persistentVolumeClaim | claim none | Pending None not set up yet | - | c:/unknown rw - | None
    "#]]);
}

#[test]
fn what_is_being_removed_is_found_on_the_disk() {
    let volumes = json!([
        {"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "e", "emptyDir": {}},
    ]);
    let mut node = Node::new(volumes, json!(["v", "e"].map(mount)));
    // Nobody wants the pod any more, so nothing is known of its claim.
    node.desired = Desired::default();
    let driven = |volume: &mut FoundVolume, handle: &str| {
        volume.of_driver = Some(Staged {
            driver: "d1".to_owned(),
            handle: handle.to_owned(),
        });
    };
    driven(node.has("u1", "volumes/kubernetes.io~csi/pv", 6), "h1");
    driven(node.has("old", "volumes/kubernetes.io~csi/pv2", 7), "h2");
    driven(
        node.has("unheard-of", "volumeDevices/kubernetes.io~csi/raw", 8),
        "h3",
    );
    let name = node.report.pods.keys().next().unwrap().clone();
    node.report.leaving.insert(name, [sample::uid("old")].into());
    node.waits(
        "u1",
        "/r/pods/u1/volumes/kubernetes.io~csi/pv/mount",
        Goal::TakeDown,
    );
    node.fails(FailedWork::Step(StepKind::RemovePodDir), "it is busy");
    for (handle, how_far) in [
        ("h1", None),
        ("lost", Some(Unstaging::Failed("no".to_owned()))),
        ("lone", Some(Unstaging::NoDriver)),
    ] {
        let staged = Staged {
            driver: "d1".to_owned(),
            handle: handle.to_owned(),
        };
        let place = (PathBuf::from("/r/plugins/globalmount"), Some(at(1)));
        node.found.staged.insert(staged.clone(), place);
        node.work
            .unstaging
            .extend(how_far.map(|how_far| (staged, how_far)));
    }
    node.check(expect![[r#"
        - | raw | csi/d1 | - | Removing Some(8) the pod is being removed | /r/pods/unheard-of/volumeDevices/kubernetes.io~csi/raw |  | None
        p | e | emptyDir | - | Removed None the pod is being removed | /r/pods/u1/volumes/kubernetes.io~empty-dir/e | c:/e rw - | None
        p | pv2 | csi/d1 | - | Removing Some(9) it is busy | /r/pods/old/volumes/kubernetes.io~csi/pv2/mount |  | None
        p | pv | csi/d1 | - | Removing Some(8) waiting for NodePublishVolume of driver d1 | /r/pods/u1/volumes/kubernetes.io~csi/pv/mount |  | None
        - | lone | csi/d1 | - | Staged Some(1) driver d1 is not registered | /r/plugins/globalmount |  | None
        - | lost | csi/d1 | - | Staged Some(1) cannot unstage: no | /r/plugins/globalmount |  | None
    "#]]);
}

#[test]
fn what_the_runtime_mounts_is_there_as_long_as_a_container_runs() {
    let volumes = json!([
        {"name": "h", "hostPath": {"path": "/srv"}},
        {"name": "image", "image": {"reference": "demo:1"}},
    ]);
    let mut node = Node::new(volumes, json!(["h", "image"].map(mount)));
    node.check(expect![[r#"
        p | h | hostPath | /srv | Pending None no container that mounts it runs | /srv | c:/h rw - | None
        p | image | image | demo:1 | Pending None no container that mounts it runs | - | c:/image ro - | None
    "#]]);
    let pod = Arc::make_mut(node.report.pods.values_mut().next().unwrap());
    let status = json!({"phase": "Running", "containerStatuses": [{
        "name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "",
        "state": {"running": {"startedAt": at(7).to_string()}},
    }]});
    pod.status = serde_json::from_value(status).unwrap();
    node.check(expect![[r#"
        p | h | hostPath | /srv | Mounted Some(7) - | /srv | c:/h rw - | None
        p | image | image | demo:1 | Mounted Some(7) - | - | c:/image ro - | None
    "#]]);
    let pod = Arc::make_mut(node.report.pods.values_mut().next().unwrap());
    pod.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    node.check(expect![[r#"
        p | h | hostPath | /srv | Removed None the pod has ended | /srv | c:/h rw - | None
        p | image | image | demo:1 | Removed None the pod has ended | - | c:/image ro - | None
    "#]]);
}
