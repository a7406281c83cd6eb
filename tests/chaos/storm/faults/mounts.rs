//! Mounts: volumes are unmounted by hand, and a file system stops answering.

use std::path::Path;

use super::{Fault, Harm, Inflicted, always, with_victim};
use crate::manifest;
use crate::storm::hung::Hung;
use crate::storm::{Storm, World, kernel};

/// Where the file system is that does not answer.
const AT: &str = "/run/node/hung";
/// The manifest of a pod that needs it.
const FILE: &str = "hung.yaml";

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "volume-unmounted",
            weight: 2,
            may: with_victim,
            inflict: unmounted,
        },
        Fault {
            name: "file-system-hangs",
            weight: 3,
            may: always,
            inflict: hangs,
        },
    ]
}

/// The container has its own mount of it, so it goes on.
fn unmounted<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    let uid = storm.reported[&pod.name]["metadata"]["uid"]
        .as_str()
        .unwrap_or_default();
    kernel::unmount_below(&format!("/var/lib/kubelet/pods/{uid}/volumes"));
    Inflicted::done(&pod.name, Harm::Nothing)
}

/// A pod whose hostPath is there cannot start, and nobody else waits for it.
fn hangs<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let hung = Hung::mount(Path::new(AT));
    let volume = "    volumeMounts: [{name: hung, mountPath: /hung}]\n  volumes:\n  \
                  - {name: hung, hostPath: {path: /run/node/hung/inside, type: Directory}}\n";
    let content = manifest::with("hung", "exec sleep 1000000", volume);
    storm.world.node().manifest(FILE, &content);
    let healed = Inflicted::until("", Harm::Nothing, |storm: &mut Storm<W>| {
        storm.world.node().remove(FILE);
    });
    healed.beside(move |_| drop(hung))
}
