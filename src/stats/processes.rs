//! What the processes of a cgroup hold open (proc_pid_fd(5), proc_pid_limits(5)).

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::model::stats::ProcessUsage;

/// The descriptors of one cgroup that are looked at, one system call each: a pod chooses how many it opens.
const MOST: u64 = 4096;

/// Counts them. A process that has ended meanwhile counts nothing.
pub(super) fn of(proc: &Path, pids: &[u32]) -> ProcessUsage {
    let (descriptors, sockets) = open_files(proc, pids).unzip();
    ProcessUsage {
        count: pids.len() as u64,
        descriptors,
        sockets,
        descriptor_limit: pids.first().and_then(|pid| descriptor_limit(proc, *pid)),
    }
}

/// The open files, and how many of them are sockets; `None` if there are more than [`MOST`].
fn open_files(proc: &Path, pids: &[u32]) -> Option<(u64, u64)> {
    let (mut all, mut sockets) = (0, 0);
    for pid in pids {
        let Ok(open) = fs::read_dir(proc.join(format!("{pid}/fd"))) else {
            continue;
        };
        for entry in open.flatten() {
            all += 1;
            if all > MOST {
                return None;
            }
            let is_socket = |target: &Path| target.as_os_str().as_bytes().starts_with(b"socket:");
            if fs::read_link(entry.path()).is_ok_and(|target| is_socket(&target)) {
                sockets += 1;
            }
        }
    }
    Some((all, sockets))
}

/// How many files a process may open; absent without a limit.
pub(super) fn descriptor_limit(proc: &Path, pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(proc.join(format!("{pid}/limits"))).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_sockets_of_this_process_are_counted() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let _file = fs::File::open("/proc/self/stat").unwrap();
        let own = of(Path::new("/proc"), &[std::process::id()]);
        assert_eq!(own.count, 1);
        assert!(own.sockets >= Some(1), "{own:?}");
        assert!(own.descriptors > own.sockets, "{own:?}");
        assert!(own.descriptor_limit.is_some_and(|limit| limit > 0), "{own:?}");
    }

    #[test]
    fn more_than_the_bound_are_not_counted() {
        let proc = tempfile::tempdir().unwrap();
        let fds = proc.path().join("7/fd");
        fs::create_dir_all(&fds).unwrap();
        let make =
            |number: u64| std::os::unix::fs::symlink("socket:[1]", fds.join(number.to_string())).unwrap();
        let counted = || {
            let usage = of(proc.path(), &[7, 8]);
            (usage.count, usage.descriptors, usage.sockets)
        };
        (0..MOST).for_each(make);
        assert_eq!(counted(), (2, Some(MOST), Some(MOST)));
        make(MOST);
        assert_eq!(counted(), (2, None, None));
    }
}
