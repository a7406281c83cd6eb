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
mod plugins;
mod report;
#[path = "../node/node.rs"]
mod node;
#[path = "../node/process.rs"]
mod process;
#[path = "../node/manifest.rs"]
mod manifest;
#[path = "../node/runtime.rs"]
mod runtime;
#[path = "../node/world.rs"]
mod world;
#[path = "../support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use report::Report;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--inside") {
        let mut node = node::Node::new(node::USUAL);
        let mut report = Report::default();
        report.sizes();
        start::measure(&mut node, &mut report);
        if std::env::var_os("ONLY_START").is_none() {
            idle::measure(&mut node, &mut report);
            plugins::measure(&mut report);
        }
        report.print();
        return ExitCode::SUCCESS;
    }
    match world::run("bench", Duration::from_secs(900)) {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
