//! The events of the node, worded as in the kubelet (`pkg/kubelet/nodestatus/setters.go`,
//! `pkg/kubelet/kubelet_node_status.go`).

use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::model::collection::{CollectionNews, NO_CAPACITY};
use crate::model::event::EventType;
use crate::model::eviction::Starved;
use crate::model::memory::{Enforcement, Enforcements};
use crate::model::node::{CgroupVersion, MachineFacts};
use crate::model::reserved_cgroup::ReservedCgroup;
use crate::model::system_kill::SystemKill;

/// The kubelet's message about cgroup v1, verbatim (`pkg/kubelet/cm/container_manager.go`).
const CGROUP_V1: &str = "cgroup v1 detected. cgroup v1 support is deprecated and will be removed in a future release. \
                         Please migrate to cgroup v2. More information at \
                         https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1";

/// The kubelet's message about memory that may be swapped out, verbatim (`pkg/kubelet/cm/container_manager_linux.go`).
const SWAPPED_TMPFS: &str = "The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, \
                             etc.) might be swapped to disk and should no longer be considered secure.";

/// An event about the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// Whether it is a warning. To the kubelet a node that is not ready is not one.
    pub kind: EventType,
    /// `Starting`, `NodeReady`, …
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

fn normal(reason: &'static str, message: String) -> NodeEvent {
    NodeEvent {
        kind: EventType::Normal,
        reason,
        message,
    }
}

/// The events at the agent's start, on this machine with this cgroup version (`pkg/kubelet/kubelet_linux.go`,
/// `pkg/kubelet/cm/container_manager_linux.go`).
pub fn starting(cgroups: CgroupVersion, machine: &MachineFacts) -> Vec<NodeEvent> {
    let starting = normal("Starting", "Starting kubelet.".to_owned());
    let outdated = NodeEvent {
        kind: EventType::Warning,
        reason: "CgroupV1",
        message: CGROUP_V1.to_owned(),
    };
    let swapped = NodeEvent {
        kind: EventType::Warning,
        reason: "PossibleMemoryBackedVolumesOnDisk",
        message: SWAPPED_TMPFS.to_owned(),
    };
    let is_outdated = match cgroups {
        CgroupVersion::V1 => true,
        CgroupVersion::V2 => false,
    };
    let outdated = is_outdated.then_some(outdated);
    let swapped = machine.swaps_tmpfs.then_some(swapped);
    [Some(starting), outdated, swapped]
        .into_iter()
        .flatten()
        .collect()
}

/// The events about what changed at the cgroups above the pods, and at those that are `limited` to reserved resources
/// (`pkg/kubelet/cm/node_container_manager_linux.go`).
pub fn enforcements(before: &Enforcements, now: &Enforcements, limited: &[ReservedCgroup]) -> Vec<NodeEvent> {
    let of_pods = Some(&now.qos).filter(|now| **now != before.qos);
    let of_pods = of_pods.and_then(|now| {
        enforcement(
            now,
            || "Updated Node Allocatable limit across pods".to_owned(),
            |cgroup, why| format!("Failed to update Node Allocatable Limits {cgroup:?}: {why}"),
        )
    });
    let of_programs = limited.iter().filter_map(|cgroup| {
        let state = now.reserved.get(&cgroup.owner)?;
        let is_news = before.reserved.get(&cgroup.owner) != Some(state);
        is_news.then_some(())?;
        enforcement(state, || cgroup.success(), |_, why| cgroup.failure(&why))
    });
    of_pods.into_iter().chain(of_programs).collect()
}

fn enforcement(
    state: &Enforcement,
    success: impl Fn() -> String,
    failure: impl Fn(&[String], &str) -> String,
) -> Option<NodeEvent> {
    match state {
        Enforcement::Unset => None,
        Enforcement::Set => Some(normal("NodeAllocatableEnforced", success())),
        Enforcement::Failed { cgroup, why } => Some(NodeEvent {
            kind: EventType::Warning,
            reason: "FailedNodeAllocatableEnforcement",
            message: failure(cgroup, why),
        }),
    }
}

/// The event about the collection of images (`pkg/kubelet/images/image_gc_manager.go`, `pkg/kubelet/kubelet.go`).
pub fn collection(news: &CollectionNews) -> NodeEvent {
    let (reason, message) = match news {
        CollectionNews::InvalidCapacity => ("InvalidDiskCapacity", NO_CAPACITY.to_owned()),
        CollectionNews::Insufficient { wanted, freed } => {
            ("FreeDiskSpaceFailed", wanted.insufficient(*freed))
        }
        CollectionNews::FailedAgain(why) => ("ImageGCFailed", why.clone()),
    };
    NodeEvent {
        kind: EventType::Warning,
        reason,
        message,
    }
}

/// The event that the machine shuts down, or does not shut down after all
/// (`pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go`).
pub fn shutdown(begins: bool) -> NodeEvent {
    let what = match begins {
        true => "event",
        false => "cancellation",
    };
    normal(
        "NodeShutdown",
        format!("Shutdown manager detected shutdown {what}"),
    )
}

/// The event that pods have to give back what the node is short of (`pkg/kubelet/eviction/eviction_manager.go`).
pub fn eviction(starved: Starved) -> NodeEvent {
    NodeEvent {
        kind: EventType::Warning,
        reason: "EvictionThresholdMet",
        message: format!("Attempting to reclaim {}", starved.as_str()),
    }
}

/// The event that the kernel killed a process because the machine was out of memory
/// (`pkg/kubelet/oom/oom_watcher_linux.go`).
pub fn system_kill(kill: &SystemKill) -> NodeEvent {
    let SystemKill { process, pid } = kill;
    NodeEvent {
        kind: EventType::Warning,
        reason: "SystemOOM",
        message: format!("System OOM encountered, victim process: {process}, pid: {pid}"),
    }
}

/// The changes from one report of the node to the next. Pressures are emitted for the first report, too.
pub fn changes(before: Option<&Node>, after: &Node) -> Vec<NodeEvent> {
    let name = after.metadata.name.as_deref().unwrap_or_default();
    conditions(after)
        .iter()
        .filter_map(|condition| {
            let former = before.and_then(|before| of_type(before, &condition.type_));
            let same = former.is_some_and(|former| former.status == condition.status);
            let reason = reason(condition, before.is_none())?;
            (!same).then(|| normal(reason, format!("Node {name} status is now: {reason}")))
        })
        .collect()
}

fn conditions(node: &Node) -> &[NodeCondition] {
    let status = node.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn of_type<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    conditions(node).iter().find(|condition| condition.type_ == kind)
}

/// There is no event about readiness for the first report.
fn reason(condition: &NodeCondition, is_first: bool) -> Option<&'static str> {
    match (condition.type_.as_str(), condition.status == "True") {
        ("Ready", _) if is_first => None,
        ("Ready", true) => Some("NodeReady"),
        ("Ready", false) => Some("NodeNotReady"),
        ("MemoryPressure", true) => Some("NodeHasInsufficientMemory"),
        ("MemoryPressure", false) => Some("NodeHasSufficientMemory"),
        ("DiskPressure", true) => Some("NodeHasDiskPressure"),
        ("DiskPressure", false) => Some("NodeHasNoDiskPressure"),
        ("PIDPressure", true) => Some("NodeHasInsufficientPID"),
        ("PIDPressure", false) => Some("NodeHasSufficientPID"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::collection::WantedRoom;
    use crate::model::reserved_cgroup::{Enforced, ReservedFor};
    use crate::model::resources::Bytes;

    fn node(conditions: &[(&str, &str)]) -> Node {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| serde_json::json!({"type": kind, "status": status}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "vm"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn cgroups_of_version_1_and_volumes_that_may_be_swapped_out_are_warned_about_at_the_start() {
        let reported = |cgroups, swaps_tmpfs| {
            let machine = MachineFacts {
                swaps_tmpfs,
                ..MachineFacts::default()
            };
            let events = starting(cgroups, &machine).into_iter();
            events.map(|event| (event.reason, event.kind)).collect::<Vec<_>>()
        };
        let starting = ("Starting", EventType::Normal);
        let outdated = ("CgroupV1", EventType::Warning);
        let swapped = ("PossibleMemoryBackedVolumesOnDisk", EventType::Warning);
        assert_eq!(reported(CgroupVersion::V2, false), [starting]);
        assert_eq!(reported(CgroupVersion::V1, false), [starting, outdated]);
        assert_eq!(reported(CgroupVersion::V2, true), [starting, swapped]);
        assert_eq!(reported(CgroupVersion::V1, true), [starting, outdated, swapped]);
    }

    fn reasons(before: Option<&Node>, after: &Node) -> Vec<&'static str> {
        let changes = changes(before, after).into_iter();
        changes.map(|event| event.reason).collect()
    }

    fn messages(before: &Enforcements, now: &Enforcements) -> Vec<(EventType, String)> {
        let limited = ReservedCgroup {
            owner: ReservedFor::Kube,
            path: "/kube.slice".to_owned(),
            enforced: Enforced::All,
            amounts: Default::default(),
        };
        let events = enforcements(before, now, &[limited]).into_iter();
        events.map(|event| (event.kind, event.message)).collect()
    }

    #[test]
    fn what_became_of_the_nodes_cgroups_is_an_event_once() {
        let failed = |cgroup: &str, why: &str| Enforcement::Failed {
            cgroup: vec![cgroup.to_owned()],
            why: why.to_owned(),
        };
        let state = |qos, kube| Enforcements {
            qos,
            reserved: [(ReservedFor::Kube, kube)].into(),
        };
        let unset = Enforcements::default();
        let set = state(Enforcement::Set, Enforcement::Set);
        let broken = state(failed("kubepods", "no memory"), failed("kube", "it is gone"));
        assert_eq!(messages(&unset, &unset), []);
        let (normal, warning) = (EventType::Normal, EventType::Warning);
        let expected = [
            (normal, "Updated Node Allocatable limit across pods".to_owned()),
            (
                normal,
                "Updated limits on kube reserved cgroup /kube.slice".to_owned(),
            ),
        ];
        assert_eq!(messages(&unset, &set), expected);
        assert_eq!(messages(&set, &set), []);
        let expected = [
            "Failed to update Node Allocatable Limits [\"kubepods\"]: no memory",
            "Failed to enforce Kube Reserved Cgroup Limits on \"/kube.slice\": it is gone",
        ];
        let expected = expected.map(|message| (warning, message.to_owned()));
        assert_eq!(messages(&set, &broken), expected);
    }

    #[test]
    fn a_collection_that_made_too_little_room_is_told_in_the_kubelets_words() {
        let wanted = WantedRoom {
            bytes: 5 << 30,
            used_percent: 91,
            capacity: Bytes(100 << 30),
        };
        let event = collection(&CollectionNews::Insufficient { wanted, freed: 4096 });
        assert_eq!(event.reason, "FreeDiskSpaceFailed");
        assert_eq!(
            event.message,
            "Insufficient free disk space on the node's image filesystem (91% of 100.0 GiB used). Failed to free \
             sufficient space by deleting unused images (freed 4096 bytes). Investigate disk usage, as it could be used by \
             active images, logs, volumes, or other data."
        );
        let again = collection(&CollectionNews::FailedAgain("read-only".to_owned()));
        assert_eq!(
            (again.reason, again.message.as_str()),
            ("ImageGCFailed", "read-only")
        );
    }

    #[test]
    fn the_first_report_tells_pressures_and_a_change_tells_itself() {
        let starts = node(&[
            ("MemoryPressure", "False"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "False"),
        ]);
        let ready = node(&[
            ("MemoryPressure", "False"),
            ("DiskPressure", "True"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        ]);
        assert_eq!(
            reasons(None, &starts),
            [
                "NodeHasSufficientMemory",
                "NodeHasNoDiskPressure",
                "NodeHasSufficientPID"
            ]
        );
        assert_eq!(
            reasons(Some(&starts), &ready),
            ["NodeHasDiskPressure", "NodeReady"]
        );
        assert_eq!(reasons(Some(&ready), &ready), [""; 0]);
        assert_eq!(
            changes(Some(&ready), &starts)[1],
            normal("NodeNotReady", "Node vm status is now: NodeNotReady".to_owned())
        );
    }
}
