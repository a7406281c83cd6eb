//! Reads what the kernel has counted of a cgroup, on either version, in some ten small files. Everything here blocks for as
//! long as the kernel takes to add its counters up: microseconds.
//!
//! `v1` and `v2` know the files of a version, `files` opens them, and `text` reads their forms.

mod files;
mod text;
mod v1;
mod v2;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::Cgroups;
use super::hierarchy::Hierarchy;
use crate::model::node::{CgroupName, CgroupVersion};
use crate::model::usage::Usage;
use files::{Directory, Files};

/// Reads cgroups one after the other.
pub struct UsageReader<'a> {
    hierarchy: &'a Hierarchy,
    version: CgroupVersion,
    files: Files,
}

impl Cgroups {
    /// Begins to read.
    pub fn usage_reader(&self) -> UsageReader<'_> {
        UsageReader {
            hierarchy: &self.hierarchy,
            version: self.version,
            files: Files::default(),
        }
    }

    /// The path of a cgroup below the mount points, beginning with `/`.
    pub fn path_of(&self, name: &CgroupName) -> String {
        format!("/{}", self.path(name).display())
    }

    /// The cgroups directly above those of pods: that of all pods first, then those of the QoS classes.
    pub fn pod_parents(&self) -> Vec<String> {
        self.qos_cgroups().map(|level| self.path_of(&level)).collect()
    }

    /// The UID of the pod that a directory below one of [`Self::pod_parents`] belongs to.
    pub fn uid_of(&self, directory: &str) -> Option<crate::model::pod::PodUid> {
        super::pod_uid(directory, self.driver)
    }

    /// The cgroup of a process, as `/proc/<pid>/cgroup` states it. `None` if it is not the same for CPU and memory, which
    /// only v1 can have (`getContainer` in `pkg/kubelet/cm`).
    pub fn path_in(&self, proc_cgroup: &str) -> Option<String> {
        let path = |controller: &str| {
            proc_cgroup.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                let is_own = controllers.split(',').any(|own| own == controller);
                is_own.then(|| path.to_owned())
            })
        };
        match self.version {
            CgroupVersion::V1 => path("memory").filter(|memory| path("cpu").as_ref() == Some(memory)),
            CgroupVersion::V2 => path(""),
        }
    }
}

impl UsageReader<'_> {
    /// What has been counted of the cgroup at this path below the mount points; absent if it does not exist.
    pub fn usage(&mut self, path: &str) -> Option<Usage> {
        match self.version {
            CgroupVersion::V1 => v1::usage(&mut self.files, |controller| {
                self.hierarchy.directory(controller, path)
            }),
            CgroupVersion::V2 => {
                let directory = self.hierarchy.directory("memory", path)?;
                Some(v2::usage(&mut self.files, &directory, path == "/"))
            }
        }
    }

    /// When the cgroup was created, and the number that no other cgroup has had; absent if it does not exist. The time is
    /// what the kernel remembers, which may be later.
    pub fn created(&self, path: &str) -> Option<(Timestamp, u64)> {
        let metadata = fs::metadata(self.hierarchy.directory_path("memory", path)?).ok()?;
        Some((metadata.modified().ok()?.try_into().ok()?, metadata.ino()))
    }

    /// The names of the cgroups directly below this one.
    pub fn children(&self, path: &str) -> Vec<String> {
        self.hierarchy.children(below(path)).unwrap_or_default()
    }

    /// The processes of the cgroup itself.
    pub fn processes(&mut self, path: &str) -> Vec<u32> {
        let directory = self.hierarchy.directory("memory", path);
        let text = directory.and_then(|directory| self.files.read(&directory, c"cgroup.procs"));
        let pids = text.into_iter().flat_map(|text| text.split_ascii_whitespace());
        pids.filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Hierarchy {
    fn directory_path(&self, controller: &str, path: &str) -> Option<std::path::PathBuf> {
        Some(self.mount(controller)?.join(below(path)))
    }

    fn directory(&self, controller: &str, path: &str) -> Option<Directory> {
        Directory::open(&self.directory_path(controller, path)?)
    }
}

fn below(path: &str) -> &Path {
    Path::new(OsStr::from_bytes(path.trim_start_matches('/').as_bytes()))
}

#[cfg(test)]
mod tests;
