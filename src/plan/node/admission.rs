//! Which of the desired pods the node takes: asked of [`crate::plan::admit`], those first that run already.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{NodeView, evict};
use crate::model::api::{ApiNode, has_final_phase};
use crate::model::eviction::NodePressure;
use crate::model::placement::NodeMarks;
use crate::model::pod::{Pod, Provenance, Source};
use crate::plan::admit::{self, Protection, Refusal, Room};

/// How long the node's labels may be behind the pod that was bound for them: two watches deliver the two. The kubelet
/// reads the node once more at this point.
pub(super) const DEFERRAL: Duration = Duration::from_secs(1);

/// What becomes of a pod that is not admitted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Admitted,
    /// It neither runs nor is rejected, since that time: the node's labels may have changed.
    Deferred(Timestamp),
    /// It does not run.
    Rejected(Refusal),
}

impl Verdict {
    /// Whether the pod may run later though it was rejected. An API pod has failed for good.
    pub(super) fn rejects_until_there_is_room(&self, pod: &Pod) -> bool {
        matches!(self, Verdict::Rejected(_)) && pod.source != Source::Api
    }
}

/// Whether the API server has the pod's end.
pub(super) fn has_ended_in_api(pod: &Pod) -> bool {
    pod.source == Source::Api && has_final_phase(pod.object.status.as_ref())
}

impl NodeView<'_> {
    /// Decides about each pod that is not admitted yet, in the order of their names.
    pub(super) fn verdicts(&self, pressure: &NodePressure, now: Timestamp) -> Vec<(Arc<Pod>, Verdict)> {
        let pods = self.desired.pods().filter(|pod| !self.has_ended(pod));
        // A pod that is being deleted takes room until it is gone, and is not rejected.
        let (admitted, new): (Vec<_>, Vec<_>) =
            pods.partition(|pod| pod.deletion.is_some() || self.is_admitted(pod));
        let admitted = admitted.into_iter().filter(|pod| self.takes_room(pod));
        let mut admitted: Vec<_> = admitted.map(|pod| self.allotted(pod)).collect();
        let marks = self.marks();
        let mut verdicts = Vec::new();
        for pod in new {
            let admission = match self.shutting_down {
                Some(_) => Err(shutting_down()),
                None => evict::admit(pod, pressure).and_then(|()| self.admit(pod, &admitted, marks.as_ref())),
            };
            let verdict = match admission {
                Ok(()) => {
                    admitted.push(pod.clone());
                    Verdict::Admitted
                }
                Err(refusal) => self
                    .deferred(pod, &refusal, now)
                    .unwrap_or(Verdict::Rejected(refusal)),
            };
            verdicts.push((pod.clone(), verdict));
        }
        verdicts
    }

    /// When the first deferred admission is decided. While the node's labels are unknown, none ends by itself.
    pub(super) fn deferred_until(&self, verdicts: &[(Arc<Pod>, Verdict)]) -> Option<Timestamp> {
        if !self.node_is_known() {
            return None;
        }
        let until = verdicts.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Deferred(since) => Some(*since + DEFERRAL),
            Verdict::Admitted | Verdict::Rejected(_) => None,
        });
        until.min()
    }

    /// Whether the node has room for what an admitted pod asks for.
    pub(super) fn has_room(&self, pod: &Pod) -> Result<(), Refusal> {
        let takes_room = |other: &&Arc<Pod>| {
            let is_admitted = other.deletion.is_some() || self.is_admitted(other);
            !self.has_ended(other) && is_admitted && self.takes_room(other)
        };
        let others = self.desired.pods().filter(takes_room);
        let others: Vec<_> = others.map(|other| self.allotted(other)).collect();
        self.admit(pod, &others, self.marks().as_ref())
    }

    /// The node's labels and taints; `None` while they are unknown.
    fn marks(&self) -> Option<NodeMarks> {
        match self.node {
            ApiNode::Present(node) => Some(NodeMarks::of(node)),
            ApiNode::Unknown | ApiNode::Absent => None,
        }
    }

    fn node_is_known(&self) -> bool {
        matches!(self.node, ApiNode::Present(_))
    }

    fn admit(&self, pod: &Pod, admitted: &[Arc<Pod>], marks: Option<&NodeMarks>) -> Result<(), Refusal> {
        let others = admitted.iter().map(AsRef::as_ref);
        let room = Room {
            allocatable: &self.limits.allocatable,
            max_pods: self.limits.max_pods,
        };
        let protection = Protection {
            strict_groups: self.snapshot.runtime.strict_groups == Some(true),
            apparmor: self.policy.apparmor,
        };
        let api = self.desired.api.as_ref();
        let is_guess = api.is_some_and(|set| set.provenance == Provenance::Checkpoint);
        match admit::admit(pod, others, room, protection, marks) {
            // It has run here before, and there is no API server to ask for the node.
            Err(refusal) if is_by_labels(&refusal) && marks.is_none() && is_guess => Ok(()),
            verdict => verdict,
        }
    }

    /// The deferral of an API pod that fails by the node's labels alone.
    fn deferred(&self, pod: &Pod, refusal: &Refusal, now: Timestamp) -> Option<Verdict> {
        let before = self.decisions.deferred.get(&pod.name);
        let before = before.filter(|before| before.uid == pod.uid);
        let since = before.map_or(now, |before| before.since);
        let may_change = !self.node_is_known() || now < since + DEFERRAL;
        let is_deferred = is_by_labels(refusal) && pod.source == Source::Api && may_change;
        is_deferred.then_some(Verdict::Deferred(since))
    }

    /// Whether the pod was admitted before. What an agent before this one admitted is known by its sandboxes: a new agent
    /// must not end it in favor of another that did not fit then.
    pub(super) fn is_admitted(&self, pod: &Pod) -> bool {
        match self.remembered(pod) {
            Some(memory) => memory.ended.is_none(),
            None => {
                let name = self.snapshot.pods.get(&pod.name);
                let seen = name.and_then(|name| name.uids.get(&pod.uid));
                seen.is_some_and(|seen| !seen.sandboxes.is_empty())
            }
        }
    }

    /// Whether the pod has ended: it takes no room, and does not come back.
    fn has_ended(&self, pod: &Pod) -> bool {
        let rejected = self.decisions.rejected.get(&pod.name);
        let is_rejected = rejected.is_some_and(|(uid, _)| *uid == pod.uid);
        let has_ended = self.remembered(pod).is_some_and(|memory| memory.ended.is_some());
        has_ended && !is_rejected || has_ended_in_api(pod)
    }
}

/// The answer to a pod that comes while the machine shuts down (`Admit` in
/// `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`).
fn shutting_down() -> Refusal {
    Refusal {
        reason: "NodeShutdown".to_owned(),
        message: "Pod was rejected as the node is shutting down.".to_owned(),
    }
}

fn is_by_labels(refusal: &Refusal) -> bool {
    refusal.reason == admit::NODE_AFFINITY
}
