//! Cgroups are removed by hand, with all that runs in them.

use super::{Fault, Harm, Inflicted, with_victim};
use crate::storm::{Storm, World, kernel};

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![Fault {
        name: "cgroup-removed",
        weight: 3,
        may: with_victim,
        inflict: removed,
    }]
}

/// Kills what is in the cgroup of a pod, and removes it from every hierarchy, as often as it takes: a runtime that is
/// starting something there may be in between.
fn removed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    let uid = storm.reported[&pod.name]["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for _ in 0..20 {
        let of_pod = kernel::pod_cgroups().unwrap_or_default().into_iter();
        let paths: Vec<_> = of_pod
            .filter(|(own, _)| *own == uid)
            .flat_map(|(_, path)| kernel::with_below(&path))
            .collect();
        for path in &paths {
            kernel::kill(&kernel::processes_in(path));
        }
        let left = paths
            .iter()
            .filter(|path| std::fs::remove_dir(path).is_err())
            .count();
        if left == 0 {
            break;
        }
        std::thread::sleep(crate::wait::STEP); // the kernel takes a moment to end what was killed
    }
    Inflicted::done(&pod.name, Harm::of(&pod))
}
