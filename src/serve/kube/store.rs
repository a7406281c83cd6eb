//! The versions of objects, and the changes of the last time. A version is one number for all objects, and grows with each
//! change; it begins with the time, so that no version of an earlier agent comes again. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::object::{Key, Object};
use crate::model::manifest_edit::{ManifestKind, Target};
use crate::model::stated::{self, AllStated, Stated};

/// How many changes are remembered for clients that watch.
const REMEMBERED: usize = 1024;

/// An object with the version of its last change.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) object: Object,
}

/// A pod's manifest with the version of its last change.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) version: u64,
    pub(super) stated: Arc<Stated>,
}

/// A change of one object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    /// What there was; `None`: it is new.
    pub(super) before: Option<Arc<Entry>>,
    /// What there is; `None`: it is gone.
    pub(super) after: Option<Arc<Entry>>,
}

/// The changes after a version are not known any more, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

/// All objects, and the changes that led to them.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The version of the last change.
    pub(super) version: u64,
    pub(super) objects: BTreeMap<Key, Arc<Entry>>,
    /// What the manifests directory states.
    pub(super) stated: Arc<AllStated>,
    /// The manifests of pods under the names that people gave them, which no list has.
    manifests: BTreeMap<Target, Manifest>,
    changes: VecDeque<Arc<Change>>,
    /// Changes of this version and below are forgotten.
    forgotten: u64,
}

impl State {
    /// No objects, at this version.
    pub(super) fn starting(version: u64) -> State {
        State {
            version,
            objects: BTreeMap::new(),
            stated: Arc::default(),
            manifests: BTreeMap::new(),
            changes: VecDeque::new(),
            forgotten: version,
        }
    }

    /// Whether these objects are the same ones.
    pub(super) fn is(&self, objects: &BTreeMap<Key, Object>) -> bool {
        let mut pairs = self.objects.iter().zip(objects);
        self.objects.len() == objects.len()
            && pairs.all(|((key, entry), (other, object))| key == other && entry.object.is_same(object))
    }

    /// Whether the manifests directory states the same.
    pub(super) fn states(&self, stated: &AllStated) -> bool {
        stated::is_same(&self.stated, stated)
    }

    /// Replaces what the manifests directory states. No watch sees it.
    pub(super) fn restate(&mut self, stated: Arc<AllStated>) {
        let pods = stated
            .iter()
            .filter(|(target, _)| target.kind == ManifestKind::Pod);
        let mut manifests = BTreeMap::new();
        for (target, stated) in pods {
            let known = self.manifests.remove(target);
            let known = known.filter(|known| Arc::ptr_eq(&known.stated, stated));
            let manifest = known.unwrap_or_else(|| {
                self.version += 1;
                Manifest {
                    version: self.version,
                    stated: stated.clone(),
                }
            });
            manifests.insert(target.clone(), manifest);
        }
        self.manifests = manifests;
        self.stated = stated;
    }

    /// The manifest of a pod.
    pub(super) fn manifest(&self, target: &Target) -> Option<&Manifest> {
        self.manifests.get(target)
    }

    /// Replaces the objects by these. Each one that differs gets a version of its own.
    pub(super) fn replace(&mut self, mut objects: BTreeMap<Key, Object>) {
        let before = std::mem::take(&mut self.objects);
        for (key, entry) in before {
            match objects.remove(&key) {
                None => self.note(Some(entry), None),
                Some(object) if entry.object.is_same(&object) => {
                    self.objects.insert(key, entry);
                }
                // Another object of that name.
                Some(object) if object.metadata().uid != entry.object.metadata().uid => {
                    self.note(Some(entry), None);
                    self.add(key, None, object);
                }
                Some(object) => self.add(key, Some(entry), object),
            }
        }
        for (key, object) in objects {
            self.add(key, None, object);
        }
    }

    fn add(&mut self, key: Key, before: Option<Arc<Entry>>, object: Object) {
        let entry = Arc::new(Entry {
            version: self.version + 1,
            object,
        });
        self.note(before, Some(entry.clone()));
        self.objects.insert(key, entry);
    }

    fn note(&mut self, before: Option<Arc<Entry>>, after: Option<Arc<Entry>>) {
        self.version += 1;
        self.changes.push_back(Arc::new(Change {
            version: self.version,
            before,
            after,
        }));
        if self.changes.len() > REMEMBERED
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.version;
        }
    }

    /// The changes after this version, the oldest first.
    pub(super) fn since(&self, version: u64) -> Result<impl Iterator<Item = &Arc<Change>>, Expired> {
        if !(self.forgotten..=self.version).contains(&version) {
            return Err(Expired);
        }
        let first = self.changes.partition_point(|change| change.version <= version);
        Ok(self.changes.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pods(list: &[(&str, &str, &str)]) -> BTreeMap<Key, Object> {
        let pod = |(name, uid, phase): &(&str, &str, &str)| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "ns", "uid": uid}, "status": {"phase": phase},
            }))
            .unwrap();
            let object = Object::Pod(Arc::new(pod));
            (object.key(), object)
        };
        list.iter().map(pod).collect()
    }

    fn changes(state: &State, version: u64) -> Result<Vec<String>, Expired> {
        let name = |entry: &Option<Arc<Entry>>| {
            let entry = entry.as_ref()?;
            entry.object.metadata().name.clone()
        };
        let shown = |change: &Arc<Change>| {
            let (before, after) = (name(&change.before), name(&change.after));
            match (before, after) {
                (None, Some(name)) => format!("{} +{name}", change.version),
                (Some(name), Some(_)) => format!("{} ~{name}", change.version),
                (Some(name), None) => format!("{} -{name}", change.version),
                (None, None) => unreachable!(),
            }
        };
        Ok(state.since(version)?.map(shown).collect())
    }

    #[test]
    fn each_change_has_a_version_and_what_is_the_same_keeps_its_own() {
        let mut state = State::starting(10);
        state.replace(pods(&[("a", "1", "Pending"), ("b", "1", "Pending")]));
        assert_eq!(changes(&state, 10).unwrap(), ["11 +a", "12 +b"]);
        let same = pods(&[("a", "1", "Pending"), ("b", "1", "Pending")]);
        assert!(state.is(&same));
        state.replace(same);
        assert_eq!(state.version, 12);
        let new = pods(&[("a", "1", "Running"), ("b", "2", "Pending"), ("c", "1", "")]);
        assert!(!state.is(&new));
        state.replace(new);
        assert_eq!(changes(&state, 12).unwrap(), ["13 ~a", "14 -b", "15 +b", "16 +c"]);
        state.replace(pods(&[("c", "1", "")]));
        assert_eq!(changes(&state, 16).unwrap(), ["17 -a", "18 -b"]);
        assert_eq!(changes(&state, 18).unwrap(), [""; 0]);
        let versions: Vec<u64> = state.objects.values().map(|entry| entry.version).collect();
        assert_eq!(versions, [16]);
    }

    #[test]
    fn old_changes_are_forgotten_and_a_version_of_another_agent_is_unknown() {
        let mut state = State::starting(0);
        for turn in 0..=REMEMBERED {
            state.replace(pods(&[("a", "1", &turn.to_string())]));
        }
        assert_eq!(changes(&state, 0), Err(Expired));
        assert_eq!(changes(&state, 1).unwrap().len(), REMEMBERED);
        assert_eq!(changes(&state, state.version + 1), Err(Expired));
    }
}
