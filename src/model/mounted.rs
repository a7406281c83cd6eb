//! The volumes of drivers that are on the node.

use super::csi::PLUGIN;

/// All of them, by driver and handle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountedVolumes(pub Vec<MountedVolume>);

/// A volume that is staged, or published for a pod, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// The name of the driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
    /// Whether the control plane attaches it; `None`: not known, because a former agent mounted it.
    pub attaches: Option<bool>,
}

impl MountedVolume {
    /// Its name in the Node's status.
    pub fn name(&self) -> String {
        format!("{PLUGIN}/{}^{}", self.driver, self.handle)
    }
}
