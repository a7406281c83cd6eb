//! What the report of one pod is made from.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::Loop;
use crate::model::allocation;
use crate::model::event::PodEvent;
use crate::model::memory::PodMemory;
use crate::model::pod::{Pod, PodName};
use crate::model::runtime::ObservedName;
use crate::status::{end_events, events as pod_events, pod as pod_status};

impl Loop {
    /// The pod that is reported under a name: the wanted one, or the last one while something of it is left.
    pub(super) fn known_pod(&self, name: &PodName) -> Option<Arc<Pod>> {
        let is_left = self.snapshot.pods.contains_key(name);
        let shown = self.shown.get(name).filter(|_| is_left);
        self.desired.get(name).or(shown).cloned()
    }

    /// Reports the node at these addresses from now on, and the pods again: they have its address. Answers whether a
    /// pod's status changed.
    pub(super) fn take_addresses(&mut self, new: &[IpAddr], now: Timestamp) -> bool {
        if self.facts.settings.addresses == new {
            return false;
        }
        self.facts.settings.addresses = new.to_vec();
        self.facts.policy = Arc::new(self.facts.policy.at(new));
        let shown: Vec<PodName> = self.shown.keys().cloned().collect();
        let mut changed = false;
        for name in shown {
            changed |= self.report_pod(&name, now);
        }
        changed
    }

    pub(super) fn forget(&mut self, name: &PodName) -> bool {
        self.shown.remove(name);
        self.due.remove(name);
        self.report.events.remove(name);
        self.report.finished.remove(name);
        self.report.timelines.end(name);
        self.report.pods.remove(name).is_some()
    }

    pub(super) fn status_of(
        &self,
        pod: &Arc<Pod>,
        observed: &ObservedName,
        memory: Option<&PodMemory>,
        previous: Option<&PodStatus>,
        now: Timestamp,
    ) -> PodStatus {
        // Before everything is listed nothing is known: what an agent before this one published still stands.
        if let Some(published) = pod.object.status.as_ref().filter(|_| !self.snapshot.listed) {
            return published.clone();
        }
        let seen = observed.uids.get(&pod.uid);
        let allotted = allocation::allotted(pod, seen.and_then(|seen| seen.allocation.as_deref()));
        let (policy, handlers) = (&self.facts.policy, &self.snapshot.runtime.handlers);
        pod_status::pod_status(&allotted, observed, memory, previous, policy, handlers, now)
    }

    pub(super) fn events_of(
        &self,
        pod: &Pod,
        observed: &ObservedName,
        memory: &PodMemory,
        previous: Option<&PodStatus>,
        now: Timestamp,
    ) -> Vec<PodEvent> {
        let waiting = pod_events::waiting(pod, observed, memory, &self.facts.policy, now);
        let refusal = end_events::refusal(memory, previous);
        let pending_resize = pod_events::resize_pending(pod, memory, previous);
        waiting.into_iter().chain(refusal).chain(pending_resize).collect()
    }
}
