//! Pods, a node and observed states for tests: each is the simplest of its kind, to be changed field by field.

pub(crate) mod claims;
pub(crate) mod stats;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::labels;
use super::node::{CgroupDriver, CgroupLayout, CgroupVersion, NodePolicy};
use super::pod::*;
use super::resources::{Amounts, Bytes, MilliCpu, Qos, Resources, qos_class};
use super::runtime::{ContainerState, ObservedContainer, ObservedName, ObservedPod, Sandbox};
use super::shutdown::{ShutdownGroup, ShutdownPeriods};

/// The given number of seconds after the start of the test clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + seconds, 0).unwrap()
}

/// The name of the sample pod.
pub(crate) fn name() -> PodName {
    PodName::new("ns", "p")
}

/// A UID.
pub(crate) fn uid(text: &str) -> PodUid {
    PodUid(text.to_owned())
}

/// A container named so.
pub(crate) fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: "docker.io/library/busybox:1.35".to_owned(),
        pull: PullPolicy::IfNotPresent,
        command: vec!["sh".to_owned(), "-c".to_owned(), "sleep 100000".to_owned()],
        args: Vec::new(),
        env_from: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        ports: Vec::new(),
        resources: Resources::default(),
        resize: Default::default(),
        mounts: Vec::new(),
        devices: Vec::new(),
        security: ContainerSecurity::default(),
        termination_path: "/dev/termination-log".to_owned(),
        termination_from_logs: false,
        stdin: false,
        stdin_once: false,
        tty: false,
        restart: RestartPolicy::Always,
        restart_rules: Vec::new(),
        sidecar: false,
        target: None,
        probes: Default::default(),
        lifecycle: Default::default(),
        hash: 0x78725ff3,
    }
}

/// A pod `ns/p` from the API, with these containers and init containers (`+` before the name: a sidecar).
pub(crate) fn pod(restart: RestartPolicy, init: &[&str], containers: &[&str]) -> Pod {
    let containers: Vec<_> = containers
        .iter()
        .map(|name| Container {
            restart,
            ..container(name)
        })
        .collect();
    let init_containers = init.iter().map(|name| init_container(name, restart)).collect();
    Pod {
        name: name(),
        uid: uid("u1"),
        source: Source::Api,
        object: Arc::new(api::Pod::default()),
        labels: Default::default(),
        annotations: [
            ("kubernetes.io/config.seen".to_owned(), at(0).to_string()),
            ("kubernetes.io/config.source".to_owned(), "api".to_owned()),
        ]
        .into(),
        seen: at(0),
        incarnation: 0,
        past_grace: None,
        deletion: None,
        hostname: "p".to_owned(),
        subdomain: None,
        hostname_as_fqdn: false,
        namespaces: Namespaces::default(),
        dns_policy: DnsPolicy::ClusterFirst,
        dns_config: DnsConfig::default(),
        host_aliases: Vec::new(),
        restart_policy: restart,
        grace: Duration::from_secs(5),
        active_deadline: None,
        priority: None,
        placement: Default::default(),
        forbidden_sysctl: None,
        readiness_gates: Vec::new(),
        runtime_class: None,
        pull_secrets: Vec::new(),
        service_links: true,
        security: PodSecurity::default(),
        resources: None,
        overhead: Amounts::default(),
        qos: Qos::BestEffort,
        volumes: Vec::new(),
        init_containers,
        containers,
        ephemeral_containers: Vec::new(),
    }
}

/// An init container, or a sidecar where the name begins with a plus.
fn init_container(name: &str, restart: RestartPolicy) -> Container {
    match name.strip_prefix('+') {
        Some(name) => Container {
            sidecar: true,
            restart: RestartPolicy::Always,
            ..container(name)
        },
        None => Container {
            restart,
            ..container(name)
        },
    }
}

/// Thousandths of a core and bytes, as requests and as limits.
pub(crate) fn resources(cpu: i64, memory: i64) -> Resources {
    let amounts = Amounts {
        cpu: Some(MilliCpu(cpu)),
        memory: Some(Bytes(memory)),
        ..Amounts::default()
    };
    Resources {
        requests: amounts.clone(),
        limits: amounts,
    }
}

impl Pod {
    /// With the containers' requests and limits (CPU and memory as quantities in mCPU and bytes), in order.
    pub(crate) fn with_resources(mut self, resources: &[Resources]) -> Pod {
        for (container, resources) in self.containers.iter_mut().zip(resources) {
            container.resources = resources.clone();
        }
        self.qos = qos_class(None, self.containers.iter().map(|c| &c.resources));
        self
    }
}

/// The recording of a kubelet v1.36.2 in this scenario: its calls to the runtime, the events, and summaries of the
/// statuses, in order.
pub(crate) fn recording(name: &str) -> serde_json::Value {
    macro_rules! recorded {
        ($($known:literal)*) => {
            match name {
                $($known => include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/tests/parity/reference/", $known, ".json"
                )),)*
                _ => panic!("{name} was not recorded"),
            }
        };
    }
    let text = recorded!(
        "active-deadline" "crash-loop" "fails" "host-network" "host-path" "host-port" "image-absent"
        "image-never" "init-fails-never" "init-ok" "on-failure" "oom" "privileged" "qos-best-effort"
        "qos-guaranteed" "run-as-non-root" "running" "security-context" "sidecar" "succeeds" "env" "volumes"
        "termination-message" "too-big" "two-containers"
    );
    serde_json::from_str(text).unwrap()
}

/// The node of the recordings.
pub(crate) fn policy() -> NodePolicy {
    NodePolicy {
        name: "vm".to_owned(),
        root_dir: PathBuf::from("/var/lib/kubelet"),
        pod_logs_dir: PathBuf::from("/var/log/pods"),
        container_logs_dir: PathBuf::from("/var/log/containers"),
        cgroup: CgroupLayout {
            version: CgroupVersion::V1,
            driver: CgroupDriver::Cgroupfs,
            root: Vec::new(),
            per_qos: true,
            cfs_quota: true,
            cfs_period: Duration::from_millis(100),
            pod_pids: None,
            enforce_pods: true,
            hugepage_sizes: vec![Bytes(2 << 20), Bytes(1 << 30)],
            cores: 2,
            swap: Some(Bytes(0)),
            memory: Default::default(),
            reserved: Vec::new(),
        },
        host_dns: DnsConfig {
            servers: vec!["192.0.2.1".to_owned()],
            searches: Vec::new(),
            options: Vec::new(),
        },
        cluster_dns: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10))],
        cluster_domain: "cluster.local".to_owned(),
        host_ips: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))],
        memory: Bytes(24_684_092 * 1024),
        seccomp_default: false,
        seccomp_dir: PathBuf::from("/var/lib/kubelet/seccomp"),
        max_restart_backoff: Duration::from_secs(300),
        limited_swap: false,
        stop_signals: false,
        pod_level_resize: true,
        apparmor: true,
        masked_paths: Vec::new(),
        republish: Duration::from_secs(60),
        eviction: Default::default(),
        shutdown: ShutdownPeriods::new([(0, 20), (2_000_000_000, 10)].map(|(priority, seconds)| {
            ShutdownGroup {
                priority,
                period: Duration::from_secs(seconds),
            }
        })),
        images: Default::default(),
    }
}

/// A sandbox made at that second; its id is `s<attempt>`.
pub(crate) fn sandbox(attempt: u32, ready: bool, created: i64) -> Sandbox {
    Sandbox {
        id: format!("s{attempt}"),
        attempt,
        ready,
        created: at(created),
        ips: match ready {
            true => vec![IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9))],
            false => Vec::new(),
        },
        host_network: false,
        handler: String::new(),
        annotations: Default::default(),
        labels: labels::selector(&name()).into_iter().collect(),
    }
}

/// An instance of a container in the sandbox `s0`; its id is `<name><restarts>`.
pub(crate) fn instance(name: &str, restarts: u32, created: i64, state: ContainerState) -> ObservedContainer {
    ObservedContainer {
        id: format!("{name}{restarts}"),
        name: name.to_owned(),
        sandbox: "s0".to_owned(),
        restart_count: restarts,
        hash: 0x78725ff3,
        grace_seconds: Some(5),
        termination_path: "/dev/termination-log".to_owned(),
        created: at(created),
        state,
        image: "docker.io/library/busybox:1.35".to_owned(),
        image_ref: "docker.io/library/busybox@sha256:0123".to_owned(),
        mounted_images: Vec::new(),
        log_path: format!("/var/log/pods/ns_p_u1/{name}/{restarts}.log"),
        resources: None,
        user: Some((0, 0, vec![0])),
        pre_stop: None,
        stop_signal: None,
        health: None,
    }
}

/// Running since that second.
pub(crate) fn running(started: i64) -> ContainerState {
    ContainerState::Running { started: at(started) }
}

/// Ended at a second with a code.
pub(crate) fn exited(started: i64, finished: i64, code: i32) -> ContainerState {
    ContainerState::Exited {
        started: Some(at(started)),
        finished: at(finished),
        code,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        termination_message: String::new(),
    }
}

/// The observed state of the sample pod; containers are given newest first.
pub(crate) fn observed(sandboxes: Vec<Sandbox>, containers: Vec<ObservedContainer>) -> ObservedName {
    ObservedName {
        uids: [(
            uid("u1"),
            ObservedPod {
                sandboxes,
                containers,
                allocation: None,
                checkpoint: None,
            },
        )]
        .into(),
    }
}
