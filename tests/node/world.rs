//! Tells one story in a world of its own, and clears the world away however the story ended.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::wait::wait_for;

/// The longest that any story may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The programs under test lie beside each other: where cargo built them, or where `GANTRY_PROGRAMS` says.
pub fn program(name: &str) -> PathBuf {
    match std::env::var_os("GANTRY_PROGRAMS") {
        Some(directory) => Path::new(&directory).join(name),
        None => Path::new(env!("CARGO_BIN_EXE_gantry")).with_file_name(name),
    }
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The environment variable that tells the inside which cgroup is the story's.
pub const CGROUP: &str = "GANTRY_TEST_CGROUP";

/// Runs the story as a process in its own namespaces. `Err` holds what it said, and the ends of the logs.
pub fn tell(name: &str) -> Result<(), String> {
    run(name, LIMIT).map(|_| ())
}

/// Runs this program as `--inside NAME` in its own namespaces, for what it says.
pub fn run(name: &str, limit: Duration) -> Result<String, String> {
    let id = format!(
        "gantry-test-{}-{}",
        std::process::id(),
        name.replace("::", "-").replace('_', "-")
    );
    let dir = repository().join("target/node").join(&id);
    std::fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let world = World { dir, cgroup: id };
    let output = world.dir.join("story.log");
    let log = File::create(&output).expect("a file in a new directory");
    let mut child = Command::new(repository().join("tests/support/isolate.sh"))
        .arg(&world.dir)
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--inside", name])
        .env(CGROUP, format!("/{}", world.cgroup))
        .env("RUST_BACKTRACE", "0")
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of an open file"))
        .stderr(log)
        .spawn()
        .expect("the story starts");
    let start = std::time::Instant::now();
    let status = loop {
        match child.try_wait().expect("the story is a child of this process") {
            Some(status) => break status,
            None if start.elapsed() > limit => {
                let _ = child.kill(); // unshare takes everything inside with it (--kill-child)
                break child.wait().expect("a killed child ends");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut why = read(&output);
    if status.success() {
        return Ok(why);
    }
    if status.signal().is_some() && start.elapsed() > limit {
        why.push_str(&format!("\nkilled after {} s", limit.as_secs()));
    }
    for log in ["agent.log", "containerd.log"] {
        why.push_str(&format!(
            "\n==== the end of {log} ====\n{}",
            tail(&read(&world.dir.join(log)), 60)
        ));
    }
    Err(why)
}

/// What a story uses outside its namespaces.
struct World {
    dir: PathBuf,
    cgroup: String,
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
