//! How much a reading is about.

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What the kernel counts of each cgroup.
    Counters,
    /// What the processes of each container hold open, too: several system calls for each open file.
    Processes,
}
