//! What is wanted: the complete set of each source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::difference::differing;
use super::object::Objects;
use super::pod::{Pod, Source};
use super::pod_name::{PodName, PodUid};
use super::problem::Problem;
use super::runtime::ObservedName;
use super::stated::{self, AllStated};

/// Where a set comes from, and so how far it can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provenance {
    /// The source itself: the set is complete.
    #[default]
    Live,
    /// A checkpoint, while the source does not answer: what is missing from it may be wanted nevertheless.
    Checkpoint,
}

/// The complete set of pods that one source wants, with what it rejected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceSet {
    /// The pods, by name.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// The objects that its pods may refer to.
    pub objects: Objects,
    /// What the manifests directory states, also where it is not in force. Empty for the API server's.
    pub stated: Arc<AllStated>,
    /// The rejected documents. If a rejected document has a last good version, that version is in `pods`.
    pub problems: Vec<Problem>,
    /// Warnings about what was accepted.
    pub warnings: Vec<Problem>,
    /// Pods that are desired but not supported here: another agent may have started them, so their running containers
    /// are left alone.
    pub unsupported: BTreeMap<PodName, PodUid>,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl SourceSet {
    /// Whether both hold the same values, without comparing their contents: unchanged sets must not wake anything.
    pub fn is_same(&self, other: &SourceSet) -> bool {
        self.pods.len() == other.pods.len()
            && self
                .pods
                .iter()
                .zip(&other.pods)
                .all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
            && self.objects.is_same(&other.objects)
            && stated::is_same(&self.stated, &other.stated)
            && self.problems == other.problems
            && self.warnings == other.warnings
            && self.unsupported == other.unsupported
            && self.provenance == other.provenance
    }
}

/// What all sources want. `None`: that source has not delivered its complete set yet, so none of its pods is removed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// The manifests directory.
    pub files: Option<Arc<SourceSet>>,
    /// The API server's pods. `api_expected` distinguishes "not delivered yet" from "no API server configured".
    pub api: Option<Arc<SourceSet>>,
    /// Whether an API server is configured at all.
    pub api_expected: bool,
}

impl Desired {
    /// Whether every configured source has delivered its complete set; only then may an unknown pod be removed.
    pub fn complete(&self) -> bool {
        let has_told = |set: &Arc<SourceSet>| set.provenance == Provenance::Live;
        self.files.is_some() && (self.api.as_ref().is_some_and(has_told) || !self.api_expected)
    }

    /// Whether every source that an observed pod may come from has delivered its complete set. A static pod is
    /// recognized by its sandbox, so it does not wait for the API server.
    pub fn complete_for(&self, observed: &ObservedName) -> bool {
        self.complete() || (self.files.is_some() && observed.is_static())
    }

    /// The pod of that name; a static pod takes precedence over an API pod.
    pub fn get(&self, name: &PodName) -> Option<&Arc<Pod>> {
        [&self.files, &self.api]
            .into_iter()
            .flatten()
            .find_map(|set| set.pods.get(name))
    }

    /// The UID of the unsupported pod with this name. Its running containers are neither stopped nor added to, unless
    /// another pod with this name is desired.
    pub fn unsupported(&self, name: &PodName) -> Option<&PodUid> {
        let unsupported = || [&self.files, &self.api].into_iter().flatten();
        let uid = unsupported().find_map(|set| set.unsupported.get(name));
        uid.filter(|_| self.get(name).is_none())
    }

    /// The unsupported pods, by name.
    pub fn all_held(&self) -> impl Iterator<Item = (&PodName, &PodUid)> {
        let sets = [&self.files, &self.api].into_iter().flatten();
        let names = sets.flat_map(|set| set.unsupported.keys());
        names.filter_map(|name| Some((name, self.unsupported(name)?)))
    }

    /// The objects that a pod from this source may refer to: only those of its own source, so that neither source can
    /// put values into the other's pods. `None`: the source has not delivered them yet.
    pub fn objects(&self, source: &Source) -> Option<&Objects> {
        let set = match source {
            Source::File { .. } => &self.files,
            Source::Api => &self.api,
        };
        set.as_ref().map(|set| &set.objects)
    }

    /// The names whose desired pod differs from `old`, or is gone.
    pub fn changed_since(&self, old: &Desired) -> BTreeSet<PodName> {
        let nothing = SourceSet::default();
        let sets = [(&old.files, &self.files), (&old.api, &self.api)];
        let changed = sets.into_iter().flat_map(|(old, new)| {
            let [old, new] = [old, new].map(|set| &set.as_deref().unwrap_or(&nothing).pods);
            differing(old, new)
        });
        let is_another = |name: &&PodName| match (old.get(name), self.get(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() || new.is_some(),
        };
        changed.filter(is_another).cloned().collect()
    }

    /// Every pod, files first; a name that both sources have is listed once.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let files = self.files.iter().flat_map(|set| set.pods.values());
        let api = self.api.iter().flat_map(|set| set.pods.values());
        files.chain(api.filter(|pod| {
            self.files
                .as_ref()
                .is_none_or(|f| !f.pods.contains_key(&pod.name))
        }))
    }
}
