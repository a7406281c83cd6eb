//! Whether volumes are attached to the node. The attach/detach controller attaches those of the node's pods, and detaches
//! only what the node does not report as in use, so one that is attached counts once the API server has that report.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use tokio::sync::watch;
use tokio::time::Instant;

use super::early::{self, News};
use super::teller::{Ended, ValueSender};
use crate::model::api::ApiNode;
use crate::model::backoff::{self, Doubling};
use crate::model::csi::{Attachment, AttachmentKey};
use crate::model::object::{Known, Object};
use crate::source::api::pods;

/// The waits after requests without the expected answer.
const WAITS: Doubling = Doubling::new(Duration::from_millis(100), Duration::from_secs(5));
/// How long nothing is reported of a wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends once that the volume is attached, with what that gave; before, after some time, what is waited for.
pub(super) async fn keep(
    key: AttachmentKey,
    clients: watch::Receiver<kube::Client>,
    node: watch::Receiver<ApiNode>,
    to: ValueSender,
) {
    let waiting = wait(&key, clients, node, &to);
    let attachment = match waiting.await {
        Ok(attachment) => attachment,
        Err(Ended) => return,
    };
    // It stays attached for as long as it is reported as in use, which is as long as this is wanted.
    let _ = to.send_value(Some(Known::Found(Arc::new(Object::Attachment(attachment)))));
}

async fn wait(
    key: &AttachmentKey,
    clients: watch::Receiver<kube::Client>,
    mut node: watch::Receiver<ApiNode>,
    to: &ValueSender,
) -> Result<Attachment, Ended> {
    let (volume, deadline) = (key.volume(), Instant::now() + PATIENCE);
    let mut waits = WAITS.waits();
    let mut is_told = false;
    let news = News::begins(Instant::now());
    loop {
        let stage = match &*node.borrow_and_update() {
            ApiNode::Present(node) => Stage::of(node, &volume),
            ApiNode::Unknown | ApiNode::Absent => Stage::Unreported,
        };
        let mut wait = None;
        let mut why = stage.lack().to_owned();
        if stage == Stage::Attached {
            let client = clients.borrow().clone();
            let api = kube::Api::<VolumeAttachment>::all(client);
            match api.get_opt(&key.name()).await {
                Ok(Some(found)) if found.status.as_ref().is_some_and(|status| status.attached) => {
                    return Ok(read(found));
                }
                Ok(found) => why = lack_of(found.as_ref()),
                Err(error) => {
                    let refusal = pods::refusal_of(&error);
                    tracing::debug!(object = %to.key, why = refusal.as_deref().unwrap_or("no answer"),
                        "cannot get the object; retrying");
                    let is_early = refusal.as_deref().is_some_and(early::is_of_authorizer);
                    if is_early && news.travels(Instant::now()) {
                        wait = Some(early::ASK_AGAIN);
                    }
                    why = refusal.unwrap_or_else(|| "the API server does not answer".to_owned());
                }
            }
            let wait_longer = || backoff::spread(waits.fail(), RandomState::new().hash_one(&volume));
            wait = Some(wait.unwrap_or_else(wait_longer));
        }
        if !is_told && Instant::now() >= deadline {
            is_told = true;
            let message = format!("volume {volume} is not attached to the node: {why}");
            to.send_value(Some(Known::Unread(message.into())))?;
        }
        let retry = wait.map(|wait| Instant::now() + wait);
        let next = retry.into_iter().chain((!is_told).then_some(deadline)).min();
        // Either may be canceled: the next turn looks again.
        tokio::select! {
            changed = node.changed() => if changed.is_err() { return Err(Ended) },
            () = tokio::time::sleep_until(next.unwrap_or(deadline)), if next.is_some() => {}
        }
    }
}

/// How far a volume has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The Node does not say that it is in use.
    Unreported,
    /// It says so.
    Reported,
    /// It says so, and that it is attached.
    Attached,
}

impl Stage {
    fn of(node: &Node, volume: &str) -> Stage {
        let status = node.status.iter();
        let mut in_use = status
            .clone()
            .flat_map(|status| status.volumes_in_use.iter().flatten());
        let mut attached = status.flat_map(|status| status.volumes_attached.iter().flatten());
        match in_use.any(|own| own == volume) {
            false => Stage::Unreported,
            true if attached.any(|own| own.name == volume) => Stage::Attached,
            true => Stage::Reported,
        }
    }

    fn lack(self) -> &'static str {
        match self {
            Stage::Unreported => "the Node's status does not list it in volumesInUse yet",
            Stage::Reported | Stage::Attached => {
                "the attach/detach controller has not listed it in the Node's status.volumesAttached yet"
            }
        }
    }
}

fn lack_of(found: Option<&VolumeAttachment>) -> String {
    let Some(found) = found else {
        return "there is no VolumeAttachment".to_owned();
    };
    let status = found.status.as_ref();
    let error = status.and_then(|status| status.attach_error.as_ref());
    let error = error.and_then(|error| error.message.as_deref());
    error.map_or_else(
        || "its VolumeAttachment is not attached".to_owned(),
        |error| format!("its VolumeAttachment says: {error}"),
    )
}

fn read(found: VolumeAttachment) -> Attachment {
    let metadata = found.status.and_then(|status| status.attachment_metadata);
    Attachment {
        metadata: metadata.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_counts_when_it_is_reported_and_attached() {
        let stage = |in_use: &[&str], attached: &[&str]| {
            let attached = attached
                .iter()
                .map(|name| serde_json::json!({"name": name, "devicePath": ""}));
            let attached: Vec<_> = attached.collect();
            let node = serde_json::json!({
                "metadata": {"name": "n"},
                "status": {"volumesInUse": in_use, "volumesAttached": attached},
            });
            Stage::of(&serde_json::from_value(node).unwrap(), "v")
        };
        assert_eq!(stage(&[], &["v"]), Stage::Unreported);
        assert_eq!(stage(&["w", "v"], &["w"]), Stage::Reported);
        assert_eq!(stage(&["v"], &["w", "v"]), Stage::Attached);
    }

    #[test]
    fn what_is_waited_for_is_said() {
        let read = |json| serde_json::from_value::<VolumeAttachment>(json).unwrap();
        let spec = serde_json::json!({"attacher": "d", "nodeName": "n", "source": {}});
        let failed = read(serde_json::json!({
            "metadata": {"name": "a"}, "spec": spec,
            "status": {"attached": false, "attachError": {"message": "no such disk"}},
        }));
        assert_eq!(lack_of(Some(&failed)), "its VolumeAttachment says: no such disk");
        let pending = read(serde_json::json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(lack_of(Some(&pending)), "its VolumeAttachment is not attached");
        assert_eq!(lack_of(None), "there is no VolumeAttachment");
    }
}
