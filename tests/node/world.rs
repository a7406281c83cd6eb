//! Tells one story in a world of its own, and clears the world away however the story ended.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::ending::{self, Hold};
use crate::wait::{STEP, wait_for};

/// The longest that any story may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The programs under test lie beside each other: where cargo built them, or where `GANTRY_PROGRAMS` says.
pub fn program(name: &str) -> PathBuf {
    match std::env::var_os("GANTRY_PROGRAMS") {
        Some(directory) => Path::new(&directory).join(name),
        None => Path::new(env!("CARGO_BIN_EXE_gantry")).with_file_name(name),
    }
}

/// A program that tests/control-plane/build.sh has built; where `KUBERNETES` names an older Kubernetes, of that one.
pub fn control_plane(name: &str) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let all = target.join("control-plane");
    let release = std::env::var("KUBERNETES").unwrap_or_default();
    // etcd is none of Kubernetes' programs: one does for all releases.
    match release.as_str() {
        "" => all.join("bin").join(name),
        _ if name == "etcd" => all.join("bin").join(name),
        release => all.join(release).join("bin").join(name),
    }
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The environment variable that names the story's cgroup to the process inside.
pub const CGROUP: &str = "GANTRY_TEST_CGROUP";

/// Runs the story as a process in its own namespaces. `Err` holds what it said, and the ends of the logs.
pub fn tell(name: &str) -> Result<(), String> {
    run(name, LIMIT).map(|_| ())
}

/// Runs this program as `--inside NAME` in its own namespaces, for what it says.
pub fn run(name: &str, limit: Duration) -> Result<String, String> {
    let world = World::new(name)?;
    let output = world.dir.join("story.log");
    let log = File::create(&output).expect("a file in a new directory");
    let child = world
        .command(&["--inside", name])
        .stdout(log.try_clone().expect("a second handle of an open file"))
        .stderr(log)
        .spawn()
        .expect("the story starts");
    let (status, was_late) = finish(child, limit);
    let mut why = read(&output);
    if status.success() {
        return Ok(why);
    }
    if was_late {
        why.push_str(&format!("\nkilled after {} s", limit.as_secs()));
    }
    why.push_str(&log_ends(
        &world.dir,
        &["agent.log", "kubelet.log", "containerd.log"],
    ));
    Err(why)
}

/// Waits for a program, and kills it at its limit, or as soon as this process is asked to end; returns whether it was
/// late.
pub fn finish(mut child: Child, limit: Duration) -> (ExitStatus, bool) {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the story is a child of this process") {
            return (status, false);
        }
        let is_late = start.elapsed() > limit;
        if is_late || ending::is_asked() {
            let _ = child.kill(); // unshare takes everything inside with it (--kill-child)
            return (child.wait().expect("a killed child ends"), is_late);
        }
        std::thread::sleep(STEP);
    }
}

/// The ends of those of the logs that are there.
pub fn log_ends(directory: &Path, logs: &[&str]) -> String {
    let there = logs.iter().filter(|log| directory.join(log).exists());
    let ends = there.map(|log| {
        let end = tail(&read(&directory.join(log)), 60);
        format!("\n==== the end of {log} ====\n{end}")
    });
    ends.collect()
}

/// What a story uses outside its namespaces; gone with this value.
pub struct World {
    /// Everything that the story writes to a disk; inside it is /run/node.
    pub dir: PathBuf,
    cgroup: String,
    /// Dropped last: the process does not end before the rest is gone.
    _hold: Hold,
}

impl Drop for World {
    fn drop(&mut self) {
        wait_for(
            "the story's cgroups to be empty and gone",
            Duration::from_secs(10),
            || self.remove_cgroups(),
        );
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

impl World {
    /// Makes the directory of a story.
    pub fn new(name: &str) -> Result<World, String> {
        let hold = Hold::new();
        let id = format!(
            "gantry-test-{}-{}",
            std::process::id(),
            name.replace("::", "-").replace('_', "-")
        );
        let dir = repository().join("target/node").join(&id);
        std::fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        Ok(World {
            dir,
            cgroup: id,
            _hold: hold,
        })
    }

    /// This program with other arguments, in namespaces of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(repository().join("tests/support/isolate.sh"));
        command
            .arg(&self.dir)
            .arg(std::env::current_exe().expect("this program has a path"))
            .args(arguments)
            .env(CGROUP, format!("/{}", self.cgroup))
            .env("RUST_BACKTRACE", "0")
            .current_dir(repository())
            .stdin(Stdio::null());
        command
    }

    /// Removes the story's tree from every hierarchy (v1 has one a controller below the root, v2 is the root).
    fn remove_cgroups(&self) -> Result<(), String> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root)
            .map_err(|error| error.to_string())?
            .flatten()
            .map(|entry| entry.path());
        for hierarchy in hierarchies.chain([root.to_owned()]) {
            remove_below(&hierarchy.join(&self.cgroup))?;
        }
        Ok(())
    }
}

/// Removes a cgroup and those below it, the lowest first.
fn remove_below(cgroup: &Path) -> Result<(), String> {
    if !cgroup.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(cgroup)
        .map_err(|error| error.to_string())?
        .flatten()
    {
        if entry.path().is_dir() {
            remove_below(&entry.path())?;
        }
    }
    std::fs::remove_dir(cgroup).map_err(|error| format!("{}: {error}", cgroup.display()))
}

/// A log as text, whatever is in it; empty where there is none.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
