//! The volumes of a pod.

use std::path::PathBuf;

use super::resources::Bytes;
use super::value::{FileSource, Projection};

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What backs a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory that lives as long as the pod.
    EmptyDir {
        /// On disk, or a tmpfs.
        medium: Medium,
        /// `sizeLimit`; for a tmpfs its size.
        size_limit: Option<Bytes>,
    },
    /// A path of the host.
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must be there, or is made.
        kind: HostPathKind,
    },
    /// Files made of objects and of the pod itself.
    Projected {
        /// How the manifest calls it.
        kind: Projection,
        /// The permissions of files that have none of their own (`defaultMode`).
        mode: u32,
        /// Where the files come from; of two at one path the later one counts.
        sources: Vec<FileSource>,
    },
}

/// `emptyDir.medium`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Medium {
    /// The node's disk.
    #[default]
    Disk,
    /// A tmpfs.
    Memory,
}

/// `hostPath.type` (Kubernetes: *Volumes, hostPath*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPathKind {
    /// Nothing is checked.
    #[default]
    Unchecked,
    /// A directory, made (0755) where missing.
    DirectoryOrCreate,
    /// A directory must be there.
    Directory,
    /// A file, made (0644) where missing.
    FileOrCreate,
    /// A file must be there.
    File,
    /// A UNIX socket must be there.
    Socket,
    /// A character device must be there.
    CharDevice,
    /// A block device must be there.
    BlockDevice,
}
