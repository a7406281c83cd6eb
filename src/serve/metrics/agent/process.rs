//! The agent's own process as the kernel measures it, under the names that Prometheus' clients use.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use crate::counters::Kind;
use crate::serve::metrics::exposition::{Number, Page};

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::serve::metrics) struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    most_virtual_bytes: u64,
    boot_seconds: f64,
    start_seconds: f64,
    open_fds: u64,
    max_fds: u64,
    /// What was received and sent in the process' network namespace, in bytes.
    network: Option<(u64, u64)>,
}

impl ProcessStats {
    /// Reads /proc; `None` if its content is not as expected, and the metrics are then omitted.
    pub(in crate::serve::metrics) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        let open_fds = open_fds()?;
        let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let (most_virtual_bytes, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
        let network = fs::read_to_string("/proc/self/net/netstat");
        let ticks = configured(SysconfVar::CLK_TCK)?;
        let page = configured(SysconfVar::PAGE_SIZE)?;
        let [user, system, start, virtual_bytes, pages] = fields(&stat)?;
        Some(ProcessStats {
            cpu_seconds: (user + system) as f64 / ticks as f64,
            resident_bytes: pages * page,
            virtual_bytes,
            most_virtual_bytes,
            boot_seconds: boot,
            start_seconds: boot + start as f64 / ticks as f64,
            open_fds,
            max_fds,
            network: network.ok().and_then(|text| octets(&text)),
        })
    }

    /// When the machine started, in seconds since 1970.
    pub(super) fn boot_seconds(&self) -> f64 {
        self.boot_seconds
    }

    /// When the process started, in seconds since 1970.
    pub(in crate::serve::metrics) fn start_seconds(&self) -> f64 {
        self.start_seconds
    }
}

/// The name of the family that every page of a process has.
const START: &str = "process_start_time_seconds";

/// A figure, if it is known.
type Value = fn(&ProcessStats) -> Option<Number>;

/// Name, kind, help and figure of each family.
const FAMILIES: [(&str, Kind, &str, Value); 9] = [
    (
        "process_cpu_seconds_total",
        Kind::Counter,
        "Total user and system CPU time spent in seconds.",
        |stats| Some(Number::Real(stats.cpu_seconds)),
    ),
    (
        "process_max_fds",
        Kind::Gauge,
        "Maximum number of open file descriptors.",
        |stats| Some(Number::Whole(stats.max_fds)),
    ),
    (
        "process_network_receive_bytes_total",
        Kind::Counter,
        "Number of bytes received in the network namespace of the process.",
        |stats| Some(Number::Whole(stats.network?.0)),
    ),
    (
        "process_network_transmit_bytes_total",
        Kind::Counter,
        "Number of bytes sent in the network namespace of the process.",
        |stats| Some(Number::Whole(stats.network?.1)),
    ),
    (
        "process_open_fds",
        Kind::Gauge,
        "Number of open file descriptors.",
        |stats| Some(stats.open_fds.into()),
    ),
    (
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory size in bytes.",
        |stats| Some(stats.resident_bytes.into()),
    ),
    (
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Virtual memory size in bytes.",
        |stats| Some(stats.virtual_bytes.into()),
    ),
    (
        "process_virtual_memory_max_bytes",
        Kind::Gauge,
        "Maximum amount of virtual memory available in bytes.",
        |stats| Some(stats.most_virtual_bytes.into()),
    ),
    (START, Kind::Gauge, START_HELP, |stats| {
        Some(stats.start_seconds.into())
    }),
];

/// Without figures the families are empty.
pub(super) fn put(page: &mut Page, stats: Option<&ProcessStats>) {
    for (name, kind, help, value) in FAMILIES {
        let mut family = page.family(name, kind, help);
        if let Some(value) = stats.and_then(value) {
            family.value(&[], value);
        }
    }
}

const START_HELP: &str = "Start time of the process since unix epoch in seconds.";

/// When the process started, for the pages that show nothing else of it.
pub(in crate::serve::metrics) fn put_start(page: &mut Page, stats: Option<&ProcessStats>) {
    let mut family = page.family(START, Kind::Gauge, START_HELP);
    if let Some(stats) = stats {
        family.value(&[], stats.start_seconds());
    }
}

/// A listing costs a microsecond for each, and the agent has thousands open. Since version 6.2 the kernel shows their
/// number as the size of the directory (proc_pid_fd(5)); before that the size is 0.
fn open_fds() -> Option<u64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        0 => Some(fs::read_dir(directory).ok()?.count() as u64),
        size => Some(size),
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

/// `InOctets` and `OutOctets` of the IP protocol (netstat(5) of the kernel: a line of names, and one of values).
fn octets(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(name, _)| *name == wanted)?.1.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
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

    #[test]
    fn octets_are_found_by_name() {
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 7 9\n";
        assert_eq!(octets(netstat), Some((7, 9)));
        assert_eq!(octets("IpExt: InOctets\nIpExt: 7\n"), None);
        assert_eq!(octets(""), None);
    }
}
