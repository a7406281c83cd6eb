//! What is renewed for a pod before it ends: tokens and certificates have an end in wall-clock time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::api::{ApiPods, has_final_phase};
use crate::model::pod::{PodName, PodUid};

/// The longest sleep: a safety net for clock changes and suspended machines.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// Waits for a wall-clock time.
pub(super) async fn until(moment: Timestamp) {
    loop {
        let left = moment.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LONGEST_SLEEP)).await,
            _ => return,
        }
    }
}

/// Whether the API server has the pod as ended: it needs nothing new.
pub(super) fn has_ended(
    pod: &PodName,
    uid: &PodUid,
    objects: &watch::Receiver<Option<Arc<ApiPods>>>,
) -> bool {
    let objects = objects.borrow();
    let object = objects.as_ref().and_then(|objects| objects.pods.get(pod));
    let own = object.filter(|object| object.metadata.uid.as_deref() == Some(uid.0.as_str()));
    own.is_some_and(|object| has_final_phase(object.status.as_ref()))
}
