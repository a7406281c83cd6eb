//! One pod loses a process: that of a container, that of its sandbox, or its shim. It starts again, and no other does.

use super::{Fault, Harm, Inflicted, with_victim};
use crate::runtime;
use crate::storm::pods::Wanted;
use crate::storm::{Storm, World, kernel};

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    let fault = |name, inflict| Fault {
        name,
        weight: 2,
        may: with_victim,
        inflict,
    };
    vec![
        fault("container-killed", container_killed),
        fault("sandbox-killed", sandbox_killed),
        fault("shim-killed", shim_killed),
        fault("container-removed", container_removed),
    ]
}

fn container_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    for id in containers(&pod) {
        kernel::kill(&kernel::processes_of(&id));
    }
    Inflicted::done(&pod.name, Harm::of(&pod))
}

fn sandbox_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    if let Some(id) = sandbox(&pod) {
        kernel::kill(&kernel::processes_of(&id));
    }
    Inflicted::done(&pod.name, Harm::of(&pod))
}

fn shim_killed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    let shim = sandbox(&pod).and_then(|id| kernel::shims().remove(&id));
    kernel::kill(shim.as_slice());
    Inflicted::done(&pod.name, Harm::of(&pod))
}

fn container_removed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    for id in containers(&pod) {
        // Where the agent was faster, it is gone already.
        let _ = runtime::remove_container(&id);
    }
    Inflicted::done(&pod.name, Harm::of(&pod))
}

/// The containers of a pod that run.
fn containers(pod: &Wanted) -> Vec<String> {
    let all = runtime::containers().unwrap_or_default().into_iter();
    all.filter(|own| own.running && own.pod == pod.full_name())
        .map(|own| own.id)
        .collect()
}

/// The sandbox of a pod that runs.
fn sandbox(pod: &Wanted) -> Option<String> {
    let all = runtime::sandboxes().unwrap_or_default().into_iter();
    let own = |own: &runtime::Sandbox| own.ready && own.pod == pod.full_name();
    all.filter(own).map(|own| own.id).next()
}
