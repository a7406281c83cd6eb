//! `make bench`: the agent's speed and size, with the other side of each comparison measured in the same run, on the
//! same containerd. A figure that falls short is printed as it is and fails nothing.

// This is a program that speaks to a terminal, and stops where it cannot measure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]
// Of the node tier's modules only a part is needed here.
#![allow(dead_code)]

mod start;
mod raw;
mod idle;
mod watching;
mod overlay;
mod cluster;
mod cost;
mod report;
#[path = "../node/node.rs"]
mod node;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
#[path = "../cluster/api.rs"]
mod api;
#[path = "../cluster/objects.rs"]
mod objects;
#[path = "../cluster/volumes/driver.rs"]
mod driver;
#[path = "../cluster/volumes/objects.rs"]
mod volume_objects;
#[path = "../node/kubelet.rs"]
mod kubelet;
#[path = "../node/process.rs"]
mod process;
#[path = "../node/manifest.rs"]
mod manifest;
#[path = "../node/runtime.rs"]
mod runtime;
#[path = "../node/world.rs"]
mod world;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use report::Report;

/// A part's name and what it measures.
type Part = (&'static str, fn(&mut Report));

/// What is measured in one set of namespaces, by the name that chooses it. Each is told as soon as it is measured.
const PARTS: &[Part] = &[
    ("agent", agent),
    ("cluster", cluster::measure),
    ("serving", cluster::serving::measure),
    ("bulk", cluster::bulk::measure),
    ("volumes", cluster::volumes::measure),
    ("watching", watching::measure),
    ("pressure", cluster::pressure::measure),
    ("overlay", overlay::measure),
];

/// The longest that a part may take, beside the time that watchers are asked to watch.
const LIMIT: Duration = Duration::from_secs(1800);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.is_empty()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Paths below the repository are short enough for sockets, however deep it lies.
    std::env::set_current_dir(world::repository()).expect("the repository is there");
    if let ["--inside", part] = words.as_slice() {
        let (_, measure) = PARTS.iter().find(|(name, _)| name == part).expect("its name");
        let mut report = Report::default();
        measure(&mut report);
        report.print();
        return ExitCode::SUCCESS;
    }
    let names = || PARTS.iter().map(|(name, _)| *name);
    if let Some(unknown) = words.iter().find(|word| !names().any(|name| name == **word)) {
        eprintln!(
            "no part is called {unknown}; there are: {}",
            names().collect::<Vec<_>>().join(", ")
        );
        return ExitCode::FAILURE;
    }
    ending::watch();
    let mut all_ended_well = true;
    for part in names().filter(|name| words.is_empty() || words.contains(name)) {
        all_ended_well &= isolated(part);
    }
    match all_ended_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs one part of this program in namespaces of its own. Answers whether it went to its end.
fn isolated(part: &str) -> bool {
    println!("\n==== {part} ====");
    let world = match world::World::new(&format!("bench-{part}")) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return false;
        }
    };
    let child = world
        .command(&["--inside", part])
        .spawn()
        .expect("this program starts");
    let limit = LIMIT + watching::duration();
    let (status, was_late) = world::finish(child, limit);
    if was_late {
        eprintln!("killed after {} s", limit.as_secs());
    }
    if !status.success() {
        let logs = ["agent.log", "kubelet.log", "containerd.log", "apiserver.log"];
        eprintln!("{}", world::log_ends(&world.dir, &logs));
    }
    status.success()
}

/// The agent by itself.
fn agent(report: &mut Report) {
    let mut node = node::Node::new(node::USUAL);
    report.sizes();
    start::measure(&mut node, report);
    idle::measure(&mut node, report);
}
