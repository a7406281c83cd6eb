//! The programs that stories start: with their output in a log of the story's, asked to end, killed, or waited for.

use std::fs::File;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::node::{SOON, here};
use crate::wait::wait_for;

/// Runs a command that has to succeed, for what it prints.
#[track_caller]
pub fn run(command: &[&str]) -> String {
    let mut made = Command::new(command[0]);
    printed(made.args(&command[1..]).stdin(Stdio::null()), command)
}

/// The same of a command that was made with more than its words.
#[track_caller]
pub fn printed(command: &mut Command, words: &[&str]) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    assert!(output.status.success(), "{}: {}", words.join(" "), text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both streams of a finished command.
pub fn text(output: &Output) -> String {
    format!(
        "{} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Starts a program whose output goes to a log of the story's.
pub fn logged(command: &mut Command, log: &str) -> Child {
    let file = File::options()
        .create(true)
        .append(true)
        .open(here(log))
        .expect("a private directory");
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle of an open file"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Asks a program of ours to end and waits until it has, well.
#[track_caller]
pub fn stop(mut child: Child, how: Signal) {
    signal(&child, how);
    let status = wait_for("a program to end", SOON, || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    assert!(status.success(), "a program ended with {status}");
}

/// Kills a program of ours as a crash would.
pub fn kill(child: Option<Child>) {
    let mut child = child.expect("the process was started");
    child.kill().expect("our own child");
    child.wait().expect("our own child");
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("the kernel's process ids are small");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("our own child");
}

/// The CPU time that a process has used, all threads together.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit(')').next().expect("the name is in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux that Debian has
}
