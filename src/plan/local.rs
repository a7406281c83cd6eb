//! `local` PersistentVolumes: directories of the node, and its devices, with a file system or as they are
//! (`pkg/volume/local`).

use std::path::{Path, PathBuf};

use super::content::Origin;
use super::mount_options;
use crate::model::access::Access;
use crate::model::local_volume::{
    DEFAULT_FS_TYPE, LocalDevice, LocalVolume, PLUGIN, device_maps, global_mounts, of_pod,
};
use crate::model::persistent::PersistentVolume;
use crate::model::request::VolumeKind;

/// Where it is mounted for the pod.
pub(super) fn path(origin: Origin<'_>, name: &str) -> PathBuf {
    origin.policy.volume_dir(&origin.pod.uid, PLUGIN, name)
}

/// The link to it, where it is a device.
pub(super) fn link(origin: Origin<'_>, name: &str) -> PathBuf {
    let (_, devices) = of_pod(&origin.policy.pod_dir(&origin.pod.uid));
    devices.join(name)
}

/// What is to be made of a directory or a device.
pub(super) fn kind(
    origin: Origin<'_>,
    (name, volume): (&str, &PersistentVolume),
    (source, fs_type): (&Path, Option<&str>),
    read_only: bool,
) -> VolumeKind {
    let root = &origin.policy.root_dir;
    if volume.is_block {
        return VolumeKind::LocalDevice(LocalDevice {
            source: source.to_owned(),
            link: link(origin, name),
            map: device_maps(root).join(name).join(&origin.pod.uid.0),
        });
    }
    let security = &origin.pod.security;
    VolumeKind::Local(Box::new(LocalVolume {
        source: source.to_owned(),
        global: global_mounts(root).join(name),
        path: path(origin, name),
        access: match read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        },
        fs_type: fs_type
            .filter(|own| !own.is_empty())
            .unwrap_or(DEFAULT_FS_TYPE)
            .to_owned(),
        options: mount_options::joined(&volume.mount_options),
        group: security
            .fs_group
            .filter(|_| !read_only)
            .map(|group| (group, security.group_change)),
    }))
}
