//! Stories on a real containerd, seen from outside as a user does: manifests in, the command line and CRI out.
//!
//! Each story runs as a process of its own in namespaces of its own (`tests/support/isolate.sh`), so it may use every
//! default path and leaves nothing on the machine. `make test-node` builds what is needed and runs this as root;
//! arguments are parts of names.

// A failed expectation is a failed story, and a story speaks to a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]

mod node;
mod process;
mod machine;
mod manifest;
mod runtime;
mod runtime_state;
mod kubelet;
mod world;
mod ended;
mod stories;
#[path = "../support/broken_manifests.rs"]
mod broken_manifests;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/seeded_random.rs"]
mod seeded_random;
#[path = "../support/stories.rs"]
mod runner;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;

/// So many stories run beside each other: each is on a machine of its own and waits for most of its time.
const PLACES: usize = 3;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some("--inside") {
        let name = args.next().expect("--inside names a story");
        let story = stories::all()
            .into_iter()
            .find(|story| story.name == name)
            .expect("--inside names a story that exists");
        (story.tell)(&mut node::Node::new(story.world));
        return ExitCode::SUCCESS;
    }
    let choice = runner::Choice::from_args(first.into_iter().chain(args));
    if !choice.lists() && !nix::unistd::geteuid().is_root() {
        eprintln!("These stories need root: sudo make test-node");
        return ExitCode::FAILURE;
    }
    ending::watch();
    let before = machine::Machine::now();
    let code = runner::run_beside(
        &choice,
        &stories::all(),
        PLACES,
        |story| story.name,
        |story| story.company,
        |story| world::tell(story.name),
    );
    let outside = runner::run(&choice, ended::STORIES, |story| story.0, |story| (story.1)());
    let left = machine::Machine::now().since(&before);
    if !left.is_empty() {
        eprintln!("The stories left things on the machine:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    match outside {
        ExitCode::SUCCESS => code,
        failure => failure,
    }
}
