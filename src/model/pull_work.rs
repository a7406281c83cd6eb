//! Which images are being pulled for pods at this moment, for people who ask. It is in memory only: a pull ends with the
//! agent, and the next one begins it again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::image_progress::Progress;
use super::pod::PodUid;

/// All of them. Written by `act` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullWork {
    /// By a number of their own, in the order of their beginnings: a pod may pull one image for two containers.
    pub of_pods: BTreeMap<u64, PodPull>,
}

/// A pull for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPull {
    /// The pod.
    pub uid: PodUid,
    /// The image, as the manifest writes it.
    pub image: String,
    /// When it began, or began to wait for its turn.
    pub since: Timestamp,
    /// How far it has come.
    pub progress: Progress,
}
