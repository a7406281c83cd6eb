//! Which pods take room on the node, and which do not yet, or not any more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::NodeView;
use crate::model::api::has_final_phase;
use crate::model::later::later;
use crate::model::pod::{Pod, Source};
use crate::model::runtime::{ObservedContainer, ObservedPod};
use crate::plan::cgroup::is_critical;
use crate::plan::need::has_come_to_its_end;

/// The least time that a critical pod waits for the end of another one.
const LEAST_WAIT: Duration = Duration::from_secs(10);

/// The pods that take room on the node.
#[derive(Debug, Default)]
pub(super) struct Occupants {
    /// Those that stay, and those that were promised the room of leaving ones.
    pub(super) staying: Vec<Arc<Pod>>,
    /// Those that end.
    pub(super) leaving: Vec<Arc<Pod>>,
    /// Those that should have ended long ago: no critical pod waits for them any more.
    overdue: Vec<Arc<Pod>>,
    /// Whether a pod was promised room.
    pub(super) has_promised: bool,
}

impl Occupants {
    /// Those beside which a pod has to fit.
    pub(super) fn beside(&self, pod: &Pod) -> impl Iterator<Item = &Pod> {
        let overdue = self.overdue.iter().filter(|_| !is_critical(pod));
        let all = self.staying.iter().chain(&self.leaving).chain(overdue);
        all.map(AsRef::as_ref)
    }

    /// A pod gets what it asks for.
    pub(super) fn take(&mut self, pod: &Arc<Pod>) {
        self.staying.retain(|other| other.uid != pod.uid);
        self.staying.push(pod.clone());
    }

    /// A pod gets the room of these and of those that end already.
    pub(super) fn promise(&mut self, pod: &Arc<Pod>, victims: &[Arc<Pod>]) {
        self.staying
            .retain(|other| victims.iter().all(|victim| victim.uid != other.uid));
        self.leaving.extend_from_slice(victims);
        self.take(pod);
        self.has_promised = true;
    }
}

/// The desired pods, as far as they want room.
pub(super) struct Census<'a> {
    /// Those that are not admitted yet, in the order of their names.
    pub(super) new: Vec<&'a Arc<Pod>>,
    /// Those that take room.
    pub(super) occupants: Occupants,
    /// When the next of those that end should have ended long ago.
    pub(super) overdue_at: Option<Timestamp>,
}

/// What a desired pod is to the node.
enum Place {
    /// It is not admitted yet.
    New,
    /// It takes room.
    Stays,
    /// It takes room, and ends.
    Leaves,
    /// It takes no room any more.
    Gone,
}

/// Whether the API server has the pod's end.
pub(super) fn has_ended_in_api(pod: &Pod) -> bool {
    pod.source == Source::Api && has_final_phase(pod.object.status.as_ref())
}

impl NodeView<'_> {
    /// What each desired pod is to the node.
    pub(super) fn census(&self, now: Timestamp) -> Census<'_> {
        let mut census = Census {
            new: Vec::new(),
            occupants: Occupants::default(),
            overdue_at: None,
        };
        let occupants = &mut census.occupants;
        for pod in self.desired.pods() {
            match self.place(pod) {
                Place::New => census.new.push(pod),
                Place::Stays => occupants.staying.push(self.allotted(pod)),
                Place::Leaves => {
                    let until = self.waited_for_until(pod);
                    match until {
                        Some(until) if until <= now => occupants.overdue.push(self.allotted(pod)),
                        Some(_) | None => occupants.leaving.push(self.allotted(pod)),
                    }
                    let later = until.filter(|at| *at > now);
                    census.overdue_at = census.overdue_at.into_iter().chain(later).min();
                }
                Place::Gone => {}
            }
        }
        census
    }

    /// The pods that take room, with what they were allotted.
    pub(super) fn occupants(&self) -> Vec<Arc<Pod>> {
        let takes_room = |other: &&Arc<Pod>| matches!(self.place(other), Place::Stays | Place::Leaves);
        let others = self.desired.pods().filter(takes_room);
        others.map(|other| self.allotted(other)).collect()
    }

    /// Whether a pod takes room, and does not end.
    pub(super) fn stays(&self, pod: &Pod) -> bool {
        matches!(self.place(pod), Place::Stays)
    }

    /// Whether the pod was admitted before. What an agent before this one admitted is known by its sandboxes: a new agent
    /// must not end it in favor of another that did not fit then.
    pub(super) fn is_admitted(&self, pod: &Pod) -> bool {
        match self.remembered(pod) {
            Some(memory) => memory.ended.is_none(),
            None => {
                let seen = self.seen(pod);
                let unread = self.snapshot.unread.get(&pod.name);
                seen.is_some_and(|seen| !seen.sandboxes.is_empty())
                    || unread.is_some_and(|uids| uids.contains(&pod.uid))
            }
        }
    }

    /// A pod that ends takes room as long as a container of it may run (`filterOutInactivePods` in
    /// `pkg/kubelet/kubelet_pods.go`): what is left then, as a volume that cannot be unmounted, is no request any more.
    fn place(&self, pod: &Pod) -> Place {
        let seen = self.seen(pod);
        let runs = seen.is_some_and(|seen| seen.containers.iter().any(ObservedContainer::may_run));
        let leaves = if runs { Place::Leaves } else { Place::Gone };
        if has_ended_in_api(pod) {
            return Place::Gone;
        }
        if self.has_ended(pod) {
            return leaves;
        }
        if pod.deletion.is_some() {
            // It is not rejected any more.
            let has_stopped = seen.is_some_and(|seen| !seen.containers.is_empty()) && !runs;
            return match self.takes_room(pod) && !has_stopped {
                true => Place::Leaves,
                false => Place::Gone,
            };
        }
        if !self.is_admitted(pod) {
            return Place::New;
        }
        let has_come_to_its_end = seen.is_some_and(|seen| has_come_to_its_end(pod, seen));
        match self.takes_room(pod) {
            true if has_come_to_its_end => leaves,
            true => Place::Stays,
            false => Place::Gone,
        }
    }

    /// Until when critical pods wait for the end of a pod: as long again as half its grace period, and not less than
    /// [`LEAST_WAIT`] in all (`killPodNow` in `pkg/kubelet/pod_workers.go`). Nobody else gets the room of one that cannot be
    /// stopped. `None`: its end has not begun.
    fn waited_for_until(&self, pod: &Pod) -> Option<Timestamp> {
        let grace = pod.deletion.as_ref().map_or(pod.grace, |deletion| deletion.grace);
        let known = self.remembered(pod).and_then(|memory| memory.ends_by);
        let saved = || self.seen(pod)?.checkpoint.as_ref()?.ends;
        let asked = || pod.deletion.as_ref()?.asked.checked_add(grace).ok();
        let ends = known.or_else(saved).or_else(asked)?;
        let longer = (grace / 2).max(LEAST_WAIT.saturating_sub(grace));
        Some(later(ends, longer))
    }

    fn seen(&self, pod: &Pod) -> Option<&ObservedPod> {
        let name = self.snapshot.pods.get(&pod.name)?;
        name.uids.get(&pod.uid)
    }

    /// Whether the node has ended the pod, now or before this agent was started: it does not come back.
    fn has_ended(&self, pod: &Pod) -> bool {
        let rejected = self.decisions.rejected.get(&pod.name);
        if rejected.is_some_and(|(uid, _)| *uid == pod.uid) {
            return false;
        }
        match self.remembered(pod) {
            Some(memory) => memory.ended.is_some(),
            None => {
                let saved = self.seen(pod).and_then(|seen| seen.checkpoint.as_ref());
                saved.is_some_and(|saved| !saved.leaving && saved.ended.is_some())
            }
        }
    }
}
