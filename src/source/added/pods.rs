//! Which pods have which additions. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::EphemeralContainer;

use crate::manifest::{self, ManifestContext};
use crate::model::added::NotAdded;
use crate::model::desired::SourceSet;
use crate::model::pod::Pod;
use crate::model::pod_name::{PodName, PodUid};
use crate::model::problem::Problem;

/// A pod's additions, old and new.
#[derive(Debug)]
pub(super) struct Addition {
    /// The pod.
    pub(super) uid: PodUid,
    /// The pod's incarnation.
    life: u64,
    /// All of its ephemeral containers.
    pub(super) containers: Vec<EphemeralContainer>,
}

/// What was added, and the pods that it made.
#[derive(Debug)]
pub(super) struct Pods {
    added: BTreeMap<PodUid, Vec<EphemeralContainer>>,
    /// The incarnations of the pods that have additions: the next one begins without them.
    lives: BTreeMap<PodUid, u64>,
    /// By UID: the pod of the manifest, and the same with its additions, so that an unchanged pod keeps its `Arc`.
    made: BTreeMap<PodUid, (Arc<Pod>, Arc<Pod>)>,
    context: ManifestContext,
}

impl Pods {
    pub(super) fn new(added: BTreeMap<PodUid, Vec<EphemeralContainer>>, context: ManifestContext) -> Pods {
        Pods {
            added,
            lives: BTreeMap::new(),
            made: BTreeMap::new(),
            context,
        }
    }

    /// Forgets the additions of pods that are not in this complete set or were restarted, and returns their UIDs.
    pub(super) fn forget_others(&mut self, set: &SourceSet) -> Vec<PodUid> {
        if self.added.is_empty() {
            return Vec::new();
        }
        let wanted = set.pods.values().map(|pod| (&pod.uid, pod.incarnation));
        let wanted: BTreeMap<&PodUid, u64> = wanted.collect();
        let lives = &mut self.lives;
        let is_gone = |uid: &&PodUid| match wanted.get(uid) {
            // One that is seen for the first time had its additions before this agent started.
            Some(life) => *lives.entry((*uid).clone()).or_insert(*life) != *life,
            None => true,
        };
        let gone: Vec<PodUid> = self.added.keys().filter(is_gone).cloned().collect();
        for uid in &gone {
            self.added.remove(uid);
            self.lives.remove(uid);
            self.made.remove(uid);
        }
        gone
    }

    /// The set with what was added, and the pods that cannot have what was added to them.
    pub(super) fn apply(&mut self, set: &SourceSet) -> (SourceSet, Vec<(PodName, Problem)>) {
        let (mut set, mut failed) = (set.clone(), Vec::new());
        if self.added.is_empty() {
            return (set, failed);
        }
        for pod in set.pods.values_mut() {
            if let Some(containers) = self.added.get(&pod.uid) {
                *pod = match self.made.get(&pod.uid) {
                    Some((from, made)) if Arc::ptr_eq(from, pod) => Arc::clone(made),
                    _ => self.make(pod, containers.clone(), &mut failed),
                };
            }
        }
        (set, failed)
    }

    fn make(
        &mut self,
        pod: &Arc<Pod>,
        containers: Vec<EphemeralContainer>,
        failed: &mut Vec<(PodName, Problem)>,
    ) -> Arc<Pod> {
        let made = match manifest::add_ephemeral(pod, containers, &self.context) {
            Ok(made) => Arc::new(made),
            // Saved by a version of this program that accepted more, or changed by others.
            Err(problems) => {
                failed.extend(problems.into_iter().next().map(|first| (pod.name.clone(), first)));
                Arc::clone(pod)
            }
        };
        let both = (Arc::clone(pod), Arc::clone(&made));
        self.made.insert(pod.uid.clone(), both);
        made
    }

    /// Whether the container can be added to the pod, which changes nothing yet.
    pub(super) fn check(
        &self,
        set: Option<&SourceSet>,
        name: &PodName,
        container: EphemeralContainer,
    ) -> Result<Addition, NotAdded> {
        let pod = set.and_then(|set| set.pods.get(name));
        let pod = pod.ok_or_else(|| NotAdded::NoPod(name.clone()))?;
        let mut containers = self.added.get(&pod.uid).cloned().unwrap_or_default();
        containers.push(container);
        manifest::add_ephemeral(pod, containers.clone(), &self.context).map_err(NotAdded::Invalid)?;
        Ok(Addition {
            uid: pod.uid.clone(),
            life: pod.incarnation,
            containers,
        })
    }

    /// Adds what was checked.
    pub(super) fn take(&mut self, addition: Addition) {
        self.made.remove(&addition.uid);
        self.lives.insert(addition.uid.clone(), addition.life);
        self.added.insert(addition.uid, addition.containers);
    }
}
