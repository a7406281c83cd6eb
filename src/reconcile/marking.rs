//! Marks what has changed, as names to plan again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Key, Loop, Work};
use crate::model::collection::Provided;
use crate::model::difference::differing;
use crate::model::memory::PodMemory;
use crate::model::object::{Objects, Reference};
use crate::model::pod::{Desired, PodName, PodUid};
use crate::model::reference::{all_references, pull_secrets};
use crate::model::runtime::Snapshot;
use crate::plan::interrupt::interrupts;
use crate::plan::{pod as plan_pod, restart};

impl Loop {
    /// Marks the names whose pod changed and the node, and interrupts work that is not to be finished for it.
    pub(super) fn take_desired(&mut self, new: Arc<Desired>, now: Timestamp) {
        if Arc::ptr_eq(&new, &self.desired) {
            return;
        }
        let old = std::mem::replace(&mut self.desired, new);
        self.count_changes(&old);
        let unsupported = old.all_held().chain(self.desired.all_held());
        for (name, _) in
            unsupported.filter(|(name, _)| old.unsupported(name) != self.desired.unsupported(name))
        {
            self.dirty.insert(Key::Pod(name.clone()));
        }
        for name in self.desired.changed_since(&old) {
            // The removal for an earlier version goes on: restarted, it would grant the grace period once more.
            let versions @ [before, after] = [old.get(&name), self.desired.get(&name)];
            let is_interrupted = interrupts(before.map(AsRef::as_ref), after.map(AsRef::as_ref));
            let concerns = |work: &&Work| {
                let wanted = after.filter(|pod| pod.uid == work.uid);
                let is_outdated = match work.ends {
                    Some(_) => plan_pod::outdated(work.ends, wanted.map(AsRef::as_ref), now),
                    None => is_interrupted,
                };
                is_outdated && versions.into_iter().flatten().any(|pod| pod.uid == work.uid)
            };
            let key = Key::Pod(name.clone());
            if let Some(work) = self.busy.get(&key).filter(concerns) {
                work.cancel.cancel();
            }
            self.dirty.insert(key);
        }
        self.take_objects(&old);
        let all_told = old.complete() != self.desired.complete();
        if all_told || old.files.is_some() != self.desired.files.is_some() {
            self.dirty
                .extend(self.snapshot.pods.keys().cloned().map(Key::Pod));
        }
        if all_told {
            self.mark_leftovers();
        }
        self.dirty.insert(Key::Node);
        self.retry_deferred_resizes();
    }

    /// Marks the names of the pods that refer to an object that appeared, changed or was removed, and clears the
    /// failures that its absence caused.
    fn take_objects(&mut self, old: &Desired) {
        let nothing = Objects::default();
        for (before, after) in [(&old.files, &self.desired.files), (&old.api, &self.desired.api)] {
            let Some(after) = after else { continue };
            let before = before.as_ref().map_or(&nothing, |set| &set.objects);
            if after.objects.is_same(before) {
                continue;
            }
            let changed = after.objects.changed_since(before);
            // No other pod uses a pod's token or certificate, and each pod that starts adds one.
            let owner = |key: &Reference| match key {
                Reference::Token(key) => Some(key.pod.clone()),
                Reference::Certificate(key) => Some(key.pod.clone()),
                _ => None,
            };
            let owners: BTreeSet<Option<PodName>> = changed.iter().map(owner).collect();
            for pod in after.pods.values() {
                let may_refer = owners.contains(&None) || owners.contains(&Some(pod.name.clone()));
                if !may_refer || all_references(pod, |key| after.objects.get(key)).is_disjoint(&changed) {
                    continue;
                }
                if let Some(memory) = self.memory.pods.get_mut(&pod.name) {
                    *memory = Arc::new(restart::retry_after_change(memory));
                    if pull_secrets(pod).any(|secret| changed.contains(&secret)) {
                        *memory = Arc::new(restart::retry_pulls(memory));
                    }
                }
                self.dirty.insert(Key::Pod(pod.name.clone()));
            }
        }
    }

    /// Marks the API pods, which wait for the Services, and clears the failures that their absence caused.
    pub(super) fn services_changed(&mut self) {
        let api = self.desired.api.iter().flat_map(|set| set.pods.keys());
        for name in api {
            if let Some(memory) = self.memory.pods.get_mut(name) {
                *memory = Arc::new(restart::retry_after_change(memory));
            }
            self.dirty.insert(Key::Pod(name.clone()));
        }
    }

    /// Plans with these addresses from now on. Pods that failed for want of one try again.
    pub(super) fn take_addresses(&mut self, new: &[IpAddr]) {
        if self.rooms.policy.host_ips == new {
            return;
        }
        let had_none = self.rooms.policy.host_ips.is_empty();
        self.rooms.policy = Arc::new(self.rooms.policy.at(new));
        if had_none {
            self.retry_all();
        }
    }

    /// Marks all pods, and has what failed of them tried again.
    fn retry_all(&mut self) {
        for name in self.desired.pods().map(|pod| &pod.name) {
            if let Some(memory) = self.memory.pods.get_mut(name) {
                *memory = Arc::new(restart::retry_after_change(memory));
            }
            self.dirty.insert(Key::Pod(name.clone()));
        }
    }

    /// Marks the names whose observed state changed; all of them when the runtime's health did.
    pub(super) fn take_snapshot(&mut self, new: Arc<Snapshot>) {
        if Arc::ptr_eq(&new, &self.snapshot) {
            return;
        }
        let old = std::mem::replace(&mut self.snapshot, new);
        let new = &self.snapshot;
        if !self.orphans.is_empty() {
            let there = new
                .pods
                .values()
                .flat_map(|name| name.uids.keys())
                .collect::<BTreeSet<_>>();
            self.orphans.retain(|uid| there.contains(uid));
        }
        if old.listed != new.listed || old.runtime != new.runtime {
            self.dirty
                .extend(self.desired.pods().map(|pod| Key::Pod(pod.name.clone())));
            self.dirty.extend(new.pods.keys().cloned().map(Key::Pod));
        }
        let were_unread = old.unread.keys().filter(|name| !new.unread.contains_key(*name));
        self.dirty.extend(were_unread.cloned().map(Key::Pod));
        for name in differing(&old.pods, &new.pods) {
            let key = Key::Pod(name.clone());
            if let Some(work) = self.busy.get(&key).filter(|work| work.yields) {
                work.cancel.cancel();
            }
            self.dirty.insert(key);
        }
        if !Arc::ptr_eq(&old.images, &self.snapshot.images) {
            // A pod does not wait for an image that was loaded meanwhile.
            let fails = |memory: &PodMemory| {
                memory
                    .containers
                    .values()
                    .any(|container| container.failure.is_some())
            };
            let waiting = self.memory.pods.iter().filter(|(_, memory)| fails(memory));
            self.dirty.extend(waiting.map(|(name, _)| Key::Pod(name.clone())));
        }
        let are_same =
            Arc::ptr_eq(&old.leftovers, &self.snapshot.leftovers) && old.unread == self.snapshot.unread;
        if !are_same {
            self.mark_leftovers();
        }
        let are_images_new = !Arc::ptr_eq(&old.images, &self.snapshot.images);
        let is_back = old.runtime.reachable != self.snapshot.runtime.reachable;
        let is_listed = !old.listed && self.snapshot.listed;
        if is_listed || are_images_new || is_back || self.decisions.awaits_ends() {
            self.dirty.insert(Key::Node);
        }
    }

    /// Marks the node when it is known which images something on it provides.
    pub(super) fn take_provided(&mut self, new: Option<Arc<Provided>>) {
        if self.provided != new {
            self.provided = new;
            self.dirty.insert(Key::Node);
        }
    }

    /// Marks the UIDs that only a directory or a cgroup refers to, once all sources are complete.
    pub(super) fn mark_leftovers(&mut self) {
        if !self.snapshot.listed || !self.desired.complete() {
            return;
        }
        let known = self.known_uids();
        let unknown = self.snapshot.leftovers.iter().filter(|uid| !known.contains(uid));
        let unknown: Vec<Key> = unknown.cloned().map(Key::Leftover).collect();
        self.dirty.extend(unknown);
    }

    /// The UIDs that a source, the runtime or the memory knows: their files on disk are not leftovers.
    pub(super) fn known_uids(&self) -> BTreeSet<&PodUid> {
        let desired = self.desired.pods().map(|pod| &pod.uid);
        let observed = self.snapshot.pods.values().flat_map(|name| name.uids.keys());
        let unread = self.snapshot.unread.values().flatten();
        let remembered = self.memory.pods.values().map(|memory| &memory.uid);
        let unsupported = self.desired.all_held().map(|(_, uid)| uid);
        desired
            .chain(observed)
            .chain(unread)
            .chain(remembered)
            .chain(unsupported)
            .collect()
    }
}
