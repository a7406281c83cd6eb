//! What is asked of a CSI driver, and where its volumes are on the node (`pkg/volume/csi`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::csi::{CsiDriver, Lifecycle, sha256};
use super::driver::Driver;
use super::object::content::Content;
use super::persistent::AccessMode;
use super::security::GroupChange;

/// A volume of a driver for a pod, and how it gets there.
#[derive(Debug, Clone, PartialEq)]
pub struct CsiRequest {
    /// The name of the driver.
    pub driver: String,
    /// The driver.
    pub registered: Arc<Driver>,
    /// What the driver calls the volume.
    pub handle: String,
    /// The name of the PersistentVolume, or of the pod's volume.
    pub name: String,
    /// How long it lives.
    pub lifecycle: Lifecycle,
    /// The name of this node.
    pub node: String,
    /// What the container gets.
    pub shape: Shape,
    /// `accessModes[0]`
    pub access: AccessMode,
    /// It is for one pod only (`ReadWriteOncePod`).
    pub is_exclusive: bool,
    /// Nothing may be written.
    pub read_only: bool,
    /// What came of attaching it.
    pub publish_context: BTreeMap<String, String>,
    /// What the driver said of the volume when it made it.
    pub stage_context: BTreeMap<String, String>,
    /// The same with what the driver is told of the pod.
    pub volume_context: BTreeMap<String, Content>,
    /// For staging.
    pub stage_secrets: BTreeMap<String, Content>,
    /// For publishing.
    pub publish_secrets: BTreeMap<String, Content>,
    /// Where it is on the node.
    pub places: CsiPlaces,
    /// The attachment, for who takes it down.
    pub attachment: String,
    /// Whether it is a volume that the control plane attaches.
    pub attaches: bool,
    /// How often it is published while a pod has it.
    pub publishing: Publishing,
}

/// How often a volume is published while a pod has it (`requiresRepublish` of a CSIDriver).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishing {
    /// Once.
    Once,
    /// From time to time.
    Recurring,
    /// The same, and it is time: also if it is published.
    Again,
}

impl Publishing {
    /// As the driver requires it.
    pub fn of(driver: &CsiDriver) -> Publishing {
        match driver.republishes {
            true => Publishing::Recurring,
            false => Publishing::Once,
        }
    }
}

impl CsiRequest {
    /// Where the pod's containers find it on the node.
    pub fn path(&self) -> PathBuf {
        match self.shape {
            Shape::Block => self.places.device_link(&self.name),
            Shape::FileSystem { .. } => self.places.target(&self.name),
        }
    }
}

/// What a container gets of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A device.
    Block,
    /// A directory.
    FileSystem {
        /// `fsType`; empty: the driver's choice.
        fs_type: String,
        /// `mountOptions`
        options: Vec<String>,
        /// The group that the files are given to (`fsGroup`), and when.
        group: Option<(i64, GroupChange)>,
        /// The group that the driver is to give it to.
        delegated: Option<i64>,
    },
}

/// Where volumes of drivers are on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiPlaces {
    /// The directory of the node's state (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// The pod's UID.
    pub pod: String,
}

impl CsiPlaces {
    /// The directory of the volume in the pod's (`volumes/kubernetes.io~csi/<name>`), which has its data file and is the
    /// parent of what is mounted.
    pub fn of_pod(&self, name: &str) -> PathBuf {
        let pod = self.root.join("pods").join(&self.pod);
        pod.join("volumes/kubernetes.io~csi").join(name)
    }

    /// Where a volume with a file system is published.
    pub fn target(&self, name: &str) -> PathBuf {
        self.of_pod(name).join("mount")
    }

    /// The link to a published device, in the pod's directory.
    pub fn device_link(&self, name: &str) -> PathBuf {
        let pod = self.root.join("pods").join(&self.pod);
        pod.join("volumeDevices/kubernetes.io~csi").join(name)
    }

    /// Where a device is published.
    pub fn device_target(&self, name: &str) -> PathBuf {
        devices(&self.root).join("publish").join(name).join(&self.pod)
    }

    /// Where a published device is mounted once more, which keeps the kubelet from taking it for unused.
    pub fn device_map(&self, name: &str) -> PathBuf {
        device_dir(&self.root, name).join("dev").join(&self.pod)
    }
}

/// The directory of the plugin.
pub fn plugin_dir(root: &Path) -> PathBuf {
    root.join("plugins/kubernetes.io/csi")
}

/// The directory of devices.
pub fn devices(root: &Path) -> PathBuf {
    plugin_dir(root).join("volumeDevices")
}

/// The directory of one device: its data file, and where it is mounted.
pub fn device_dir(root: &Path, name: &str) -> PathBuf {
    devices(root).join(name)
}

/// Where a device is staged.
pub fn device_stage(root: &Path, name: &str) -> PathBuf {
    devices(root).join("staging").join(name)
}

/// The directory of a volume with a file system that is staged: its data file, and the directory where it is staged.
pub fn stage_dir(root: &Path, driver: &str, handle: &str) -> PathBuf {
    plugin_dir(root).join(driver).join(sha256(&[handle]))
}

/// Where it is staged in that directory.
pub const GLOBAL_MOUNT: &str = "globalmount";

/// The file that says what a volume is, in the kubelet's format, so that either can take down the other's.
pub const DATA_FILE: &str = "vol_data.json";

/// The most bytes of such a file.
pub const LONGEST_DATA: u64 = 64 << 10;

/// The content of such a file; a missing key is a missing field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeData {
    /// The name of the VolumeAttachment, whether there is one or not.
    #[serde(rename = "attachmentID", skip_serializing_if = "String::is_empty")]
    pub attachment: String,
    /// The name of the driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver_name: String,
    /// The name of the node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// The name of the PersistentVolume, or of the pod's volume.
    #[serde(rename = "specVolID", skip_serializing_if = "String::is_empty")]
    pub spec_name: String,
    /// What the driver calls the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_handle: String,
    /// `Persistent` or `Ephemeral`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_lifecycle_mode: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a recording of the kubelet.
    #[test]
    fn a_volume_is_staged_where_the_kubelet_stages_it() {
        assert_eq!(
            stage_dir(Path::new("/var/lib/kubelet"), "csi.gantry.local", "fs1"),
            Path::new(
                "/var/lib/kubelet/plugins/kubernetes.io/csi/csi.gantry.local/\
                 3f5a0a99ba3b6ff0b6706fe14e20d210a6158b2bd1f910e0b47c288f4ac27e14"
            )
        );
    }

    #[test]
    fn the_data_file_is_the_kubelets() {
        let text = r#"{"attachmentID":"csi-1","driverName":"d","nodeName":"n","specVolID":"pv","volumeHandle":"h","volumeLifecycleMode":"Persistent"}"#;
        let data: VolumeData = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        let of_stage = r#"{"driverName":"d","volumeHandle":"h"}"#;
        let data: VolumeData = serde_json::from_str(of_stage).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), of_stage);
    }
}
