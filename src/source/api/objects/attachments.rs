//! Whether volumes are attached to the node. The attach/detach controller attaches those of the node's pods, and detaches
//! only what the node does not report as in use, so one that is attached counts once the API server has that report.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::early::{self, News};
use super::teller::{Ended, ValueSender};
use crate::model::api::ApiNode;
use crate::model::backoff::{self, Doubling};
use crate::model::csi::{AttachedVolume, Attachment, AttachmentKey};
use crate::model::object::{Known, Object};
use crate::source::api::pods;

/// The waits after requests without the expected answer.
const WAITS: Doubling = Doubling::new(Duration::from_millis(100), Duration::from_secs(5));
/// How long nothing is reported of a wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a volume that finds no room on the node is waited for (`podAttachAndMountTimeout` in
/// `pkg/kubelet/volumemanager/volume_manager.go`).
const ROOM_PATIENCE: Duration = Duration::from_secs(123);
/// `ResourceExhausted` (gRPC's *Status codes*): a driver says so of a node that has no room.
const EXHAUSTED: i32 = 8;

/// What is read and told beside the VolumeAttachment.
pub(super) struct Surroundings {
    pub(super) clients: watch::Receiver<kube::Client>,
    pub(super) node: watch::Receiver<ApiNode>,
    /// Is told the names of drivers of which a volume finds no room.
    pub(super) exhausted: mpsc::UnboundedSender<String>,
}

/// Sends once that the volume is attached, with what that gave; before, after some time, what is waited for.
pub(super) async fn keep(key: AttachmentKey, surroundings: Surroundings, to: ValueSender) {
    let attachment = match wait(&key, surroundings, &to).await {
        Ok(attachment) => attachment,
        Err(Ended) => return,
    };
    // It stays attached for as long as it is reported as in use, which is as long as this is wanted.
    let _ = to.send_value(Some(Known::Found(Arc::new(Object::Attachment(attachment)))));
}

async fn wait(
    key: &AttachmentKey,
    mut surroundings: Surroundings,
    to: &ValueSender,
) -> Result<Attachment, Ended> {
    let volume = key.volume();
    let mut waits = WAITS.waits();
    let mut story = Story::begins(Instant::now());
    let news = News::begins(Instant::now());
    loop {
        let stage = match &*surroundings.node.borrow_and_update() {
            ApiNode::Present(node) => Stage::of(node, &volume),
            ApiNode::Unknown | ApiNode::Absent => Stage::Unreported,
        };
        let is_due = Instant::now() >= story.next;
        let mut wait = None;
        let mut lack = Lack::of_stage(stage);
        // One that cannot be attached is never listed; its VolumeAttachment says why.
        if stage == Stage::Attached && !key.has_object() {
            return Ok(Attachment::Attached(AttachedVolume::default()));
        }
        if key.has_object() && (stage == Stage::Attached || stage == Stage::Reported && is_due) {
            let client = surroundings.clients.borrow().clone();
            let api = kube::Api::<VolumeAttachment>::all(client);
            let mut is_early = false;
            match api.get_opt(&key.name()).await {
                Ok(Some(found)) if is_attached(&found) && stage == Stage::Attached => return Ok(read(found)),
                Ok(Some(found)) if is_attached(&found) => {}
                Ok(found) => lack = Lack::of(found.as_ref()),
                Err(error) => {
                    let refusal = pods::refusal_of(&error);
                    tracing::debug!(object = %to.key, why = refusal.as_deref().unwrap_or("no answer"),
                        "cannot get the object; retrying");
                    is_early = refusal.as_deref().is_some_and(early::is_of_authorizer);
                    lack.why = refusal.unwrap_or_else(|| "the API server does not answer".to_owned());
                }
            }
            wait = match stage {
                Stage::Attached if is_early && news.travels(Instant::now()) => Some(early::ASK_AGAIN),
                Stage::Attached => Some(backoff::spread(
                    waits.fail(),
                    RandomState::new().hash_one(&volume),
                )),
                Stage::Unreported | Stage::Reported => None,
            };
        }
        if is_due && let Some(known) = story.goes_on(key, &lack, &surroundings.exhausted) {
            to.send_value(Some(known))?;
        }
        let retry = wait.map(|wait| Instant::now() + wait);
        let next = retry.into_iter().fold(story.next, Instant::min);
        // Either may be canceled: the next turn looks again.
        tokio::select! {
            changed = surroundings.node.changed() => if changed.is_err() { return Err(Ended) },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// What is told of a wait, and when.
struct Story {
    began: Instant,
    /// When it is told next what is waited for.
    next: Instant,
    told: Option<String>,
}

impl Story {
    fn begins(now: Instant) -> Story {
        Story {
            began: now,
            next: now + PATIENCE,
            told: None,
        }
    }

    /// What is told now.
    fn goes_on(
        &mut self,
        key: &AttachmentKey,
        lack: &Lack,
        exhausted: &mpsc::UnboundedSender<String>,
    ) -> Option<Known> {
        let now = Instant::now();
        let is_long = now >= self.began + ROOM_PATIENCE;
        self.next = match is_long {
            true => now + ROOM_PATIENCE,
            false => self.began + ROOM_PATIENCE,
        };
        let message = format!(
            "volume {} is not attached to the node: {}",
            key.volume(),
            lack.why
        );
        if is_long && lack.is_exhausted {
            // Whoever listens ends with the agent only.
            let _ = exhausted.send(key.driver.clone());
            self.told = None;
            let exhausted = Object::Attachment(Attachment::Exhausted(message));
            return Some(Known::Found(Arc::new(exhausted)));
        }
        let is_news = self.told.as_ref() != Some(&message);
        is_news.then(|| {
            self.told = Some(message.clone());
            Known::Unread(message.into())
        })
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
}

/// Why a volume is not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lack {
    why: String,
    is_exhausted: bool,
}

impl Lack {
    fn of_stage(stage: Stage) -> Lack {
        let why = match stage {
            Stage::Unreported => "the Node's status does not list it in volumesInUse yet",
            Stage::Reported | Stage::Attached => {
                "the attach/detach controller has not listed it in the Node's status.volumesAttached yet"
            }
        };
        Lack {
            why: why.to_owned(),
            is_exhausted: false,
        }
    }

    fn of(found: Option<&VolumeAttachment>) -> Lack {
        let Some(found) = found else {
            return Lack {
                why: "there is no VolumeAttachment".to_owned(),
                is_exhausted: false,
            };
        };
        let status = found.status.as_ref();
        let error = status.and_then(|status| status.attach_error.as_ref());
        let message = error.and_then(|error| error.message.as_deref());
        Lack {
            why: message.map_or_else(
                || "its VolumeAttachment is not attached".to_owned(),
                |message| format!("its VolumeAttachment says: {message}"),
            ),
            is_exhausted: error.is_some_and(|error| error.error_code == Some(EXHAUSTED)),
        }
    }
}

fn is_attached(found: &VolumeAttachment) -> bool {
    found.status.as_ref().is_some_and(|status| status.attached)
}

fn read(found: VolumeAttachment) -> Attachment {
    let metadata = found.status.and_then(|status| status.attachment_metadata);
    Attachment::Attached(AttachedVolume {
        metadata: metadata.unwrap_or_default(),
    })
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
        let failed = |error| {
            let failed = read(serde_json::json!({
                "metadata": {"name": "a"}, "spec": spec,
                "status": {"attached": false, "attachError": error},
            }));
            let lack = Lack::of(Some(&failed));
            (lack.why, lack.is_exhausted)
        };
        let says = |what: &str| format!("its VolumeAttachment says: {what}");
        assert_eq!(
            failed(serde_json::json!({"message": "no such disk", "errorCode": 5})),
            (says("no such disk"), false)
        );
        assert_eq!(
            failed(serde_json::json!({"message": "full", "errorCode": 8})),
            (says("full"), true)
        );
        let pending = read(serde_json::json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(
            Lack::of(Some(&pending)).why,
            "its VolumeAttachment is not attached"
        );
        assert_eq!(Lack::of(None).why, "there is no VolumeAttachment");
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_without_room_is_waited_for_as_long_as_by_the_kubelet() {
        let key = AttachmentKey {
            driver: "d".to_owned(),
            handle: "h".to_owned(),
            node: "n".to_owned(),
        };
        let (exhausted, mut told_of) = mpsc::unbounded_channel();
        let mut story = Story::begins(Instant::now());
        let lack = Lack {
            why: "full".to_owned(),
            is_exhausted: true,
        };
        tokio::time::sleep_until(story.next).await;
        let message = "volume kubernetes.io/csi/d^h is not attached to the node: full";
        let told = story.goes_on(&key, &lack, &exhausted);
        assert!(matches!(told, Some(Known::Unread(why)) if &*why == message));
        assert!(told_of.is_empty());
        tokio::time::sleep_until(story.next).await;
        assert_eq!(story.began.elapsed(), ROOM_PATIENCE);
        let told = story.goes_on(&key, &lack, &exhausted);
        let Some(Known::Found(object)) = told else {
            panic!("{told:?}");
        };
        let want = Attachment::Exhausted(message.to_owned());
        assert_eq!(*object, Object::Attachment(want));
        assert_eq!(told_of.recv().await.as_deref(), Some("d"));
    }
}
