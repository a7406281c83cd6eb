//! Which volumes there are on the node, and since when, as the disk and the kernel's table of mounts say. Everything here
//! blocks, but only on the node's own disk: what is mounted is not touched, for it may hang.
//!
//! Since when a volume is there is nowhere written down for that purpose. It is the time of what appears when the volume
//! does and stays as it is until the volume goes, so that it is the same after a restart of the agent, and also for volumes
//! that the kubelet has set up:
//! - what the agent fills itself (emptyDir, configMap, …): the last modification of the file that marks it as ready
//!   (`SetReady` in `pkg/volume/util`);
//! - a volume of a driver: that of the directory in which the driver makes its mount point, and likewise where it is staged;
//! - a device: that of the link in the pod's directory;
//! - a `local` PersistentVolume, a directory of an NFS server, or a disk of a storage network: that of the directory of all such volumes of the pod, which
//!   are mounted together; one of them that is tried again makes all look younger. What is below its own mount cannot be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::disk::{json, mount_points};
use crate::model::csi_request::{
    DATA_FILE, GLOBAL_MOUNT, LONGEST_DATA, VolumeData, device_dir, devices, plugin_dir,
};
use crate::model::pod::PodUid;
use crate::model::volume::ready_mark;
use crate::model::volume_work::Staged;

const CSI: &str = "kubernetes.io~csi";
const LOCAL: &str = "kubernetes.io~local-volume";
const NFS: &str = "kubernetes.io~nfs";
const ISCSI: &str = "kubernetes.io~iscsi";
const FC: &str = "kubernetes.io~fc";

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those of pods: by the directory, or link, within the pod's directory.
    pub(super) pods: BTreeMap<PodUid, BTreeMap<PathBuf, FoundVolume>>,
    /// Those of drivers that are staged, and since when.
    pub(super) staged: BTreeMap<Staged, (PathBuf, Option<Timestamp>)>,
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FoundVolume {
    /// It was set up: what a driver or the agent leaves then is there.
    pub(super) is_made: bool,
    /// Something is mounted at its path.
    pub(super) is_mount_point: bool,
    /// Since when.
    pub(super) since: Option<Timestamp>,
    /// What its driver is asked for.
    pub(super) of_driver: Option<Staged>,
}

/// What is below the node's directory. What cannot be read is not there.
pub(super) fn find(root: &Path) -> Found {
    let table = fs::read(mount_points::TABLE).unwrap_or_default();
    // The table of mounts has no links; an administrator may have moved the directory.
    let pods = root.join("pods");
    let real = fs::canonicalize(&pods).unwrap_or_else(|_| pods.clone());
    let points = mount_points::beneath(&table, &real).into_iter();
    let mounted: BTreeSet<PathBuf> = points
        .filter_map(|point| Some(pods.join(point.strip_prefix(&real).ok()?)))
        .collect();
    let mut found = Found::default();
    for uid in names(&root.join("pods")) {
        let volumes = of_pod(root, &uid, &mounted);
        if !volumes.is_empty() {
            found.pods.insert(PodUid(uid), volumes);
        }
    }
    for driver in names(&plugin_dir(root)) {
        let dir = plugin_dir(root).join(&driver);
        for sum in names(&dir).into_iter().filter(|_| driver != "volumeDevices") {
            let dir = dir.join(&sum);
            if let Some(volume) = data(&dir) {
                let since = modified(&dir);
                found.staged.insert(volume, (dir.join(GLOBAL_MOUNT), since));
            }
        }
    }
    for name in names(&devices(root)) {
        let dir = device_dir(root, &name);
        if let Some(volume) = data(&dir.join("data")) {
            let since = modified(&dir.join("data").join(DATA_FILE));
            found.staged.insert(volume, (dir, since));
        }
    }
    found
}

fn of_pod(root: &Path, uid: &str, mounted: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, FoundVolume> {
    let pod = root.join("pods").join(uid);
    let mut found = BTreeMap::new();
    for plugin in names(&pod.join("volumes")) {
        let of_plugin = Path::new("volumes").join(&plugin);
        for name in names(&pod.join(&of_plugin)) {
            let within = of_plugin.join(&name);
            let path = pod.join(&within);
            let volume = match plugin.as_str() {
                CSI => FoundVolume {
                    // A driver makes it when it publishes the volume, and removes it when it takes the volume back.
                    is_made: names(&path).iter().any(|name| name == "mount"),
                    is_mount_point: mounted.contains(&path.join("mount")),
                    since: modified(&path),
                    of_driver: data(&path),
                },
                LOCAL | NFS | ISCSI | FC => FoundVolume {
                    is_made: mounted.contains(&path),
                    is_mount_point: mounted.contains(&path),
                    since: modified(&pod.join(&of_plugin)),
                    of_driver: None,
                },
                _ => {
                    let since = modified(&ready_mark(&path));
                    FoundVolume {
                        is_made: since.is_some(),
                        is_mount_point: mounted.contains(&path),
                        since,
                        of_driver: None,
                    }
                }
            };
            found.insert(within, volume);
        }
    }
    for plugin in [CSI, LOCAL, ISCSI, FC] {
        let of_devices = Path::new("volumeDevices").join(plugin);
        for name in names(&pod.join(&of_devices)) {
            let within = of_devices.join(&name);
            let of_driver = match plugin {
                CSI => data(&device_dir(root, &name).join("data")),
                _ => None,
            };
            let volume = FoundVolume {
                is_made: true,
                is_mount_point: false,
                since: modified(&pod.join(&within)),
                of_driver,
            };
            found.insert(within, volume);
        }
    }
    found
}

/// What a data file in this directory says.
fn data(directory: &Path) -> Option<Staged> {
    let data: VolumeData = json::read(&directory.join(DATA_FILE), LONGEST_DATA).ok()??;
    Some(Staged {
        driver: data.driver_name,
        handle: data.volume_handle,
    })
}

/// When a file, a link or a directory was changed last.
fn modified(path: &Path) -> Option<Timestamp> {
    let time = fs::symlink_metadata(path).ok()?.modified().ok()?;
    Timestamp::try_from(time).ok()
}

/// What is in a directory; nothing if there is none. No entry is looked at.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_found_with_since_when_they_are_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let data = r#"{"driverName":"d","volumeHandle":"h"}"#;
        for directory in [
            "pods/u1/volumes/kubernetes.io~empty-dir/made",
            "pods/u1/plugins/kubernetes.io~empty-dir/made",
            "pods/u1/volumes/kubernetes.io~empty-dir/half",
            "pods/u1/volumes/kubernetes.io~configmap/conf",
            "pods/u1/plugins/kubernetes.io~empty-dir/wrapped_conf",
            "pods/u1/volumes/kubernetes.io~csi/pv/mount",
            "pods/u1/volumes/kubernetes.io~csi/begun",
            "pods/u1/volumes/kubernetes.io~local-volume/disk",
            "pods/u1/volumes/kubernetes.io~nfs/share",
            "pods/u2/volumeDevices/kubernetes.io~csi",
            "pods/u2/volumeDevices/kubernetes.io~local-volume",
            "plugins/kubernetes.io/csi/d/sum",
            "plugins/kubernetes.io/csi/volumeDevices/raw/data",
        ] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in [
            "pods/u1/plugins/kubernetes.io~empty-dir/made/ready",
            "pods/u1/plugins/kubernetes.io~empty-dir/wrapped_conf/ready",
        ] {
            fs::write(at(file), "").unwrap();
        }
        fs::write(at("pods/u1/volumes/kubernetes.io~csi/pv/vol_data.json"), data).unwrap();
        fs::write(at("plugins/kubernetes.io/csi/d/sum/vol_data.json"), data).unwrap();
        let block = data.replace("\"h\"", "\"raw\"");
        fs::write(
            at("plugins/kubernetes.io/csi/volumeDevices/raw/data/vol_data.json"),
            block,
        )
        .unwrap();
        for link in ["kubernetes.io~csi/raw", "kubernetes.io~local-volume/disk"] {
            let link = at("pods/u2/volumeDevices").join(link);
            std::os::unix::fs::symlink("/nowhere", link).unwrap();
        }

        let found = find(root.path());
        let seen: Vec<String> = found
            .pods
            .iter()
            .flat_map(|(uid, volumes)| volumes.iter().map(move |one| (uid, one)))
            .map(|(uid, (within, volume))| {
                let driver = volume.of_driver.as_ref().map(|of| of.handle.as_str());
                let (is_made, has_time) = (volume.is_made, volume.since.is_some());
                format!("{} {} {is_made} {has_time} {driver:?}", uid.0, within.display())
            })
            .collect();
        let want = [
            "u1 volumes/kubernetes.io~configmap/conf true true None",
            "u1 volumes/kubernetes.io~csi/begun false true None",
            "u1 volumes/kubernetes.io~csi/pv true true Some(\"h\")",
            "u1 volumes/kubernetes.io~empty-dir/half false false None",
            "u1 volumes/kubernetes.io~empty-dir/made true true None",
            "u1 volumes/kubernetes.io~local-volume/disk false true None",
            "u1 volumes/kubernetes.io~nfs/share false true None",
            "u2 volumeDevices/kubernetes.io~csi/raw true true Some(\"raw\")",
            "u2 volumeDevices/kubernetes.io~local-volume/disk true true None",
        ];
        assert_eq!(seen, want);
        let staged: Vec<&str> = found.staged.keys().map(|staged| staged.handle.as_str()).collect();
        assert_eq!(staged, ["h", "raw"]);
        // What changes within a volume does not make it younger.
        let since = |found: &Found| {
            let of_pod = &found.pods[&PodUid("u1".to_owned())];
            of_pod[Path::new("volumes/kubernetes.io~csi/pv")].since
        };
        fs::write(at("pods/u1/volumes/kubernetes.io~csi/pv/mount/new"), "").unwrap();
        assert_eq!(since(&find(root.path())), since(&found));
        assert!(find(&at("nothing")).pods.is_empty());
    }
}
