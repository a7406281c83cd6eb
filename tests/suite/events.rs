//! The kubelet's events, one by one (`pkg/kubelet/events/event.go`, v1.36), and where they are reported here.

use std::collections::BTreeSet;
use std::path::Path;

/// What becomes of an event.
enum Here {
    /// It is made in this file below `src`, where these words are.
    Made(&'static str, &'static str),
    /// Its situation does not exist, for this reason.
    Never(&'static str),
    /// It comes with this capability, which is not there yet.
    With(&'static str),
}

use Here::{Made, Never, With};

const POD: &str = "status/events.rs";
const NODE: &str = "status/node_events.rs";
const REASON: &str = "model/reason.rs";
const RESIZE: &str = "status/resize.rs";

/// The kubelet's name of the event, the reason that people see, and what becomes of it.
const EVENTS: &[(&str, &str, Here)] = &[
    ("CreatedContainer", "Created", Made(POD, "\"Created\"")),
    ("StartedContainer", "Started", Made(POD, "\"Started\"")),
    (
        "FailedToCreateContainer",
        "Failed",
        Made(
            POD,
            "StepKind::CreateContainer | StepKind::StartContainer => vec![failed",
        ),
    ),
    (
        "FailedToStartContainer",
        "Failed",
        Made(
            POD,
            "StepKind::CreateContainer | StepKind::StartContainer => vec![failed",
        ),
    ),
    ("KillingContainer", "Killing", Made(POD, "normal(\"Killing\"")),
    (
        "PreemptContainer",
        "Preempting",
        Made("status/end_events.rs", "End::Preempted"),
    ),
    (
        "BackOffStartContainer",
        "BackOff",
        Made(POD, "\"Back-off restarting failed container"),
    ),
    (
        "ExceededGracePeriod",
        "ExceededGracePeriod",
        Made("status/end_events.rs", "\"ExceededGracePeriod\""),
    ),
    (
        "FailedToKillPod",
        "FailedKillPod",
        Made(REASON, "\"FailedKillPod\""),
    ),
    (
        "FailedToCreatePodContainer",
        "FailedCreatePodContainer",
        Made(REASON, "\"FailedCreatePodContainer\""),
    ),
    (
        "FailedToMakePodDataDirectories",
        "Failed",
        Made("act/pod_dir.rs", "FAILED_MAKE_DIRS"),
    ),
    (
        "NetworkNotReady",
        "NetworkNotReady",
        Made(POD, "\"NetworkNotReady\""),
    ),
    ("ResizeDeferred", "ResizeDeferred", Made(POD, "\"Resize{}\"")),
    ("ResizeInfeasible", "ResizeInfeasible", Made(POD, "\"Resize{}\"")),
    (
        "ResizeCompleted",
        "ResizeCompleted",
        Made(RESIZE, "\"ResizeCompleted\""),
    ),
    (
        "ResizeStarted",
        "ResizeStarted",
        Made(RESIZE, "\"ResizeStarted\""),
    ),
    ("ResizeError", "ResizeError", Made(REASON, "\"ResizeError\"")),
    (
        "FailedNodeDeclaredFeaturesCheck",
        "FailedNodeDeclaredFeaturesCheck",
        With("features that a node declares"),
    ),
    ("PullingImage", "Pulling", Made(POD, "\"Pulling\"")),
    ("PulledImage", "Pulled", Made(POD, "\"Pulled\"")),
    ("FailedToPullImage", "Failed", Made(POD, "\"Failed to pull image")),
    (
        "FailedToInspectImage",
        "InspectFailed",
        Made(POD, "\"InspectFailed\""),
    ),
    (
        "ErrImageNeverPullPolicy",
        "ErrImageNeverPull",
        Made(REASON, "\"ErrImageNeverPull\""),
    ),
    (
        "BackOffPullImage",
        "BackOff",
        Made(POD, "\"Back-off pulling image"),
    ),
    ("NodeReady", "NodeReady", Made(NODE, "\"NodeReady\"")),
    ("NodeNotReady", "NodeNotReady", Made(NODE, "\"NodeNotReady\"")),
    (
        "NodeSchedulable",
        "NodeSchedulable",
        Made("publish/node_events.rs", "\"NodeSchedulable\""),
    ),
    (
        "NodeNotSchedulable",
        "NodeNotSchedulable",
        Made("publish/node_events.rs", "\"NodeNotSchedulable\""),
    ),
    ("StartingKubelet", "Starting", Made(NODE, "\"Starting\"")),
    (
        "KubeletSetupFailed",
        "KubeletSetupFailed",
        Never("what the agent cannot set up ends its start, with the reason in the log"),
    ),
    (
        "FailedAttachVolume",
        "FailedAttachVolume",
        With("volumes that are attached to a node"),
    ),
    (
        "FailedMountVolume",
        "FailedMount",
        Made(REASON, "\"FailedMount\""),
    ),
    (
        "VolumeResizeFailed",
        "VolumeResizeFailed",
        Made(REASON, "\"VolumeResizeFailed\""),
    ),
    (
        "VolumeResizeSuccess",
        "VolumeResizeSuccessful",
        With("enlarging volumes while they are mounted first"),
    ),
    (
        "FileSystemResizeFailed",
        "FileSystemResizeFailed",
        With("persistent volumes"),
    ),
    (
        "VolumePermissionChangeInProgress",
        "VolumePermissionChangeInProgress",
        With("persistent volumes"),
    ),
    (
        "FileSystemResizeSuccess",
        "FileSystemResizeSuccessful",
        Made(POD, "\"FileSystemResizeSuccessful\""),
    ),
    (
        "FailedMapVolume",
        "FailedMapVolume",
        Made(REASON, "\"FailedMapVolume\""),
    ),
    (
        "WarnAlreadyMountedVolume",
        "AlreadyMountedVolume",
        With("persistent volumes"),
    ),
    (
        "SuccessfulAttachVolume",
        "SuccessfulAttachVolume",
        With("volumes that are attached to a node"),
    ),
    (
        "SuccessfulMountVolume",
        "SuccessfulMountVolume",
        Made(POD, "\"SuccessfulMountVolume\""),
    ),
    (
        "NodeRebooted",
        "Rebooted",
        Made("publish/node_events.rs", "\"Rebooted\""),
    ),
    (
        "NodeShutdown",
        "Shutdown",
        With("the graceful shutdown of a node"),
    ),
    (
        "ContainerGCFailed",
        "ContainerGCFailed",
        Never("dead containers are removed pod by pod; a failure is its FailedKillPod"),
    ),
    ("ImageGCFailed", "ImageGCFailed", Made(NODE, "\"ImageGCFailed\"")),
    (
        "FailedNodeAllocatableEnforcement",
        "FailedNodeAllocatableEnforcement",
        Made(NODE, "\"FailedNodeAllocatableEnforcement\""),
    ),
    (
        "SuccessfulNodeAllocatableEnforcement",
        "NodeAllocatableEnforced",
        Made(NODE, "\"NodeAllocatableEnforced\""),
    ),
    (
        "SandboxChanged",
        "SandboxChanged",
        Made(POD, "\"SandboxChanged\""),
    ),
    (
        "FailedCreatePodSandBox",
        "FailedCreatePodSandBox",
        Made(REASON, "\"FailedCreatePodSandBox\""),
    ),
    (
        "FailedStatusPodSandBox",
        "FailedPodSandBoxStatus",
        Made(REASON, "\"FailedPodSandBoxStatus\""),
    ),
    (
        "FailedMountOnFilesystemMismatch",
        "FailedMountOnFilesystemMismatch",
        With("persistent volumes"),
    ),
    (
        "FailedPrepareDynamicResources",
        "FailedPrepareDynamicResources",
        With("dynamic resources"),
    ),
    (
        "PossibleMemoryBackedVolumesOnDisk",
        "PossibleMemoryBackedVolumesOnDisk",
        Made(NODE, "\"PossibleMemoryBackedVolumesOnDisk\""),
    ),
    ("CgroupV1", "CgroupV1", Made(NODE, "\"CgroupV1\"")),
    (
        "InvalidImageID",
        "InvalidImageID",
        Never("an ID is only taken apart with the feature gate RuntimeClassInImageCriAPI"),
    ),
    (
        "InvalidDiskCapacity",
        "InvalidDiskCapacity",
        Made(NODE, "\"InvalidDiskCapacity\""),
    ),
    (
        "FreeDiskSpaceFailed",
        "FreeDiskSpaceFailed",
        Made(NODE, "\"FreeDiskSpaceFailed\""),
    ),
    (
        "ContainerUnhealthy",
        "Unhealthy",
        Made("observe/probe/mod.rs", "\"Unhealthy\""),
    ),
    (
        "ContainerProbeWarning",
        "ProbeWarning",
        Made("observe/probe/mod.rs", "\"ProbeWarning\""),
    ),
    ("FailedSync", "FailedSync", Made(REASON, "\"FailedSync\"")),
    (
        "FailedValidation",
        "FailedValidation",
        Made(REASON, "\"FailedValidation\""),
    ),
    (
        "FailedPostStartHook",
        "FailedPostStartHook",
        Made(POD, "\"FailedPostStartHook\""),
    ),
    (
        "FailedPreStopHook",
        "FailedPreStopHook",
        Made(POD, "\"FailedPreStopHook\""),
    ),
];

/// Events whose reasons the kubelet has beside the code that makes them, and the kubelet's file.
const BESIDE: &[(&str, &str, Here)] = &[
    (
        "pkg/kubelet/oom/oom_watcher_linux.go",
        "SystemOOM",
        Made(NODE, "\"SystemOOM\""),
    ),
    (
        "pkg/kubelet/eviction/eviction_manager.go",
        "EvictionThresholdMet",
        Made(NODE, "\"EvictionThresholdMet\""),
    ),
];

/// How many names `event.go` has.
const COUNT: usize = 63;

#[test]
fn every_event_of_the_kubelet_is_made_where_the_table_says_or_has_a_reason_not_to_be() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names: BTreeSet<&str> = EVENTS.iter().map(|(name, _, _)| *name).collect();
    assert_eq!((EVENTS.len(), names.len()), (COUNT, COUNT));
    let mut wrong = Vec::new();
    for (name, reason, here) in EVENTS.iter().chain(BESIDE) {
        match here {
            Made(file, words) => {
                let text = std::fs::read_to_string(src.join(file)).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                if !code.contains(words) {
                    wrong.push(format!("{name} ({reason}): {file} has no {words}"));
                }
            }
            Never(why) | With(why) => {
                // Else the reason why there is none is out of date.
                let literal = format!("\"{reason}\"");
                let made = [POD, NODE, REASON, RESIZE, "publish/node_events.rs"];
                let is_made = made.iter().any(|file| {
                    let text = std::fs::read_to_string(src.join(file)).unwrap();
                    text.split("#[cfg(test)]")
                        .next()
                        .unwrap_or_default()
                        .contains(&literal)
                });
                if is_made || why.is_empty() {
                    wrong.push(format!("{name} ({reason}) is made after all: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
