//! The directories of one pod, and the file systems that they lie on. Everything here blocks, for as long as the pod's
//! files make it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;

use super::quota::Source;
use super::volume::{self, Count, Known, Trust};
use crate::model::node::pod_log_dir;
use crate::model::pod::{PodName, PodUid};
use crate::model::stats::{DirectoryUsage, FilesystemUsage, VolumeUsage};

/// The volume plugins whose directories are the node's own, and whether those on the node's disk count as the pod's
/// ephemeral storage (`IsLocalEphemeralVolume` in `pkg/volume/util`). A directory of another plugin is a driver's.
const PLUGINS: [(&str, bool); 5] = [
    ("kubernetes.io~configmap", true),
    ("kubernetes.io~downward-api", false),
    ("kubernetes.io~empty-dir", true),
    ("kubernetes.io~projected", false),
    ("kubernetes.io~secret", false),
];

/// The plugin whose volumes may be projects of their file system.
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// Where the directories of a pod are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
    pod: PathBuf,
    logs: PathBuf,
    quotas: Quotas,
}

/// Whether project quotas are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotas {
    /// Those that are believed.
    Asked,
    /// None.
    Ignored,
}

/// What is remembered of a pod's emptyDirs, by name.
pub(super) type KnownVolumes = BTreeMap<String, Known>;

impl Place {
    pub(super) fn new((root, logs): (&Path, &Path), quotas: Quotas, name: &PodName, uid: &PodUid) -> Place {
        Place {
            root: root.to_owned(),
            pod: root.join("pods").join(&uid.0),
            logs: pod_log_dir(logs, name, uid),
            quotas,
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Directories {
    pub(super) volumes: Vec<VolumeUsage>,
    pub(super) logs: BTreeMap<String, DirectoryUsage>,
    pub(super) own_files: DirectoryUsage,
}

/// The result of a count; what could not be counted in time is named.
#[derive(Debug)]
pub(super) struct Counted {
    directories: Directories,
    missed: Vec<String>,
    /// How long each volume took.
    pub(super) measured: Vec<(Source, Duration)>,
    /// How long the next count will take at least, as far as this one tells.
    pub(super) expected: Duration,
}

impl Counted {
    /// With the last numbers of the volumes that could not be counted.
    pub(super) fn or(self, last: &Directories) -> Directories {
        let mut directories = self.directories;
        let missed = last
            .volumes
            .iter()
            .filter(|volume| self.missed.contains(&volume.name));
        directories.volumes.extend(missed.cloned());
        directories
            .volumes
            .sort_by(|one, other| one.name.cmp(&other.name));
        directories
    }
}

/// Counts a pod's volumes, logs and own files.
pub(super) fn count(place: &Place, known: &mut KnownVolumes, trust: Trust, deadline: Instant) -> Counted {
    let begun = Instant::now();
    let mut counted = Counted {
        directories: Directories {
            volumes: Vec::new(),
            logs: logs(&place.logs, deadline),
            own_files: own_files(&place.pod),
        },
        missed: Vec::new(),
        measured: Vec::new(),
        expected: Duration::ZERO,
    };
    let mut spared = Duration::ZERO;
    let device = fs::metadata(&place.root).map(|metadata| metadata.dev()).ok();
    for (plugin, may_be_ephemeral) in PLUGINS {
        for (name, path) in below(&place.pod.join("volumes").join(plugin)) {
            let may_be_project = plugin == EMPTY_DIR && place.quotas == Quotas::Asked;
            let known = may_be_project.then(|| known.entry(name.clone()).or_default());
            match volume(&path, known, trust, deadline) {
                Ok((count, filesystem, own)) => {
                    counted.measured.push((count.source, count.took));
                    if count.is_cheap {
                        spared += count.took;
                    }
                    counted.directories.volumes.push(VolumeUsage {
                        name,
                        is_ephemeral: may_be_ephemeral && device == Some(own),
                        used: count.used,
                        is_counted: count.is_counted,
                        filesystem,
                    });
                }
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "cannot count a volume");
                    counted.missed.push(name);
                }
            }
        }
    }
    counted.expected = begun.elapsed().saturating_sub(spared);
    counted
}

fn volume(
    path: &Path,
    known: Option<&mut Known>,
    trust: Trust,
    deadline: Instant,
) -> io::Result<(Count, FilesystemUsage, u64)> {
    let count = match known {
        Some(known) => volume::count(path, known, trust, deadline)?,
        None => volume::count_walking(path, deadline)?,
    };
    let filesystem = filesystem(path).ok_or(io::ErrorKind::NotFound)?;
    Ok((count, filesystem, fs::metadata(path)?.dev()))
}

/// The log directories of the containers. The agent and the runtime alone write there.
fn logs(directory: &Path, deadline: Instant) -> BTreeMap<String, DirectoryUsage> {
    let containers = below(directory).into_iter();
    containers
        .filter_map(|(name, path)| Some((name, log_files(&path, deadline)?)))
        .collect()
}

/// The files of a log directory, without the directory itself (`podDirectoryCallback` in `pkg/kubelet/stats`).
fn log_files(path: &Path, deadline: Instant) -> Option<DirectoryUsage> {
    let all = volume::walk(path, deadline).ok()?;
    let own = fs::symlink_metadata(path).ok()?;
    Some(DirectoryUsage {
        bytes: all.bytes.saturating_sub(own.blocks().saturating_mul(512)),
        inodes: all.inodes.saturating_sub(1),
    })
}

/// `/etc/hosts`, which a container may write to as long as it likes (CVE-2020-8557).
fn own_files(pod: &Path) -> DirectoryUsage {
    let hosts = fs::symlink_metadata(pod.join("etc-hosts"));
    hosts.map_or_else(
        |_| DirectoryUsage::default(),
        |metadata| DirectoryUsage {
            bytes: metadata.blocks().saturating_mul(512),
            inodes: 1,
        },
    )
}

/// The directories directly below one; none if it does not exist.
fn below(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

/// The file system of a path.
pub(super) fn filesystem(path: &Path) -> Option<FilesystemUsage> {
    let stat = statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Some(FilesystemUsage {
        at: Timestamp::now(),
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_logs_and_hosts_are_counted_and_a_drivers_directory_is_left_alone() {
        let (root, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (name, uid) = (PodName::new("default", "web"), PodUid("u1".to_owned()));
        let place = Place::new((root.path(), logs.path()), Quotas::Asked, &name, &uid);
        let mut known = KnownVolumes::new();
        let pod = root.path().join("pods/u1");
        for directory in [
            "kubernetes.io~empty-dir/data",
            "kubernetes.io~secret/key",
            "kubernetes.io~csi/disk",
        ] {
            fs::create_dir_all(pod.join("volumes").join(directory)).unwrap();
        }
        fs::write(
            pod.join("volumes/kubernetes.io~empty-dir/data/file"),
            vec![1; 50_000],
        )
        .unwrap();
        fs::write(pod.join("etc-hosts"), "127.0.0.1 localhost\n").unwrap();
        let of_container = logs.path().join("default_web_u1/main");
        fs::create_dir_all(&of_container).unwrap();
        fs::write(of_container.join("0.log"), vec![1; 10_000]).unwrap();

        let soon = Instant::now() + Duration::from_secs(60);
        let counted = count(&place, &mut known, Trust::Quotas, soon).or(&Directories::default());
        let volumes: Vec<(&str, bool, u64)> = counted
            .volumes
            .iter()
            .map(|volume| (volume.name.as_str(), volume.is_ephemeral, volume.used.inodes))
            .collect();
        assert_eq!(volumes, [("data", true, 2), ("key", false, 1)]);
        assert!(counted.volumes[0].used.bytes >= 50_000, "{counted:?}");
        assert!(counted.volumes[0].filesystem.capacity > 0, "{counted:?}");
        let log = counted.logs["main"];
        assert!(
            log.inodes == 1 && (10_000..20_000).contains(&log.bytes),
            "{log:?}"
        );
        assert_eq!(counted.own_files.inodes, 1);

        // What takes too long keeps its last numbers.
        for number in 0..200 {
            fs::write(
                pod.join(format!("volumes/kubernetes.io~empty-dir/data/{number}")),
                "",
            )
            .unwrap();
        }
        let late = count(&place, &mut known, Trust::Quotas, Instant::now());
        assert_eq!(late.missed, ["data"]);
        assert_eq!(late.or(&counted).volumes[0], counted.volumes[0]);
    }
}
