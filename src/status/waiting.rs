//! Why a container waits, and for how long that is shown.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use super::context::{Kind, StatusContext};
use super::format::{full_name, go_duration};
use super::image_volume::{self, PULL_FAILURE_SHOWN};
use crate::model::memory::ContainerMemory;
use crate::model::node::NodePolicy;
use crate::model::pod::Container;
use crate::model::reason::waiting;
use crate::model::runtime::ObservedContainer;

/// The longest that the end of a container is reported before the back-off of its restart: the kubelet looks at a pod
/// again after a minute at the latest (`completeWork` in `pkg/kubelet/pod_workers.go`).
pub(super) const END_SHOWN: Duration = Duration::from_secs(60);

/// A back-off is reported only during the last part of its duration: the duration divided by this.
pub(super) const BACK_OFF_SHOWN: u32 = 10;

pub(super) fn why_it_waits(
    context: StatusContext<'_>,
    container: &Container,
    kind: Kind,
    newest: Option<&ObservedContainer>,
) -> Option<(&'static str, String)> {
    let of_pod = context.memory?;
    let memory = of_pod.of_container(container);
    let restarted = newest.filter(|_| kind != Kind::Ephemeral);
    let back_off = memory.and_then(|memory| shown_back_off(memory, restarted, context.policy));
    if let Some((delay, _)) = back_off.filter(|(_, shown)| shown.contains(&context.now)) {
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(delay),
            container.name,
            full_name(context.pod)
        );
        return Some((waiting::CRASH_LOOP_BACK_OFF, message));
    }
    let of_volume = image_volume::why_it_waits(context.pod, of_pod, container, context.now);
    if of_volume.is_some() {
        return of_volume;
    }
    let memory = memory?;
    let error = memory.failure.as_ref()?;
    if pull_waits(memory, context.now) {
        let message = format!(
            "Back-off pulling image {:?}: {}: {}",
            container.image, error.reason, error.message
        );
        return Some((waiting::IMAGE_PULL_BACK_OFF, message));
    }
    Some((error.reason, error.message.clone()))
}

/// The back-off of a restart, if it is reported in place of the end before it. The kubelet reports the end until it
/// looks at the pod again, when the back-off is over or after a minute, and then the back-off until it sees the
/// container running. A start takes less time here, so the back-off is reported just before it.
pub(super) fn shown_back_off(
    memory: &ContainerMemory,
    newest: Option<&ObservedContainer>,
    policy: &NodePolicy,
) -> Option<(Duration, Range<Timestamp>)> {
    let delay = memory.restart?.delay;
    let until = memory.restarts_at(newest?, policy.max_restart_backoff)?;
    let from = newest?.finished()? + END_SHOWN.min(delay - delay / BACK_OFF_SHOWN);
    Some((delay, from..until))
}

/// Whether the back-off of a pull is reported: not right after a failed pull, which is reported first.
pub(super) fn pull_waits(memory: &ContainerMemory, now: Timestamp) -> bool {
    memory
        .pull
        .is_some_and(|pull| pull.since + PULL_FAILURE_SHOWN <= now)
}
