//! The volumes of drivers, and the disks of storage networks, that are on the node.

use super::csi::reported_name;

/// Those of one kind, by driver and handle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountedVolumes(pub Vec<MountedVolume>);

/// A volume that is staged, attached, or published for a pod, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// The name of the driver; without one that of the plugin.
    pub driver: String,
    /// What the driver, or the plugin, calls the volume.
    pub handle: String,
    /// Whether the control plane attaches it; `None`: not known, because a former agent mounted it.
    pub attaches: Option<bool>,
}

impl MountedVolume {
    /// Its name in the Node's status.
    pub fn name(&self) -> String {
        reported_name(&self.driver, &self.handle)
    }
}
