//! A Debian machine with systemd and cgroup v2, into which `make install` put the agent, told from inside through a
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

mod vm;
mod stories;
#[path = "../support/stories.rs"]
mod runner;
#[path = "../support/wait.rs"]
mod wait;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let choice = runner::Choice::from_args(std::env::args().skip(1));
    if choice.lists() {
        return runner::run(&choice, stories::ALL, |story| story.0, |_| Ok(()));
    }
    let release = std::env::var("DEBIAN").unwrap_or_else(|_| "12".to_owned());
    println!("booting Debian {release} in software emulation");
    // Every story is told on the same machine, which is expensive to boot; they are told in their order.
    let vm = RefCell::new(vm::Vm::boot(&release));
    let code = runner::run(
        &choice,
        stories::ALL,
        |story| story.0,
        |story| {
            let told = catch_unwind(AssertUnwindSafe(|| story.1(&mut vm.borrow_mut())));
            told.map_err(|panic| {
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
