//! Vulnerabilities of other node agents that have a CVE number, as far as mounts are needed to test them: one file
//! each. The list of all is in `tests/suite/cve/mod.rs`.

mod cve_2017_1002101;
mod cve_2017_1002102;
mod cve_2021_25741;
mod cve_2023_3676;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// The deadline: every race has run often enough long before it, or the test has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A pod's directory with a volume of its containers, and beside it a host directory that they must not reach. Each has
/// a file `file` with its name in it.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host {
            dir: tempfile::tempdir().unwrap(),
        };
        for (dir, content) in [(host.volume(), "volume"), (host.outside(), "outside")] {
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("file"), content).unwrap();
        }
        host
    }

    fn pod(&self) -> PathBuf {
        self.dir.path().join("pods/u1")
    }

    fn volume(&self) -> PathBuf {
        self.pod().join("volumes/kubernetes.io~empty-dir/v")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// The host's directory is unchanged.
    #[track_caller]
    fn is_untouched(&self) {
        let names = |dir: &Path| -> Vec<_> {
            let entries = fs::read_dir(dir).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(&self.outside()), ["file"]);
        assert_eq!(
            fs::read_to_string(self.outside().join("file")).unwrap(),
            "outside"
        );
    }
}

/// Runs `meanwhile` repeatedly on a thread of its own, once before `work` starts and until it ends.
fn against<T>(mut meanwhile: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    /// Ends the other thread also when `work` panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = &AtomicBool::new(false);
    let (begun, begins) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let _end = End(ended);
        scope.spawn(move || {
            meanwhile();
            let _ = begun.send(());
            while !ended.load(Ordering::Relaxed) {
                meanwhile();
            }
        });
        begins.recv().expect("the other thread goes on");
        work()
    })
}

/// Exchanges two paths atomically, as a container can do with the content of its volume.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let flags = RenameFlags::RENAME_EXCHANGE;
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, flags)?)
}

/// Tries at least that often, until each of both outcomes has been seen: otherwise there was no race.
#[track_caller]
fn until_both(times: usize, mut attempt: impl FnMut() -> bool) {
    let began = Instant::now();
    let (mut done, mut refused) = (0, 0);
    while done + refused < times || done == 0 || refused == 0 {
        match attempt() {
            true => done += 1,
            false => refused += 1,
        }
        assert!(
            began.elapsed() < DEADLINE,
            "{done} attempts succeeded and {refused} were refused"
        );
    }
}
