//! What is measured of the machine: memory, disks and processes.

use jiff::Timestamp;

use super::eviction::{EvictionThreshold, Signal};
use super::resources::Bytes;

/// The current measurements of the machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// When it was begun.
    pub at: Timestamp,
    /// The machine's memory.
    pub memory: Bytes,
    /// Memory available to new pods: capacity minus working set, as the eviction manager computes it.
    pub memory_available: Bytes,
    /// What is left of the memory that all pods together may use; `None` if that has no limit, or no pod cgroups exist.
    pub pods_memory: Option<Available>,
    /// The file system of the node's root directory.
    pub nodefs: FsUsage,
    /// The file system of the images; `None` if the runtime does not report it.
    pub imagefs: Option<FsUsage>,
    /// The file system of the containers' own files, if it is not that of the images.
    pub containerfs: Option<FsUsage>,
    /// Which of them are the same.
    pub disks: DiskLayout,
    /// The maximum number of processes.
    pub pids_max: i64,
    /// The current number of processes and threads.
    pub pids_used: i64,
}

/// A file system's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsUsage {
    /// Bytes in all.
    pub capacity: Bytes,
    /// Bytes free to us.
    pub available: Bytes,
    /// Inodes in all.
    pub inodes: i64,
    /// Inodes free.
    pub inodes_free: i64,
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// What is free, in bytes or by count.
    pub available: i64,
    /// All of it.
    pub capacity: i64,
}

/// On which file systems images and containers' files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskLayout {
    /// On that of the node's directory.
    #[default]
    Shared,
    /// Both on another one.
    Images,
    /// Images on another one, and containers' files not on the images' (KEP-4191).
    Split,
}

impl Measured {
    /// Whether there is less than the threshold.
    pub fn crosses(&self, threshold: &EvictionThreshold) -> bool {
        let room = self.room(threshold.signal);
        room.is_some_and(|room| room.available < threshold.value.of(room.capacity))
    }

    /// Whether there is less than there has to be before it is enough again.
    pub fn is_short_for(&self, threshold: &EvictionThreshold) -> bool {
        self.room(threshold.signal).is_some_and(|room| {
            let more = threshold.reclaim.map_or(0, |reclaim| reclaim.of(room.capacity));
            room.available < threshold.value.of(room.capacity).saturating_add(more)
        })
    }

    /// How much there is for a signal; `None`: it is not known, or the file system makes inodes as needed.
    pub fn room(&self, signal: Signal) -> Option<Available> {
        let bytes = |fs: &FsUsage| Available {
            available: fs.available.0,
            capacity: fs.capacity.0,
        };
        let inodes = |fs: &FsUsage| {
            (fs.inodes > 0).then_some(Available {
                available: fs.inodes_free,
                capacity: fs.inodes,
            })
        };
        match signal {
            Signal::Memory => Some(Available {
                available: self.memory_available.0,
                capacity: self.memory.0,
            }),
            Signal::AllocatableMemory => self.pods_memory,
            Signal::Nodefs => Some(bytes(&self.nodefs)),
            Signal::NodefsInodes => inodes(&self.nodefs),
            Signal::Imagefs => self.imagefs.as_ref().map(bytes),
            Signal::ImagefsInodes => inodes(self.imagefs.as_ref()?),
            Signal::Containerfs => self.containerfs.as_ref().map(bytes),
            Signal::ContainerfsInodes => inodes(self.containerfs.as_ref()?),
            Signal::Pids => Some(Available {
                available: self.pids_max.saturating_sub(self.pids_used),
                capacity: self.pids_max,
            }),
        }
    }
}
