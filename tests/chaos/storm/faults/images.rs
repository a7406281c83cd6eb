//! The image of running pods is removed from the runtime.

use super::{Fault, Harm, Inflicted, always};
use crate::node::IMAGES;
use crate::process::run;
use crate::storm::{Storm, World};
use crate::world::repository;

const NAMES: [&str; 2] = ["gantry.local/demo:1", "gantry.local/busybox:1"];

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![Fault {
        name: "image-removed",
        weight: 3,
        may: always,
        inflict: removed,
    }]
}

/// Whoever starts meanwhile has no image until somebody puts its archive there again.
fn removed<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    for name in NAMES {
        run(&["ctr", "--namespace", "k8s.io", "images", "rm", "--sync", name]);
    }
    Inflicted::until("", Harm::Nothing, |_| {
        let archive = std::path::Path::new(IMAGES).join("demo.tar");
        let beside = std::path::Path::new(IMAGES).join(".demo.tar");
        std::fs::copy(repository().join("target/images/demo.tar"), &beside).expect("the image was made");
        std::fs::rename(beside, archive).expect("a private directory");
    })
}
