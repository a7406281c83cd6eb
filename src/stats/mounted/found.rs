//! The volumes that are mounted for pods, as the directories of the pods have them. Everything here blocks, but only on
//! the node's own disk: what is mounted is not touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::json;
use crate::model::csi_request::{CsiPlaces, DATA_FILE, LONGEST_DATA, VolumeData, device_dir};
use crate::model::pod::PodUid;
use crate::model::stats::MountedPlugin;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) pod: PodUid,
    pub(super) plugin: MountedPlugin,
    /// The PersistentVolume, or the pod's own volume.
    pub(super) name: String,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Its driver, and what that calls it.
    pub(super) of_driver: Option<(String, String)>,
}

/// What the node itself mounts, by the directories of the plugins.
const OF_NODE: [(&str, MountedPlugin); 4] = [
    ("kubernetes.io~local-volume", MountedPlugin::Local),
    ("kubernetes.io~nfs", MountedPlugin::Nfs),
    ("kubernetes.io~iscsi", MountedPlugin::Iscsi),
    ("kubernetes.io~fc", MountedPlugin::Fc),
];

/// The volumes of all pods below the node's directory.
pub(super) fn find(root: &Path) -> BTreeMap<Key, Found> {
    let mut all = BTreeMap::new();
    for (uid, pod) in entries(&root.join("pods")) {
        let mut put = |plugin, name: String, found: Option<Found>| {
            let pod = PodUid(uid.clone());
            if let Some(found) = found {
                all.insert(Key { pod, plugin, name }, found);
            }
        };
        for (directory, plugin) in OF_NODE {
            for (name, path) in entries(&pod.join("volumes").join(directory)) {
                let found = Found {
                    path,
                    of_driver: None,
                };
                put(plugin, name, Some(found));
            }
        }
        let places = CsiPlaces {
            root: root.to_owned(),
            pod: uid.clone(),
        };
        for (name, directory) in entries(&pod.join("volumes/kubernetes.io~csi")) {
            let found = of_driver(&directory, places.target(&name));
            put(MountedPlugin::Csi, name, found);
        }
        for (name, _) in entries(&pod.join("volumeDevices/kubernetes.io~csi")) {
            let found = of_driver(&device_dir(root, &name).join("data"), places.device_target(&name));
            put(MountedPlugin::CsiDevice, name, found);
        }
    }
    all
}

/// A driver's volume, as the data file in this directory names it.
fn of_driver(directory: &Path, path: PathBuf) -> Option<Found> {
    let data: VolumeData = json::read(&directory.join(DATA_FILE), LONGEST_DATA).ok()??;
    Some(Found {
        path,
        of_driver: Some((data.driver_name, data.volume_handle)),
    })
}

/// What is in a directory; nothing if there is none. No entry is looked at: a mount may hang.
fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_found_where_the_kubelet_puts_them() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let data = r#"{"driverName":"d","specVolID":"pv","volumeHandle":"h"}"#;
        for directory in [
            "pods/u1/volumes/kubernetes.io~local-volume/disk",
            "pods/u1/volumes/kubernetes.io~nfs/shared",
            "pods/u1/volumes/kubernetes.io~empty-dir/scratch",
            "pods/u1/volumes/kubernetes.io~csi/pv",
            "pods/u1/volumes/kubernetes.io~csi/half",
            "pods/u2/volumeDevices/kubernetes.io~csi/raw",
            "plugins/kubernetes.io/csi/volumeDevices/raw/data",
        ] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("pods/u1/volumes/kubernetes.io~csi/pv/vol_data.json"), data).unwrap();
        fs::write(
            at("plugins/kubernetes.io/csi/volumeDevices/raw/data/vol_data.json"),
            data,
        )
        .unwrap();
        let found = find(root.path());
        let seen: Vec<(String, String, bool)> = found
            .into_iter()
            .map(|(key, found)| {
                let path = found
                    .path
                    .strip_prefix(root.path())
                    .unwrap()
                    .display()
                    .to_string();
                let is_drivers = found.of_driver == Some(("d".to_owned(), "h".to_owned()));
                (
                    format!("{} {:?} {}", key.pod.0, key.plugin, key.name),
                    path,
                    is_drivers,
                )
            })
            .collect();
        let want = [
            (
                "u1 Local disk",
                "pods/u1/volumes/kubernetes.io~local-volume/disk",
                false,
            ),
            ("u1 Nfs shared", "pods/u1/volumes/kubernetes.io~nfs/shared", false),
            ("u1 Csi pv", "pods/u1/volumes/kubernetes.io~csi/pv/mount", true),
            (
                "u2 CsiDevice raw",
                "plugins/kubernetes.io/csi/volumeDevices/publish/raw/u2",
                true,
            ),
        ];
        assert_eq!(
            seen,
            want.map(|(key, path, is)| (key.to_owned(), path.to_owned(), is))
        );
        assert_eq!(find(&at("nothing")), BTreeMap::new());
    }
}
