//! The images that pods name: those that may start a container of one do so though the runtime has none yet.

use std::collections::BTreeSet;

use super::occupants::has_ended_in_api;
use crate::model::collection::UnusedImage;
use crate::model::image_ref::ImageRef;
use crate::model::pod::{Desired, Pod};

/// The pods that may start containers of their images: all but those of the API server that have ended.
pub(super) fn names(desired: &Desired, has_ended: impl Fn(&Pod) -> bool) -> Names {
    let mut names = Names::default();
    for pod in desired.pods().filter(|pod| !has_ended(pod)) {
        let of_containers = pod.all_containers().map(|container| container.image.as_str());
        let of_volumes = pod.image_volumes().into_values().map(|image| image.reference);
        of_containers.chain(of_volumes).for_each(|image| names.add(image));
    }
    names
}

/// Whether a pod names an image now that may start with it. To be asked again before each removal: pods come meanwhile.
pub fn is_named(desired: &Desired, image: &UnusedImage) -> bool {
    let names = names(desired, has_ended_in_api);
    let ways = image.names.iter().chain([&image.id]);
    names.contain(ways.map(String::as_str))
}

/// The images that pods name.
#[derive(Debug, Default)]
pub(super) struct Names {
    full: BTreeSet<String>,
    digests: BTreeSet<String>,
}

impl Names {
    fn add(&mut self, image: &str) {
        let reference = ImageRef::split(image);
        match reference.digest() {
            Some(digest) => drop(self.digests.insert(digest.to_owned())),
            None => drop(self.full.insert(reference.full_name())),
        }
        self.full.insert(image.to_owned());
    }

    /// Whether it is one of what the runtime calls an image.
    pub(super) fn contain<'a>(&self, mut ways: impl Iterator<Item = &'a str>) -> bool {
        let has_digest = |way: &str| {
            let digest = way.split_once('@').map(|(_, digest)| digest);
            digest.is_some_and(|digest| self.digests.contains(digest))
        };
        ways.any(|way| self.full.contains(way) || has_digest(way))
    }
}
