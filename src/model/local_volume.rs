//! What is asked of the node for a `local` PersistentVolume (documentation: *Volumes, local*), and where its parts are
//! (`pkg/volume/local`).

use std::path::{Path, PathBuf};

use super::access::Access;
use super::security::GroupChange;

/// The plugin's name in paths.
pub const PLUGIN: &str = "kubernetes.io/local-volume";

/// The file system of a device that has none, where the volume names none.
pub const DEFAULT_FS_TYPE: &str = "ext4";

/// A directory, or a device with a file system, for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalVolume {
    /// The directory or the device.
    pub source: PathBuf,
    /// Where a device is mounted for the node.
    pub global: PathBuf,
    /// Where it is mounted for the pod.
    pub path: PathBuf,
    /// Whether nothing may be written.
    pub access: Access,
    /// The file system of a device; an empty one is made so.
    pub fs_type: String,
    /// `mountOptions`
    pub options: Vec<String>,
    /// The group that its files are given to (`fsGroup`), and when.
    pub group: Option<(i64, GroupChange)>,
}

/// A device that containers have as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDevice {
    /// The device.
    pub source: PathBuf,
    /// The link to it in the pod's directory, which containers get.
    pub link: PathBuf,
    /// Where it is mounted for as long as the pod has it; its name is the pod's UID.
    pub map: PathBuf,
}

/// The directory of what devices with file systems are mounted on, below that of the node's state.
pub fn global_mounts(root: &Path) -> PathBuf {
    root.join("plugins").join(PLUGIN).join("mounts")
}

/// The directory of what devices are mounted on as such, each in a directory of its PersistentVolume. Here the kubelet
/// escapes the plugin's name.
pub fn device_maps(root: &Path) -> PathBuf {
    root.join("plugins").join(escaped()).join("volumeDevices")
}

fn escaped() -> String {
    PLUGIN.replace('/', "~")
}

/// A pod's directories of volumes and of devices, below its own.
pub fn of_pod(pod: &Path) -> (PathBuf, PathBuf) {
    (
        pod.join("volumes").join(escaped()),
        pod.join("volumeDevices").join(escaped()),
    )
}
