//! `make chaos`: faults at random on a node whose pods come and go, a thousand in a run, on a real containerd in
//! namespaces of its own (`tests/support/isolate.sh`); first a node by itself (`node`), then one of a real control plane
//! (`cluster`). The seed is printed first, and `SEED=…` repeats a run. What is done to the node is in `storm/faults/`.

// A failed expectation ends the run, and it speaks to a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]
// Of the other tiers' modules only a part is needed here.
#![allow(dead_code)]

mod storm;
mod alone;
mod cluster;
mod plane_faults;
#[path = "../cluster/api.rs"]
mod api;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
#[path = "../cluster/fault_proxy.rs"]
mod fault_proxy;
#[path = "../node/node.rs"]
mod node;
#[path = "../node/process.rs"]
mod process;
#[path = "../node/machine.rs"]
mod machine;
#[path = "../node/manifest.rs"]
mod manifest;
#[path = "../node/runtime.rs"]
mod runtime;
#[path = "../node/world.rs"]
mod world;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/seeded_random.rs"]
mod seeded_random;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use seeded_random::SeededRandom;
use storm::Storm;
use storm::World;

/// How many faults a run has, unless `FAULTS` says otherwise.
const FAULTS: usize = 1000;
/// What one fault may take on average, with the longest one that does not come to an end.
const EACH: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.is_empty()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Paths below the repository are short enough for sockets, however deep it lies.
    std::env::set_current_dir(world::repository()).expect("the repository is there");
    match words.as_slice() {
        ["--inside", "node"] => inside(alone::start),
        ["--inside", "cluster"] => inside(cluster::start),
        [] => outside(&["node", "cluster"]),
        worlds => outside(worlds),
    }
}

fn outside(worlds: &[&str]) -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("A storm needs root: sudo make chaos");
        return ExitCode::FAILURE;
    }
    let seed = SeededRandom::new().seed;
    ending::watch();
    let before = machine::Machine::now();
    let has_failed = worlds.iter().filter(|world| !stands(world, seed)).count() > 0;
    let left = machine::Machine::now().since(&before);
    if !left.is_empty() {
        eprintln!("The storm left things on the machine:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    match has_failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Runs this program in namespaces of its own, and keeps the logs if it fails.
fn stands(name: &str, seed: u64) -> bool {
    println!("\n==== {name} ====");
    let world = match world::World::new(name) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return false;
        }
    };
    let mut command = world.command(&["--inside", name]);
    let child = command
        .env("SEED", seed.to_string())
        .spawn()
        .expect("this program starts");
    let limit = LONGEST + EACH * u32::try_from(faults()).expect("not so many");
    let (status, was_late) = world::finish(child, limit);
    if was_late {
        eprintln!("killed after {} s", limit.as_secs());
    }
    if !status.success() {
        keep_logs(&format!("{name}-{seed}"), &world.dir);
    }
    status.success()
}

fn keep_logs(name: &str, from: &std::path::Path) {
    let kept = world::repository().join("target/chaos").join(name);
    let _ = std::fs::remove_dir_all(&kept);
    std::fs::create_dir_all(&kept).expect("target/ can be written to");
    let entries = std::fs::read_dir(from)
        .expect("the storm's own directory")
        .flatten();
    for path in entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
    {
        let _ = std::fs::copy(&path, kept.join(path.file_name().expect("it has a name")));
    }
    println!("the logs are in {}", kept.display());
}

fn faults() -> usize {
    let given = std::env::var("FAULTS").ok().filter(|text| !text.is_empty());
    given.map_or(FAULTS, |text| text.parse().expect("FAULTS is a number"))
}

fn inside<W: World>(start: fn() -> W) -> ExitCode {
    let random = SeededRandom::new(); // of the seed that the outside has printed
    let seed = random.seed;
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut storm = Storm::begin(start(), random);
    match storm.rage(faults(), &only) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("FAILED with SEED={seed}: {why}");
            ExitCode::FAILURE
        }
    }
}
