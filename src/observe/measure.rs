//! What changes on the machine: memory, disks and processes, measured as by the kubelet's eviction manager and its
//! cadvisor. Each call reads a handful of files; nothing runs in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::machine::{self, MachineError};
use crate::cri::Runtime;
use crate::model::node::{FsUsage, Measured};
use crate::model::resources::Bytes;

/// Measures now. `root` is `/` on a real machine; `root_dir` is the node's own directory, `images` the runtime's image
/// directory, if known.
pub fn measure(root: &Path, root_dir: &Path, images: Option<&Path>) -> Result<Measured, MachineError> {
    Ok(Measured {
        memory_available: memory_available(root)?,
        nodefs: file_system(root_dir)?,
        // The runtime's directory may not exist yet.
        imagefs: images.and_then(|path| file_system(path).ok()),
        pids_max: pids_max(root)?,
        pids_used: pids_used(root)?,
    })
}

/// How long a measurement waits for the runtime to say where its images are.
const PATIENCE: Duration = Duration::from_secs(1);

/// The paths to measure.
#[derive(Debug, Clone)]
pub struct Places {
    /// The node's own directory.
    pub root_dir: PathBuf,
    /// The runtime's image directory, if known.
    pub images: Option<PathBuf>,
}

/// Measures periodically until canceled. A failed measurement is logged once, and the last one stays.
///
/// A runtime that did not answer at the start is asked again where its images are.
pub async fn run(
    mut places: Places,
    runtime: Runtime,
    every: Duration,
    out: watch::Sender<Arc<Measured>>,
    cancel: CancellationToken,
) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        // Both arms only wait.
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        if places.images.is_none() {
            let asked = tokio::time::timeout(PATIENCE, runtime.images_dir()).await;
            places.images = asked.ok().flatten();
        }
        let Places { root_dir, images } = places.clone();
        let measured =
            tokio::task::spawn_blocking(move || measure(Path::new("/"), &root_dir, images.as_deref())).await;
        match measured.expect("measuring does not panic") {
            Ok(measured) => {
                failed = false;
                out.send_replace(Arc::new(measured));
            }
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, "cannot measure the machine; reporting the last measurement");
            }
            Err(_) => {}
        }
    }
}

/// The capacity of the path's file system.
pub fn file_system(path: &Path) -> Result<FsUsage, MachineError> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|errno| MachineError::FileSystem {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let bytes = |blocks: u64| Bytes(signed(blocks.saturating_mul(stat.fragment_size())));
    Ok(FsUsage {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        inodes: signed(stat.files()),
        inodes_free: signed(stat.files_free()),
    })
}

/// Capacity minus the working set of all processes: the memory in use without inactive file pages, which can be
/// reclaimed at once.
fn memory_available(root: &Path) -> Result<Bytes, MachineError> {
    let capacity = machine::memory(root)?;
    let v1 = "sys/fs/cgroup/memory/memory.usage_in_bytes";
    let (usage, inactive) = match machine::text(root, v1) {
        Ok(usage) => {
            let stat = machine::text(root, "sys/fs/cgroup/memory/memory.stat")?;
            let usage = usage.trim().parse().map_err(|_| MachineError::Missing {
                path: root.join(v1),
                what: "a number",
            })?;
            (usage, value(&stat, "total_inactive_file"))
        }
        // The root of cgroup v2 has no usage file; the usage is anonymous memory plus file memory.
        Err(_) => {
            let stat = machine::text(root, "sys/fs/cgroup/memory.stat")?;
            (
                value(&stat, "anon") + value(&stat, "file"),
                value(&stat, "inactive_file"),
            )
        }
    };
    let working_set = (usage - inactive).max(0);
    Ok(Bytes((capacity.0 - working_set).max(0)))
}

/// The number after `name ` at the start of a line; 0 where the kernel does not count it.
fn value(stat: &str, name: &str) -> i64 {
    let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    stat.lines().find_map(number).unwrap_or(0)
}

/// The kernel stops at whichever comes first.
fn pids_max(root: &Path) -> Result<i64, MachineError> {
    let limit = |path: &str| {
        machine::text(root, path)?
            .trim()
            .parse::<i64>()
            .map_err(|_| MachineError::Missing {
                path: root.join(path),
                what: "a number",
            })
    };
    Ok(limit("proc/sys/kernel/pid_max")?.min(limit("proc/sys/kernel/threads-max")?))
}

/// Processes and threads: the second number of `1.36 3.49 4.53 2/3518 3715089`.
fn pids_used(root: &Path) -> Result<i64, MachineError> {
    let path = "proc/loadavg";
    let text = machine::text(root, path)?;
    let count = text
        .split_whitespace()
        .nth(3)
        .and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    count.ok_or_else(|| MachineError::Missing {
        path: root.join(path),
        what: "the number of tasks",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::machine::tests::machine;

    const COMMON: [(&str, &str); 4] = [
        ("proc/meminfo", "MemTotal:       1000 kB\n"),
        ("proc/sys/kernel/pid_max", "4194304\n"),
        ("proc/sys/kernel/threads-max", "32000\n"),
        ("proc/loadavg", "1.36 3.49 4.53 2/3518 3715089\n"),
    ];

    fn check(files: &[(&str, &str)], available: i64) {
        let root = machine(&[&COMMON, files].concat());
        let measured = measure(root.path(), root.path(), Some(&root.path().join("absent"))).unwrap();
        assert_eq!(measured.memory_available, Bytes(available * 1024));
        assert_eq!((measured.pids_max, measured.pids_used), (32000, 3518));
        assert_eq!(measured.imagefs, None);
        assert!(measured.nodefs.capacity >= measured.nodefs.available);
    }

    #[test]
    fn on_v1() {
        check(
            &[
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "512000\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 102400\n",
                ),
            ],
            600,
        );
        // The two are read one after the other and may contradict each other.
        check(
            &[
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1024\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 2048\n"),
            ],
            1000,
        );
    }

    #[test]
    fn on_v2() {
        check(
            &[(
                "sys/fs/cgroup/memory.stat",
                "anon 204800\nfile 409600\ninactive_file 307200\n",
            )],
            700,
        );
    }

    #[test]
    fn this_machine() {
        let measured = measure(Path::new("/"), Path::new("/"), Some(Path::new("/"))).unwrap();
        assert!(measured.memory_available > Bytes(0));
        assert!(measured.pids_used > 0 && measured.pids_max > measured.pids_used);
        assert_eq!(measured.imagefs.unwrap().capacity, measured.nodefs.capacity);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = file_system(Path::new("/no/such/path")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the capacity of the file system of /no/such/path"
        );
    }
}
