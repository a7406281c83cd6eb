//! What a driver is sent for a volume.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::csi::messages as m;
use crate::model::csi_request::{CsiRequest, Shape};
use crate::model::driver::{Ability, Driver};
use crate::model::object::content::Content;
use crate::model::persistent::AccessMode;

/// NodeStageVolume.
pub(super) fn stage(request: &CsiRequest, at: &Path) -> m::StageRequest {
    m::StageRequest {
        volume_id: request.handle.clone(),
        publish_context: texts(&request.publish_context),
        staging_target_path: text(at),
        volume_capability: Some(capability(request)),
        secrets: contents(&request.stage_secrets),
        volume_context: texts(&request.stage_context),
    }
}

/// NodePublishVolume; `staged`: where it is staged.
pub(super) fn publish(request: &CsiRequest, staged: Option<&Path>, at: &Path) -> m::PublishRequest {
    m::PublishRequest {
        volume_id: request.handle.clone(),
        publish_context: texts(&request.publish_context),
        staging_target_path: staged.map(text).unwrap_or_default(),
        target_path: text(at),
        volume_capability: Some(capability(request)),
        readonly: request.read_only,
        secrets: contents(&request.publish_secrets),
        volume_context: contents(&request.volume_context),
    }
}

pub(super) fn capability(request: &CsiRequest) -> m::VolumeCapability {
    let access = match &request.shape {
        Shape::Block => m::AccessType::Block(m::Empty {}),
        Shape::FileSystem {
            fs_type,
            options,
            delegated,
            ..
        } => m::AccessType::Mount(m::MountVolume {
            fs_type: fs_type.clone(),
            mount_flags: options.clone(),
            volume_mount_group: delegated.map(|group| group.to_string()).unwrap_or_default(),
        }),
    };
    m::VolumeCapability {
        access_type: Some(access),
        access_mode: Some(m::AccessMode {
            mode: mode(request.access, &request.registered).into(),
        }),
    }
}

/// `asCSIAccessModeV1` and `asSingleNodeMultiWriterCapableCSIAccessModeV1` in `pkg/volume/csi`.
fn mode(access: AccessMode, driver: &Driver) -> m::Mode {
    match access {
        AccessMode::OneNode if driver.can(Ability::SingleNodeModes) => m::Mode::SingleNodeMultiWriter,
        AccessMode::OnePod if driver.can(Ability::SingleNodeModes) => m::Mode::SingleNodeSingleWriter,
        AccessMode::OneNode | AccessMode::OnePod => m::Mode::SingleNodeWriter,
        AccessMode::Readers => m::Mode::MultiNodeReaderOnly,
        AccessMode::Many => m::Mode::MultiNodeMultiWriter,
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn texts(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.clone().into_iter().collect()
}

pub(super) fn contents(map: &BTreeMap<String, Content>) -> HashMap<String, String> {
    map.iter()
        .map(|(key, content)| (key.clone(), content.text()))
        .collect()
}
