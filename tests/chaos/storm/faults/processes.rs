//! The agent and containerd are killed, ended, or stopped for a while, one of them or both.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Fault, Harm, Inflicted, always};
use crate::storm::{Storm, World};

/// A process that is stopped for longer is one that hangs, for which probes and requests have their own deadlines.
const STOPPED: Duration = Duration::from_millis(1500);
/// How often the agent is killed in a row, and how long it lives at most in between.
const KILLS: usize = 6;
const LIFE: Duration = Duration::from_millis(300);

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    let fault = |name, weight, inflict| Fault {
        name,
        weight,
        may: always,
        inflict,
    };
    vec![
        fault("agent-killed", 6, agent_killed),
        fault("agent-killed-often", 4, agent_killed_often),
        fault("agent-ended", 2, agent_ended),
        fault("agent-stopped", 3, agent_stopped),
        fault("containerd-killed", 5, containerd_killed),
        fault("containerd-stopped", 3, containerd_stopped),
        fault("agent-and-containerd-killed", 4, both_killed),
    ]
}

fn agent_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    storm.world.node_mut().kill_agent();
    Inflicted::until("", Harm::Starts, |storm: &mut Storm<W>| {
        storm.world.node_mut().spawn_agent()
    })
}

fn agent_killed_often<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    for _ in 0..KILLS {
        storm.world.node_mut().kill_agent();
        storm.world.node_mut().spawn_agent();
        std::thread::sleep(storm.random.next(LIFE)); // the random moment
    }
    Inflicted::done("", Harm::Starts)
}

fn agent_ended<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    storm.world.node_mut().stop_agent();
    Inflicted::until("", Harm::Nothing, |storm: &mut Storm<W>| {
        storm.world.node_mut().spawn_agent()
    })
}

fn agent_stopped<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pid = storm.world.node().agent_pid();
    signal(pid, Signal::SIGSTOP);
    Inflicted::until("", Harm::Nothing, move |storm: &mut Storm<W>| {
        std::thread::sleep(storm.random.next(STOPPED)); // the random moment
        signal(pid, Signal::SIGCONT);
    })
}

fn containerd_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    storm.world.node_mut().kill_containerd();
    Inflicted::until("", Harm::Starts, |storm: &mut Storm<W>| {
        storm.world.node_mut().start_containerd()
    })
}

fn containerd_stopped<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pid = storm.world.node().containerd_pid();
    signal(pid, Signal::SIGSTOP);
    Inflicted::until("", Harm::Nothing, move |storm: &mut Storm<W>| {
        std::thread::sleep(storm.random.next(STOPPED)); // the random moment
        signal(pid, Signal::SIGCONT);
    })
}

fn both_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let agent_first = storm.random.number(2) == 0;
    let node = storm.world.node_mut();
    match agent_first {
        true => {
            node.kill_agent();
            node.kill_containerd();
        }
        false => {
            node.kill_containerd();
            node.kill_agent();
        }
    }
    Inflicted::until("", Harm::Starts, move |storm: &mut Storm<W>| {
        let node = storm.world.node_mut();
        match agent_first {
            true => {
                node.spawn_agent();
                node.start_containerd();
            }
            false => {
                node.start_containerd();
                node.spawn_agent();
            }
        }
    })
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("the kernel's process ids are small");
    kill(Pid::from_raw(pid), signal).expect("our own child");
}
