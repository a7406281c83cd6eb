//! containerd is another version when it comes back, once in a storm.

use super::{Fault, Harm, Inflicted};
use crate::node::Containerd;
use crate::storm::{Storm, World};
use crate::world::repository;

const NEWER: &str = "v2";

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![Fault {
        name: "containerd-upgraded",
        weight: 1,
        may: is_possible,
        inflict: upgraded,
    }]
}

fn is_possible<W: World>(storm: &Storm<W>) -> bool {
    let is_built = repository()
        .join("target/containerd")
        .join(NEWER)
        .join("containerd")
        .exists();
    is_built && storm.world.node().containerd_version() == Containerd::Installed
}

fn upgraded<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    storm.world.node_mut().kill_containerd();
    Inflicted::until("", Harm::Starts, |storm: &mut Storm<W>| {
        storm.world.node_mut().set_containerd(Containerd::Built(NEWER));
        storm.world.node_mut().start_containerd();
    })
}
