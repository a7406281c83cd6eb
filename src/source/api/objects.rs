//! The objects from which API pods take values, beside those pods: ConfigMaps, Secrets, RuntimeClasses, service account
//! tokens, certificates of pods, and trust anchors of the cluster.
//!
//! Each object is watched by its name, once for all pods that refer to it, and dropped with the last of them: a node
//! may not read others. A token is requested again before it expires. A pod is published at once with the objects known
//! by then, including which objects are still awaited, so that absence is never guessed.

mod teller;
mod of;
mod watching;
mod claims;
mod disks;
mod early;
mod certificates;
mod pem;
mod renewal;
mod tokens;
mod anchors;
mod attachments;

pub use claims::{of_claim, of_volume};
pub use of::Of;
pub use watching::{of_class, of_config_map, of_secret};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::of::is_possible;
use self::teller::{News, ValueSender};
use crate::model::api::{ApiNode, ApiPods, TrustBundles, has_final_phase};
use crate::model::object::{Known, Object, Reference};
use crate::model::pod::{Pod, PodName, Provenance, SourceSet};
use crate::source::SetReceiver;
use crate::source::checkpoint::stored::Stored;

/// Requests for tokens and certificates that run at the same time: after a start the rest wait for a slot.
const TOKENS_AT_ONCE: usize = 8;

/// An object that pods refer to.
struct Watched {
    /// How many pods refer to it.
    users: usize,
    life: u64,
    known: Option<Known>,
    /// It comes from the checkpoint, and the API server has not answered since.
    is_stored: bool,
    /// Ends with the last user.
    _watch: AbortOnDropHandle<()>,
}

/// What the task reads.
pub struct ObjectInputs {
    /// Where the pods come from.
    pub of: Of,
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// The pods without their objects.
    pub pods: SetReceiver,
    /// The pod objects from the API server.
    pub objects: watch::Receiver<Option<Arc<ApiPods>>>,
    /// The Node object from the API server: pods are published once it is known, because admission compares them with
    /// its labels.
    pub node: watch::Receiver<ApiNode>,
    /// How soon objects that cannot be watched are requested again.
    pub refresh: Duration,
    /// The checkpoint from before this start, where there is one.
    pub stored: Option<Arc<Stored>>,
    /// Whether trust anchors may be requested.
    pub bundles: TrustBundles,
    /// Whether certificates of pods may be requested.
    pub issues_certificates: bool,
    /// Is told the names of drivers of which a volume finds no room on the node.
    pub exhausted: mpsc::UnboundedSender<String>,
}

/// Passes the pods on with their objects, until canceled. A replaced client restarts each watch; while the API server
/// is unreachable, the last values stay.
pub async fn run(
    inputs: ObjectInputs,
    out: watch::Sender<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
) {
    let ObjectInputs {
        of,
        clients,
        mut pods,
        objects,
        mut node,
        stored,
        refresh,
        bundles,
        issues_certificates,
        exhausted,
    } = inputs;
    let (news_in, mut news) = mpsc::unbounded_channel();
    let watches = Watches {
        clients,
        objects,
        bundles,
        issues_certificates,
        refresh,
        node: node.clone(),
        exhausted,
        at_once: Arc::new(Semaphore::new(TOKENS_AT_ONCE)),
        news: news_in,
    };
    let mut state = State {
        of,
        stored,
        ..State::default()
    };
    loop {
        let set = pods.borrow_and_update().clone();
        let node_is_known = of == Of::Files || *node.borrow_and_update() != ApiNode::Unknown;
        if let Some(set) = &set {
            state.take_pods(set, |key, life| watches.spawn(key, life));
            if node_is_known || set.provenance == Provenance::Checkpoint {
                state.publish(set, &out);
            }
        }
        // Every arm may be cancelled: the watches and the channel keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = node.changed(), if !node_is_known => {}
            changed = pods.changed() => if changed.is_err() { return },
            Some(first) = news.recv() => {
                state.take(first, |key, life| watches.spawn(key, life));
                // Publishes answers that arrive together once.
                while let Ok(next) = news.try_recv() {
                    state.take(next, |key, life| watches.spawn(key, life));
                }
            }
        }
    }
}

/// What the watch of an object needs.
struct Watches {
    clients: watch::Receiver<kube::Client>,
    objects: watch::Receiver<Option<Arc<ApiPods>>>,
    bundles: TrustBundles,
    issues_certificates: bool,
    refresh: Duration,
    node: watch::Receiver<ApiNode>,
    exhausted: mpsc::UnboundedSender<String>,
    /// A permit for each token or certificate that is requested.
    at_once: Arc<Semaphore>,
    news: mpsc::UnboundedSender<News>,
}

impl Watches {
    fn spawn(&self, key: Reference, life: u64) -> JoinHandle<()> {
        let clients = self.clients.clone();
        let to = ValueSender {
            key: key.clone(),
            life,
            news: self.news.clone(),
        };
        match key {
            Reference::Object(key) => tokio::spawn(watching::watch(key, clients, to)),
            Reference::RuntimeClass(name) => tokio::spawn(watching::watch_class(name, clients, to)),
            Reference::Claim(key) => tokio::spawn(claims::keep_claim(key, self.refresh, clients, to)),
            Reference::PersistentVolume(name) => {
                tokio::spawn(claims::keep_volume(name, self.refresh, clients, to))
            }
            Reference::CsiDriver(name) => tokio::spawn(watching::watch_driver(name, clients, to)),
            Reference::Attachment(key) => {
                let surroundings = attachments::Surroundings {
                    clients,
                    node: self.node.clone(),
                    exhausted: self.exhausted.clone(),
                };
                tokio::spawn(attachments::keep(key, surroundings, to))
            }
            // Never asked for.
            Reference::Driver(_) => tokio::spawn(std::future::pending()),
            Reference::TrustAnchors(key) => tokio::spawn(anchors::watch(key, self.bundles, clients, to)),
            Reference::Certificate(key) => {
                let context = certificates::CertificateContext {
                    is_on: self.issues_certificates,
                    clients,
                    objects: self.objects.clone(),
                    node: self.node.clone(),
                    at_once: self.at_once.clone(),
                };
                tokio::spawn(certificates::keep(key, context, to))
            }
            Reference::Token(key) => {
                let office = tokens::TokenContext {
                    clients,
                    objects: self.objects.clone(),
                    at_once: self.at_once.clone(),
                };
                tokio::spawn(tokens::keep(key, office, to))
            }
        }
    }
}

#[derive(Default)]
struct State {
    of: Of,
    /// The pods as they were last seen, each with its references.
    pods: BTreeMap<PodName, (Arc<Pod>, BTreeSet<Reference>)>,
    watched: BTreeMap<Reference, Watched>,
    stored: Option<Arc<Stored>>,
    lives: u64,
}

impl State {
    /// Starts watches for new references and ends those that no pod uses any more.
    fn take_pods(&mut self, set: &SourceSet, begin: impl Fn(Reference, u64) -> JoinHandle<()>) {
        let mut released = Vec::new();
        self.pods.retain(|name, (_, keys)| {
            let stays = set.pods.contains_key(name);
            if !stays {
                released.extend(std::mem::take(keys));
            }
            stays
        });
        for (name, pod) in &set.pods {
            match self.pods.get_mut(name) {
                Some((seen, _)) if Arc::ptr_eq(seen, pod) => continue,
                Some((seen, _)) => *seen = pod.clone(),
                None => {
                    self.pods.insert(name.clone(), (pod.clone(), BTreeSet::new()));
                }
            }
            self.refer(name, set.provenance, &begin);
        }
        // After the new references: one that two pods of a name use is not requested again.
        for key in released {
            self.remove_user(&key);
        }
    }

    fn add_user(
        &mut self,
        key: Reference,
        provenance: Provenance,
        begin: &impl Fn(Reference, u64) -> JoinHandle<()>,
    ) {
        if let Some(watched) = self.watched.get_mut(&key) {
            watched.users += 1;
            return;
        }
        self.lives += 1;
        // Only for pods from the checkpoint too: for others newer values are available.
        let stored = self
            .stored
            .as_ref()
            .filter(|_| provenance == Provenance::Checkpoint);
        let stored = stored.and_then(|stored| stored.object(&key));
        let watched = Watched {
            users: 1,
            life: self.lives,
            is_stored: stored.is_some(),
            known: stored.unwrap_or(Some(Known::Asked)),
            _watch: AbortOnDropHandle::new(begin(key.clone(), self.lives)),
        };
        self.watched.insert(key, watched);
    }

    /// Brings the references of the pods up to date that have one to this object, if it refers to others itself.
    fn follow(&mut self, key: &Reference, begin: &impl Fn(Reference, u64) -> JoinHandle<()>) {
        if !matches!(
            key,
            Reference::Claim(_) | Reference::PersistentVolume(_) | Reference::CsiDriver(_)
        ) {
            return;
        }
        if let Some(volume) = self.outdated_volume(key) {
            self.lives += 1;
            let life = self.lives;
            if let Some(watched) = self.watched.get_mut(&volume) {
                watched.life = life;
                watched._watch = AbortOnDropHandle::new(begin(volume, life));
            }
        }
        let refers = |(_, (_, keys)): &(&PodName, &(Arc<Pod>, BTreeSet<Reference>))| keys.contains(key);
        let users: Vec<PodName> = self
            .pods
            .iter()
            .filter(refers)
            .map(|(name, _)| name.clone())
            .collect();
        for name in users {
            self.refer(&name, Provenance::Live, begin);
        }
    }

    /// The volume of a claim that says that it was enlarged: what is known of the volume may be older, and is requested again.
    fn outdated_volume(&self, key: &Reference) -> Option<Reference> {
        let Some(Known::Found(object)) = self.watched.get(key)?.known.as_ref() else {
            return None;
        };
        let Object::Claim(claim) = object.as_ref() else {
            return None;
        };
        claim.grows_to.as_ref()?;
        Some(Reference::PersistentVolume(claim.bound_to().ok()?.to_owned()))
    }

    /// Brings the references of a pod up to date. An object that comes from the checkpoint refers to others at once.
    fn refer(
        &mut self,
        name: &PodName,
        provenance: Provenance,
        begin: &impl Fn(Reference, u64) -> JoinHandle<()>,
    ) {
        loop {
            let Some((pod, had)) = self.pods.get(name) else {
                return;
            };
            let keys = match has_final_phase(pod.object.status.as_ref()) {
                // None of its containers starts again.
                true => BTreeSet::new(),
                false => self.of.references(pod, |key| self.known(key)),
            };
            if keys == *had {
                return;
            }
            let added: Vec<Reference> = keys.difference(had).cloned().collect();
            let removed: Vec<Reference> = had.difference(&keys).cloned().collect();
            if let Some((_, had)) = self.pods.get_mut(name) {
                *had = keys;
            }
            // Before those that go: an object that both use is not requested again.
            for key in added {
                self.add_user(key, provenance, begin);
            }
            for key in removed {
                self.remove_user(&key);
            }
        }
    }

    /// What is known of an object. One that is not watched yet is as good as asked for.
    fn known(&self, key: &Reference) -> Option<&Known> {
        match self.watched.get(key) {
            Some(watched) => watched.known.as_ref(),
            None if is_possible(key) => Some(&Known::Asked),
            None => None,
        }
    }

    fn remove_user(&mut self, key: &Reference) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.users -= 1;
            if watched.users > 0 {
                return;
            }
            self.watched.remove(key);
        }
    }

    fn take(&mut self, news: News, begin: impl Fn(Reference, u64) -> JoinHandle<()>) {
        let watched = self.watched.get_mut(&news.key);
        let Some(watched) = watched.filter(|watched| watched.life == news.life) else {
            return;
        };
        if watched.is_stored && matches!(news.known, Some(Known::Unread(_))) {
            return;
        }
        watched.is_stored = false;
        // A list after an interruption repeats known values: they must not wake the receivers.
        if watched.known != news.known {
            watched.known = news.known;
            self.follow(&news.key, &begin);
        }
    }

    fn publish(&self, set: &SourceSet, out: &watch::Sender<Option<Arc<SourceSet>>>) {
        let known = |(key, watched): (&Reference, &Watched)| Some((key.clone(), watched.known.clone()?));
        let mut set = set.clone();
        set.objects.extend(self.watched.iter().filter_map(known));
        out.send_if_modified(|published| {
            let same = published
                .as_ref()
                .is_some_and(|published| published.is_same(&set));
            if !same {
                *published = Some(Arc::new(set));
            }
            !same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::kinds::Secret;
    use crate::model::object::{Object, ObjectKind};
    use crate::model::persistent::Claim;
    use crate::model::pod::{ClaimOrigin, RestartPolicy, Volume, VolumeSource};
    use crate::model::reference::{claim, key};
    use crate::model::sample;
    use crate::model::value::EnvFrom;

    fn pod(name: &str, secrets: &[&str]) -> Arc<Pod> {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.name = PodName::new(pod.name.namespace.clone(), name);
        let from = |secret: &&str| EnvFrom {
            prefix: String::new(),
            kind: ObjectKind::Secret,
            name: (*secret).to_owned(),
            optional: false,
        };
        pod.containers[0].env_from = secrets.iter().map(from).collect();
        Arc::new(pod)
    }

    fn set(pods: &[&Arc<Pod>]) -> SourceSet {
        SourceSet {
            pods: pods
                .iter()
                .map(|pod| (pod.name.clone(), (*pod).clone()))
                .collect(),
            ..SourceSet::default()
        }
    }

    fn take(state: &mut State, pods: &[&Arc<Pod>]) {
        state.take_pods(&set(pods), |_, _| tokio::spawn(std::future::pending()));
    }

    fn users(state: &State) -> Vec<(String, usize, u64)> {
        let row = |(key, watched): (&Reference, &Watched)| {
            (
                key.to_string().replace("Secret ns/", ""),
                watched.users,
                watched.life,
            )
        };
        state.watched.iter().map(row).collect()
    }

    #[tokio::test]
    async fn an_object_is_watched_once_and_as_long_as_a_pod_refers_to_it() {
        let mut state = State::default();
        let one = pod("one", &["a", "b"]);
        take(&mut state, &[&one, &pod("two", &["b"])]);
        assert_eq!(users(&state), [("a".to_owned(), 1, 1), ("b".to_owned(), 2, 2)]);
        // A changed pod keeps its watch; the other pod is gone.
        let changed = pod("one", &["b", "c"]);
        take(&mut state, &[&changed]);
        assert_eq!(users(&state), [("b".to_owned(), 1, 2), ("c".to_owned(), 1, 3)]);
        take(&mut state, &[]);
        assert_eq!(users(&state), []);
        take(&mut state, &[&one]);
        assert_eq!(users(&state)[0].2, 4, "another life of the name");
    }

    #[tokio::test]
    async fn static_pods_have_their_classes_and_keep_what_their_files_have() {
        let mut state = State {
            of: Of::Files,
            ..State::default()
        };
        let mut one = (*pod("one", &["a"])).clone();
        one.runtime_class = Some("sandboxed".to_owned());
        let one = Arc::new(one);
        let mut pods = set(&[&one]);
        let own = key(&one, ObjectKind::Secret, "a");
        let found = Known::Found(Arc::new(Object::Secret(Secret::default())));
        pods.objects.insert(own.clone(), found.clone());
        state.take_pods(&pods, |_, _| tokio::spawn(std::future::pending()));
        let (out, receiver) = watch::channel(None);
        state.publish(&pods, &out);
        let set: Arc<SourceSet> = receiver.borrow().clone().unwrap();
        let class = Reference::RuntimeClass("sandboxed".to_owned());
        assert_eq!(set.objects.get(&class), Some(&Known::Asked));
        assert_eq!(set.objects.get(&own), Some(&found));
        assert_eq!(set.objects.keys().count(), 2);
    }

    #[tokio::test]
    async fn a_pod_that_has_ended_needs_nothing() {
        let mut state = State::default();
        let mut ended = (*pod("one", &["a"])).clone();
        let status = k8s_openapi::api::core::v1::PodStatus {
            phase: Some("Succeeded".to_owned()),
            ..Default::default()
        };
        Arc::make_mut(&mut ended.object).status = Some(status);
        take(&mut state, &[&Arc::new(ended)]);
        assert_eq!(users(&state), []);
    }

    #[tokio::test]
    async fn nothing_is_absent_before_it_is_told_and_the_same_wakes_nobody() {
        let mut state = State::default();
        let one = pod("one", &["a"]);
        let key = key(&one, ObjectKind::Secret, "a");
        let (out, mut receiver) = watch::channel(None);
        let pods = set(&[&one]);
        take(&mut state, &[&one]);
        state.publish(&pods, &out);
        let known = |receiver: &mut SetReceiver| {
            let set = receiver.borrow_and_update().clone().unwrap();
            set.objects.get(&key).cloned()
        };
        assert_eq!(known(&mut receiver), Some(Known::Asked));
        let news = |life, known| News {
            key: key.clone(),
            life,
            known,
        };
        let found = || Some(Known::Found(Arc::new(Object::Secret(Secret::default()))));
        let idle = |_, _| tokio::spawn(std::future::pending());
        state.take(news(7, None), idle);
        state.take(news(1, found()), idle);
        state.publish(&pods, &out);
        assert_eq!(known(&mut receiver), found());
        state.take(news(1, found()), idle);
        state.publish(&pods, &out);
        assert!(!receiver.has_changed().unwrap());
        state.take(news(1, None), idle);
        state.publish(&pods, &out);
        assert_eq!(known(&mut receiver), None);
    }

    #[tokio::test]
    async fn a_bound_claim_brings_its_volume_for_as_long_as_it_is_bound_to_it() {
        let mut state = State::default();
        let mut one = (*pod("one", &[])).clone();
        one.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::Claim {
                claim: "data".to_owned(),
                read_only: false,
                origin: ClaimOrigin::Named,
            },
        });
        let one = Arc::new(one);
        take(&mut state, &[&one]);
        let key = Reference::Claim(claim(&one, "data"));
        let news = |claim: Option<Claim>| News {
            key: key.clone(),
            life: 1,
            known: claim.map(|claim| Known::Found(Arc::new(Object::Claim(claim)))),
        };
        let bound_to = |volume: &str| Claim {
            is_bound: true,
            volume: volume.to_owned(),
            ..Claim::default()
        };
        let idle = |_, _| tokio::spawn(std::future::pending());
        let mut check = |claim: Option<Claim>, want: &[&str]| {
            state.take(news(claim), idle);
            let found: Vec<String> = state.watched.keys().map(ToString::to_string).collect();
            assert_eq!(found, want);
        };
        let claim = "PersistentVolumeClaim ns/data";
        check(Some(Claim::default()), &[claim]);
        check(Some(bound_to("pv1")), &[claim, "PersistentVolume pv1"]);
        check(Some(bound_to("pv2")), &[claim, "PersistentVolume pv2"]);
        // It becomes part of a request.
        check(Some(bound_to("../secrets")), &[claim]);
        check(Some(bound_to("pv1")), &[claim, "PersistentVolume pv1"]);
        check(None, &[claim]);
        check(Some(bound_to("pv1")), &[claim, "PersistentVolume pv1"]);
        take(&mut state, &[]);
        assert_eq!(users(&state), []);
    }
}
