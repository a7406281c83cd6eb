//! What must be at a path of the host that a volume names.

use serde::{Deserialize, Serialize};

/// `hostPath.type` (Kubernetes: *Volumes, hostPath*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HostPathKind {
    /// Nothing is checked.
    #[default]
    Unchecked,
    /// A directory, created (0755) if missing.
    DirectoryOrCreate,
    /// A directory must exist.
    Directory,
    /// A file, created (0644) if missing.
    FileOrCreate,
    /// A file must be there.
    File,
    /// A UNIX socket must exist.
    Socket,
    /// A character device must exist.
    CharDevice,
    /// A block device must exist.
    BlockDevice,
}
