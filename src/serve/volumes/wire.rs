//! Volumes as the client reads them. What is not known is absent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The volumes of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumeList {
    /// Those of pods, in the order of the pods' names, then those that no pod uses.
    pub items: Vec<ListedVolume>,
}

/// A volume of a pod, or one that is staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedVolume {
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's UID; absent if no pod uses the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Its name in the pod. Of a volume whose pod is not known any more, the name of its directory; of one that no pod
    /// uses, what its driver calls it.
    pub name: String,
    /// `emptyDir`, `configMap`, `csi/<driver>`, …: of a claim, the type of the PersistentVolume behind it.
    pub kind: String,
    /// What it is of: the name of a ConfigMap, `claim data (pv-1)`, an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How it is.
    pub state: VolumeState,
    /// What it waits for, or why it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when it is so, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Where it is on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where containers have it.
    pub mounts: Vec<ContainerMount>,
    /// Its size in bytes, if it has one of its own and that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// How much of that is used, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// How a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeState {
    /// It is there for the pod's containers.
    Mounted,
    /// It is being set up.
    Waiting,
    /// It could not be set up, which is repeated.
    Failed,
    /// Nothing has been done for it yet.
    Pending,
    /// No container of the pod mounts it, so it is not set up.
    Unused,
    /// It is being taken down.
    Removing,
    /// It is gone: the pod has ended, or is being removed.
    Removed,
    /// It is on the node for no pod, and is to be unstaged.
    Staged,
}

impl VolumeState {
    /// In a table.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeState::Mounted => "Mounted",
            VolumeState::Waiting => "Waiting",
            VolumeState::Failed => "Failed",
            VolumeState::Pending => "Pending",
            VolumeState::Unused => "Unused",
            VolumeState::Removing => "Removing",
            VolumeState::Removed => "Removed",
            VolumeState::Staged => "Staged",
        }
    }
}

/// Where a container has a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerMount {
    /// The container's name.
    pub container: String,
    /// Where in the container.
    pub path: String,
    /// Whether the container can only read it.
    pub read_only: bool,
    /// The part of the volume (`subPath` or `subPathExpr`); absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Whether it is a device instead of a directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_device: bool,
}
