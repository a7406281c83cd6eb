//! Disks of storage networks as the kernel shows them in sysfs, and what it is asked there (`device_util_linux.go` in
//! `pkg/volume/util`; scsi(7), Linux' `scsi_transport_iscsi`). All of it blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::act::volume::csi::data;
use crate::model::iscsi::portal_of;

/// Where the kernel and udev show devices.
#[derive(Debug, Clone)]
pub struct DiskPlaces {
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
}

impl Default for DiskPlaces {
    fn default() -> DiskPlaces {
        DiskPlaces {
            sys: PathBuf::from("/sys"),
            dev: PathBuf::from("/dev"),
        }
    }
}

/// A session with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The number of its SCSI host.
    pub(super) host: u32,
    /// Its directory.
    dir: PathBuf,
}

impl DiskPlaces {
    /// The sessions with a target, by portal: the one that it has now, and the one that was asked for.
    pub(super) fn sessions(&self, target: &str) -> io::Result<BTreeMap<String, Session>> {
        let mut all = BTreeMap::new();
        let hosts = self.sys.join("class/iscsi_host");
        for host in data::names(&hosts)? {
            let Some(number) = host.strip_prefix("host").and_then(|number| number.parse().ok()) else {
                continue;
            };
            let device = hosts.join(&host).join("device");
            for session in data::names(&device)?
                .iter()
                .filter(|name| name.starts_with("session"))
            {
                let dir = device.join(session);
                let name = dir.join("iscsi_session").join(session).join("targetname");
                // One that cannot be read is going.
                if !text(&name).is_ok_and(|name| name == target) {
                    continue;
                }
                let own = Session { host: number, dir };
                for portal in own.portals() {
                    all.insert(portal, own.clone());
                }
            }
        }
        Ok(all)
    }

    /// The names of the disks of a target by that number, through all sessions.
    pub(super) fn disks_of_lun(&self, target: &str, lun: u8) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for session in self.sessions(target)?.into_values() {
            names.extend(session.disks(Some(lun))?);
        }
        Ok(names)
    }

    /// Has one disk looked for behind a host, and no others: what is not wanted is not to appear.
    pub(super) fn scan_lun(&self, host: u32, lun: u8) -> io::Result<()> {
        let scan = self.sys.join(format!("class/scsi_host/host{host}/scan"));
        ask(&scan, &format!("0 0 {lun}"))
    }

    /// Has all disks looked for behind all hosts.
    pub(super) fn scan_all(&self) -> io::Result<()> {
        let hosts = self.sys.join("class/scsi_host");
        for host in data::names(&hosts)? {
            // One that does not do it has no such disks.
            let _ = ask(&hosts.join(host).join("scan"), "- - -");
        }
        Ok(())
    }

    /// Takes a disk from the node.
    pub(super) fn delete(&self, disk: &str) -> io::Result<()> {
        match ask(&self.sys.join("block").join(disk).join("device/delete"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// The device that makes one of several ways to a disk, by its name (`dm-0`).
    pub(super) fn multipath_of(&self, disk: &str) -> io::Result<Option<String>> {
        let blocks = self.sys.join("block");
        let names = data::names(&blocks)?.into_iter();
        let has = |name: &String| {
            blocks
                .join(name)
                .join("slaves")
                .join(disk)
                .symlink_metadata()
                .is_ok()
        };
        Ok(names.filter(|name| name.starts_with("dm-")).find(has))
    }

    /// The ways of such a device.
    pub(super) fn ways_of(&self, multipath: &str) -> io::Result<Vec<String>> {
        data::names(&self.sys.join("block").join(multipath).join("slaves"))
    }

    /// The device of that name.
    pub(super) fn device(&self, name: &str) -> PathBuf {
        self.dev.join(name)
    }

    /// The links below `/dev/disk` whose names are wanted.
    pub(super) fn links(&self, dir: &str, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let dir = self.dev.join("disk").join(dir);
        let names = data::names(&dir)?.into_iter();
        let mut links: Vec<PathBuf> = names
            .filter(|name| is_wanted(name))
            .map(|name| dir.join(name))
            .collect();
        links.sort();
        Ok(links)
    }

    /// The name of the device that a link below `/dev/disk` leads to.
    pub(super) fn name_behind(&self, link: &Path) -> io::Result<String> {
        let real = fs::canonicalize(link)?;
        let name = real.file_name().and_then(|name| name.to_str());
        match name {
            Some(name) if real.parent() == Some(&*fs::canonicalize(&self.dev)?) => Ok(name.to_owned()),
            _ => Err(io::Error::other(format!(
                "Illegal path for device {}",
                real.display()
            ))),
        }
    }

    /// Whether something of the node has a disk for itself: a file system that is mounted, or a device above it (open(2),
    /// `O_EXCL`).
    pub(super) fn is_held(&self, disk: &str) -> bool {
        let mut options = fs::OpenOptions::new();
        let opened = options
            .read(true)
            .custom_flags((OFlag::O_EXCL | OFlag::O_NONBLOCK).bits())
            .open(self.device(disk));
        opened.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    }
}

impl Session {
    fn portals(&self) -> BTreeSet<String> {
        let names = data::names(&self.dir).unwrap_or_default();
        let connections = names.into_iter().filter(|name| name.starts_with("connection"));
        let portals = connections.flat_map(|connection| {
            let dir = self
                .dir
                .join(&connection)
                .join("iscsi_connection")
                .join(&connection);
            let portal = move |prefix: &str| {
                let part = |name: &str| text(&dir.join(format!("{prefix}{name}")));
                Some(portal_of(&part("address").ok()?, &part("port").ok()?))
            };
            [portal(""), portal("persistent_")]
        });
        portals.flatten().collect()
    }

    /// The names of its disks: all, or the one of a number. Channel and target are 0 with iSCSI.
    pub(super) fn disks(&self, lun: Option<u8>) -> io::Result<BTreeSet<String>> {
        let host = self.host;
        let target = self.dir.join(format!("target{host}:0:0"));
        let start = format!("{host}:0:0:");
        let mut names = BTreeSet::new();
        for name in data::names(&target)? {
            let Some(number) = name.strip_prefix(&start) else {
                continue;
            };
            if lun.is_none_or(|lun| number == lun.to_string()) {
                names.extend(data::names(&target.join(&name).join("block"))?);
            }
        }
        Ok(names)
    }
}

fn text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn ask(path: &Path, what: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(what.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "iqn.2001-04.com.example:a";

    fn put(dir: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn machine() -> (tempfile::TempDir, DiskPlaces) {
        let dir = tempfile::tempdir().unwrap();
        let places = DiskPlaces {
            sys: dir.path().join("sys"),
            dev: dir.path().join("dev"),
        };
        let session = "class/iscsi_host/host3/device/session1";
        let connection = format!("{session}/connection1:0/iscsi_connection/connection1:0");
        let other = "class/iscsi_host/host4/device/session2/iscsi_session/session2/targetname";
        let at = |name: &str| format!("{connection}/{name}");
        let disk = |lun: u8, name: &str| format!("{session}/target3:0:0/3:0:0:{lun}/block/{name}/size");
        put(
            &places.sys,
            &[
                (
                    &format!("{session}/iscsi_session/session1/targetname"),
                    &format!("{TARGET}\n"),
                ),
                (other, "iqn.2001-04.com.example:b\n"),
                (&at("address"), "192.0.2.7\n"),
                (&at("port"), "3260\n"),
                (&at("persistent_address"), "2001:db8::7\n"),
                (&at("persistent_port"), "3261\n"),
                (&disk(0, "sda"), "1"),
                (&disk(10, "sdb"), "1"),
                ("class/scsi_host/host3/scan", ""),
                ("block/dm-1/slaves/sda/size", "1"),
                ("block/sda/device/delete", ""),
            ],
        );
        put(&places.dev, &[("sda", ""), ("sdb", "")]);
        (dir, places)
    }

    #[test]
    fn sessions_and_their_disks_are_found() {
        let (_dir, places) = machine();
        let sessions = places.sessions(TARGET).unwrap();
        let hosts: Vec<_> = sessions
            .iter()
            .map(|(portal, own)| (portal.as_str(), own.host))
            .collect();
        assert_eq!(hosts, [("192.0.2.7:3260", 3), ("[2001:db8::7]:3261", 3)]);
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(places.disks_of_lun(TARGET, 0).unwrap(), set(&["sda"]));
        assert_eq!(places.disks_of_lun(TARGET, 1).unwrap(), set(&[]));
        let session = &sessions["192.0.2.7:3260"];
        assert_eq!(session.disks(None).unwrap(), set(&["sda", "sdb"]));
        let nothing = DiskPlaces {
            sys: "/nothing".into(),
            ..places
        };
        assert!(nothing.sessions(TARGET).unwrap().is_empty());
    }

    #[test]
    fn the_kernel_is_asked_for_one_disk() {
        let (_dir, places) = machine();
        places.scan_lun(3, 10).unwrap();
        let asked = |path: &str| fs::read_to_string(places.sys.join(path)).unwrap();
        assert_eq!(asked("class/scsi_host/host3/scan"), "0 0 10");
        places.scan_all().unwrap();
        assert!(asked("class/scsi_host/host3/scan").starts_with("- - -"));
        places.delete("sda").unwrap();
        assert_eq!(asked("block/sda/device/delete"), "1");
        places.delete("sdz").unwrap();
        assert!(places.scan_lun(9, 0).is_err());
    }

    #[test]
    fn a_disk_with_several_ways_is_one_device() {
        let (_dir, places) = machine();
        assert_eq!(places.multipath_of("sda").unwrap().as_deref(), Some("dm-1"));
        assert_eq!(places.multipath_of("sdb").unwrap(), None);
        assert_eq!(places.ways_of("dm-1").unwrap(), ["sda"]);
    }

    #[test]
    fn only_a_link_to_a_device_is_followed() {
        let (_dir, places) = machine();
        let links = places.dev.join("disk/by-path");
        fs::create_dir_all(&links).unwrap();
        std::os::unix::fs::symlink("../../sda", links.join("fc-0xa-lun-0")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", links.join("fc-0xb-lun-0")).unwrap();
        let found = places.links("by-path", |name| name.starts_with("fc-")).unwrap();
        let names: Vec<_> = found.iter().map(|link| places.name_behind(link).ok()).collect();
        assert_eq!(names, [Some("sda".to_owned()), None]);
        assert!(places.links("by-id", |_| true).unwrap().is_empty());
        assert!(!places.is_held("sda"));
    }
}
