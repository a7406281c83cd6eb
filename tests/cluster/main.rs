//! Stories of a node of a cluster: a real control plane and our agent, told from outside as an administrator would,
//! through the API and kubectl.
//!
//! All of them are told in one set of namespaces (`tests/support/isolate.sh`) by one control plane, each in a
//! Kubernetes namespace of its own, and nothing of one is left for the next. `make test-cluster` builds what is needed
//! and runs this as root; arguments are parts of names. `make cluster` runs it as `serve`, for a person.

// A failed expectation is a failed story, and a story speaks to a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]
// Of the node tier's modules only a part is needed here.
#![allow(dead_code)]

mod control_plane;
mod api;
mod cluster;
mod objects;
mod stories;
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
#[path = "../support/stories.rs"]
mod runner;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::Duration;

/// The longest that all stories may take together.
const LIMIT: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--inside") {
        return inside(&arguments[1..]);
    }
    let choice = runner::Choice::from_args(arguments.iter().cloned());
    if choice.lists() {
        return runner::run(&choice, &stories::all(), |story| story.name, |_| Ok(()));
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("These stories need root: sudo make test-cluster");
        return ExitCode::FAILURE;
    }
    let before = machine::Machine::now();
    let code = outside(&arguments);
    let left = machine::Machine::now().since(&before);
    if left.is_empty() {
        return code;
    }
    eprintln!("The stories left things on the machine:\n{}", left.join("\n"));
    ExitCode::FAILURE
}

/// Runs this program in namespaces of its own, and clears away what it left outside them.
fn outside(arguments: &[String]) -> ExitCode {
    let world = match world::World::new("cluster") {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut inside = vec!["--inside"];
    inside.extend(arguments.iter().map(String::as_str));
    let child = world.command(&inside).spawn().expect("this program starts");
    let (status, was_late) = world::finish(child, LIMIT);
    if was_late {
        eprintln!("killed after {} s", LIMIT.as_secs());
    }
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Tells the chosen stories, one after the other.
fn inside(arguments: &[String]) -> ExitCode {
    let choice = runner::Choice::from_args(arguments.iter().cloned());
    let mut cluster = cluster::Cluster::start();
    runner::run(
        &choice,
        &stories::all(),
        |story| story.name,
        |story| cluster.tell(story),
    )
}
