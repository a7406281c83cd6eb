//! What steps have done: for the outcome of the plan, and for its later steps, which refer to what did not exist when
//! they were planned.

use std::collections::BTreeMap;

use crate::model::outcome::Done;
use crate::model::run_as::ImageUser;

/// What earlier stages of the plan created, to resolve symbolic references in later ones.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) sandbox: Option<String>,
    pub(super) images: BTreeMap<String, ImageFound>,
    pub(super) containers: BTreeMap<String, String>,
}

/// The result of a step, and what later steps may refer to.
pub(super) struct Effect {
    pub(super) done: Done,
    pub(super) fact: Option<Fact>,
}

/// An object that a step created.
pub(super) enum Fact {
    Sandbox(String),
    Image(String, ImageFound),
    Container(String, String),
}

impl Effect {
    pub(super) const PLAIN: Effect = Effect {
        done: Done::Nothing,
        fact: None,
    };
}

impl Made {
    pub(super) fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Sandbox(id) => self.sandbox = Some(id),
            Fact::Image(container, found) => {
                self.images.insert(container, found);
            }
            Fact::Container(container, id) => {
                self.containers.insert(container, id);
            }
        }
    }
}

/// An image, with the data for creating its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageFound {
    /// The runtime's reference.
    pub(super) reference: String,
    /// The user that the image sets.
    pub(super) user: ImageUser,
    /// Why no container may be created from it. Reported when the container is created, not here: the kubelet, too,
    /// first reports that the image is present.
    pub(super) refusal: Option<String>,
}
