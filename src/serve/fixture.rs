//! Test data for this module and for the command line.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use tokio::sync::watch;

use super::checkpoint::Checkpoints;
use super::debug::verbosity::Verbosity;
use super::offered::Offered;
use super::system_logs::SystemLogs;
use super::world::World;
use super::zpages::Program;
use crate::cri::{Runtime, Settings};
use crate::model::pod::{PodName, PodUid};
use crate::model::pull_work::PullWork;
use crate::model::report::PodsReport;
use crate::model::runtime::{
    ContainerState, ObservedContainer, ObservedName, ObservedPod, Sandbox, Snapshot,
};

/// A static pod with one running container `web`.
pub(crate) fn pod(namespace: &str, name: &str) -> Pod {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "uid": "u1",
            "creationTimestamp": "2026-11-21T00:00:00Z",
            "annotations": {"kubernetes.io/config.source": "file"},
        },
        "spec": {"nodeName": "vm", "containers": [{"name": "web", "image": "demo:1"}]},
        "status": {
            "phase": "Running", "podIP": "10.244.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "web", "image": "demo:1", "imageID": "sha256:1", "ready": true, "started": true,
                "restartCount": 0, "containerID": "containerd://c1",
                "state": {"running": {"startedAt": "2026-11-21T00:00:05Z"}},
            }],
        },
    });
    serde_json::from_value(pod).unwrap()
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox {
        id: "s1".into(),
        attempt: 0,
        ready: true,
        created: "2026-11-21T00:00:00Z".parse().unwrap(),
        ips: Vec::new(),
        host_network: false,
        handler: String::new(),
        annotations: Default::default(),
        labels: Default::default(),
    }
}

pub(crate) fn running(id: &str, name: &str, log: &str) -> ObservedContainer {
    ObservedContainer {
        id: id.into(),
        name: name.into(),
        sandbox: "s1".into(),
        restart_count: 0,
        hash: 0,
        grace_seconds: None,
        termination_path: String::new(),
        created: "2026-11-21T00:00:00Z".parse().unwrap(),
        state: ContainerState::Running {
            started: "2026-11-21T00:00:05Z".parse().unwrap(),
        },
        image: "demo:1".into(),
        image_ref: "sha256:1".into(),
        mounted_images: Vec::new(),
        log_path: log.into(),
        resources: None,
        user: None,
        pre_stop: None,
        stop_signal: None,
        health: None,
    }
}

/// The same container, ended.
pub(crate) fn exited(mut container: ObservedContainer) -> ObservedContainer {
    container.state = ContainerState::Exited {
        started: None,
        finished: "2026-11-21T00:10:00Z".parse().unwrap(),
        code: 0,
        reason: "Completed".into(),
        message: String::new(),
        termination_message: String::new(),
    };
    container
}

/// A world with one pod, and the senders that change it.
pub(crate) struct Changing {
    pub(crate) world: World,
    pub(crate) pods: watch::Sender<Arc<PodsReport>>,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) pulls: watch::Sender<PullWork>,
    pub(crate) _node: watch::Sender<Arc<Node>>,
    pub(crate) temp: tempfile::TempDir,
}

pub(crate) fn name(namespace: &str, name: &str) -> PodName {
    PodName::new(namespace, name)
}

/// A snapshot in which the pod `default/web-vm` has these containers.
pub(crate) fn snapshot_of(containers: Vec<ObservedContainer>) -> Arc<Snapshot> {
    let pod = ObservedPod {
        sandboxes: vec![sandbox()],
        containers,
        allocation: None,
        checkpoint: None,
    };
    let uids = [(PodUid("u1".into()), pod)].into();
    let pods = [(name("default", "web-vm"), Arc::new(ObservedName { uids }))].into();
    Arc::new(Snapshot {
        listed: true,
        pods,
        ..Snapshot::default()
    })
}

pub(crate) fn changing() -> Changing {
    let temp = tempfile::tempdir().unwrap();
    let logs = temp.path().join("logs");
    std::fs::create_dir_all(logs.join("default_web-vm_u1/web")).unwrap();
    let log = logs.join("default_web-vm_u1/web/0.log");
    std::fs::write(&log, "").unwrap();
    let report = PodsReport {
        pods: [(name("default", "web-vm"), Arc::new(pod("default", "web-vm")))].into(),
        ..PodsReport::default()
    };
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "vm"}})).unwrap();
    let (pods, pods_now) = watch::channel(Arc::new(report));
    let (node, node_now) = watch::channel(Arc::new(node));
    let (snapshot, snapshot_now) =
        watch::channel(snapshot_of(vec![running("c1", "web", log.to_str().unwrap())]));
    let (pulls, pulls_now) = watch::channel(PullWork::default());
    let world = World {
        pods: pods_now,
        node: node_now,
        snapshot: snapshot_now,
        configz: Arc::new(json!({"kubeletconfig": {"maxPods": 110}})),
        pod_logs_dir: logs,
        runtime: Runtime::new(&Settings::at(
            temp.path().join("no-containerd.sock"),
            Duration::from_secs(5),
        )),
        stream_idle: Duration::from_secs(3600),
        exec_dir: temp.path().join("exec"),
        metrics: Arc::default(),
        health: Default::default(),
        offered: Arc::new(Offered {
            verbosity: Some(Verbosity::new(|level| match level {
                13 => Err("it is an unlucky number".to_owned()),
                _ => Ok(()),
            })),
            profiling: true,
            gates: Vec::new(),
            flags: Some([("max-pods".to_owned(), "50".to_owned())].into()),
            program: Program {
                started: "2026-11-21T00:00:00Z".parse().unwrap(),
                kubernetes_version: "v1.36.2".to_owned(),
            },
            statusz: true,
            checkpoints: Some(Checkpoints::new(temp.path().join("checkpoints"))),
            system_logs: SystemLogs::Files(temp.path().join("logs")),
        }),
        changes: crate::model::changes::changes().0,
        images: crate::model::image_work::image_worker().0,
        stats: crate::stats::sampler::answering(crate::model::sample::stats::node()),
        storage: crate::stats::storage::answering(crate::model::sample::stats::storage()),
        mounted: crate::stats::mounted::answering(Default::default()),
        pulls: pulls_now,
        volumes: Default::default(),
        desired: tokio::sync::watch::channel(Default::default()).1,
    };
    Changing {
        world,
        pods,
        snapshot,
        pulls,
        _node: node,
        temp,
    }
}
