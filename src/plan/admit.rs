//! Whether a pod fits onto the node (`pkg/kubelet/lifecycle/predicate.go`).
//!
//! For a critical pod, which every static pod is, others may have to leave: [`Denial::lacking`] says what for, and
//! [`super::node`] chooses them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::cgroup::is_critical;
use super::placement;
use super::shortage::{self, Room, Shortage, Used};
use crate::model::bounds;
use crate::model::end::End;
use crate::model::placement::NodeMarks;
use crate::model::pod::{Pod, Port, Profile, Protocol, Source};

/// The operating system of this node.
const OS: &str = "linux";

/// Why a pod is rejected. The pod's status shows the message after `Pod was rejected: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `OutOfcpu`, `NodePorts`, …
    pub reason: String,
    /// The requested and the available amounts.
    pub message: String,
}

impl Refusal {
    /// The end of a rejected pod.
    pub fn end(&self) -> End {
        End::Refused {
            reason: self.reason.clone(),
            message: self.message.clone(),
        }
    }
}

impl From<&Shortage> for Refusal {
    fn from(shortage: &Shortage) -> Refusal {
        Refusal {
            reason: format!("OutOf{}", shortage.resource),
            message: shortage.to_string(),
        }
    }
}

/// Why a pod does not fit onto the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The first reason. That of a critical pod is one that more room would not change, if there is any.
    pub refusal: Refusal,
    /// What the node has too little of, if that is the reason.
    pub lacking: Vec<Shortage>,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial {
            refusal,
            lacking: Vec::new(),
        }
    }
}

/// The reason for rejecting a pod that does not match this node. Worth checking again when the node's labels have just
/// changed.
pub const NODE_AFFINITY: &str = "NodeAffinity";

/// Compares the pod's requests with what other pods leave free, and with the node. `others` are the node's pods that
/// take room; `node` is `None` until the API server has sent it.
pub fn admit<'a>(
    pod: &Pod,
    others: impl Iterator<Item = &'a Pod>,
    room: Room<'_>,
    protection: Protection,
    node: Option<&NodeMarks>,
) -> Result<(), Denial> {
    system(pod)?;
    if let Some(message) = &pod.forbidden_sysctl {
        let reason = "SysctlForbidden".to_owned();
        let message = message.clone();
        return Err(Refusal { reason, message }.into());
    }
    groups_policy(pod, protection)?;
    let (own, mut is_taken, mut used) = (HostPorts::of(pod), false, Used::default());
    for other in others.filter(|other| other.uid != pod.uid) {
        is_taken = is_taken || host_ports(other).any(|port| own.conflict(&port));
        used.add(&shortage::requests(other));
    }
    let rest = || {
        node_predicates(pod, is_taken, node)?;
        apparmor(pod, protection)
    };
    let lacking = shortage::shortages(&shortage::requests(pod), &used, room);
    let Some(first) = lacking.first() else {
        return rest().map_err(Denial::from);
    };
    // No pod is ended for one that does not run all the same.
    if is_critical(pod) {
        rest()?;
    }
    let refusal = first.into();
    Err(Denial { refusal, lacking })
}

/// Compares the pod with the node's labels, ports and taints.
fn node_predicates(pod: &Pod, is_taken: bool, node: Option<&NodeMarks>) -> Result<(), Refusal> {
    let is_ours = match node {
        Some(node) => placement::is_on_its_node(&pod.placement, node),
        None => !placement::asks(&pod.placement),
    };
    predicate(
        is_ours,
        NODE_AFFINITY,
        "node(s) didn't match Pod's node affinity/selector",
    )?;
    predicate(
        !is_taken,
        "NodePorts",
        "node(s) didn't have free ports for the requested pod ports",
    )?;
    let is_fixed = matches!(pod.source, Source::File { .. });
    let is_tolerant = node.is_none_or(|node| placement::tolerates(&pod.placement, node));
    predicate(
        is_fixed || is_tolerant,
        "TaintToleration",
        "node(s) had taints that the pod didn't tolerate",
    )
}

/// What machine and runtime can enforce for a pod.
#[derive(Debug, Clone, Copy)]
pub struct Protection {
    /// `supplementalGroupsPolicy: Strict`
    pub strict_groups: bool,
    /// AppArmor profiles.
    pub apparmor: bool,
}

/// `rejectPodAdmissionBasedOnSupplementalGroupsPolicy`
fn groups_policy(pod: &Pod, protection: Protection) -> Result<(), Refusal> {
    match pod.security.supplemental_groups_strict && !protection.strict_groups {
        true => Err(Refusal {
            reason: "SupplementalGroupsPolicyNotSupported".to_owned(),
            message: "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned(),
        }),
        false => Ok(()),
    }
}

/// Rejects a pod with an AppArmor profile on a node that enforces none, and one whose profile has no name
/// (`pkg/security/apparmor`).
fn apparmor(pod: &Pod, protection: Protection) -> Result<(), Refusal> {
    let of_containers = pod.all_containers().map(|container| &container.security.apparmor);
    let profiles: Vec<_> = of_containers.chain([&pod.security.apparmor]).collect();
    let is_wanted = |profile: &&Profile| !matches!(profile, Profile::Unstated | Profile::Unconfined);
    let is_nameless =
        |profile: &&Profile| matches!(profile, Profile::Localhost(name) if name.trim().is_empty());
    let why = if !profiles.iter().any(is_wanted) {
        return Ok(());
    } else if !protection.apparmor {
        "AppArmor is not enabled on the host"
    } else if profiles.iter().any(is_nameless) {
        "invalid empty AppArmor profile name: \"&AppArmorProfile{Type:Localhost,LocalhostProfile:*,}\""
    } else {
        return Ok(());
    };
    Err(Refusal {
        reason: "AppArmor".to_owned(),
        message: format!("Cannot enforce AppArmor: {why}"),
    })
}

fn predicate(holds: bool, name: &str, complaint: &str) -> Result<(), Refusal> {
    match holds {
        true => Ok(()),
        false => Err(Refusal {
            reason: name.to_owned(),
            message: format!("Predicate {name} failed: {complaint}"),
        }),
    }
}

/// Rejects a pod for another operating system, as given in its specification or, because the kubelet checks them too,
/// in its labels.
fn system(pod: &Pod) -> Result<(), Refusal> {
    let refusal = |reason: &str, message: &str| Refusal {
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    if pod.labels.get("kubernetes.io/os").is_some_and(|os| os != OS) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(refusal("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    if pod.placement.os.as_ref().is_some_and(|os| os != OS) {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(refusal("PodOSNotSupported", message));
    }
    Ok(())
}

/// A host port of a pod; without an address it is taken on all of them.
struct HostPort {
    protocol: Protocol,
    port: u16,
    ip: Option<IpAddr>,
}

/// The host ports of a pod: the addresses of each protocol and number, `None` for all addresses.
struct HostPorts(HashMap<(Protocol, u16), HashSet<Option<IpAddr>>>);

impl HostPorts {
    fn of(pod: &Pod) -> HostPorts {
        let mut all: HashMap<_, HashSet<_>> = HashMap::new();
        for port in host_ports(pod) {
            all.entry((port.protocol, port.port)).or_default().insert(port.ip);
        }
        HostPorts(all)
    }

    fn conflict(&self, other: &HostPort) -> bool {
        bounds::step();
        let own = self.0.get(&(other.protocol, other.port));
        own.is_some_and(|own| other.ip.is_none() || own.contains(&None) || own.contains(&other.ip))
    }
}

/// The ports of containers and sidecars. With the host's network every port is a host port.
fn host_ports(pod: &Pod) -> impl Iterator<Item = HostPort> {
    let sidecars = pod.init_containers.iter().filter(|container| container.sidecar);
    let host_network = pod.namespaces.host_network;
    let taken = move |port: &Port| {
        Some(HostPort {
            protocol: port.protocol,
            port: port.host.or(host_network.then_some(port.container))?,
            ip: port.host_ip.filter(|ip| !ip.is_unspecified()),
        })
    };
    let containers = pod.containers.iter().chain(sidecars);
    containers
        .flat_map(|container| &container.ports)
        .filter_map(taken)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::resources::{Amounts, Bytes, MilliCpu, Resources};
    use crate::model::sample;

    fn amounts(cpu: i64, memory: i64) -> Amounts {
        Amounts {
            cpu: Some(MilliCpu(cpu)),
            memory: Some(Bytes(memory)),
            ..Amounts::default()
        }
    }

    fn pod(uid: &str, cpu: i64, memory: i64) -> Pod {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]).with_resources(&[Resources {
            requests: amounts(cpu, memory),
            limits: Amounts::default(),
        }]);
        pod.uid = sample::uid(uid);
        pod
    }

    fn with_port(uid: &str, port: u16, ip: Option<&str>, protocol: Protocol) -> Pod {
        let mut pod = pod(uid, 0, 0);
        pod.containers[0].ports = vec![Port {
            name: String::new(),
            container: 80,
            host: Some(port),
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            protocol,
        }];
        pod
    }

    fn check(pod: &Pod, others: &[Pod], expected: Expect) {
        check_on(None, pod, others, expected);
    }

    fn check_on(node: Option<&NodeMarks>, pod: &Pod, others: &[Pod], expected: Expect) {
        let protection = Protection {
            strict_groups: true,
            apparmor: true,
        };
        expected.assert_eq(&answer(node, pod, others, protection));
    }

    fn answer(node: Option<&NodeMarks>, pod: &Pod, others: &[Pod], protection: Protection) -> String {
        let room = Room {
            allocatable: &amounts(2000, 1 << 30),
            max_pods: 3,
        };
        match admit(pod, others.iter(), room, protection, node) {
            Ok(()) => "admitted".to_owned(),
            Err(Denial { refusal, lacking }) => {
                let lacks = lacking
                    .iter()
                    .skip(1)
                    .map(|shortage| format!(", {} {}", shortage.amount(), shortage.resource));
                format!(
                    "{}: {}{}",
                    refusal.reason,
                    refusal.message,
                    lacks.collect::<String>()
                )
            }
        }
    }

    #[test]
    fn a_pod_is_refused_what_machine_or_runtime_would_not_enforce() {
        let check = |change: fn(&mut Pod), strict_groups, apparmor, want: &str| {
            let mut pod = pod("x", 0, 0);
            pod.ephemeral_containers = vec![sample::container("debug")];
            change(&mut pod);
            let protection = Protection {
                strict_groups,
                apparmor,
            };
            assert_eq!(answer(None, &pod, &[], protection), want);
        };
        let strict: fn(&mut Pod) = |pod| pod.security.supplemental_groups_strict = true;
        check(strict, true, false, "admitted");
        let refused = "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node";
        check(strict, false, true, refused);
        let off = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        let wanting: [fn(&mut Pod); 3] = [
            |pod| pod.security.apparmor = Profile::RuntimeDefault,
            |pod| pod.containers[0].security.apparmor = Profile::Localhost("a".to_owned()),
            |pod| pod.ephemeral_containers[0].security.apparmor = Profile::RuntimeDefault,
        ];
        for wants in wanting {
            check(wants, true, true, "admitted");
            check(wants, true, false, off);
        }
        let unconfined: fn(&mut Pod) = |pod| pod.containers[0].security.apparmor = Profile::Unconfined;
        check(unconfined, false, false, "admitted");
        let nameless: fn(&mut Pod) =
            |pod| pod.containers[0].security.apparmor = Profile::Localhost(String::new());
        let refused = "AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name: \
                       \"&AppArmorProfile{Type:Localhost,LocalhostProfile:*,}\"";
        check(nameless, true, true, refused);
    }

    #[test]
    fn resources() {
        let others = [pod("a", 600, 0)];
        check(&pod("x", 1400, 0), &others, expect!["admitted"]);
        // The recording `too-big`.
        check(
            &pod("x", 1_000_000, 1 << 30),
            &others,
            expect![
                "OutOfcpu: Node didn't have enough resource: cpu, requested: 1000000, used: 600, capacity: 2000"
            ],
        );
        check(
            &pod("x", 1, (1 << 30) + 1),
            &others,
            expect![
                "OutOfmemory: Node didn't have enough resource: memory, requested: 1073741825, used: 0, capacity: 1073741824"
            ],
        );
        check(
            &pod("x", 0, 0),
            &[pod("a", 3000, 0), pod("b", 0, 0), pod("c", 0, 0)],
            expect!["OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"],
        );
        // A pod without requests fits on an overcommitted node, and a pod does not compete with itself.
        check(&pod("x", 0, 0), &[pod("a", 3000, 0)], expect!["admitted"]);
        check(&pod("x", 2000, 0), &[pod("x", 2000, 0)], expect!["admitted"]);
    }

    #[test]
    fn a_kernel_parameter_that_the_node_forbids() {
        let mut pod = pod("x", 0, 0);
        pod.forbidden_sysctl = Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted".to_owned());
        let expected = expect![[r#"SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted"#]];
        check(&pod, &[], expected);
    }

    #[test]
    fn a_critical_pod_lacks_only_room_where_nothing_else_is_against_it() {
        let mut wants = with_port("x", 80, None, Protocol::Tcp);
        wants.containers[0].resources.requests = amounts(1500, 1 << 30);
        let mut others = [pod("a", 1000, 512), with_port("b", 81, None, Protocol::Tcp)];
        let lacks = || {
            expect![
                "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000, 512 memory"
            ]
        };
        check(&wants, &others, lacks());
        wants.source = Source::File {
            path: "/etc/kubernetes/manifests/x.yaml".into(),
            document: 1,
        };
        check(&wants, &others, lacks());
        others[1].containers[0].ports[0].host = Some(80);
        check(
            &wants,
            &others,
            expect![
                "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            ],
        );
        wants.source = Source::Api;
        check(&wants, &others, lacks());
    }

    #[test]
    fn a_pod_for_another_node() {
        let mut asks = pod("x", 0, 0);
        asks.placement.selector = [("disk".to_owned(), "ssd".to_owned())].into();
        let refused = || {
            expect![
                "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            ]
        };
        let mut node = NodeMarks::default();
        check_on(Some(&node), &asks, &[], refused());
        check_on(None, &asks, &[], refused());
        check_on(None, &pod("x", 0, 0), &[], expect!["admitted"]);
        node.labels = asks.placement.selector.clone();
        check_on(Some(&node), &asks, &[], expect!["admitted"]);
        node.taints = vec![crate::model::placement::Taint {
            key: "k".to_owned(),
            value: String::new(),
        }];
        check_on(
            Some(&node),
            &asks,
            &[],
            expect![
                "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
            ],
        );
        asks.source = Source::File {
            path: "/m/a.yaml".into(),
            document: 1,
        };
        check_on(Some(&node), &asks, &[], expect!["admitted"]);
        asks.placement.os = Some("windows".to_owned());
        check_on(
            Some(&node),
            &asks,
            &[],
            expect!["PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"],
        );
    }

    #[test]
    fn host_ports_are_taken_once() {
        let refused = || {
            expect![
                "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            ]
        };
        let taken = [with_port("a", 80, None, Protocol::Tcp)];
        check(&with_port("x", 80, None, Protocol::Tcp), &taken, refused());
        check(
            &with_port("x", 80, Some("192.0.2.1"), Protocol::Tcp),
            &taken,
            refused(),
        );
        check(
            &with_port("x", 80, None, Protocol::Udp),
            &taken,
            expect!["admitted"],
        );
        check(
            &with_port("x", 81, None, Protocol::Tcp),
            &taken,
            expect!["admitted"],
        );
        let one = [with_port("a", 80, Some("192.0.2.1"), Protocol::Tcp)];
        check(
            &with_port("x", 80, Some("192.0.2.2"), Protocol::Tcp),
            &one,
            expect!["admitted"],
        );
        check(
            &with_port("x", 80, Some("0.0.0.0"), Protocol::Tcp),
            &one,
            refused(),
        );
        let mut host = with_port("x", 1, None, Protocol::Tcp);
        host.namespaces.host_network = true;
        host.containers[0].ports[0].host = None;
        check(&host, &taken, refused());
    }

    #[test]
    fn each_port_of_the_host_is_compared_once() {
        use crate::model::bounds::steps;

        let with_ports = |first: u16| {
            let mut pod = sample::pod(crate::model::pod::RestartPolicy::Always, &[], &["c"]);
            pod.uid = crate::model::pod::PodUid(first.to_string());
            pod.containers[0].ports = (first..first + 30_000)
                .map(|port| Port {
                    name: String::new(),
                    container: 1,
                    host: Some(port),
                    host_ip: None,
                    protocol: Protocol::Tcp,
                })
                .collect();
            pod
        };
        let (one, other) = (with_ports(1), with_ports(30_001));
        let room = Room {
            allocatable: &Amounts::default(),
            max_pods: 10,
        };
        let protection = Protection {
            strict_groups: true,
            apparmor: true,
        };
        let (steps, admitted) =
            steps::of(|| admit(&one, [&other].into_iter(), room, protection, None).is_ok());
        assert!(admitted);
        assert_eq!(steps, 30_000);
    }
}
