//! The files of cgroup v1 (`Documentation/admin-guide/cgroup-v1` of the kernel).

use nix::unistd::{SysconfVar, sysconf};

use super::activity::Activity;
use super::files::{Directory, Files};
use super::limits::Limits;
use super::text;
use crate::model::usage::{
    CpuLimits, CpuUsage, DeviceIo, MemoryLimits, MemoryUsage, PressureUsage, TaskUsage, Throttling, Usage,
};

/// A limit at least this large is none: the kernel rounds the greatest number down to whole pages.
const UNLIMITED: u64 = 1 << 62;

/// A cgroup's directory of each controller that is read; of those of one mount several are the same.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) memory: Directory,
    cpuacct: Option<Directory>,
    cpu: Option<Directory>,
    blkio: Option<Directory>,
    pids: Option<Directory>,
}

impl Directories {
    /// Absent without `memory`.
    pub(super) fn open(open: impl Fn(&str) -> Option<Directory>) -> Option<Directories> {
        Some(Directories {
            memory: open("memory")?,
            cpuacct: open("cpuacct"),
            cpu: open("cpu"),
            blkio: open("blkio"),
            pids: open("pids"),
        })
    }
}

/// CPU time in all, and the memory in use.
pub(super) fn activity(files: &mut Files, directories: &Directories) -> (Option<CpuUsage>, Option<u64>) {
    let cpuacct = directories.cpuacct.as_ref();
    let total = cpuacct.and_then(|cpuacct| files.number(cpuacct, c"cpuacct.usage"));
    let cpu = total.map(|total| CpuUsage {
        total,
        ..CpuUsage::default()
    });
    (cpu, memory_in_use(files, directories))
}

pub(super) fn memory_in_use(files: &mut Files, directories: &Directories) -> Option<u64> {
    files.number(&directories.memory, c"memory.usage_in_bytes")
}

/// Reads everything else but the limits.
pub(super) fn usage(files: &mut Files, directories: &Directories, activity: Activity) -> Usage {
    let cpu = activity.cpu.map(|mut cpu| {
        times(files, directories, &mut cpu);
        cpu
    });
    let memory = activity
        .memory
        .and_then(|usage| memory(files, directories, usage));
    let pids = directories.pids.as_ref();
    let threads = pids.and_then(|pids| files.number(pids, c"pids.current"));
    Usage {
        cpu,
        memory,
        io: io(files, directories),
        tasks: threads.map(|threads| TaskUsage { threads, limit: None }),
        // Version 1 has none.
        pressure: PressureUsage::default(),
    }
}

/// What the cgroup may use.
pub(super) fn limits(files: &mut Files, directories: &Directories) -> Limits {
    let mut of_cpu = |name| files.number(directories.cpu.as_ref()?, name);
    let cpu = CpuLimits {
        shares: of_cpu(c"cpu.shares"),
        // Without a limit it is negative.
        quota: of_cpu(c"cpu.cfs_quota_us"),
        period: of_cpu(c"cpu.cfs_period_us"),
    };
    let mut of_memory = |name| {
        let limit = files.number(&directories.memory, name);
        limit.filter(|limit| *limit < UNLIMITED)
    };
    let memory = MemoryLimits {
        memory: of_memory(c"memory.limit_in_bytes"),
        swap: of_memory(c"memory.memsw.limit_in_bytes"),
        reservation: of_memory(c"memory.soft_limit_in_bytes"),
    };
    let pids = directories.pids.as_ref();
    Limits {
        cpu,
        memory,
        tasks: pids.and_then(|pids| files.number(pids, c"pids.max")),
    }
}

fn times(files: &mut Files, directories: &Directories, usage: &mut CpuUsage) {
    let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let tick = tick.and_then(|ticks| 1_000_000_000_u64.checked_div(ticks.try_into().ok()?));
    let cpuacct = directories.cpuacct.as_ref();
    let stat = cpuacct.and_then(|cpuacct| files.read(cpuacct, c"cpuacct.stat"));
    if let (Some(tick), Some(text)) = (tick, stat) {
        for (name, ticks) in text::pairs(text) {
            match name {
                "user" => usage.user = ticks.saturating_mul(tick),
                "system" => usage.system = ticks.saturating_mul(tick),
                _ => {}
            }
        }
    }
    let cpu = directories.cpu.as_ref();
    usage.throttling = cpu.and_then(|cpu| files.read(cpu, c"cpu.stat").map(throttling));
}

fn throttling(text: &str) -> Throttling {
    let mut throttling = Throttling::default();
    for (name, value) in text::pairs(text) {
        match name {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled = value,
            "nr_bursts" => throttling.burst_periods = value,
            "burst_time" => throttling.burst = value,
            _ => {}
        }
    }
    throttling
}

fn memory(files: &mut Files, directories: &Directories, usage: u64) -> Option<MemoryUsage> {
    let memory = &directories.memory;
    let mut usage = MemoryUsage {
        usage,
        max_usage: files.number(memory, c"memory.max_usage_in_bytes"),
        failures: files.number(memory, c"memory.failcnt"),
        ..MemoryUsage::default()
    };
    memory_now(files, directories, &mut usage)?;
    if let Some(text) = files.read(memory, c"memory.oom_control") {
        usage.oom_kills = text::pairs(text).find_map(|(name, count)| (name == "oom_kill").then_some(count));
    }
    Some(usage)
}

/// What the memory is used for. Absent if the cgroup is gone.
fn memory_now(files: &mut Files, directories: &Directories, usage: &mut MemoryUsage) -> Option<()> {
    let memory = &directories.memory;
    usage.kernel = files.number(memory, c"memory.kmem.usage_in_bytes");
    for (name, value) in text::pairs(files.read(memory, c"memory.stat")?) {
        match name {
            "total_cache" => usage.cache = value,
            "total_rss" => usage.rss = value,
            "total_mapped_file" => usage.mapped_file = value,
            "total_active_file" => usage.active_file = value,
            "total_inactive_file" => usage.inactive_file = value,
            "total_swap" => usage.swap = Some(value),
            "pgfault" => usage.faults.all = value,
            "pgmajfault" => usage.faults.major = value,
            "total_pgfault" => usage.hierarchical_faults.all = value,
            "total_pgmajfault" => usage.hierarchical_faults.major = value,
            _ => {}
        }
    }
    usage.working_set = usage.usage.saturating_sub(usage.inactive_file);
    Some(())
}

/// What has changed of a cgroup in which nothing has run: its memory. Unless that has grown, neither its peak nor what
/// the limit prevented has. The last period of a quota ends after the last process has run.
pub(super) fn refresh_sleeping(
    files: &mut Files,
    directories: &Directories,
    activity: Activity,
    usage: &mut Usage,
) {
    usage.memory = match (activity.memory, usage.memory) {
        (Some(now), Some(mut before)) if now <= before.usage => {
            before.usage = now;
            memory_now(files, directories, &mut before).map(|()| before)
        }
        (now, _) => now.and_then(|now| memory(files, directories, now)),
    };
    if let Some(usage) = usage.cpu.as_mut().filter(|cpu| cpu.limits.quota.is_some()) {
        let cpu = directories.cpu.as_ref();
        usage.throttling = cpu.and_then(|cpu| files.read(cpu, c"cpu.stat").map(throttling));
    }
}

/// The same of a cgroup in which nothing happened: operations are counted with their bytes, so those of the same bytes
/// are the same.
pub(super) fn io_of_idle(files: &mut Files, directories: &Directories, before: &[DeviceIo]) -> Vec<DeviceIo> {
    let Some(blkio) = &directories.blkio else {
        return Vec::new();
    };
    let bytes = files.read(blkio, c"blkio.throttle.io_service_bytes_recursive");
    let read = text::io_of_v1(bytes.unwrap_or_default(), "");
    let is_same = |(one, other): (&DeviceIo, &DeviceIo)| {
        (one.device, one.read_bytes, one.written_bytes)
            == (other.device, other.read_bytes, other.written_bytes)
    };
    match read.len() == before.len() && read.iter().zip(before).all(is_same) {
        true => before.to_vec(),
        false => io(files, directories),
    }
}

/// What was read from disks and written to them.
pub(super) fn io(files: &mut Files, directories: &Directories) -> Vec<DeviceIo> {
    let Some(blkio) = &directories.blkio else {
        return Vec::new();
    };
    let bytes = files.read(blkio, c"blkio.throttle.io_service_bytes_recursive");
    let bytes = bytes.unwrap_or_default().to_owned();
    let operations = files.read(blkio, c"blkio.throttle.io_serviced_recursive");
    text::io_of_v1(&bytes, operations.unwrap_or_default())
}
