//! What loop 1 counts: pods that come, come back and are resized, and the plans for them.

use jiff::Timestamp;

use super::Loop;
use crate::counters::{Amount, PodWork};
use crate::model::pod::{Desired, Pod, PodName, PodUid, Source};
use crate::model::resources::{Amounts, Resources};
use crate::model::step::Plan;

impl Loop {
    /// What a plan for a pod is for. Counts a pod of which nothing is there yet, and one that no source has wanted.
    pub(super) fn count_start(&mut self, name: &PodName, uid: &PodUid, plan: &Plan) -> PodWork {
        let wanted = self.desired.get(name).filter(|pod| pod.uid == *uid);
        let observed = self.snapshot.pods.get(name);
        let is_there = observed.is_some_and(|observed| observed.uids.contains_key(uid));
        let counters = &self.rooms.counters.pods;
        match wanted {
            Some(pod) if plan.ends.is_none() && !is_there => {
                let since_seen = Timestamp::now().duration_since(pod.seen);
                counters.begun(pod.containers.len(), since_seen.unsigned_abs());
                PodWork::Create
            }
            Some(_) if plan.ends.is_none() => PodWork::Sync,
            Some(_) => PodWork::Kill,
            None => {
                let is_known = self
                    .memory
                    .pods
                    .get(name)
                    .is_some_and(|memory| memory.uid == *uid);
                if is_there && !is_known && self.orphans.insert(uid.clone()) {
                    counters.orphaned();
                }
                PodWork::Kill
            }
        }
    }

    /// Counts pods that come back with the UID of one that is still there, and requests for other resources.
    pub(super) fn count_changes(&self, old: &Desired) {
        for name in self.desired.changed_since(old) {
            let Some(pod) = self.desired.get(&name) else {
                continue;
            };
            match old.get(&name) {
                Some(before) if before.uid == pod.uid => self.count_resizes(before, pod),
                Some(_) => {}
                None => self.count_return(old, pod),
            }
        }
    }

    fn count_return(&self, old: &Desired, pod: &Pod) {
        let is_static = pod.source != Source::Api;
        // Before a source has told its pods, all of them are new.
        let set = if is_static { &old.files } else { &old.api };
        let observed = self.snapshot.pods.get(&pod.name);
        if set.is_some() && observed.is_some_and(|observed| observed.uids.contains_key(&pod.uid)) {
            self.rooms.counters.pods.restarted(is_static);
        }
    }

    fn count_resizes(&self, before: &Pod, after: &Pod) {
        for container in before.own_containers() {
            let mut later = after.own_containers();
            let Some(later) = later.find(|later| later.name == container.name) else {
                continue;
            };
            if container.resources == later.resources {
                continue;
            }
            for amount in amounts(&container.resources, &later.resources) {
                self.rooms.counters.resizes.requested(amount);
            }
        }
    }
}

fn amounts(before: &Resources, after: &Resources) -> [Amount; 4] {
    type Of = fn(&Resources) -> &Amounts;
    let of = |resource, requirement, amounts: Of| {
        let of = |resources| {
            let amounts = amounts(resources);
            match resource {
                "cpu" => amounts.cpu.map(|cpu| cpu.0),
                _ => amounts.memory.map(|memory| memory.0),
            }
        };
        let unsigned = |amount: Option<i64>| amount.and_then(|amount| u64::try_from(amount).ok());
        Amount {
            resource,
            requirement,
            before: unsigned(of(before)),
            after: unsigned(of(after)),
        }
    };
    [
        of("memory", "requests", |resources| &resources.requests),
        of("memory", "limits", |resources| &resources.limits),
        of("cpu", "requests", |resources| &resources.requests),
        of("cpu", "limits", |resources| &resources.limits),
    ]
}
