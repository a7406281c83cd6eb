//! What steps have done: for the outcome of the plan, and for its later steps, which refer to what did not exist when
//! they were planned.

use std::collections::BTreeMap;

use crate::model::outcome::{Done, StepError, StepReport};
use crate::model::run_as::ImageUser;
use crate::model::step::Subject;

/// What earlier stages of the plan created, to resolve symbolic references in later ones.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) sandbox: Option<String>,
    pub(super) images: BTreeMap<String, ImageFound>,
    /// By volume: the runtime's reference, or why there is none.
    pub(super) volume_images: BTreeMap<String, Result<String, StepError>>,
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
    VolumeImage(String, String),
    Container(String, String),
}

impl Effect {
    pub(super) const PLAIN: Effect = Effect {
        done: Done::Nothing,
        fact: None,
    };
}

impl Made {
    /// The sandbox that this plan has created.
    pub(super) fn sandbox(&self) -> Result<String, String> {
        self.sandbox
            .clone()
            .ok_or_else(|| "the pod has no sandbox".to_owned())
    }

    /// Notes a step whose failure fails later steps.
    pub(super) fn note_failure(&mut self, report: &StepReport) {
        if let (Subject::ImageVolume(volume), Err(error)) = (&report.subject, &report.result) {
            self.volume_images.insert(volume.clone(), Err(error.clone()));
        }
    }

    pub(super) fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Sandbox(id) => self.sandbox = Some(id),
            Fact::Image(container, found) => {
                self.images.insert(container, found);
            }
            Fact::VolumeImage(volume, reference) => {
                self.volume_images.insert(volume, Ok(reference));
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
