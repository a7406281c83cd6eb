//! Kills every process of a cgroup. Processes are held by pidfd, so a reused pid is never killed, and the end of each
//! process is an event.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::CgroupError;
use super::hierarchy::{Hierarchy, subdirectories};

/// Kills the processes in the cgroup and below it until none is left, or the deadline has passed.
pub(super) fn end_all(hierarchy: &Hierarchy, path: &Path, deadline: Duration) -> Result<(), CgroupError> {
    let began = Instant::now();
    let mut pids = members(hierarchy, path)?;
    if pids.is_empty() {
        return Ok(());
    }
    stop_forks(hierarchy, path);
    while !pids.is_empty() {
        let left = deadline.saturating_sub(began.elapsed());
        let held: Vec<(Pid, OwnedFd)> = pids
            .iter()
            .filter_map(|&pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .collect();
        // Only a process that is still a member afterwards is held: the pid may have been reused before.
        let still = members(hierarchy, path)?;
        let held: Vec<OwnedFd> = held
            .into_iter()
            .filter(|(pid, _)| still.contains(pid))
            .map(|(_, fd)| fd)
            .collect();
        for process in &held {
            // It may have ended already.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let ended = wait(&held, left);
        pids = members(hierarchy, path)?;
        if !pids.is_empty() && (!ended || left.is_zero()) {
            return Err(CgroupError::Survivors {
                name: path.display().to_string(),
                pids: pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect(),
                seconds: deadline.as_secs(),
            });
        }
    }
    Ok(())
}

/// Whether all have ended in time.
fn wait(processes: &[OwnedFd], time: Duration) -> bool {
    let end = Instant::now() + time;
    processes.iter().all(|process| {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(process, PollFlags::IN)], timeout.as_ref()) {
                Ok(0) if left.is_zero() => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    })
}

/// Keeps a fork bomb from outrunning the kill. Write errors are ignored: the kill is tried anyway. If the cgroup
/// remains after all, creating it again sets its limit again.
fn stop_forks(hierarchy: &Hierarchy, path: &Path) {
    for directory in hierarchy.directories(path) {
        let _ = fs::write(directory.join("cgroup.kill"), "1");
    }
    if let Some(pids) = hierarchy.mount("pids") {
        let _ = fs::write(pids.join(path).join("pids.max"), "0");
    }
}

/// The processes in the cgroup and below it, in any hierarchy.
fn members(hierarchy: &Hierarchy, path: &Path) -> Result<HashSet<Pid>, CgroupError> {
    let mut pids = HashSet::new();
    for directory in hierarchy.directories(path) {
        collect(directory, &mut pids)?;
    }
    Ok(pids)
}

fn collect(directory: PathBuf, pids: &mut HashSet<Pid>) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        // A process of a PID namespace that is not below the agent's is listed as 0.
        Ok(text) => pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?))),
        // Removed by its owner meanwhile, or a threaded v2 cgroup, whose processes are listed by its parent.
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported)
                || error.raw_os_error() == Some(nix::libc::ENODEV) => {}
        Err(error) => return Err(CgroupError::file("reading", &file, error)),
    }
    subdirectories(&directory)?
        .into_iter()
        .try_for_each(|child| collect(directory.join(child), pids))
}
