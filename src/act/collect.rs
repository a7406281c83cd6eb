//! The removal of one image that nothing uses, as `plan/node/images` decided. What is not known to a decision is looked at
//! once more: containers of other programs, and pulls that are under way.

use super::context::ActContext;
use crate::cri::CriError;
use crate::model::collection::{CollectionCause, UnusedImage};

/// What became of a removal that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The image is gone.
    Done,
    /// A container uses it, or it is being pulled: it stays.
    NotUnused,
}

/// Why an image was not removed. Displayed with what the runtime says.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.grpc_text())]
pub struct NotRemoved(CriError);

impl NotRemoved {
    /// The runtime does not answer: it would not remove any other either.
    pub fn is_final(&self) -> bool {
        self.0.is_unreachable()
    }
}

/// Removes an image with all its names, unless it is used after all.
pub async fn remove_image(
    context: &ActContext,
    image: &UnusedImage,
    why: CollectionCause,
) -> Result<Removal, NotRemoved> {
    if context.pulls.are_under_way(&image.names) || is_used(context, image).await? {
        return Ok(Removal::NotUnused);
    }
    context
        .runtime
        .remove_image(&image.id)
        .await
        .map_err(NotRemoved)?;
    context.counters.images.collected(why);
    Ok(Removal::Done)
}

async fn is_used(context: &ActContext, image: &UnusedImage) -> Result<bool, NotRemoved> {
    let all = context.runtime.list_containers(Default::default()).await;
    let mut containers = all.map_err(NotRemoved)?.into_iter();
    let is_it = |way: &String| *way == image.id || image.names.contains(way);
    Ok(containers.any(|container| {
        let requested = container.image.map(|spec| spec.image);
        is_it(&container.image_id)
            || is_it(&container.image_ref)
            || requested.is_some_and(|requested| is_it(&requested))
    }))
}
