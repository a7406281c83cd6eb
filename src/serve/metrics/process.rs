//! The agent's own process as the kernel measures it, under the names that Prometheus' clients use.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::exposition::{Kind, Page};

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    start_seconds: f64,
    open_fds: u64,
    max_fds: u64,
}

impl ProcessStats {
    /// Reads /proc; `None` if its content is not as expected, and the metrics are then omitted.
    pub(crate) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let ticks = configured(SysconfVar::CLK_TCK)?;
        let page = configured(SysconfVar::PAGE_SIZE)?;
        let [user, system, start, virtual_bytes, pages] = fields(&stat)?;
        Some(ProcessStats {
            cpu_seconds: (user + system) as f64 / ticks as f64,
            resident_bytes: pages * page,
            virtual_bytes,
            start_seconds: boot + start as f64 / ticks as f64,
            open_fds,
            max_fds,
        })
    }

    pub(crate) fn put(&self, page: &mut Page) {
        page.family(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Total user and system CPU time spent in seconds.",
        )
        .value(&[], self.cpu_seconds);
        page.family(
            "process_max_fds",
            Kind::Gauge,
            "Maximum number of open file descriptors.",
        )
        .value(&[], self.max_fds);
        page.family(
            "process_open_fds",
            Kind::Gauge,
            "Number of open file descriptors.",
        )
        .value(&[], self.open_fds);
        page.family(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory size in bytes.",
        )
        .value(&[], self.resident_bytes);
        page.family(
            "process_start_time_seconds",
            Kind::Gauge,
            "Start time of the process since unix epoch in seconds.",
        )
        .value(&[], self.start_seconds);
        page.family(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory size in bytes.",
        )
        .value(&[], self.virtual_bytes);
    }
}

fn configured(variable: SysconfVar) -> Option<u64> {
    sysconf(variable)
        .ok()
        .flatten()
        .and_then(|value| value.try_into().ok())
}

/// utime, stime, starttime, vsize and rss of `/proc/<pid>/stat` (proc_pid_stat(5)). The second field, the name, is in
/// parentheses and may contain any characters, including parentheses.
fn fields(stat: &str) -> Option<[u64; 5]> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The first of these is field 3 of the manual page.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some([field(14)?, field(15)?, field(22)?, field(23)?, field(24)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat =
            "7 (a) (b) S 1 7 7 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 5 0 99 1000 33 18446744073709551615";
        assert_eq!(fields(stat), Some([11, 12, 99, 1000, 33]));
        assert_eq!(fields("7 (a) S 1"), None);
        assert_eq!(fields(""), None);
    }
}
