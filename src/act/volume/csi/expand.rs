//! Enlarges a volume that is published.

use super::entry::is_staged;
use super::messages;
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::{abandoned, failure};
use crate::csi::messages::{CapacityRange, ExpandRequest};
use crate::model::csi_request::{GLOBAL_MOUNT, Shape, device_stage, stage_dir};
use crate::model::expansion::ExpansionRequest;
use crate::model::outcome::{Done, StepError};
use crate::model::reason;

/// Enlarges it.
pub(in crate::act) async fn expand(work: &Work<'_>, request: ExpansionRequest) -> Result<Effect, StepError> {
    let name = &request.expansion.volume;
    let failed = |why: String| {
        let message = format!("NodeExpandVolume.NodeExpandVolume failed for volume {name:?} : {why}");
        failure(reason::pod::VOLUME_RESIZE_FAILED, message)
    };
    let volumes = &work.context.csi;
    let csi = &request.csi;
    let socket = volumes.socket(&csi.driver).map_err(failed)?;
    let (at, staged) = match csi.shape {
        Shape::Block => (
            csi.places.device_target(&csi.name),
            device_stage(volumes.root(), &csi.name),
        ),
        Shape::FileSystem { .. } => (
            csi.places.target(&csi.name),
            stage_dir(volumes.root(), &csi.driver, &csi.handle).join(GLOBAL_MOUNT),
        ),
    };
    let message = ExpandRequest {
        volume_id: csi.handle.clone(),
        volume_path: messages::text(&at),
        capacity_range: Some(CapacityRange {
            required_bytes: request.bytes.0,
            limit_bytes: 0,
        }),
        staging_target_path: match is_staged(csi) {
            true => messages::text(&staged),
            false => String::new(),
        },
        volume_capability: Some(messages::capability(csi)),
        secrets: messages::contents(&request.secrets),
    };
    match work.unless_abandoned(socket.expand(message)).await {
        Some(result) => result.map_err(|error| failed(error.to_string()))?,
        None => return Err(abandoned(reason::pod::VOLUME_RESIZE_FAILED)),
    };
    Ok(Effect {
        done: Done::VolumeExpanded {
            volume: request.volume,
            expansion: request.expansion,
        },
        fact: None,
    })
}
