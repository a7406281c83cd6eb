//! What an execution reports: the results of its steps, and what begins meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::allocation::Allocation;
use super::expansion::Expansion;
use super::image_progress::Progress;
use super::object::Payload;
use super::pod::{PodName, PodUid};
use super::reason::waiting;
use super::request::Occasion;
use super::step::{StepKind, Subject};

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// What it was about.
    pub subject: Subject,
    /// Which step it was.
    pub kind: StepKind,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The result.
    pub result: Result<Done, StepError>,
}

/// What a finished step returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing but success.
    Nothing,
    /// The image was there already.
    ImagePresent {
        /// As requested.
        image: String,
    },
    /// The image was pulled.
    ImagePulled {
        /// As requested.
        image: String,
        /// Bytes of the image.
        size: u64,
        /// How long the pull itself took.
        pull: Duration,
        /// How long it took, including the wait for other pulls.
        waited: Duration,
    },
    /// A sandbox was made.
    Sandbox {
        /// Its id.
        id: String,
    },
    /// A container was created or started.
    Container {
        /// Its id.
        id: String,
    },
    /// A volume is there as a device.
    DeviceMapped {
        /// The name of the PersistentVolume.
        volume: String,
        /// The directory of the device's mounts.
        global: PathBuf,
        /// The directory of the link in the pod's.
        pod: PathBuf,
    },
    /// A volume of a driver was published that is to be published again later.
    VolumePublished,
    /// A volume was enlarged.
    VolumeExpanded {
        /// The volume's name in the pod.
        volume: String,
        /// What it is, and its size.
        expansion: Expansion,
    },
    /// The files of a volume were written.
    Written {
        /// The volume's name in the pod.
        volume: String,
        /// The files.
        files: Arc<Payload>,
    },
    /// The pod's allocation was written.
    AllocationWritten {
        /// What it is.
        allocation: Box<Allocation>,
        /// Why.
        occasion: Occasion,
    },
    /// The container was sent its stop signal.
    Stopped {
        /// The result of the pre-stop hook.
        hook: HookResult,
    },
}

/// The start of an action that may take long. It is reported immediately, as the kubelet does, and not with the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepStarted {
    /// The pod.
    pub pod: PodName,
    /// Its UID.
    pub uid: PodUid,
    /// The container's name in the pod; `None`: it is about the pod.
    pub container: Option<String>,
    /// When it starts.
    pub at: Timestamp,
    /// What it is.
    pub what: SlowAction,
}

/// An action whose start is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlowAction {
    /// An image is pulled.
    Pull {
        /// As requested.
        image: String,
    },
    /// An image is still being pulled.
    PullLasts(LastingPull),
    /// A container is stopped.
    Stop {
        /// The event's message: `Stopping container web`.
        message: String,
    },
    /// A container is stopped because its post-start hook failed.
    StopAfterFailedHook,
    /// Something that is usually quick takes long.
    Wait {
        /// The event's reason.
        reason: &'static str,
        /// What is waited for.
        message: String,
    },
}

/// A pull that takes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastingPull {
    /// As requested.
    pub image: String,
    /// How long it has taken.
    pub after: Duration,
    /// How far it has come.
    pub progress: Progress,
}

impl LastingPull {
    /// The message of its event.
    pub fn message(&self) -> String {
        let (image, minutes) = (&self.image, self.after.as_secs() / 60);
        format!(
            "Still pulling image {image:?} after {minutes} min: {}",
            self.progress.text()
        )
    }
}

/// The result of a hook that does not decide the result of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// It succeeded, or there was none.
    Done,
    /// It failed, or had not ended when the grace period was over.
    Failed,
}

/// Why a step failed, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// The reason as a container's waiting state shows it: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: &'static str,
    /// The message as a container's waiting state shows it.
    pub message: String,
    /// What went wrong, as far as the next attempt depends on it.
    pub failure: Failure,
}

/// How a step failed, which decides when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It failed: the next attempt waits for its back-off.
    Failed,
    /// The runtime could not be reached at all: no back-off applies, and the step is retried when the runtime answers.
    Unreachable,
    /// The agent stopped waiting for it, because it is stopping itself or has a newer plan: no back-off applies.
    Abandoned,
}

impl StepError {
    /// Whether an image could not be had.
    pub fn is_about_image(&self) -> bool {
        let asked_nobody = [
            waiting::ERR_IMAGE_NEVER_PULL,
            waiting::INVALID_IMAGE_NAME,
            waiting::IMAGE_INSPECT_ERROR,
        ];
        self.is_failed_pull() || asked_nobody.contains(&self.reason)
    }

    /// Whether a registry was asked for an image, and the image did not come.
    pub fn is_failed_pull(&self) -> bool {
        let asked = [
            waiting::ERR_IMAGE_PULL,
            waiting::REGISTRY_UNAVAILABLE,
            waiting::SIGNATURE_VALIDATION_FAILED,
        ];
        asked.contains(&self.reason)
    }

    /// Whether it counts: delays the next attempt, and is reported.
    pub fn counts(&self) -> bool {
        self.failure == Failure::Failed
    }
}

/// The result of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The pod.
    pub pod: PodName,
    /// The UID that the plan was made for, or whose leftovers were removed.
    pub uid: PodUid,
    /// When the last step ended.
    pub at: Timestamp,
    /// Each step that was started, in the order in which they ended.
    pub steps: Vec<StepReport>,
}
