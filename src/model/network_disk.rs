//! Disks of storage networks (`iscsi`, `fc`) that pods want, and where their parts are (`pkg/volume/iscsi`,
//! `pkg/volume/fc`).

use std::path::{Path, PathBuf};

use super::access::Access;
use super::fc::{self, FcDisk};
use super::iscsi::{self, IscsiDisk};
use super::local_volume::LocalVolume;
use super::security::GroupChange;

/// The directory of what is mapped, within that of a plugin.
pub const DEVICES: &str = "volumeDevices";

/// The kinds of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskPlugin {
    /// `iscsi`
    Iscsi,
    /// `fc`
    Fc,
}

impl DiskPlugin {
    /// All of them.
    pub const ALL: [DiskPlugin; 2] = [DiskPlugin::Iscsi, DiskPlugin::Fc];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DiskPlugin::Iscsi => iscsi::PLUGIN,
            DiskPlugin::Fc => fc::PLUGIN,
        }
    }

    /// Its directory of what is mounted for the node, below that of the node's state. Within it is [`DEVICES`].
    pub fn global_mounts(self, root: &Path) -> PathBuf {
        root.join("plugins").join(self.name())
    }

    /// Its directory of what is mapped as a device.
    pub fn device_maps(self, root: &Path) -> PathBuf {
        self.global_mounts(root).join(DEVICES)
    }

    /// A pod's directories of volumes and of devices, below its own.
    pub fn of_pod(self, pod: &Path) -> (PathBuf, PathBuf) {
        let escaped = self.name().replace('/', "~");
        (
            pod.join("volumes").join(&escaped),
            pod.join(DEVICES).join(&escaped),
        )
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkDisk {
    /// Of an iSCSI target.
    Iscsi(IscsiDisk),
    /// Of a Fibre Channel target.
    Fc(FcDisk),
}

impl NetworkDisk {
    /// What it is on.
    pub fn plugin(&self) -> DiskPlugin {
        match self {
            NetworkDisk::Iscsi(_) => DiskPlugin::Iscsi,
            NetworkDisk::Fc(_) => DiskPlugin::Fc,
        }
    }

    /// Its directory, below that of what is mounted or mapped.
    pub fn directory(&self) -> PathBuf {
        match self {
            NetworkDisk::Iscsi(disk) => {
                let (interface, disk) = disk.record.directory();
                Path::new(&interface).join(disk)
            }
            NetworkDisk::Fc(disk) => PathBuf::from(disk.directory()),
        }
    }

    /// For people, after `the disk`.
    pub fn text(&self) -> String {
        match self {
            NetworkDisk::Iscsi(disk) => {
                let record = &disk.record;
                format!(
                    "{} of {} at {}",
                    record.lun,
                    record.iqn,
                    record.portals.join(", ")
                )
            }
            NetworkDisk::Fc(disk) => disk.handle(),
        }
    }
}

/// A disk, and what the Node's status calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDisk {
    /// The disk.
    pub disk: NetworkDisk,
    /// Its name in the Node's status, after the plugin.
    pub handle: String,
    /// Whether the control plane attaches it: it is a PersistentVolume.
    pub attaches: bool,
}

/// A disk with a file system for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDiskVolume {
    /// Which.
    pub disk: NamedDisk,
    /// Where it is mounted for the node.
    pub global: PathBuf,
    /// Where it is mounted for the pod.
    pub path: PathBuf,
    /// Whether nothing may be written.
    pub access: Access,
    /// The file system; an empty disk gets one.
    pub fs_type: String,
    /// `mountOptions`
    pub options: Vec<String>,
    /// The group that its files are given to (`fsGroup`), and when.
    pub group: Option<(i64, GroupChange)>,
}

impl NetworkDiskVolume {
    /// The same, once the disk is this device of the node.
    pub fn on(&self, device: PathBuf) -> LocalVolume {
        LocalVolume {
            source: device,
            global: self.global.clone(),
            path: self.path.clone(),
            access: self.access,
            fs_type: self.fs_type.clone(),
            options: self.options.clone(),
            group: self.group,
        }
    }
}

/// A disk that containers have as a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDiskDevice {
    /// Which.
    pub disk: NamedDisk,
    /// The link to it in the pod's directory, which containers get.
    pub link: PathBuf,
    /// Where it is mounted for as long as the pod has it; its name is the pod's UID.
    pub map: PathBuf,
}
