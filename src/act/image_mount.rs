//! The images that a container mounts as volumes, in its configuration.

use k8s_cri::v1;

use super::effect::Made;
use super::failure::failure;
use crate::model::image_mount::ImageMount;
use crate::model::outcome::StepError;
use crate::model::reason;

/// Puts the references of the images that the container mounts into its configuration. If one could not be had, the last
/// error is the container's, as in the kubelet.
pub(super) fn fill_in(
    config: &mut v1::ContainerConfig,
    mounts: &[ImageMount],
    made: &Made,
) -> Result<(), StepError> {
    let mut error = None;
    for ImageMount { volume, index, .. } in mounts {
        let mount = config.mounts.get_mut(*index);
        match (made.volume_images.get(volume), mount) {
            (Some(Ok(reference)), Some(mount)) => {
                mount.image.get_or_insert_default().image.clone_from(reference);
            }
            (Some(Err(failed)), _) => error = Some(failed.clone()),
            (None, _) | (_, None) => {
                let message = format!("cannot find volume {volume:?} to mount");
                return Err(failure(reason::waiting::CREATE_CONTAINER_CONFIG_ERROR, message));
            }
        }
    }
    error.map_or(Ok(()), Err)
}
