//! The volumes of drivers that are on the node.

use jiff::Timestamp;

use super::csi::PLUGIN;
use super::pod::PodUid;

/// All of them, by driver and handle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountedVolumes(pub Vec<MountedVolume>);

/// A volume of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// The name of the driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
    /// It is a device.
    pub is_block: bool,
    /// Whether the control plane attaches it; `None`: not known, because a former agent staged it.
    pub attaches: Option<bool>,
    /// It is staged, or may be.
    pub is_staged: bool,
    /// The pods that use it, or wait for it.
    pub users: Vec<VolumeUse>,
}

impl MountedVolume {
    /// Its name in the Node's status.
    pub fn name(&self) -> String {
        format!("{PLUGIN}/{}^{}", self.driver, self.handle)
    }
}

/// A pod that uses a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// The pod.
    pub pod: PodUid,
    /// The name of the volume in the pod's directory: the PersistentVolume's, or that in the pod.
    pub name: String,
    /// It is there for the pod.
    pub is_published: bool,
    /// Since when.
    pub since: Timestamp,
}
