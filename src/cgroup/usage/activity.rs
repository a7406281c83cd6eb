//! What shows whether anything has happened in a cgroup.

use crate::model::usage::CpuUsage;

/// What grows or changes whenever something runs in a cgroup, and is read before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// CPU time; on v2 everything that the kernel says of it, on v1 the sum alone.
    pub(super) cpu: Option<CpuUsage>,
    /// The memory in use.
    pub(super) memory: Option<u64>,
}

impl Activity {
    /// The same with that much memory in use.
    pub fn with_memory(self, memory: u64) -> Activity {
        Activity {
            memory: Some(memory),
            ..self
        }
    }

    /// Whether nothing has run in the cgroup from one moment to the other. Its memory may have changed all the same: the
    /// kernel takes back what nobody uses, and a process elsewhere may read its files.
    /// Not known where the kernel does not count it.
    pub fn has_same_cpu_time(&self, other: &Activity) -> bool {
        self.cpu.is_some() && self.cpu == other.cpu
    }
}
