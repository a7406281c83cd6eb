//! What steps carry about volumes that are images: requests as values.

use super::container::PullPolicy;
use super::registry::Credential;

/// An image to ensure for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeImageRequest {
    /// The volume's name in the pod.
    pub volume: String,
    /// The image as the manifest writes it.
    pub image: String,
    /// When to pull.
    pub pull: PullPolicy,
    /// As in [`super::request::ImageRequest::credentials`].
    pub credentials: Result<Vec<Credential>, String>,
}

/// An image that a container mounts. The runtime mounts it itself, by the reference that the step of the volume's image
/// returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Which of the mounts in the container's configuration it is.
    pub index: usize,
    /// The part of the image, relative; empty: all of it. The messages of the crate cannot carry it.
    pub sub_path: String,
}
