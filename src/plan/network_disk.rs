//! Disks of storage networks, named by the pod or by a PersistentVolume (`pkg/volume/iscsi`, `pkg/volume/fc`).

use std::path::PathBuf;

use super::content::Origin;
use super::mount_options;
use crate::model::access::Access;
use crate::model::csi::Attachment;
use crate::model::fc::FcSource;
use crate::model::iscsi::{Credentials, DISCOVERY_KEYS, IscsiDisk, IscsiRecord, IscsiSource, SESSION_KEYS};
use crate::model::local_volume::DEFAULT_FS_TYPE;
use crate::model::network_disk::{DiskPlugin, NamedDisk, NetworkDisk, NetworkDiskDevice, NetworkDiskVolume};
use crate::model::object::kinds::Secret;
use crate::model::object::lookup::Lookup;
use crate::model::persistent::PersistentVolume;
use crate::model::reference;
use crate::model::request::VolumeKind;

/// What says which disk it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum DiskSource<'a> {
    Iscsi(&'a IscsiSource),
    Fc(&'a FcSource),
}

impl DiskSource<'_> {
    pub(super) fn plugin(self) -> DiskPlugin {
        match self {
            DiskSource::Iscsi(_) => DiskPlugin::Iscsi,
            DiskSource::Fc(_) => DiskPlugin::Fc,
        }
    }

    fn handle(self) -> String {
        match self {
            DiskSource::Iscsi(source) => source.handle(),
            DiskSource::Fc(source) => source.handle(),
        }
    }

    fn fs_type(&self) -> &str {
        match self {
            DiskSource::Iscsi(source) => &source.fs_type,
            DiskSource::Fc(source) => &source.fs_type,
        }
    }
}

/// Where it is mounted for the pod; `name` is that of the PersistentVolume, or of the pod's volume.
pub(super) fn path(origin: Origin<'_>, plugin: DiskPlugin, name: &str) -> PathBuf {
    let (volumes, _) = plugin.of_pod(&origin.policy.pod_dir(&origin.pod.uid));
    volumes.join(name)
}

/// The link to it, where it is a device.
pub(super) fn link(origin: Origin<'_>, plugin: DiskPlugin, name: &str) -> PathBuf {
    let (_, devices) = plugin.of_pod(&origin.policy.pod_dir(&origin.pod.uid));
    devices.join(name)
}

/// What is to be made of a disk that the pod itself names.
pub(super) fn inline(origin: Origin<'_>, name: &str, source: DiskSource<'_>, read_only: bool) -> VolumeKind {
    match disk(origin, name, source) {
        Ok(disk) => {
            let disk = NamedDisk {
                disk,
                handle: source.handle(),
                // The controller attaches it, too, and lets every node have it: there is nothing to wait for.
                attaches: false,
            };
            VolumeKind::NetworkDisk(Box::new(mounted(origin, (name, disk), source, (&[], read_only))))
        }
        Err(why) => failed("MountVolume.NewMounter initialization", name, &why),
    }
}

/// What is to be made of a PersistentVolume. It is not attached before the Node's status says that it may be: a volume that
/// one node may write is kept from others so (`VerifyControllerAttachedVolume`).
pub(super) fn persistent(
    origin: Origin<'_>,
    (name, volume): (&str, &PersistentVolume),
    source: DiskSource<'_>,
    read_only: bool,
) -> VolumeKind {
    let (operation, made) = match volume.is_block {
        true => ("MapVolume", "NewBlockVolumeMapper"),
        false => ("MountVolume", "NewMounter"),
    };
    let disk = match disk(origin, name, source) {
        Ok(disk) => NamedDisk {
            disk,
            handle: source.handle(),
            attaches: true,
        },
        Err(why) => return failed(&format!("{operation}.{made} initialization"), name, &why),
    };
    if let Err(why) = attached(origin, source) {
        return failed(&format!("{operation}.WaitForAttach"), name, &why);
    }
    if volume.is_block {
        let plugin = source.plugin();
        let maps = plugin.device_maps(&origin.policy.root_dir);
        return VolumeKind::NetworkDiskDevice(Box::new(NetworkDiskDevice {
            link: link(origin, plugin, name),
            map: maps.join(disk.disk.directory()).join(&origin.pod.uid.0),
            disk,
        }));
    }
    let options = (volume.mount_options.as_slice(), read_only);
    VolumeKind::NetworkDisk(Box::new(mounted(origin, (name, disk), source, options)))
}

fn failed(step: &str, name: &str, why: &str) -> VolumeKind {
    VolumeKind::Missing {
        message: format!("{step} failed for volume {name:?} : {why}"),
    }
}

fn mounted(
    origin: Origin<'_>,
    (name, disk): (&str, NamedDisk),
    source: DiskSource<'_>,
    (options, read_only): (&[String], bool),
) -> NetworkDiskVolume {
    let plugin = source.plugin();
    let security = &origin.pod.security;
    let fs_type = match source.fs_type() {
        "" => DEFAULT_FS_TYPE,
        own => own,
    };
    NetworkDiskVolume {
        global: plugin
            .global_mounts(&origin.policy.root_dir)
            .join(disk.disk.directory()),
        path: path(origin, plugin, name),
        access: match read_only {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        },
        fs_type: fs_type.to_owned(),
        options: mount_options::joined(options),
        group: security
            .fs_group
            .filter(|_| !read_only)
            .map(|group| (group, security.group_change)),
        disk,
    }
}

/// Whether the control plane has attached it.
fn attached(origin: Origin<'_>, source: DiskSource<'_>) -> Result<(), String> {
    let key = reference::disk_attachment(origin.pod, source.plugin().name(), source.handle());
    match origin.objects.attachment(&key) {
        Lookup::Found(Attachment::Attached(_)) => Ok(()),
        Lookup::Found(Attachment::Exhausted(why)) => Err(why.clone()),
        // Nothing is started before there is an answer.
        Lookup::Asked | Lookup::Missing => {
            Err(format!("volume {} is not attached to the node yet", key.volume()))
        }
        Lookup::Unread(why) => Err(why.to_owned()),
    }
}

fn disk(origin: Origin<'_>, name: &str, source: DiskSource<'_>) -> Result<NetworkDisk, String> {
    match source {
        DiskSource::Fc(source) => source.disk().map(NetworkDisk::Fc),
        DiskSource::Iscsi(source) => {
            if let Some(complaint) = source.complaint() {
                return Err(complaint);
            }
            let secret = secret(origin, source)?;
            let credentials = |wanted: bool, keys| {
                let of_secret = |secret| of_keys(secret, keys);
                let none = || Credentials(Vec::new());
                wanted.then(|| secret.map_or_else(none, of_secret))
            };
            Ok(NetworkDisk::Iscsi(IscsiDisk {
                record: IscsiRecord::new(name, source),
                lun: source.lun,
                discovery: credentials(source.discovery_chap, DISCOVERY_KEYS),
                session: credentials(source.session_chap, SESSION_KEYS),
            }))
        }
    }
}

/// What a Secret has of these.
fn of_keys(secret: &Secret, keys: [&'static str; 4]) -> Credentials {
    let values = keys.into_iter().filter_map(|key| {
        let value = secret.data.get(key).filter(|value| !value.0.is_empty())?;
        Some((key, value.clone()))
    });
    Credentials(values.collect())
}

/// The Secret that is needed (`createSecretMap`).
fn secret<'a>(origin: Origin<'a>, source: &IscsiSource) -> Result<Option<&'a Secret>, String> {
    let Some(name) = source.needed_secret() else {
        return Ok(None);
    };
    let name = reference::secret_of_pod(origin.pod, name);
    let why = match origin.objects.secret(&name.namespace, &name.name) {
        Lookup::Found(secret) => return Ok(Some(secret)),
        Lookup::Missing => format!("secrets {:?} not found", name.name),
        Lookup::Unread(why) => why.to_owned(),
        Lookup::Asked => "the API server does not answer".to_owned(),
    };
    Err(format!("couldn't get secret {name} error: {why}"))
}

#[cfg(test)]
mod tests;
