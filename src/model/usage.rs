//! What the kernel has counted of a cgroup (`Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst` of the kernel),
//! in the same units on both versions.

/// The use of a cgroup at one moment. What the kernel does not report is absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Time on CPUs.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Reads and writes, by device.
    pub io: Vec<DeviceIo>,
    /// Threads and processes.
    pub tasks: Option<TaskUsage>,
    /// Time lost for lack of CPU, memory or I/O.
    pub pressure: PressureUsage,
}

/// Time on CPUs, in nanoseconds since the cgroup was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// In all.
    pub total: u64,
    /// Of it in programs.
    pub user: u64,
    /// Of it in the kernel.
    pub system: u64,
    /// How a quota held it back; absent where the kernel counts none.
    pub throttling: Option<Throttling>,
    /// What it may use.
    pub limits: CpuLimits,
}

/// How a CPU quota held the cgroup back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttling {
    /// The periods in which it wanted to run.
    pub periods: u64,
    /// The periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long it waited for its next period, in nanoseconds.
    pub throttled: u64,
    /// The periods in which it used time saved up before.
    pub burst_periods: u64,
    /// How much of such time, in nanoseconds.
    pub burst: u64,
}

/// The CPU time that a cgroup may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuLimits {
    /// Its share beside other cgroups, in the units of cgroup v1 (1024 for one CPU).
    pub shares: Option<u64>,
    /// Microseconds of CPU time in each period; absent without a limit.
    pub quota: Option<u64>,
    /// The period, in microseconds.
    pub period: Option<u64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUsage {
    /// In all, with files in the page cache.
    pub usage: u64,
    /// Without the files that nobody has used for a while: what cannot be reclaimed easily.
    pub working_set: u64,
    /// The greatest usage so far.
    pub max_usage: Option<u64>,
    /// Files in the page cache.
    pub cache: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Files that are mapped into processes.
    pub mapped_file: u64,
    /// The page cache in recent use.
    pub active_file: u64,
    /// The rest of the page cache.
    pub inactive_file: u64,
    /// The kernel's own memory for the cgroup.
    pub kernel: Option<u64>,
    /// Memory that was swapped out.
    pub swap: Option<u64>,
    /// How often the limit was reached.
    pub failures: Option<u64>,
    /// Page faults of the cgroup itself, and with all cgroups below it.
    pub faults: Faults,
    /// The same with all cgroups below it.
    pub hierarchical_faults: Faults,
    /// How many processes the kernel killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// What it may use.
    pub limits: MemoryLimits,
}

/// Page faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// All.
    pub all: u64,
    /// Those that read from a disk.
    pub major: u64,
}

/// The memory that a cgroup may use, in bytes; absent without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryLimits {
    /// Memory.
    pub memory: Option<u64>,
    /// Swap; on v1 memory and swap together, which is what the kubelet calls a limit of swap there.
    pub swap: Option<u64>,
    /// Memory that is reclaimed last: the soft limit of v1, `memory.low` of v2.
    pub reservation: Option<u64>,
}

/// Reads and writes of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceIo {
    /// Its major and minor number.
    pub device: (u32, u32),
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Threads and processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskUsage {
    /// Threads now.
    pub threads: u64,
    /// How many there may be; absent without a limit.
    pub limit: Option<u64>,
}

/// Pressure stall information (`Documentation/accounting/psi.rst` of the kernel); absent on cgroup v1, which has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureUsage {
    /// For lack of CPU.
    pub cpu: Option<Pressure>,
    /// For lack of memory.
    pub memory: Option<Pressure>,
    /// For waiting for I/O.
    pub io: Option<Pressure>,
}

/// Of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// While at least one task waited.
    pub some: Stall,
    /// While all tasks waited.
    pub full: Stall,
}

/// Time lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stall {
    /// In all, in microseconds.
    pub total: u64,
    /// The share of the last 10 seconds, in per cent.
    pub avg10: f64,
    /// Of the last 60.
    pub avg60: f64,
    /// Of the last 300.
    pub avg300: f64,
}
