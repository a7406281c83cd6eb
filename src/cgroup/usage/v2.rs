//! The files of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst` of the kernel).

use super::files::{Directory, Files};
use super::text;
use crate::model::usage::{
    CpuLimits, CpuUsage, Faults, MemoryLimits, MemoryUsage, PressureUsage, TaskUsage, Throttling, Usage,
};

/// Nanoseconds in a microsecond, in which v2 counts.
const MICRO: u64 = 1000;

/// Reads the cgroup of this directory. The root has fewer files: what it lacks is the whole machine's.
pub(super) fn usage(files: &mut Files, directory: &Directory, is_root: bool) -> Usage {
    let mut pressure = |name| files.read(directory, name).and_then(text::pressure);
    let pressure = PressureUsage {
        cpu: pressure(c"cpu.pressure"),
        memory: pressure(c"memory.pressure"),
        io: pressure(c"io.pressure"),
    };
    Usage {
        cpu: cpu(files, directory),
        memory: match is_root {
            true => root_memory(files, directory),
            false => memory(files, directory),
        },
        io: files
            .read(directory, c"io.stat")
            .map_or_else(Vec::new, text::io_of_v2),
        tasks: tasks(files, directory),
        pressure,
    }
}

fn cpu(files: &mut Files, directory: &Directory) -> Option<CpuUsage> {
    let mut usage = CpuUsage::default();
    let mut throttling = Throttling::default();
    let mut has_quota = false;
    for (name, value) in text::pairs(files.read(directory, c"cpu.stat")?) {
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
    let max = files.read(directory, c"cpu.max").and_then(quota);
    usage.limits = CpuLimits {
        shares: files.number(directory, c"cpu.weight").map(shares),
        quota: max.and_then(|(quota, _)| quota),
        period: max.map(|(_, period)| period),
    };
    Some(usage)
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

fn memory(files: &mut Files, directory: &Directory) -> Option<MemoryUsage> {
    let mut usage = MemoryUsage {
        usage: files.number(directory, c"memory.current")?,
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
    usage.limits = MemoryLimits {
        memory: files.number(directory, c"memory.max"),
        swap: files.number(directory, c"memory.swap.max"),
        reservation: files.number(directory, c"memory.low").filter(|low| *low > 0),
    };
    Some(usage)
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

fn tasks(files: &mut Files, directory: &Directory) -> Option<TaskUsage> {
    Some(TaskUsage {
        threads: files.number(directory, c"pids.current")?,
        limit: files.number(directory, c"pids.max"),
    })
}
