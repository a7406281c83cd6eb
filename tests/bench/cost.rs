//! What a process takes of the machine, as the kernel counts it.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// CPU time of all threads of a process, those that have ended too, and not of its children: utime and stime of
/// `/proc/<pid>/stat`, which tells hundredths of a second, to the nanosecond.
pub fn cpu(pid: u32) -> Duration {
    let pid = i32::try_from(pid).expect("the kernel's process ids are small");
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).expect("the process lives");
    clock_gettime(clock).expect("the process lives").into()
}

/// The CPU time that a process takes while it is left alone for so long, in milliseconds for each second.
pub fn idle(pid: u32, time: Duration) -> f64 {
    std::thread::sleep(Duration::from_secs(5)); // what follows a start is not idleness
    let (begun, before) = (Instant::now(), cpu(pid));
    std::thread::sleep(time);
    (cpu(pid) - before).as_secs_f64() * 1000.0 / begun.elapsed().as_secs_f64()
}

/// Resident memory in MiB.
pub fn resident(pid: u32) -> f64 {
    kib(pid, "status", "VmRSS:") / 1024.0
}

/// Resident memory in MiB, of what is shared with others a share.
pub fn proportional(pid: u32) -> f64 {
    kib(pid, "smaps_rollup", "Pss:") / 1024.0
}

fn kib(pid: u32, file: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process lives");
    let line = text
        .lines()
        .find(|line| line.starts_with(key))
        .expect("the kernel tells it");
    line.split_whitespace()
        .nth(1)
        .and_then(|value| value.parse().ok())
        .expect("a number of KiB")
}
