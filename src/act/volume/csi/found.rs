//! What the data files say of the volumes on the node: at the agent's start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::data;
use super::entry::{Device, Effect, Entry, Place};
use crate::act::mount;
use crate::disk::json;
use crate::model::csi_request::{DATA_FILE, LONGEST_DATA, VolumeData, device_dir, devices, plugin_dir};
use crate::model::pod::PodUid;

/// What the data files below the directory say.
pub(super) fn read(root: &Path) -> io::Result<BTreeMap<Device, Entry>> {
    let mut entries = BTreeMap::new();
    let staged = |device: Device, entries: &mut BTreeMap<Device, Entry>| {
        entries.entry(device).or_default().staged = Effect::Unsure;
    };
    for driver in data::names(&plugin_dir(root))? {
        if driver == "volumeDevices" {
            continue;
        }
        let dir = plugin_dir(root).join(&driver);
        for sum in data::names(&dir)? {
            let dir = dir.join(&sum);
            let Some(data) = load(&dir) else {
                remove_rest(&[dir]);
                continue;
            };
            staged(Device::new(data, Place::Files), &mut entries);
        }
    }
    for name in data::names(&devices(root))? {
        match block(root, &name) {
            Some(device) => staged(device, &mut entries),
            // Of these two every device has a part.
            None if ["publish", "staging"].contains(&name.as_str()) => {}
            None => {
                let dir = device_dir(root, &name);
                remove_rest(&[dir.join("data"), dir]);
            }
        }
    }
    let mut are_users_known = true;
    for pod in data::names(&root.join("pods"))? {
        are_users_known &= read_pod(root, &pod, &mut entries)?;
    }
    if !are_users_known {
        // What seems to be unused may be what that pod has.
        entries.retain(|_, entry| !entry.users.is_empty());
    }
    Ok(entries)
}

/// Removes what a former agent, killed meanwhile, was about to remove: the data file goes before its directory.
fn remove_rest(dirs: &[PathBuf]) {
    for dir in dirs {
        if let Err(error) = data::remove_if_empty(dir) {
            tracing::warn!("cannot remove the directory {}: {error}", dir.display());
        }
    }
}

/// Answers whether it is known what all volumes are that are mounted for the pod.
fn read_pod(root: &Path, pod: &str, entries: &mut BTreeMap<Device, Entry>) -> io::Result<bool> {
    let dir = root.join("pods").join(pod);
    let mut add = |device: Device| {
        let users = &mut entries.entry(device).or_default().users;
        users.insert(PodUid(pod.to_owned()), Effect::Unsure);
    };
    let volumes = dir.join("volumes/kubernetes.io~csi");
    let mut are_known = true;
    for name in data::names(&volumes)? {
        let Some(data) = load(&volumes.join(&name)) else {
            let target = volumes.join(&name).join("mount");
            if mount::is_mount_point(&target).unwrap_or(false) {
                tracing::warn!(path = %target.display(), "it is not known what is mounted there, so no volume that \
                 seems unused is taken down");
                are_known = false;
            }
            continue;
        };
        add(Device::new(data, Place::Files));
    }
    for name in data::names(&dir.join("volumeDevices/kubernetes.io~csi"))? {
        if let Some(device) = block(root, &name) {
            add(device);
        }
    }
    Ok(are_known)
}

/// The device of a PersistentVolume, by its data file.
pub(super) fn block(root: &Path, name: &str) -> Option<Device> {
    let data = load(&device_dir(root, name).join("data"))?;
    Some(Device::new(data, Place::Block(name.to_owned())))
}

/// A data file, if there is one that can be read.
pub(super) fn load(dir: &Path) -> Option<VolumeData> {
    json::read(&dir.join(DATA_FILE), LONGEST_DATA).unwrap_or_else(|error| {
        tracing::warn!("cannot read what a volume is: {error}");
        None
    })
}
