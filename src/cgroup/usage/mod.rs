//! Reads what the kernel has counted of a cgroup, on either version, in some ten small files; of one in which nothing
//! happened since, in a few of them. Everything here blocks for as long as the kernel takes to add its counters up:
//! microseconds.
//!
//! `v1` and `v2` know the files of a version, `files` opens them, and `text` reads their forms. `activity` is what is read
//! first, `limits` what is read seldom.

mod activity;
mod files;
mod limits;
mod text;
mod v1;
mod v2;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::Cgroups;
use super::hierarchy::Hierarchy;
use crate::model::node::{CgroupName, CgroupVersion};
use crate::model::usage::Usage;
pub use activity::Activity;
use files::{Directory, Files};
use limits::Limits;

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

/// A cgroup whose directories are open: one on v2, up to five on v1. Once it is removed there is nothing to read any more,
/// even if another one of the same path follows.
#[derive(Debug)]
pub struct OpenCgroup {
    directories: Directories,
    /// When it was created: what the kernel remembers, which may be later.
    pub created: Timestamp,
    /// The number that no other cgroup has had.
    pub number: u64,
}

#[derive(Debug)]
enum Directories {
    V1(v1::Directories),
    V2 { directory: Directory, is_root: bool },
}

impl Directories {
    /// The one that has the processes.
    fn main(&self) -> &Directory {
        match self {
            Directories::V1(directories) => &directories.memory,
            Directories::V2 { directory, .. } => directory,
        }
    }
}

impl UsageReader<'_> {
    /// The cgroup at this path below the mount points; absent if it does not exist.
    pub fn open(&self, path: &str) -> Option<OpenCgroup> {
        let open = |controller: &str| self.hierarchy.directory(controller, path);
        let directories = match self.version {
            CgroupVersion::V1 => Directories::V1(v1::Directories::open(open)?),
            CgroupVersion::V2 => Directories::V2 {
                directory: open("memory")?,
                is_root: path == "/",
            },
        };
        let (created, number) = directories.main().identity()?;
        Some(OpenCgroup {
            directories,
            created,
            number,
        })
    }

    /// What shows whether anything has happened; absent if the cgroup is gone.
    pub fn activity(&mut self, cgroup: &OpenCgroup) -> Option<Activity> {
        let (cpu, memory) = match &cgroup.directories {
            Directories::V1(directories) => v1::activity(&mut self.files, directories),
            Directories::V2 { directory, .. } => v2::activity(&mut self.files, directory),
        };
        (cpu.is_some() || memory.is_some()).then_some(Activity { cpu, memory })
    }

    /// The memory in use; absent if the cgroup is gone, or nobody counts it.
    pub fn memory_in_use(&mut self, cgroup: &OpenCgroup) -> Option<u64> {
        match &cgroup.directories {
            Directories::V1(directories) => v1::memory_in_use(&mut self.files, directories),
            Directories::V2 { directory, .. } => v2::memory_in_use(&mut self.files, directory),
        }
    }

    /// What has been counted, with that activity. Limits are taken from the usage before, if one is given.
    pub fn usage(&mut self, cgroup: &OpenCgroup, activity: Activity, before: Option<&Usage>) -> Usage {
        let files = &mut self.files;
        let usage = match &cgroup.directories {
            Directories::V1(directories) => v1::usage(files, directories, activity),
            Directories::V2 { directory, is_root } => v2::usage(files, directory, activity, *is_root),
        };
        let limits = before.map(Limits::of);
        limits.unwrap_or_else(|| self.limits(cgroup)).put_into(usage)
    }

    /// The usage with the limits as they are now.
    pub fn with_limits(&mut self, cgroup: &OpenCgroup, usage: Usage) -> Usage {
        self.limits(cgroup).put_into(usage)
    }

    fn limits(&mut self, cgroup: &OpenCgroup) -> Limits {
        let files = &mut self.files;
        match &cgroup.directories {
            Directories::V1(directories) => v1::limits(files, directories),
            Directories::V2 { directory, .. } => v2::limits(files, directory),
        }
    }

    /// The usage before of a cgroup in which nothing has run since, with its memory as it is now.
    pub fn usage_of_sleeping(&mut self, cgroup: &OpenCgroup, activity: Activity, before: &Usage) -> Usage {
        let usage = self.usage_of_idle(cgroup, before);
        self.usage_with_memory(cgroup, activity, &usage)
    }

    /// The usage before of a cgroup in which nothing has run since, with nothing but its memory as it is now.
    pub fn usage_with_memory(&mut self, cgroup: &OpenCgroup, activity: Activity, before: &Usage) -> Usage {
        let mut usage = before.clone();
        let files = &mut self.files;
        match &cgroup.directories {
            Directories::V1(directories) => v1::refresh_sleeping(files, directories, activity, &mut usage),
            Directories::V2 { directory, is_root } => {
                usage.memory = v2::memory_of_sleeping(files, directory, (activity, *is_root), before);
            }
        }
        Limits::of(before).put_into(usage)
    }

    /// The usage before, with what can change although nothing runs in the cgroup and its memory is the same: what it wrote
    /// reaches a disk later, and waiting is lost time.
    pub fn usage_of_idle(&mut self, cgroup: &OpenCgroup, before: &Usage) -> Usage {
        let files = &mut self.files;
        let (io, pressure) = match &cgroup.directories {
            Directories::V1(directories) => (v1::io_of_idle(files, directories, &before.io), before.pressure),
            Directories::V2 { directory, .. } => (v2::io(files, directory), v2::pressure(files, directory)),
        };
        Usage {
            io,
            pressure,
            ..before.clone()
        }
    }

    /// The content of another small file of the kernel, read into the same buffer.
    pub fn text(&mut self, path: &Path) -> Option<&str> {
        self.files.read_at(path)
    }

    /// The names of the cgroups directly below this one.
    pub fn children(&self, path: &str) -> Vec<String> {
        self.hierarchy.children(below(path)).unwrap_or_default()
    }

    /// The processes of the cgroup itself.
    pub fn processes(&mut self, cgroup: &OpenCgroup) -> Vec<u32> {
        let text = self.files.read(cgroup.directories.main(), c"cgroup.procs");
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
