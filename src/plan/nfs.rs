//! Volumes of NFS servers, named by the pod or by a PersistentVolume (`pkg/volume/nfs`). They are given to no group: their
//! files are the server's.

use std::path::PathBuf;

use super::content::Origin;
use super::mount_options;
use crate::model::access::Access;
use crate::model::nfs::{NfsExport, NfsMount};
use crate::model::request::{VolumeKind, set_up_failed};

/// The plugin's name in paths.
const PLUGIN: &str = "kubernetes.io/nfs";

/// Where it is mounted for the pod; `name` is that of the PersistentVolume, or of the pod's volume.
pub(super) fn path(origin: Origin<'_>, name: &str) -> PathBuf {
    origin.policy.volume_dir(&origin.pod.uid, PLUGIN, name)
}

/// What is to be made.
pub(super) fn kind(
    origin: Origin<'_>,
    name: &str,
    export: &NfsExport,
    options: &[String],
    read_only: bool,
) -> VolumeKind {
    match export.source() {
        Ok(source) => VolumeKind::Nfs(NfsMount {
            source,
            path: path(origin, name),
            options: mount_options::joined(options),
            access: match read_only {
                true => Access::ReadOnly,
                false => Access::ReadWrite,
            },
        }),
        Err(why) => VolumeKind::Missing {
            message: set_up_failed(name, why),
        },
    }
}
