//! Stories of a node of a cluster: a real control plane and our agent, seen from outside as an administrator does,
//! through the API and kubectl.
//!
//! They run in four sets of namespaces (`tests/support/isolate.sh`) beside each other, each with a control plane of
//! its own: those of a cluster that is left alone, those that take something of it away, those of kubeadm, which
//! makes the control plane there, and those of volumes with CSI drivers. Within one they follow each other, each in a
//! Kubernetes namespace of its own, and nothing of one is left for the next. `make test-cluster` builds what is needed
//! and runs this as root; arguments are parts of names. `make cluster` runs it as `serve`, for a person, and
//! `make conformance` as `conformance`, for Kubernetes' own specs.

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
mod churn;
mod end_state;
mod fault_proxy;
mod joining;
mod skew;
mod stories;
mod serve;
mod kubeadm;
mod volumes;
#[path = "../node/node.rs"]
mod node;
#[path = "../node/process.rs"]
mod process;
#[path = "../node/kubelet.rs"]
mod kubelet;
#[path = "../node/machine.rs"]
mod machine;
#[path = "../node/manifest.rs"]
mod manifest;
#[path = "../node/runtime.rs"]
mod runtime;
#[path = "../node/runtime_state.rs"]
mod runtime_state;
#[path = "../node/world.rs"]
mod world;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/seeded_random.rs"]
mod seeded_random;
#[path = "../support/stories.rs"]
mod runner;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The longest that all stories may take together.
const LIMIT: Duration = Duration::from_secs(1500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Paths below the repository are short enough for sockets, however deep it lies.
    std::env::set_current_dir(world::repository()).expect("the repository is there");
    match words.as_slice() {
        ["--inside", "serve"] => serve::inside(),
        ["--inside", "skew"] => skew::inside(),
        ["--inside", "kubeadm", chosen @ ..] => kubeadm::inside(chosen),
        ["--inside", "conformance"] => kubeadm::conformance::inside(),
        ["--inside", "volumes", chosen @ ..] => volumes::inside(chosen),
        ["--inside", "undisturbed", chosen @ ..] => inside(&stories::undisturbed(), chosen),
        ["--inside", "disturbed", chosen @ ..] => inside(&stories::disturbed(), chosen),
        ["serve"] => serve::outside(),
        ["skew"] => {
            ending::watch();
            isolated("skew", &[], Says::AtOnce, LIMIT)
        }
        ["conformance"] => {
            ending::watch();
            isolated("conformance", &[], Says::AtOnce, kubeadm::conformance::LIMIT)
        }
        ["volumes", chosen @ ..] => tell_of_volumes(chosen),
        chosen => tell(chosen),
    }
}

/// Tells the chosen stories of volumes alone: they need no images, and can be told of the kubelet.
fn tell_of_volumes(chosen: &[&str]) -> ExitCode {
    ending::watch();
    let choice = runner::Choice::from_args(chosen.iter().map(|&word| word.to_owned()));
    let names: Vec<&str> = volumes::all().iter().map(|story| story.name).collect();
    let before = machine::Machine::now();
    let code = tell_inside(&choice, chosen, "volumes", &names, Says::AtOnce);
    let left = machine::Machine::now().since(&before);
    if left.is_empty() {
        return code;
    }
    eprintln!("The stories left things on the machine:\n{}", left.join("\n"));
    ExitCode::FAILURE
}

/// Tells the chosen stories, and sees that nothing of them stays.
fn tell(chosen: &[&str]) -> ExitCode {
    let choice = runner::Choice::from_args(chosen.iter().map(|&word| word.to_owned()));
    if !choice.lists() && !nix::unistd::geteuid().is_root() {
        eprintln!("These stories need root: sudo make test-cluster");
        return ExitCode::FAILURE;
    }
    ending::watch();
    let before = machine::Machine::now();
    let names = |stories: Vec<stories::Story>| stories.iter().map(|story| story.name).collect();
    let worlds: [(&str, Vec<&str>); 4] = [
        ("undisturbed", names(stories::undisturbed())),
        ("disturbed", names(stories::disturbed())),
        ("kubeadm", kubeadm::all().iter().map(|story| story.name).collect()),
        ("volumes", volumes::all().iter().map(|story| story.name).collect()),
    ];
    // They have nothing in common, and each waits for most of its time. What the others say is printed when the first is
    // done, so that it can be read.
    let inside: Vec<ExitCode> = std::thread::scope(|scope| {
        let [(first, stories), others @ ..] = &worlds;
        let choice = &choice;
        let others = others.each_ref().map(|(world, stories)| {
            scope.spawn(move || tell_inside(choice, chosen, world, stories, Says::WhenDone))
        });
        let first = tell_inside(choice, chosen, first, stories, Says::AtOnce);
        let others = others.map(|world| world.join().expect("a world's thread does not panic"));
        [first].into_iter().chain(others).collect()
    });
    let outside = runner::run(&choice, serve::STORIES, |story| story.0, |story| (story.1)());
    let left = machine::Machine::now().since(&before);
    if !left.is_empty() {
        eprintln!("The stories left things on the machine:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    match inside
        .iter()
        .chain([&outside])
        .all(|code| *code == ExitCode::SUCCESS)
    {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// When what a world says is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    AtOnce,
    WhenDone,
}

/// Tells those of a world's stories that are chosen, or lists them.
fn tell_inside(
    choice: &runner::Choice,
    chosen: &[&str],
    world: &str,
    names: &[&str],
    says: Says,
) -> ExitCode {
    match names.iter().any(|name| choice.wants(name)) {
        false => ExitCode::SUCCESS,
        true if choice.lists() => runner::run(choice, names, |name| name, |_| Ok(())),
        true => isolated(world, chosen, says, LIMIT),
    }
}

/// Runs this program in namespaces of its own, and clears away what it left outside them.
fn isolated(name: &str, chosen: &[&str], says: Says, limit: Duration) -> ExitCode {
    let world = match world::World::new(name) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let said = world.dir.join("said.log");
    let mut command = world.command(&[&["--inside", name], chosen].concat());
    if says == Says::WhenDone {
        let log = std::fs::File::create(&said).expect("a file in a new directory");
        command
            .stdout(log.try_clone().expect("a second handle of an open file"))
            .stderr(log);
    }
    let child = command.spawn().expect("this program starts");
    let (status, was_late) = world::finish(child, limit);
    volumes::detach_loop_devices(&world.dir);
    if says == Says::WhenDone {
        println!(
            "\n==== {name} ====\n{}",
            String::from_utf8_lossy(&std::fs::read(&said).unwrap_or_default())
        );
    }
    if was_late {
        eprintln!("killed after {} s", limit.as_secs());
    }
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Starts a cluster and runs the chosen stories, one after the other.
fn inside(stories: &[stories::Story], chosen: &[&str]) -> ExitCode {
    let choice = runner::Choice::from_args(chosen.iter().map(|&word| word.to_owned()));
    let begun = Instant::now();
    let mut cluster = cluster::Cluster::start();
    println!(
        "the cluster is ready after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    runner::run(&choice, stories, |story| story.name, |story| cluster.tell(story))
}
