//! Disks of Fibre Channel targets (documentation: *Volumes, fc*), with the kubelet's names for them (`pkg/volume/fc`).

use serde::{Deserialize, Serialize};

use super::iscsi::word_complaint;

/// The plugin's name, in names of volumes and in paths.
pub const PLUGIN: &str = "kubernetes.io/fc";
/// What stands before the number of the LUN in names.
const LUN: &str = "-lun-";

/// A disk, as a pod or a PersistentVolume describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FcSource {
    /// `targetWWNs`
    pub wwns: Vec<String>,
    /// `lun`, of these.
    pub lun: Option<u8>,
    /// `wwids`
    pub wwids: Vec<String>,
    /// `fsType`; empty: the default.
    pub fs_type: String,
}

/// A disk that is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FcDisk {
    /// By the ports of its targets.
    Target {
        /// The names of the ports.
        wwns: Vec<String>,
        /// Its number.
        lun: u8,
    },
    /// By its own names.
    Names(Vec<String>),
}

impl FcSource {
    /// How it is found; or why it cannot be.
    pub fn disk(&self) -> Result<FcDisk, String> {
        let names = self.wwns.iter().chain(&self.wwids);
        // A name of a disk may have spaces, which udev replaces.
        let strange = names.into_iter().find_map(|name| {
            let complaint = match name.is_empty() {
                true => "is empty",
                false => word_complaint(&name.replace(' ', "_"))?,
            };
            Some(format!("the name {name:?} {complaint}"))
        });
        if let Some(complaint) = strange {
            return Err(complaint);
        }
        match (self.lun, self.wwids.as_slice()) {
            (Some(lun), _) if !self.wwns.is_empty() => Ok(FcDisk::Target {
                wwns: self.wwns.clone(),
                lun,
            }),
            (_, []) => Err("fc: no fc disk information found. failed to make a new mounter".to_owned()),
            (_, wwids) => Ok(FcDisk::Names(
                wwids.iter().map(|wwid| wwid.replace(' ', "_")).collect(),
            )),
        }
    }

    /// What the Node's status calls it, after the plugin (`GetVolumeName`): a list as Go prints it.
    pub fn handle(&self) -> String {
        match self.lun {
            Some(lun) if !self.wwns.is_empty() => format!("[{}]:{lun}", self.wwns.join(" ")),
            _ => format!("[{}]", self.wwids.join(" ")),
        }
    }
}

impl FcDisk {
    /// Its directory, below that of the plugin (`makePDNameInternal`).
    pub fn directory(&self) -> String {
        match self {
            FcDisk::Target { wwns, lun } => format!("{}{LUN}{lun}", wwns.join("-")),
            FcDisk::Names(names) => names.join("-"),
        }
    }

    /// What its directory says (`parsePDName`).
    pub fn of_directory(name: &str) -> Option<FcDisk> {
        if let Some((wwns, lun)) = name.rsplit_once(LUN) {
            let lun = lun.parse().ok()?;
            let wwns = wwns.split('-').map(str::to_owned).collect();
            return Some(FcDisk::Target { wwns, lun });
        }
        Some(FcDisk::Names(name.split('-').map(str::to_owned).collect()))
    }

    /// What the Node's status calls it, after the plugin.
    pub fn handle(&self) -> String {
        match self {
            FcDisk::Target { wwns, lun } => format!("[{}]:{lun}", wwns.join(" ")),
            FcDisk::Names(names) => format!("[{}]", names.join(" ")),
        }
    }

    /// Whether both may be the same disk.
    pub fn is_also(&self, other: &FcDisk) -> bool {
        match (self, other) {
            (
                FcDisk::Target { wwns, lun },
                FcDisk::Target {
                    wwns: theirs,
                    lun: number,
                },
            ) => lun == number && wwns.iter().any(|wwn| theirs.contains(wwn)),
            (FcDisk::Names(names), FcDisk::Names(theirs)) => names.iter().any(|name| theirs.contains(name)),
            // Which ports a disk is behind is not known.
            _ => true,
        }
    }

    /// Whether a link below `/dev/disk` is one to the disk (`findDisk`, `findDiskWWIDs`).
    pub fn has_link(&self, link: &str) -> bool {
        match self {
            FcDisk::Target { wwns, lun } => wwns.iter().any(|wwn| {
                let own = format!("fc-0x{wwn}{LUN}{lun}");
                match link.strip_suffix(&own) {
                    Some("") => true,
                    Some(before) => before.starts_with("pci-") && before.len() > 4 && before.ends_with('-'),
                    None => false,
                }
            }),
            FcDisk::Names(names) => names.iter().any(|name| link.strip_prefix("scsi-") == Some(name)),
        }
    }

    /// The directory of such links below `/dev/disk`.
    pub fn links(&self) -> &'static str {
        match self {
            FcDisk::Target { .. } => "by-path",
            FcDisk::Names(_) => "by-id",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> FcSource {
        FcSource {
            wwns: vec!["50060e801049cfd1".to_owned(), "50060e801049cfd2".to_owned()],
            lun: Some(2),
            ..FcSource::default()
        }
    }

    fn named() -> FcSource {
        FcSource {
            wwids: vec!["3600508b4".to_owned(), "ACME Disk 1".to_owned()],
            ..FcSource::default()
        }
    }

    #[test]
    fn a_disk_has_the_kubelets_names() {
        let check = |source: FcSource, directory: &str, handle: &str| {
            let disk = source.disk().unwrap();
            assert_eq!(disk.directory(), directory);
            assert_eq!(source.handle(), handle);
            assert_eq!(FcDisk::of_directory(directory), Some(disk));
        };
        check(
            target(),
            "50060e801049cfd1-50060e801049cfd2-lun-2",
            "[50060e801049cfd1 50060e801049cfd2]:2",
        );
        check(named(), "3600508b4-ACME_Disk_1", "[3600508b4 ACME Disk 1]");
        assert_eq!(FcDisk::of_directory("50060e801049cfd1-lun-x"), None);
        assert_eq!(target().disk().unwrap().handle(), target().handle());
    }

    #[test]
    fn what_does_not_name_a_disk_is_refused() {
        for wrong in [
            FcSource::default(),
            FcSource {
                lun: None,
                ..target()
            },
            FcSource {
                wwids: vec!["../x".to_owned()],
                ..FcSource::default()
            },
            FcSource {
                wwids: vec![String::new()],
                ..FcSource::default()
            },
            FcSource {
                wwns: vec!["a/b".to_owned()],
                ..target()
            },
        ] {
            assert!(wrong.disk().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn links_are_those_of_udev() {
        let (target, named) = (target().disk().unwrap(), named().disk().unwrap());
        for (disk, link, want) in [
            (&target, "fc-0x50060e801049cfd2-lun-2", true),
            (&target, "pci-0000:41:00.0-fc-0x50060e801049cfd1-lun-2", true),
            (
                &target,
                "pci-0000:41:00.0-fc-0x50060e801049cfd1-lun-2-part1",
                false,
            ),
            (&target, "fc-0x50060e801049cfd1-lun-22", false),
            (&target, "xfc-0x50060e801049cfd1-lun-2", false),
            (&target, "pci-fc-0x50060e801049cfd1-lun-2", false),
            (&named, "scsi-3600508b4", true),
            (&named, "scsi-ACME_Disk_1", true),
            (&named, "scsi-3600508b4-part1", false),
            (&named, "wwn-3600508b4", false),
        ] {
            assert_eq!(disk.has_link(link), want, "{link}");
        }
        assert_eq!((target.links(), named.links()), ("by-path", "by-id"));
    }

    #[test]
    fn one_disk_may_have_two_names() {
        let target = |wwns: &[&str], lun| FcDisk::Target {
            wwns: wwns.iter().map(|&wwn| wwn.to_owned()).collect(),
            lun,
        };
        let names = |names: &[&str]| FcDisk::Names(names.iter().map(|&name| name.to_owned()).collect());
        assert!(target(&["a", "b"], 1).is_also(&target(&["b"], 1)));
        assert!(!target(&["a", "b"], 1).is_also(&target(&["b"], 2)));
        assert!(names(&["x", "y"]).is_also(&names(&["y"])));
        assert!(!names(&["x"]).is_also(&names(&["y"])));
        assert!(names(&["x"]).is_also(&target(&["a"], 1)));
    }
}
