//! The files of cgroup v1 (`Documentation/admin-guide/cgroup-v1` of the kernel).

use nix::unistd::{SysconfVar, sysconf};

use super::files::{Directory, Files};
use super::text;
use crate::model::usage::{
    CpuLimits, CpuUsage, DeviceIo, MemoryLimits, MemoryUsage, PressureUsage, TaskUsage, Throttling, Usage,
};

/// A limit at least this large is none: the kernel rounds the greatest number down to whole pages.
const UNLIMITED: u64 = 1 << 62;

/// Reads the cgroup whose directory of a controller is given; absent if it has none of `memory`.
pub(super) fn usage(files: &mut Files, directory: impl Fn(&str) -> Option<Directory>) -> Option<Usage> {
    let memory = directory("memory")?;
    let cpuacct = directory("cpuacct");
    let cpu = directory("cpu");
    Some(Usage {
        cpu: cpuacct.and_then(|cpuacct| self::cpu(files, &cpuacct, cpu.as_ref())),
        memory: self::memory(files, &memory),
        io: directory("blkio").map_or_else(Vec::new, |blkio| io(files, &blkio)),
        tasks: directory("pids").and_then(|pids| tasks(files, &pids)),
        // Version 1 has none.
        pressure: PressureUsage::default(),
    })
}

fn cpu(files: &mut Files, cpuacct: &Directory, cpu: Option<&Directory>) -> Option<CpuUsage> {
    let total = files.number(cpuacct, c"cpuacct.usage")?;
    let mut usage = CpuUsage {
        total,
        ..CpuUsage::default()
    };
    let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let tick = tick.and_then(|ticks| 1_000_000_000_u64.checked_div(ticks.try_into().ok()?));
    if let (Some(tick), Some(text)) = (tick, files.read(cpuacct, c"cpuacct.stat")) {
        for (name, ticks) in text::pairs(text) {
            match name {
                "user" => usage.user = ticks.saturating_mul(tick),
                "system" => usage.system = ticks.saturating_mul(tick),
                _ => {}
            }
        }
    }
    if let Some(cpu) = cpu {
        usage.throttling = files.read(cpu, c"cpu.stat").map(throttling);
        usage.limits = CpuLimits {
            shares: files.number(cpu, c"cpu.shares"),
            // Without a limit it is negative.
            quota: files.number(cpu, c"cpu.cfs_quota_us"),
            period: files.number(cpu, c"cpu.cfs_period_us"),
        };
    }
    Some(usage)
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

fn memory(files: &mut Files, memory: &Directory) -> Option<MemoryUsage> {
    let mut usage = MemoryUsage {
        usage: files.number(memory, c"memory.usage_in_bytes")?,
        max_usage: files.number(memory, c"memory.max_usage_in_bytes"),
        failures: files.number(memory, c"memory.failcnt"),
        kernel: files.number(memory, c"memory.kmem.usage_in_bytes"),
        ..MemoryUsage::default()
    };
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
    if let Some(text) = files.read(memory, c"memory.oom_control") {
        usage.oom_kills = text::pairs(text).find_map(|(name, count)| (name == "oom_kill").then_some(count));
    }
    let mut limit = |name| files.number(memory, name).filter(|limit| *limit < UNLIMITED);
    usage.limits = MemoryLimits {
        memory: limit(c"memory.limit_in_bytes"),
        swap: limit(c"memory.memsw.limit_in_bytes"),
        reservation: limit(c"memory.soft_limit_in_bytes"),
    };
    Some(usage)
}

fn io(files: &mut Files, blkio: &Directory) -> Vec<DeviceIo> {
    let bytes = files.read(blkio, c"blkio.throttle.io_service_bytes_recursive");
    let bytes = bytes.unwrap_or_default().to_owned();
    let operations = files.read(blkio, c"blkio.throttle.io_serviced_recursive");
    text::io_of_v1(&bytes, operations.unwrap_or_default())
}

fn tasks(files: &mut Files, pids: &Directory) -> Option<TaskUsage> {
    Some(TaskUsage {
        threads: files.number(pids, c"pids.current")?,
        limit: files.number(pids, c"pids.max"),
    })
}
