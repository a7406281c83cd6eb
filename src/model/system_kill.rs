//! A process that the kernel killed because the machine was out of memory, not a cgroup at its limit.

/// The kill of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemKill {
    /// The process's name, as the kernel logs it: at most 15 characters of a program (`comm`).
    pub process: String,
    /// The process's ID, in the first PID namespace.
    pub pid: u32,
}
