//! A Debian machine with systemd and cgroup v2, into which `make install` put the agent, driven from inside through a
//! channel. Emulated by qemu in software, so it runs wherever qemu does. `make test-vm` builds what is needed and
//! runs this as root; arguments are parts of names.

// A failed expectation is a failed story, and a story speaks to a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]
// Of the other tiers' modules only a part is needed here.
#![allow(dead_code)]

mod vm;
mod stories;
mod nfs;
mod iscsi;
mod quotas;
mod power;
mod shutdown;
mod join;
mod peers;
#[path = "../cluster/api.rs"]
mod api;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
#[path = "../cluster/joining.rs"]
mod joining;
#[path = "../cluster/objects.rs"]
mod objects;
#[path = "../node/node.rs"]
mod node;
#[path = "../node/process.rs"]
mod process;
#[path = "../node/runtime.rs"]
mod runtime;
#[path = "../node/world.rs"]
mod world;
#[path = "../support/stories.rs"]
mod runner;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/wait.rs"]
mod wait;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A story that runs in a world of its own: its name, and what it does.
type Outside = (&'static str, fn() -> Result<(), String>);

/// Those that there are. One after the other: they boot three machines, and the other stories one.
const OUTSIDE: &[Outside] = &[join::STORY, peers::STORY];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let release = std::env::var("DEBIAN").unwrap_or_else(|_| "12".to_owned());
    // Paths below the repository are short enough for sockets, however deep it lies.
    std::env::set_current_dir(world::repository()).expect("the repository is there");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--inside", "join"] => return join::inside(&release),
        ["--inside", "peers"] => return peers::inside(&release),
        _ => {}
    }
    if let Some(("power", chosen)) = arguments.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        let choice = runner::Choice::from_args(chosen.iter().cloned());
        ending::watch();
        return tell_standalone(&choice, &release, power::ALL);
    }
    let choice = runner::Choice::from_args(arguments.into_iter());
    ending::watch();
    // The machines have nothing in common, and each waits for a part of its time.
    let (standalone, outside) = std::thread::scope(|scope| {
        let outside = scope.spawn(|| runner::run(&choice, OUTSIDE, |story| story.0, |story| (story.1)()));
        let standalone = tell_standalone(&choice, &release, stories::ALL);
        (
            standalone,
            outside.join().expect("a story's thread does not panic"),
        )
    });
    match standalone {
        ExitCode::SUCCESS => outside,
        failure => failure,
    }
}

/// Stories of one machine of their own.
fn tell_standalone(choice: &runner::Choice, release: &str, all: &[stories::Story]) -> ExitCode {
    let is_wanted = all.iter().any(|story| choice.wants(story.0));
    if choice.lists() || !is_wanted {
        return runner::run(choice, all, |story| story.0, |_| Ok(()));
    }
    println!("booting Debian {release} in software emulation");
    // Every story runs on the same machine, which is expensive to boot; they run in their order.
    let vm = RefCell::new(vm::Vm::boot(release, vm::Purpose::Standalone));
    let code = runner::run(
        choice,
        all,
        |story| story.0,
        |story| {
            let reported = catch_unwind(AssertUnwindSafe(|| story.1(&mut vm.borrow_mut())));
            reported.map_err(|panic| {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why
                    .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
                    .unwrap_or_default();
                format!("{why}\n{}", vm.borrow_mut().diagnosis())
            })
        },
    );
    match vm.into_inner().power_off() {
        Ok(()) => code,
        Err(error) => {
            println!("the machine did not power off: {error}");
            ExitCode::FAILURE
        }
    }
}
