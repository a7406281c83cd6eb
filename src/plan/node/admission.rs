//! Which of the desired pods the node takes: asked of [`crate::plan::admit`], those first that run already, and of the
//! others the critical ones.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::occupants::{Census, Occupants};
use super::{NodeView, evict, preempt};
use crate::model::api::ApiNode;
use crate::model::eviction::NodePressure;
use crate::model::placement::NodeMarks;
use crate::model::pod::{Pod, Provenance, Source};
use crate::plan::admit::{self, Denial, Protection, Refusal};
use crate::plan::cgroup::is_critical;
use crate::plan::shortage::{Resource, Room};

/// How long the node's labels may be behind the pod that was bound for them: two watches deliver the two. The kubelet
/// reads the node once more at this point.
pub(super) const DEFERRAL: Duration = Duration::from_secs(1);

/// What becomes of a pod that is not admitted yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It runs.
    Admitted,
    /// It neither runs nor is rejected, since that time: the node's labels may have changed.
    Deferred(Timestamp),
    /// It neither runs nor is rejected: it has room when other pods have ended.
    Waits(Preemption),
    /// It does not run.
    Rejected(Refusal),
}

/// What a pod waits for that has no room yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Preemption {
    /// Pods that have to end for it; none where it waits for those that end already.
    pub victims: Vec<Arc<Pod>>,
    /// What there is too little of; the first one of several.
    pub lacking: Resource,
}

/// What becomes of pods that want room.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Those that are not admitted yet, in the order in which they were decided.
    pub new: Vec<(Arc<Pod>, Verdict)>,
    /// Those that run, and which others have to end so that they get the resources that they ask for.
    pub resizes: Vec<(Arc<Pod>, Preemption)>,
    /// When one that others wait for should have ended, and no critical pod waits for it any more.
    pub(super) changes_at: Option<Timestamp>,
}

impl Verdicts {
    /// Which pods have to end, and for which one each.
    pub fn preemptions(&self) -> impl Iterator<Item = (&Arc<Pod>, &Preemption)> {
        let new = self.new.iter().filter_map(|(pod, verdict)| match verdict {
            Verdict::Waits(preemption) => Some((pod, preemption)),
            Verdict::Admitted | Verdict::Deferred(_) | Verdict::Rejected(_) => None,
        });
        let resizes = self.resizes.iter().map(|(pod, preemption)| (pod, preemption));
        let all = resizes.chain(new);
        all.filter(|(_, preemption)| !preemption.victims.is_empty())
    }
}

impl Verdict {
    /// Whether the pod may run later though it was rejected. An API pod has failed for good.
    pub(super) fn rejects_until_there_is_room(&self, pod: &Pod) -> bool {
        matches!(self, Verdict::Rejected(_)) && pod.source != Source::Api
    }
}

impl NodeView<'_> {
    /// Decides about each pod that is not admitted yet: first the critical ones, by their priority, then the others, in the
    /// order of their names. So no pod is admitted that has to end at once for another. Before all of them come critical
    /// pods that run and have no room to be resized: which others have to end for each of these.
    pub(super) fn verdicts(&self, pressure: &NodePressure, now: Timestamp) -> Verdicts {
        let Census {
            mut new,
            mut occupants,
            overdue_at,
        } = self.census(now);
        new.sort_by_key(|pod| Reverse(is_critical(pod).then(|| pod.priority.unwrap_or(0))));
        let marks = self.marks();
        let resizes = self.room_for_resizes(&mut occupants, marks.as_ref());
        let mut decided = |pod: &Arc<Pod>| match self.shutting_down {
            Some(_) => Verdict::Rejected(shutting_down()),
            None => match evict::admission::admit(pod, pressure) {
                Ok(()) => self.verdict(pod, &mut occupants, marks.as_ref(), now),
                Err(refusal) => Verdict::Rejected(refusal),
            },
        };
        let new = new.into_iter().map(|pod| (pod.clone(), decided(pod))).collect();
        Verdicts {
            new,
            resizes,
            changes_at: overdue_at.filter(|_| occupants.has_promised),
        }
    }

    fn room_for_resizes(
        &self,
        occupants: &mut Occupants,
        marks: Option<&NodeMarks>,
    ) -> Vec<(Arc<Pod>, Preemption)> {
        let mut preemptions = Vec::new();
        let waiting = self.waiting_in_order().into_iter();
        for pod in waiting.filter(|pod| is_critical(pod) && self.shutting_down.is_none()) {
            let lacking = match self.admit(pod, occupants.beside(pod), marks) {
                Ok(()) => {
                    occupants.take(pod);
                    continue;
                }
                Err(denial) => denial.lacking,
            };
            let Some(first) = lacking.first().map(|first| first.resource.clone()) else {
                continue;
            };
            if let Ok(victims) = preempt::victims(pod, &lacking, occupants) {
                occupants.promise(pod, &victims);
                let lacking = first;
                preemptions.push((pod.clone(), Preemption { victims, lacking }));
            }
        }
        preemptions
    }

    fn verdict(
        &self,
        pod: &Arc<Pod>,
        occupants: &mut Occupants,
        marks: Option<&NodeMarks>,
        now: Timestamp,
    ) -> Verdict {
        let Denial { refusal, lacking } = match self.admit(pod, occupants.beside(pod), marks) {
            Ok(()) => {
                occupants.take(pod);
                return Verdict::Admitted;
            }
            Err(denial) => denial,
        };
        if let Some(deferred) = self.deferred(pod, &refusal, now) {
            return deferred;
        }
        let Some(first) = lacking.first() else {
            return Verdict::Rejected(refusal);
        };
        let victims = match is_critical(pod) {
            true => preempt::victims(pod, &lacking, occupants),
            // While pods end for another one, it is decided what is left when they have.
            false if occupants.has_promised => {
                let staying = occupants.staying.iter().map(AsRef::as_ref);
                let fits = self.admit(pod, staying, marks);
                fits.map(|()| Vec::new()).map_err(|_| refusal)
            }
            false => Err(refusal),
        };
        match victims {
            Ok(victims) => {
                occupants.promise(pod, &victims);
                let lacking = first.resource.clone();
                Verdict::Waits(Preemption { victims, lacking })
            }
            Err(refusal) => Verdict::Rejected(refusal),
        }
    }

    /// When the first deferred admission is decided. While the node's labels are unknown, none ends by itself.
    pub(super) fn deferred_until(&self, verdicts: &[(Arc<Pod>, Verdict)]) -> Option<Timestamp> {
        if !self.node_is_known() {
            return None;
        }
        let until = verdicts.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Deferred(since) => Some(*since + DEFERRAL),
            Verdict::Admitted | Verdict::Waits(_) | Verdict::Rejected(_) => None,
        });
        until.min()
    }

    /// Whether the node has room for what an admitted pod asks for, beside these.
    pub(super) fn has_room<'b>(
        &self,
        pod: &Pod,
        others: impl Iterator<Item = &'b Pod>,
    ) -> Result<(), Refusal> {
        let admission = self.admit(pod, others, self.marks().as_ref());
        admission.map_err(|denial| denial.refusal)
    }

    pub(super) fn room(&self) -> Room<'_> {
        Room {
            allocatable: &self.limits.allocatable,
            max_pods: self.limits.max_pods,
        }
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

    fn admit<'b>(
        &self,
        pod: &Pod,
        others: impl Iterator<Item = &'b Pod>,
        marks: Option<&NodeMarks>,
    ) -> Result<(), Denial> {
        let protection = Protection {
            strict_groups: self.snapshot.runtime.strict_groups == Some(true),
            apparmor: self.policy.apparmor,
        };
        let api = self.desired.api.as_ref();
        let is_guess = api.is_some_and(|set| set.provenance == Provenance::Checkpoint);
        match admit::admit(pod, others, self.room(), protection, marks) {
            // It has run here before, and there is no API server to ask for the node.
            Err(denial) if is_by_labels(&denial.refusal) && marks.is_none() && is_guess => Ok(()),
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
