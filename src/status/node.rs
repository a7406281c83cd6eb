//! The `v1 Node` that this node reports, composed as in the kubelet (`pkg/kubelet/nodestatus/setters.go`). Pure:
//! everything is an input, even the time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::format::quantities;
use crate::model::eviction::Shortage;
use crate::model::measured::Measured;
use crate::model::node::{MachineFacts, NodeSettings, allocatable};
use crate::model::overlay::Peer;
use crate::model::pod_network::{NetworkStanding, PodNetwork};
use crate::model::resources::{Amounts, count_quantity};
use crate::model::runtime::{ObservedImage, RuntimeHandler, RuntimeState};

/// How many names of one image are reported (`MaxNamesPerImageInNodeStatus`).
const NAMES_PER_IMAGE: usize = 5;

/// Those of the kubelet's declared features that this version always has (`component-helpers/nodedeclaredfeatures`): the API
/// server passes WebSocket on to the node, for which it otherwise speaks SPDY, and cannot see that its own client is gone
/// while it waits for the node.
const DECLARED_FEATURES: [&str; 1] = ["ExtendWebSocketsToKubelet"];

/// The inputs of a node's report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The machine's properties.
    pub facts: &'a MachineFacts,
    /// The latest measurements.
    pub measured: &'a Measured,
    /// What the node is short of, or was until a moment ago.
    pub short_of: &'a BTreeSet<Shortage>,
    /// The runtime's health.
    pub runtime: &'a RuntimeState,
    /// The runtime's images.
    pub images: &'a [ObservedImage],
    /// The settings from the configuration.
    pub settings: &'a NodeSettings,
    /// The volumes that the node has in use.
    pub volumes_in_use: &'a [String],
    /// Whether the machine is shutting down.
    pub is_shutting_down: bool,
    /// When this program first reported the node.
    pub started: Timestamp,
}

/// The node as it is now. `previous` is the last report: a condition that has not changed keeps its transition time.
pub fn node(report: &Report<'_>, previous: Option<&Node>, now: Timestamp) -> Node {
    let settings = report.settings;
    let created = previous.and_then(|node| node.metadata.creation_timestamp.clone());
    let capacity = report.facts.capacity(&report.measured.nodefs);
    let pod_cidrs: Vec<String> = settings.network.subnets.iter().map(ToString::to_string).collect();
    Node {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            labels: Some(labels(report)),
            annotations: Some(annotations(&settings.network)),
            creation_timestamp: created.or(Some(Time(report.started))),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: pod_cidrs.first().cloned(),
            pod_cidrs: Some(pod_cidrs).filter(|all| !all.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            addresses: Some(addresses(settings)),
            allocatable: Some(with_pods(&allocatable(&capacity, settings), settings)),
            capacity: Some(with_pods(&capacity, settings)),
            conditions: Some(conditions(report, previous, now)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint {
                    port: i32::from(settings.port),
                }),
            }),
            images: Some(images(report.images, settings.max_images)),
            node_info: Some(node_info(report)),
            features: features(report.runtime),
            declared_features: Some(declared_features(settings)),
            runtime_handlers: runtime_handlers(report.runtime),
            volumes_in_use: Some(report.volumes_in_use.to_vec()).filter(|all| !all.is_empty()),
            ..NodeStatus::default()
        }),
    }
}

/// All declared features, by name.
fn declared_features(settings: &NodeSettings) -> Vec<String> {
    let all = DECLARED_FEATURES.iter().chain(&settings.declared_features);
    let all: BTreeSet<&str> = all.copied().collect();
    all.into_iter().map(str::to_owned).collect()
}

/// `NodeFeatures` in `pkg/kubelet/nodestatus/setters.go`.
fn features(runtime: &RuntimeState) -> Option<NodeFeatures> {
    let supplemental_groups_policy = Some(runtime.strict_groups?);
    Some(NodeFeatures {
        supplemental_groups_policy,
    })
}

/// `RuntimeHandlers` in `pkg/kubelet/nodestatus/setters.go`.
fn runtime_handlers(runtime: &RuntimeState) -> Option<Vec<NodeRuntimeHandler>> {
    let handler = |handler: &RuntimeHandler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: Some(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(handler.recursive_read_only),
            user_namespaces: Some(handler.user_namespaces),
        }),
    };
    let all: Vec<_> = runtime.handlers.iter().map(handler).collect();
    Some(all).filter(|all| !all.is_empty())
}

fn annotations(network: &PodNetwork) -> BTreeMap<String, String> {
    let attached = (
        "volumes.kubernetes.io/controller-managed-attach-detach",
        "true".to_owned(),
    );
    let of_network = network.entries.iter().flat_map(Peer::annotations);
    let all = of_network.chain([attached]);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn labels(report: &Report<'_>) -> BTreeMap<String, String> {
    let architecture = report.facts.architecture.as_str();
    let own = [
        ("beta.kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/hostname", &report.settings.name),
        ("kubernetes.io/os", "linux"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut labels = BTreeMap::from(own);
    labels.extend(report.settings.labels.clone());
    labels
}

fn addresses(settings: &NodeSettings) -> Vec<NodeAddress> {
    let address = |type_: &str, address: String| NodeAddress {
        address,
        type_: type_.to_owned(),
    };
    let internal = settings
        .addresses
        .iter()
        .map(|ip| address("InternalIP", ip.to_string()));
    internal
        .chain([address("Hostname", settings.name.clone())])
        .collect()
}

fn with_pods(amounts: &Amounts, settings: &NodeSettings) -> BTreeMap<String, Quantity> {
    let mut all = quantities(amounts);
    all.insert(
        "pods".to_owned(),
        Quantity(count_quantity(i64::from(settings.max_pods))),
    );
    all
}

/// The present state of one condition.
struct State {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// In the kubelet's order; `Ready` must be the last.
fn conditions(report: &Report<'_>, previous: Option<&Node>, now: Timestamp) -> Vec<NodeCondition> {
    let mut states = Vec::new();
    // Network providers set this condition; if this program is the provider, it sets it.
    states.extend(network_unavailable(&report.settings.network));
    states.extend(pressures(report));
    states.push(ready(report));
    let reported = previous.and_then(|node| node.status.as_ref()?.conditions.as_deref());
    states
        .into_iter()
        .map(|state| condition(state, reported.unwrap_or_default(), now))
        .collect()
}

fn network_unavailable(network: &PodNetwork) -> Option<State> {
    let (holds, reason, message) = match &network.standing {
        // What the condition was before stays.
        NetworkStanding::Another | NetworkStanding::Undetermined => return None,
        NetworkStanding::Up => {
            let message = "gantry has set up the pod network on this node";
            (false, "GantryIsUp", message.to_owned())
        }
        NetworkStanding::Down(why) => (true, "PodNetworkNotReady", why.clone()),
    };
    Some(State {
        kind: "NetworkUnavailable",
        holds,
        reason,
        message,
    })
}

fn condition(state: State, reported: &[NodeCondition], now: Timestamp) -> NodeCondition {
    let status = if state.holds { "True" } else { "False" };
    let same = reported
        .iter()
        .find(|reported| reported.type_ == state.kind && reported.status == status);
    let since = same.and_then(|same| same.last_transition_time.clone());
    NodeCondition {
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: since.or(Some(Time(now))),
        message: Some(state.message),
        reason: Some(state.reason.to_owned()),
        status: status.to_owned(),
        type_: state.kind.to_owned(),
    }
}

fn pressures(report: &Report<'_>) -> [State; 3] {
    let state = |shortage: Shortage, short: (&'static str, &str), enough: (&'static str, &str)| {
        let holds = report.short_of.contains(&shortage);
        let (reason, message) = if holds { short } else { enough };
        State {
            kind: shortage.condition(),
            holds,
            reason,
            message: message.to_owned(),
        }
    };
    [
        state(
            Shortage::Memory,
            (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            (
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
        ),
        state(
            Shortage::Disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        state(
            Shortage::Pids,
            (
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ]
}

fn ready(report: &Report<'_>) -> State {
    let mut faults = faults(report.runtime);
    faults.extend(
        report
            .is_shutting_down
            .then(|| "node is shutting down".to_owned()),
    );
    let message = match faults.as_slice() {
        [] => "kubelet is posting ready status".to_owned(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    State {
        kind: "Ready",
        holds: faults.is_empty(),
        reason: if faults.is_empty() {
            "KubeletReady"
        } else {
            "KubeletNotReady"
        },
        message,
    }
}

/// Why pods cannot run, worded as in `pkg/kubelet/runtime.go` and `pkg/kubelet/kubelet.go`.
fn faults(runtime: &RuntimeState) -> Vec<String> {
    let mut faults = Vec::new();
    match &runtime.reachable {
        None => faults.push("container runtime status check may not have completed yet".to_owned()),
        // The last known state of its network is meaningless now.
        Some(Err(_)) => faults.push("container runtime is down".to_owned()),
        Some(Ok(())) => {
            faults.extend(fault(
                "container runtime not ready",
                "RuntimeReady",
                &runtime.runtime_fault,
            ));
            faults.extend(network_fault(runtime));
        }
    }
    faults
}

/// Why pods have no network, if the runtime answers.
pub(super) fn network_fault(runtime: &RuntimeState) -> Option<String> {
    let reported = &runtime.network_fault;
    let fault = fault("container runtime network not ready", "NetworkReady", reported);
    fault.filter(|_| matches!(runtime.reachable, Some(Ok(()))))
}

fn fault(what: &str, condition: &str, fault: &Option<(String, String)>) -> Option<String> {
    let (reason, message) = fault.as_ref()?;
    Some(format!(
        "{what}: {condition}=false reason:{reason} message:{message}"
    ))
}

/// The largest images first. With a `max` of -1, all of them.
fn images(images: &[ObservedImage], max: i32) -> Vec<ContainerImage> {
    let mut images: Vec<&ObservedImage> = images.iter().collect();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let reported = images.into_iter().take(max).map(|image| {
        let names = image.digests.iter().chain(&image.tags);
        let names: Vec<String> = names.take(NAMES_PER_IMAGE).cloned().collect();
        ContainerImage {
            names: Some(names).filter(|names| !names.is_empty()),
            size_bytes: Some(i64::try_from(image.size).unwrap_or(i64::MAX)),
        }
    });
    reported.collect()
}

fn node_info(report: &Report<'_>) -> NodeSystemInfo {
    let (facts, runtime) = (report.facts, report.runtime);
    let or_unknown = |text: &str| match text {
        "" => "Unknown".to_owned(),
        known => known.to_owned(),
    };
    NodeSystemInfo {
        architecture: facts.architecture.clone(),
        boot_id: facts.boot_id.clone(),
        container_runtime_version: format!(
            "{}://{}",
            or_unknown(&runtime.name),
            or_unknown(&runtime.version)
        ),
        kernel_version: facts.kernel.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: report.settings.version.clone(),
        machine_id: facts.machine_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: facts.os_image.clone(),
        swap: Some(facts.swap.0)
            .filter(|&swap| swap > 0)
            .map(|swap| NodeSwapStatus { capacity: Some(swap) }),
        system_uuid: facts.system_uuid.clone(),
    }
}

#[cfg(test)]
mod tests {

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::measured::FsUsage;
    use crate::model::overlay::Backend;
    use crate::model::resources::Bytes;
    use crate::model::threshold::Threshold;

    /// The machine on which the kubelet v1.36.2 was recorded.
    struct Machine {
        facts: MachineFacts,
        measured: Measured,
        short_of: BTreeSet<Shortage>,
        runtime: RuntimeState,
        images: Vec<ObservedImage>,
        settings: NodeSettings,
        is_shutting_down: bool,
    }

    impl Machine {
        fn report(&self, previous: Option<&Node>, now: &str) -> Node {
            let report = Report {
                facts: &self.facts,
                measured: &self.measured,
                short_of: &self.short_of,
                runtime: &self.runtime,
                images: &self.images,
                settings: &self.settings,
                volumes_in_use: &[],
                is_shutting_down: self.is_shutting_down,
                started: "2026-11-20T07:10:46Z".parse().unwrap(),
            };
            node(&report, previous, now.parse().unwrap())
        }
    }

    fn image(id: &str, size: u64, tags: &[&str], digests: &[&str]) -> ObservedImage {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        ObservedImage {
            id: id.to_owned(),
            tags: owned(tags),
            digests: owned(digests),
            size,
            pinned: false,
        }
    }

    fn machine() -> Machine {
        let disk = FsUsage {
            capacity: Bytes(264_212_084 * 1024),
            available: Bytes(200_000_000 * 1024),
            inodes: 1000,
            inodes_free: 900,
        };
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        let thresholds = [
            ("imagefs.available", Threshold::Fraction(0.01)),
            ("memory.available", Threshold::Quantity(100 << 20)),
            ("nodefs.available", Threshold::Fraction(0.01)),
        ];
        Machine {
            is_shutting_down: false,
            facts: MachineFacts {
                hostname: "vm".to_owned(),
                machine_id: id.to_owned(),
                system_uuid: id.to_owned(),
                boot_id: "891dd629-8c6f-4a56-bed4-077751ca4d87".to_owned(),
                kernel: "6.18.44".to_owned(),
                os_image: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                architecture: "amd64".to_owned(),
                cores: 2,
                memory: Bytes(24_684_092 * 1024),
                swap: Bytes(0),
                hugepages: BTreeMap::from([(Bytes(2 << 20), Bytes(0)), (Bytes(1 << 30), Bytes(0))]),
                ..MachineFacts::default()
            },
            measured: Measured {
                memory_available: Bytes(20_000_000 * 1024),
                nodefs: disk,
                imagefs: Some(disk),
                pids_max: 32768,
                pids_used: 100,
                ..Measured::default()
            },
            short_of: BTreeSet::new(),
            runtime: RuntimeState {
                reachable: Some(Ok(())),
                runtime_fault: None,
                network_fault: None,
                name: "containerd".to_owned(),
                version: "1.6.20".to_owned(),
                ..RuntimeState::default()
            },
            images: vec![
                image("sha256:b", 134_134_570, &["example.org/small:1"], &[]),
                image("sha256:c", 2, &[], &[]),
                image(
                    "sha256:a",
                    134_134_570,
                    &["example.org/big:1", "example.org/big:2"],
                    &[
                        "example.org/big@sha256:0",
                        "b@sha256:0",
                        "c@sha256:0",
                        "d@sha256:0",
                    ],
                ),
            ],
            settings: NodeSettings {
                name: "vm".to_owned(),
                addresses: vec!["192.0.2.2".parse().unwrap()],
                version: "v1.36.2".to_owned(),
                max_pods: 250,
                eviction_hard: thresholds
                    .into_iter()
                    .map(|(signal, threshold)| (signal.to_owned(), threshold))
                    .collect(),
                max_images: 2,
                port: 10250,
                network: PodNetwork {
                    subnets: vec!["10.244.0.0/24".parse().unwrap()],
                    entries: Vec::new(),
                    standing: NetworkStanding::Up,
                },
                ..NodeSettings::default()
            },
        }
    }

    #[test]
    fn what_the_runtime_can_do_is_reported_where_it_says_it() {
        let mut machine = machine();
        let status = |machine: &Machine| machine.report(None, "2026-11-20T07:11:00Z").status.unwrap();
        let silent = status(&machine);
        assert_eq!((silent.features, silent.runtime_handlers), (None, None));
        machine.runtime.strict_groups = Some(false);
        machine.runtime.handlers = vec![RuntimeHandler {
            name: String::new(),
            recursive_read_only: true,
            user_namespaces: false,
        }];
        let reported = serde_json::to_value(status(&machine)).unwrap();
        assert_eq!(
            reported["features"],
            serde_json::json!({"supplementalGroupsPolicy": false})
        );
        let features = serde_json::json!({"recursiveReadOnlyMounts": true, "userNamespaces": false});
        assert_eq!(
            reported["runtimeHandlers"],
            serde_json::json!([{"name": "", "features": features}])
        );
    }

    #[test]
    fn the_pod_network_is_described_as_flannel_does_and_says_why_it_is_not_up() {
        let mut machine = machine();
        let now = "2026-11-20T07:45:57Z";
        let condition = |node: &Node| {
            let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
            let found = conditions
                .iter()
                .find(|found| found.type_ == "NetworkUnavailable");
            found.map(|found| (found.status.clone(), found.message.clone().unwrap_or_default()))
        };
        machine.settings.network = PodNetwork {
            subnets: Vec::new(),
            entries: vec![Peer {
                name: "vm".to_owned(),
                address: "192.0.2.2".parse().unwrap(),
                subnet: "10.244.0.0/24".parse().unwrap(),
                backend: Backend::Vxlan {
                    vni: 1,
                    mac: "1a:2b:3c:4d:5e:6f".parse().unwrap(),
                },
            }],
            standing: NetworkStanding::Down("no route".to_owned()),
        };
        let node = machine.report(None, now);
        assert_eq!(condition(&node), Some(("True".to_owned(), "no route".to_owned())));
        let annotations = node.metadata.annotations.unwrap();
        let annotation = |name: &str| annotations[&format!("flannel.alpha.coreos.com/{name}")].as_str();
        assert_eq!(annotation("kube-subnet-manager"), "true");
        assert_eq!(annotation("backend-type"), "vxlan");
        assert_eq!(
            annotation("backend-data"),
            r#"{"VNI":1,"VtepMAC":"1a:2b:3c:4d:5e:6f"}"#
        );
        assert_eq!(annotation("public-ip"), "192.0.2.2");
        // An agent that was started again says nothing before it knows.
        for standing in [NetworkStanding::Undetermined, NetworkStanding::Another] {
            machine.settings.network.standing = standing;
            assert_eq!(condition(&machine.report(None, now)), None);
        }
    }

    #[test]
    fn as_the_kubelet_tells_it() {
        let node = machine().report(None, "2026-11-20T07:45:57Z");
        let json = serde_json::to_string_pretty(&node).unwrap();
        expect![[r#"
            {
              "apiVersion": "v1",
              "kind": "Node",
              "metadata": {
                "annotations": {
                  "volumes.kubernetes.io/controller-managed-attach-detach": "true"
                },
                "creationTimestamp": "2026-11-20T07:10:46Z",
                "labels": {
                  "beta.kubernetes.io/arch": "amd64",
                  "beta.kubernetes.io/os": "linux",
                  "kubernetes.io/arch": "amd64",
                  "kubernetes.io/hostname": "vm",
                  "kubernetes.io/os": "linux"
                },
                "name": "vm"
              },
              "spec": {
                "podCIDR": "10.244.0.0/24",
                "podCIDRs": [
                  "10.244.0.0/24"
                ]
              },
              "status": {
                "addresses": [
                  {
                    "address": "192.0.2.2",
                    "type": "InternalIP"
                  },
                  {
                    "address": "vm",
                    "type": "Hostname"
                  }
                ],
                "allocatable": {
                  "cpu": "2",
                  "ephemeral-storage": "267847642337",
                  "hugepages-1Gi": "0",
                  "hugepages-2Mi": "0",
                  "memory": "24581692Ki",
                  "pods": "250"
                },
                "capacity": {
                  "cpu": "2",
                  "ephemeral-storage": "264212084Ki",
                  "hugepages-1Gi": "0",
                  "hugepages-2Mi": "0",
                  "memory": "24684092Ki",
                  "pods": "250"
                },
                "conditions": [
                  {
                    "lastHeartbeatTime": "2026-11-20T07:45:57Z",
                    "lastTransitionTime": "2026-11-20T07:45:57Z",
                    "message": "gantry has set up the pod network on this node",
                    "reason": "GantryIsUp",
                    "status": "False",
                    "type": "NetworkUnavailable"
                  },
                  {
                    "lastHeartbeatTime": "2026-11-20T07:45:57Z",
                    "lastTransitionTime": "2026-11-20T07:45:57Z",
                    "message": "kubelet has sufficient memory available",
                    "reason": "KubeletHasSufficientMemory",
                    "status": "False",
                    "type": "MemoryPressure"
                  },
                  {
                    "lastHeartbeatTime": "2026-11-20T07:45:57Z",
                    "lastTransitionTime": "2026-11-20T07:45:57Z",
                    "message": "kubelet has no disk pressure",
                    "reason": "KubeletHasNoDiskPressure",
                    "status": "False",
                    "type": "DiskPressure"
                  },
                  {
                    "lastHeartbeatTime": "2026-11-20T07:45:57Z",
                    "lastTransitionTime": "2026-11-20T07:45:57Z",
                    "message": "kubelet has sufficient PID available",
                    "reason": "KubeletHasSufficientPID",
                    "status": "False",
                    "type": "PIDPressure"
                  },
                  {
                    "lastHeartbeatTime": "2026-11-20T07:45:57Z",
                    "lastTransitionTime": "2026-11-20T07:45:57Z",
                    "message": "kubelet is posting ready status",
                    "reason": "KubeletReady",
                    "status": "True",
                    "type": "Ready"
                  }
                ],
                "daemonEndpoints": {
                  "kubeletEndpoint": {
                    "Port": 10250
                  }
                },
                "declaredFeatures": [
                  "ExtendWebSocketsToKubelet"
                ],
                "images": [
                  {
                    "names": [
                      "example.org/big@sha256:0",
                      "b@sha256:0",
                      "c@sha256:0",
                      "d@sha256:0",
                      "example.org/big:1"
                    ],
                    "sizeBytes": 134134570
                  },
                  {
                    "names": [
                      "example.org/small:1"
                    ],
                    "sizeBytes": 134134570
                  }
                ],
                "nodeInfo": {
                  "architecture": "amd64",
                  "bootID": "891dd629-8c6f-4a56-bed4-077751ca4d87",
                  "containerRuntimeVersion": "containerd://1.6.20",
                  "kernelVersion": "6.18.44",
                  "kubeProxyVersion": "",
                  "kubeletVersion": "v1.36.2",
                  "machineID": "3d1219c7c4c5404aaa1f6d2a48adfda4",
                  "operatingSystem": "linux",
                  "osImage": "Debian GNU/Linux 12 (bookworm)",
                  "systemUUID": "3d1219c7c4c5404aaa1f6d2a48adfda4"
                }
              }
            }"#]]
        .assert_eq(&json);
    }

    #[test]
    fn reserved_amounts_and_huge_pages_are_not_allocatable() {
        let mut machine = machine();
        machine.settings.reserved = Amounts {
            cpu: Some(crate::model::resources::MilliCpu(500)),
            memory: Some(Bytes(1 << 30)),
            ephemeral_storage: Some(Bytes(1 << 60)),
            ..Amounts::default()
        };
        machine.facts.hugepages.insert(Bytes(2 << 20), Bytes(1 << 30));
        let status = machine.report(None, "2026-11-20T07:45:57Z").status.unwrap();
        let allocatable = status.allocatable.unwrap();
        let shown: Vec<String> = allocatable
            .iter()
            .map(|(name, quantity)| format!("{name} {}", quantity.0))
            .collect();
        expect![[r#"
            [
                "cpu 1500m",
                "ephemeral-storage 0",
                "hugepages-1Gi 0",
                "hugepages-2Mi 1Gi",
                "memory 22484540Ki",
                "pods 250",
            ]
        "#]]
        .assert_debug_eq(&shown);
    }

    fn check_ready(change: impl FnOnce(&mut RuntimeState), expect: Expect) {
        let mut machine = machine();
        change(&mut machine.runtime);
        let status = machine.report(None, "2026-11-20T07:45:57Z").status.unwrap();
        let last = status.conditions.unwrap().pop().unwrap();
        let shown = [Some(last.type_), Some(last.status), last.reason, last.message];
        expect.assert_eq(&shown.map(Option::unwrap).join(" | "));
    }

    #[test]
    fn a_node_that_shuts_down_is_not_ready() {
        let mut machine = machine();
        machine.is_shutting_down = true;
        let ready = |machine: &Machine| {
            let status = machine.report(None, "2026-11-20T07:45:57Z").status.unwrap();
            let last = status.conditions.unwrap().pop().unwrap();
            (last.reason.unwrap(), last.message.unwrap())
        };
        let said = |message: &str| ("KubeletNotReady".to_owned(), message.to_owned());
        assert_eq!(ready(&machine), said("node is shutting down"));
        machine.runtime.reachable = Some(Err("gone".to_owned()));
        let both = said("[container runtime is down, node is shutting down]");
        assert_eq!(ready(&machine), both);
    }

    #[test]
    fn not_ready_says_why() {
        let network = Some((
            "NetworkPluginNotReady".to_owned(),
            "Network plugin returns error: cni plugin not initialized".to_owned(),
        ));
        check_ready(
            |runtime| runtime.network_fault = network.clone(),
            expect![
                "Ready | False | KubeletNotReady | container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
            ],
        );
        check_ready(
            |runtime| {
                runtime.network_fault = network.clone();
                runtime.runtime_fault = Some(("Broken".to_owned(), "no shim".to_owned()));
            },
            expect![
                "Ready | False | KubeletNotReady | [container runtime not ready: RuntimeReady=false reason:Broken message:no shim, container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized]"
            ],
        );
        check_ready(
            |runtime| runtime.reachable = Some(Err("connection refused".to_owned())),
            expect!["Ready | False | KubeletNotReady | container runtime is down"],
        );
        check_ready(
            |runtime| *runtime = RuntimeState::default(),
            expect![
                "Ready | False | KubeletNotReady | container runtime status check may not have completed yet"
            ],
        );
    }

    fn since(node: &Node, kind: &str) -> (String, String, String) {
        let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .unwrap();
        let time = condition.last_transition_time.as_ref().unwrap().0.to_string();
        (condition.status.clone(), condition.reason.clone().unwrap(), time)
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_change() {
        let reported = |status: &str, reason: &str, time: &str| {
            (
                status.to_owned(),
                reason.to_owned(),
                format!("2026-11-20T{time}Z"),
            )
        };
        let mut machine = machine();
        let mut last = machine.report(None, "2026-11-20T08:00:00Z");
        let mut at = |machine: &Machine, time: &str| {
            let now = format!("2026-11-20T{time}Z");
            last = machine.report(Some(&last), &now);
            last.clone()
        };
        let node = at(&machine, "08:00:10");
        let calm = reported("False", "KubeletHasSufficientMemory", "08:00:00");
        assert_eq!(since(&node, "MemoryPressure"), calm);
        assert_eq!(
            since(&node, "Ready"),
            reported("True", "KubeletReady", "08:00:00")
        );

        machine.short_of.insert(Shortage::Memory);
        let node = at(&machine, "08:00:20");
        let short = reported("True", "KubeletHasInsufficientMemory", "08:00:20");
        assert_eq!(since(&node, "MemoryPressure"), short);
        // Memory pressure neither makes a node unready nor affects its other conditions.
        assert_eq!(
            since(&node, "Ready"),
            reported("True", "KubeletReady", "08:00:00")
        );
        assert_eq!(since(&node, "DiskPressure").0, "False");

        assert_eq!(since(&at(&machine, "08:05:19"), "MemoryPressure"), short);
        machine.short_of.clear();
        let node = at(&machine, "08:05:20");
        let calm = reported("False", "KubeletHasSufficientMemory", "08:05:20");
        assert_eq!(since(&node, "MemoryPressure"), calm);
        assert_eq!(
            node.metadata.creation_timestamp.unwrap().0.to_string(),
            "2026-11-20T07:10:46Z"
        );
    }
}
