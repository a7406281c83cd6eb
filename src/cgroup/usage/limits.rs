//! What a cgroup may use, on either version.

use crate::model::usage::{CpuLimits, MemoryLimits, Usage};

/// What stays as it is until somebody changes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) cpu: CpuLimits,
    pub(super) memory: MemoryLimits,
    pub(super) tasks: Option<u64>,
}

impl Limits {
    /// Those of a usage.
    pub(super) fn of(usage: &Usage) -> Limits {
        Limits {
            cpu: usage.cpu.map(|cpu| cpu.limits).unwrap_or_default(),
            memory: usage.memory.map(|memory| memory.limits).unwrap_or_default(),
            tasks: usage.tasks.and_then(|tasks| tasks.limit),
        }
    }

    /// The usage with these limits; what is not counted has none.
    pub(super) fn put_into(self, mut usage: Usage) -> Usage {
        if let Some(cpu) = &mut usage.cpu {
            cpu.limits = self.cpu;
        }
        if let Some(memory) = &mut usage.memory {
            memory.limits = self.memory;
        }
        if let Some(tasks) = &mut usage.tasks {
            tasks.limit = self.tasks;
        }
        usage
    }
}
