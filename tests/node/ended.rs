//! Runs of this very program that are asked to end in the middle of a story, seen from outside.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ending::{Hold, SIGNALS};
use crate::wait::wait_for;
use crate::world::repository;

/// A story outside of all namespaces: its name, and how it goes.
type Outside = (&'static str, fn() -> Result<(), String>);

/// Those that there are.
pub const STORIES: &[Outside] = &[("ended::a_run_that_is_asked_to_end_leaves_nothing", || {
    let reported = std::panic::catch_unwind(a_run_that_is_asked_to_end_leaves_nothing);
    reported.map_err(|_| "it failed, as told above".to_owned())
})];

/// It goes on for a while after its pod runs.
const LONG_STORY: &str = "pods::a_crashing_container_restarts_with_growing_back_off";

/// The longest until the story's pod runs, or until all of it is gone.
const PATIENCE: Duration = Duration::from_secs(30);

fn a_run_that_is_asked_to_end_leaves_nothing() {
    let mut runs = SIGNALS.map(|signal| (signal, Run::start()));
    for (_, run) in &runs {
        wait_for("a pod to run", PATIENCE, || run.has_a_pod());
    }
    for (signal, run) in &runs {
        run.send(*signal);
    }
    for (signal, run) in &mut runs {
        let status = wait_for("a run to end", PATIENCE, || match run.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{signal}: {other:?}")),
        });
        assert_eq!(status.code(), Some(128 + *signal as i32), "{signal}: {status}");
        assert_eq!(run.things(), Vec::<String>::new(), "{signal}");
    }
}

/// A run of a long story. However this one ends, it is asked to end, and waited for.
struct Run {
    child: Child,
    _hold: Hold,
}

impl Run {
    fn start() -> Run {
        let hold = Hold::new();
        // Whatever this process ignores.
        let child = Command::new("env")
            .arg("--default-signal=HUP,INT,TERM")
            .arg(std::env::current_exe().expect("this program has a path"))
            .arg(LONG_STORY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("this program starts");
        Run { child, _hold: hold }
    }

    fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("the kernel's process ids are small");
        kill(Pid::from_raw(pid), signal).expect("our own child");
    }

    /// Whether all kinds of things of its story are there, a pod's cgroup among them.
    fn has_a_pod(&self) -> Result<(), String> {
        let things = self.things();
        let has = |kind: &str| things.iter().any(|thing| thing.starts_with(kind));
        let has_a_pod = cgroups(self.child.id())
            .iter()
            .any(|cgroup| has_a_pod(&Path::new(cgroup).join("kubepods")));
        match has_a_pod && has("directory") && has("process") {
            true => Ok(()),
            false => Err(format!("{things:?}")),
        }
    }

    /// What its story has on the machine.
    fn things(&self) -> Vec<String> {
        let pid = self.child.id();
        let kinds = [
            ("cgroup", cgroups(pid)),
            ("directory", named(&repository().join("target/node"), pid)),
            ("process", processes(pid)),
        ];
        let mut things = Vec::new();
        for (kind, found) in kinds {
            things.extend(found.into_iter().map(|thing| format!("{kind} {thing}")));
        }
        things
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.send(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Whether a pod has its cgroup there, in any class.
fn has_a_pod(kubepods: &Path) -> bool {
    let classes = ["", "burstable", "besteffort"].map(|class| kubepods.join(class));
    let names = classes
        .into_iter()
        .filter_map(|class| class.read_dir().ok())
        .flatten()
        .flatten();
    names
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("pod"))
}

/// The start of the names of what a run makes.
fn mark(pid: u32) -> String {
    format!("gantry-test-{pid}-")
}

/// Its entries of a directory.
fn named(directory: &Path, pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark(pid)));
    ours.map(|entry| entry.path().display().to_string()).collect()
}

/// Its cgroups, in every hierarchy and at the root of the only one.
fn cgroups(pid: u32) -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).expect("cgroups are mounted").flatten();
    let hierarchies = hierarchies.map(|entry| entry.path()).chain([root.to_owned()]);
    hierarchies.flat_map(|hierarchy| named(&hierarchy, pid)).collect()
}

/// The processes that hold its world: with the first of them end all that are in it.
fn processes(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/proc")
        .expect("the kernel lists processes")
        .flatten();
    let lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&mark(pid)).then_some(line)
    });
    lines.collect()
}
