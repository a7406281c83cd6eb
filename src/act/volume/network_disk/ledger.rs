//! Which disks of storage networks are on the node: their directories, whose names say which they are, and the kubelet's record
//! of what was attached for each. A record is written before a disk is attached and removed after it was detached, so that an
//! agent that is killed between the two leaves nothing attached of which nobody knows. All of it blocks.

use std::io;
use std::path::{Path, PathBuf};

use crate::act::mount;
use crate::act::volume::csi::data;
use crate::disk::json;
use crate::disk::write::{self, Writing, remove_if_there};
use crate::model::fc::FcDisk;
use crate::model::iscsi::{IscsiRecord, LONGEST_RECORD, RECORD};
use crate::model::network_disk::{DEVICES, DiskPlugin};

/// The directory of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiskDir {
    /// Where it is.
    pub(super) dir: PathBuf,
    pub(super) plugin: DiskPlugin,
    pub(super) shape: Shape,
    /// Which disk, as the name says.
    pub(super) id: DiskId,
}

/// What a disk is for pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is mounted on its directory.
    Mounted,
    /// Its directory has a file for each pod, on which the device is mounted.
    Mapped,
}

/// Which disk it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DiskId {
    /// One of an iSCSI target.
    Iscsi(IscsiRecord),
    /// One of a Fibre Channel target.
    Fc(FcDisk),
}

/// All of them below the directory of the node's state.
pub(super) fn directories(root: &Path) -> io::Result<Vec<DiskDir>> {
    let mut all = Vec::new();
    for plugin in DiskPlugin::ALL {
        for (dir, shape) in [
            (plugin.global_mounts(root), Shape::Mounted),
            (plugin.device_maps(root), Shape::Mapped),
        ] {
            for (dir, id) in disks_in(&dir, plugin)? {
                all.push(DiskDir {
                    dir,
                    plugin,
                    shape,
                    id,
                });
            }
        }
    }
    Ok(all)
}

/// Those in one directory. What has no such name is somebody else's.
fn disks_in(dir: &Path, plugin: DiskPlugin) -> io::Result<Vec<(PathBuf, DiskId)>> {
    let mut found = Vec::new();
    for name in data::names(dir)?.into_iter().filter(|name| name != DEVICES) {
        let own = dir.join(&name);
        match plugin {
            DiskPlugin::Fc => found.extend(FcDisk::of_directory(&name).map(|disk| (own, DiskId::Fc(disk)))),
            DiskPlugin::Iscsi => {
                for disk in data::names(&own)? {
                    let record = IscsiRecord::of_directory(&name, &disk);
                    found.extend(record.map(|record| (own.join(disk), DiskId::Iscsi(record))));
                }
            }
        }
    }
    Ok(found)
}

/// Writes the record into the directory of a disk, on which nothing is mounted; creates the directory.
pub(super) fn save(dir: &Path, record: &IscsiRecord) -> io::Result<()> {
    let writing = Writing {
        directories: 0o750,
        ..Writing::within_umask()
    };
    write::write(&dir.join(RECORD), &serde_json::to_vec(record)?, writing)
}

/// The record in the directory of a disk; `None`: there is none.
pub(super) fn read(dir: &Path) -> io::Result<Option<IscsiRecord>> {
    json::read(&dir.join(RECORD), LONGEST_RECORD)
}

/// Removes the directory of a disk that is detached. What else is in it is nobody's that is known here, and keeps it.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    if mount::is_mount_point(dir).is_ok_and(|is| !is) {
        remove_if_there(&dir.join(RECORD))?;
    }
    data::remove_mount_dir(dir)?.refused(dir)?;
    match dir.parent() {
        // That of the interface.
        Some(parent)
            if parent
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("iface-")) =>
        {
            data::remove_if_empty(parent)
        }
        _ => Ok(()),
    }
}

/// The pods that have a mapped disk, by the files in its directory.
pub(super) fn mapped_for(dir: &Path) -> io::Result<Vec<String>> {
    let names = data::names(dir)?.into_iter();
    Ok(names.filter(|name| name != RECORD).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::iscsi::IscsiSource;

    #[test]
    fn disks_are_found_where_the_kubelet_puts_them() {
        let root = tempfile::tempdir().unwrap();
        let below = |path: &str| root.path().join("plugins/kubernetes.io").join(path);
        let disk = "192.0.2.7:3260-iqn.2001-04.com.example:a-lun-1";
        let iscsi = format!("iscsi/iface-default/{disk}");
        let raw = format!("iscsi/volumeDevices/iface-default/{disk}");
        for dir in [
            &iscsi,
            &raw,
            "fc/50060e80-lun-0",
            "fc/volumeDevices/3600508",
            "iscsi/iface-default/other",
        ] {
            fs::create_dir_all(below(dir)).unwrap();
        }
        fs::write(below(&raw).join("u1"), "").unwrap();
        let found = directories(root.path()).unwrap();
        let mut seen: Vec<_> = found
            .iter()
            .map(|own| {
                (
                    own.dir.strip_prefix(below("")).unwrap().display().to_string(),
                    own.shape,
                )
            })
            .collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        let want = [
            ("fc/50060e80-lun-0", Shape::Mounted),
            ("fc/volumeDevices/3600508", Shape::Mapped),
            (iscsi.as_str(), Shape::Mounted),
            (raw.as_str(), Shape::Mapped),
        ];
        assert_eq!(seen, want.map(|(dir, shape)| (dir.to_owned(), shape)));
        assert_eq!(mapped_for(&below(&raw)).unwrap(), ["u1"]);
    }

    #[test]
    fn a_record_is_written_before_and_removed_with_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let source = IscsiSource {
            portal: "192.0.2.7".to_owned(),
            iqn: "iqn.2001-04.com.example:a".to_owned(),
            interface: "default".to_owned(),
            ..IscsiSource::default()
        };
        let record = IscsiRecord::new("pv", &source);
        let (interface, disk) = record.directory();
        let dir = root.path().join(&interface).join(disk);
        save(&dir, &record).unwrap();
        assert_eq!(read(&dir).unwrap().as_ref(), Some(&record));
        fs::write(dir.join("more"), "").unwrap();
        assert!(remove(&dir).is_err());
        fs::remove_file(dir.join("more")).unwrap();
        save(&dir, &record).unwrap();
        remove(&dir).unwrap();
        assert!(!root.path().join(interface).exists());
        remove(&dir).unwrap();
        assert_eq!(read(&dir).unwrap(), None);
    }
}
