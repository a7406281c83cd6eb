//! The files of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst` of the kernel).

use super::activity::Activity;
use super::files::{Directory, Files};
use super::limits::Limits;
use super::text;
use crate::model::usage::{
    CpuLimits, CpuUsage, DeviceIo, Faults, MemoryLimits, MemoryUsage, PressureUsage, TaskUsage, Throttling,
    Usage,
};

/// Nanoseconds in a microsecond, in which v2 counts.
const MICRO: u64 = 1000;

/// CPU time, and the memory in use, which the root does not have.
pub(super) fn activity(files: &mut Files, directory: &Directory) -> (Option<CpuUsage>, Option<u64>) {
    let cpu = files.read(directory, c"cpu.stat").map(cpu);
    (cpu, memory_in_use(files, directory))
}

pub(super) fn memory_in_use(files: &mut Files, directory: &Directory) -> Option<u64> {
    files.number(directory, c"memory.current")
}

/// Reads everything else but the limits. The root has fewer files: what it lacks is the whole machine's.
pub(super) fn usage(files: &mut Files, directory: &Directory, activity: Activity, is_root: bool) -> Usage {
    let memory = all_memory(files, directory, activity, is_root);
    let threads = files.number(directory, c"pids.current");
    Usage {
        cpu: activity.cpu,
        memory,
        io: io(files, directory),
        tasks: threads.map(|threads| TaskUsage { threads, limit: None }),
        pressure: pressure(files, directory),
    }
}

/// The time lost by waiting.
pub(super) fn pressure(files: &mut Files, directory: &Directory) -> PressureUsage {
    let mut pressure = |name| files.read(directory, name).and_then(text::pressure);
    PressureUsage {
        cpu: pressure(c"cpu.pressure"),
        memory: pressure(c"memory.pressure"),
        io: pressure(c"io.pressure"),
    }
}

/// What was read from disks and written to them.
pub(super) fn io(files: &mut Files, directory: &Directory) -> Vec<DeviceIo> {
    files
        .read(directory, c"io.stat")
        .map_or_else(Vec::new, text::io_of_v2)
}

/// What the cgroup may use.
pub(super) fn limits(files: &mut Files, directory: &Directory) -> Limits {
    let max = files.read(directory, c"cpu.max").and_then(quota);
    Limits {
        cpu: CpuLimits {
            shares: files.number(directory, c"cpu.weight").map(shares),
            quota: max.and_then(|(quota, _)| quota),
            period: max.map(|(_, period)| period),
        },
        memory: MemoryLimits {
            memory: files.number(directory, c"memory.max"),
            swap: files.number(directory, c"memory.swap.max"),
            reservation: files.number(directory, c"memory.low").filter(|low| *low > 0),
        },
        tasks: files.number(directory, c"pids.max"),
    }
}

fn cpu(text: &str) -> CpuUsage {
    let mut usage = CpuUsage::default();
    let mut throttling = Throttling::default();
    let mut has_quota = false;
    for (name, value) in text::pairs(text) {
        match name {
            "usage_usec" => usage.total = value.saturating_mul(MICRO),
            "user_usec" => usage.user = value.saturating_mul(MICRO),
            "system_usec" => usage.system = value.saturating_mul(MICRO),
            "nr_periods" => (throttling.periods, has_quota) = (value, true),
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_usec" => throttling.throttled = value.saturating_mul(MICRO),
            "nr_bursts" => throttling.burst_periods = value,
            "burst_usec" => throttling.burst = value.saturating_mul(MICRO),
            _ => {}
        }
    }
    usage.throttling = has_quota.then_some(throttling);
    usage
}

/// `cpu.max`: `max 100000`, `50000 100000`.
fn quota(text: &str) -> Option<(Option<u64>, u64)> {
    let (quota, period) = text.trim_end().split_once(' ')?;
    Some((quota.parse().ok(), period.parse().ok()?))
}

/// The shares of v1 that a weight stands for: the inverse of the formula of KEP 2254.
fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1).saturating_mul(262_142) / 9999
}

fn all_memory(
    files: &mut Files,
    directory: &Directory,
    activity: Activity,
    is_root: bool,
) -> Option<MemoryUsage> {
    match (is_root, activity.memory) {
        (true, _) => root_memory(files, directory),
        (false, Some(usage)) => memory(files, directory, usage),
        (false, None) => None,
    }
}

fn memory(files: &mut Files, directory: &Directory, usage: u64) -> Option<MemoryUsage> {
    let mut usage = MemoryUsage {
        usage,
        max_usage: files.number(directory, c"memory.peak"),
        swap: files.number(directory, c"memory.swap.current"),
        ..MemoryUsage::default()
    };
    stat(files.read(directory, c"memory.stat")?, &mut usage);
    usage.working_set = usage.usage.saturating_sub(usage.inactive_file);
    for (name, value) in text::pairs(files.read(directory, c"memory.events").unwrap_or_default()) {
        match name {
            "max" => usage.failures = Some(value),
            "oom_kill" => usage.oom_kills = Some(value),
            _ => {}
        }
    }
    Some(usage)
}

/// The memory of a cgroup in which nothing has run. Unless it has grown, neither its peak nor the events of its limit have
/// changed.
pub(super) fn memory_of_sleeping(
    files: &mut Files,
    directory: &Directory,
    (activity, is_root): (Activity, bool),
    before: &Usage,
) -> Option<MemoryUsage> {
    match (activity.memory, before.memory) {
        (Some(now), Some(mut memory)) if now <= memory.usage && !is_root => {
            memory.usage = now;
            memory.swap = files.number(directory, c"memory.swap.current");
            stat(files.read(directory, c"memory.stat")?, &mut memory);
            memory.working_set = now.saturating_sub(memory.inactive_file);
            Some(memory)
        }
        _ => all_memory(files, directory, activity, is_root),
    }
}

/// The root has `memory.stat` alone. Its usage is what `/proc/meminfo` calls neither free nor available at once, as
/// runc computes it.
fn root_memory(files: &mut Files, directory: &Directory) -> Option<MemoryUsage> {
    let mut usage = MemoryUsage::default();
    stat(files.read(directory, c"memory.stat")?, &mut usage);
    let kernel = usage.kernel.unwrap_or_default();
    usage.usage = usage.rss.saturating_add(usage.cache).saturating_add(kernel);
    usage.working_set = usage.usage.saturating_sub(usage.inactive_file);
    Some(usage)
}

fn stat(text: &str, usage: &mut MemoryUsage) {
    let mut faults = Faults::default();
    for (name, value) in text::pairs(text) {
        match name {
            "anon" => usage.rss = value,
            "file" => usage.cache = value,
            "kernel" => usage.kernel = Some(value),
            "file_mapped" => usage.mapped_file = value,
            "active_file" => usage.active_file = value,
            "inactive_file" => usage.inactive_file = value,
            "pgfault" => faults.all = value,
            "pgmajfault" => faults.major = value,
            _ => {}
        }
    }
    // Version 2 counts what is below, too.
    (usage.faults, usage.hierarchical_faults) = (faults, faults);
}
