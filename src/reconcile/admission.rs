//! Which of the desired pods the node takes: asked of `plan::admit`, those first that run already.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Key, Loop};
use crate::model::api::{ApiNode, tells_end};
use crate::model::memory::{PodMemory, Remains};
use crate::model::placement::NodeMarks;
use crate::model::pod::{Pod, PodUid, Provenance, Source};
use crate::plan::admit::{self, Protection, Refusal, Room};

/// How long the labels of the node may be behind the pod that was bound for them: two watches tell of the two. The
/// kubelet asks for the node once more at this point.
const DOUBT: Duration = Duration::from_secs(1);

/// A pod that is neither run nor refused for a moment.
pub(super) struct Doubt {
    uid: PodUid,
    since: Timestamp,
}

/// Whether the API server knows of the pod's end.
fn has_told_end(pod: &Pod) -> bool {
    pod.source == Source::Api && tells_end(pod.object.status.as_ref())
}

impl Loop {
    /// Decides which pods may run, those first that are worked on already.
    pub(super) fn admit(&mut self, now: Timestamp) {
        // Which pods run already is not known before.
        if !self.snapshot.listed {
            return;
        }
        let pods: Vec<Arc<Pod>> = self
            .desired
            .pods()
            .filter(|pod| !self.is_over(pod) && !has_told_end(pod))
            .cloned()
            .collect();
        let (admitted, new): (Vec<_>, Vec<_>) = pods
            .into_iter()
            // What shall go takes room until it has gone, and is not refused.
            .partition(|pod| pod.deletion.is_some() || self.is_admitted(pod));
        let admitted = admitted.iter().filter(|pod| self.takes_room(pod));
        let mut admitted: Vec<_> = admitted.map(|pod| self.allotted(pod)).collect();
        let former = std::mem::take(&mut self.refused);
        let doubted = std::mem::take(&mut self.doubted);
        let node = self.node_marks();
        for pod in new {
            let doubt = doubted.get(&pod.name).filter(|doubt| doubt.uid == pod.uid);
            match self.verdict(&pod, &admitted, node.as_ref()) {
                Ok(()) => {
                    if former.contains_key(&pod.name) {
                        self.memory.pods.remove(&pod.name);
                    }
                    if former.contains_key(&pod.name) || doubt.is_some() {
                        self.dirty.insert(Key::Pod(pod.name.clone()));
                    }
                    admitted.push(pod);
                }
                Err(refusal) => {
                    let since = doubt.map_or(now, |doubt| doubt.since);
                    let may_change = node.is_none() || now < since + DOUBT;
                    if refusal.reason == admit::NODE_AFFINITY && pod.source == Source::Api && may_change {
                        let uid = pod.uid.clone();
                        self.doubted.insert(pod.name.clone(), Doubt { uid, since });
                    } else {
                        self.refuse(&pod, refusal, now);
                    }
                }
            }
        }
    }

    /// Whether nothing was taken away yet of what an admitted pod takes.
    fn takes_room(&self, pod: &Pod) -> bool {
        let memory = self.memory.pods.get(&pod.name);
        memory.is_none_or(|memory| memory.remains == Remains::Everything)
    }

    /// Whether the node has room for what a pod asks for that it has admitted already.
    pub(super) fn has_room(&self, pod: &Pod) -> Result<(), Refusal> {
        let takes_room = |other: &&Arc<Pod>| {
            let lives = !self.is_over(other) && !has_told_end(other);
            lives && (other.deletion.is_some() || self.is_admitted(other)) && self.takes_room(other)
        };
        let others = self.desired.pods().filter(takes_room);
        let others: Vec<_> = others.map(|other| self.allotted(other)).collect();
        self.verdict(pod, &others, self.node_marks().as_ref())
    }

    fn verdict(&self, pod: &Pod, admitted: &[Arc<Pod>], node: Option<&NodeMarks>) -> Result<(), Refusal> {
        let others = admitted.iter().map(AsRef::as_ref);
        let room = Room {
            allocatable: &self.rooms.allocatable,
            max_pods: self.rooms.max_pods,
        };
        let protection = Protection {
            strict_groups: self.snapshot.runtime.strict_groups == Some(true),
            apparmor: self.rooms.policy.apparmor,
        };
        let api = self.desired.api.as_ref();
        let is_stored = api.is_some_and(|set| set.provenance == Provenance::Checkpoint);
        match admit::admit(pod, others, room, protection, node) {
            // It has run here before, and nobody can be asked for the node.
            Err(refusal) if refusal.reason == admit::NODE_AFFINITY && node.is_none() && is_stored => Ok(()),
            verdict => verdict,
        }
    }

    fn refuse(&mut self, pod: &Pod, refusal: Refusal, now: Timestamp) {
        let fresh = || PodMemory::new(pod.uid.clone(), now);
        let memory = self
            .memory
            .pods
            .entry(pod.name.clone())
            .or_insert_with(|| Arc::new(fresh()));
        let ended = Some(refusal.end());
        if memory.uid != pod.uid || memory.ended != ended {
            tracing::warn!(pod = %pod.name, reason = %refusal.reason, "refused: {}", refusal.message);
            *memory = Arc::new(PodMemory { ended, ..fresh() });
        }
        self.dirty.insert(Key::Pod(pod.name.clone()));
        // What the API server was told has failed has been replaced by then: it does not come back.
        if pod.source != Source::Api {
            self.refused.insert(pod.name.clone(), (pod.uid.clone(), refusal));
        }
    }

    fn node_marks(&self) -> Option<NodeMarks> {
        match &*self.node.borrow() {
            ApiNode::Present(node) => Some(NodeMarks::of(node)),
            ApiNode::Unknown | ApiNode::Absent => None,
        }
    }

    /// When the first doubt is over. While the node is not told of, none ends by itself.
    pub(super) fn doubt_ends(&self) -> Option<Timestamp> {
        let is_told = matches!(&*self.node.borrow(), ApiNode::Present(_));
        let ends = self.doubted.values().map(|doubt| doubt.since + DOUBT);
        ends.min().filter(|_| is_told)
    }

    /// Whether the pod was admitted before. What an agent before this one admitted is known by its sandboxes: a
    /// new agent must not end it in favour of another that did not fit then.
    pub(super) fn is_admitted(&self, pod: &Pod) -> bool {
        match self
            .memory
            .pods
            .get(&pod.name)
            .filter(|memory| memory.uid == pod.uid)
        {
            Some(memory) => memory.ended.is_none(),
            None => {
                let seen = self
                    .snapshot
                    .pods
                    .get(&pod.name)
                    .and_then(|name| name.uids.get(&pod.uid));
                seen.is_some_and(|seen| !seen.sandboxes.is_empty())
            }
        }
    }

    /// Whether the node ended the pod after it had run: it takes no room, and does not come back.
    pub(super) fn is_over(&self, pod: &Pod) -> bool {
        let memory = self
            .memory
            .pods
            .get(&pod.name)
            .filter(|memory| memory.uid == pod.uid);
        let refused = self
            .refused
            .get(&pod.name)
            .is_some_and(|(uid, _)| *uid == pod.uid);
        memory.is_some_and(|memory| memory.ended.is_some()) && !refused
    }
}
