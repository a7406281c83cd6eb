//! Pods whose resources change while they run: what they get, and in which order they are asked about.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{NodeView, waiting_for_room};
use crate::model::allocation::Allocation;
use crate::model::memory::{Outlook, PendingResize, PodMemory};
use crate::model::pod::{Pod, PodName};
use crate::model::request::Occasion;
use crate::model::runtime::ObservedPod;
use crate::model::step::Step;
use crate::plan::admit::Refusal;
use crate::plan::need;
use crate::plan::resize::{self, ResizeNeed};
use crate::plan::shortage::{self, Used};

/// How often a deferred resize is retried though nothing has changed (`pkg/kubelet/allocation`).
const ROOM_RETRY: Duration = Duration::from_secs(180);

/// What becomes of the resources that a pod asks for.
#[derive(Debug, PartialEq)]
pub enum ResizeVerdict {
    /// The pod has what it requests.
    Granted,
    /// An earlier failure is waited out.
    Waits,
    /// It has no allocation yet: nothing is done but that this one is kept.
    Begins(Step),
    /// It gets what it asks for: nothing is done but that the allocation is kept. What follows from it is planned when that
    /// is seen.
    Allotted(Step),
    /// It does not get it now; until when, where it is asked about again though nothing changes.
    Pending(PendingResize, Option<Timestamp>),
}

/// Decides about the resources of one pod. `memory` is what is remembered of it now.
pub fn resize(
    view: NodeView<'_>,
    pod: &Pod,
    seen: Option<&ObservedPod>,
    memory: &PodMemory,
    now: Timestamp,
) -> ResizeVerdict {
    let policy = view.policy;
    let need = resize::resize_need(pod, seen, memory, now);
    // A pod that has ended keeps what it had. An agent that was started since does not remember the end, but sees it.
    let asks = matches!(need, ResizeNeed::Other(_) | ResizeNeed::Unknown);
    if asks && seen.is_some_and(|seen| need::has_come_to_its_end(pod, seen)) {
        return ResizeVerdict::Granted;
    }
    let (saved, seen) = match (need, seen) {
        (ResizeNeed::Other(saved), Some(seen)) => (saved, seen),
        (ResizeNeed::Unknown, _) => {
            let save = resize::save(pod, Allocation::of(pod), Occasion::Begun, policy);
            return ResizeVerdict::Begins(save);
        }
        (ResizeNeed::Waits, _) => return ResizeVerdict::Waits,
        (ResizeNeed::Granted | ResizeNeed::Other(_), _) => return ResizeVerdict::Granted,
    };
    let (before, fits) = (memory.resize.as_ref(), || view.has_room_in_turn(pod));
    match resize::decide(pod, saved, seen, before, fits, policy, now) {
        Ok(allocation) => ResizeVerdict::Allotted(resize::save(pod, allocation, Occasion::Resized, policy)),
        Err(pending) => {
            let retry = (pending.outlook == Outlook::Deferred).then(|| now + ROOM_RETRY);
            ResizeVerdict::Pending(pending, retry)
        }
    }
}

impl NodeView<'_> {
    /// In which order names are planned: pods that ask for other resources last, in theirs.
    pub fn precedence(&self, name: &PodName) -> Option<impl Ord + use<>> {
        let pod: &Arc<Pod> = self.desired.get(name)?;
        let seen = self.snapshot.pods.get(name)?.uids.get(&pod.uid)?;
        let saved = seen.allocation.as_ref().filter(|saved| !saved.satisfies(pod))?;
        let memory = self.remembered(pod);
        let pending = memory.and_then(|memory| memory.resize.as_ref());
        Some(resize::precedence(pod, saved, pending))
    }

    /// The pods that wait for room to be resized, as they want to be, in their order.
    pub(super) fn waiting_in_order(&self) -> Vec<&Arc<Pod>> {
        let waiting = waiting_for_room(self.memory).filter_map(|name| self.desired.get(name));
        let ranked = waiting.filter_map(|pod| Some((self.precedence(&pod.name)?, pod)));
        let mut ranked: Vec<_> = ranked.filter(|(_, pod)| self.stays(pod)).collect();
        ranked.sort_by(|(first, _), (second, _)| first.cmp(second));
        ranked.into_iter().map(|(_, pod)| pod).collect()
    }

    /// Whether the node has room for what a pod that runs asks for, besides what those get that wait before it in the
    /// order: they have not taken it yet where work on them is not done. Those that do not fit keep nobody waiting.
    fn has_room_in_turn(&self, pod: &Pod) -> Result<(), Refusal> {
        let mut others: Vec<_> = self
            .occupants()
            .into_iter()
            .map(|pod| (shortage::requests(&pod), pod))
            .collect();
        let own = self.precedence(&pod.name);
        let waiting = self.waiting_in_order().into_iter();
        for first in waiting.filter(|first| first.uid != pod.uid && self.precedence(&first.name) < own) {
            let wanted = shortage::requests(first);
            let mut used = Used::default();
            for (requests, _) in others.iter().filter(|(_, other)| other.uid != first.uid) {
                used.add(requests);
            }
            let own = others.iter_mut().find(|(_, other)| other.uid == first.uid);
            if let Some(own) = own.filter(|_| shortage::shortages(&wanted, &used, self.room()).is_empty()) {
                *own = (wanted, first.clone());
            }
        }
        self.has_room(pod, others.iter().map(|(_, other)| &**other))
    }
}
