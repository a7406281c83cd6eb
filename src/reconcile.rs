//! Loop 1: moves the observed state towards the desired state.
//!
//! It decides nothing itself and does nothing itself: for the node, and for each pod name whose inputs changed, it asks
//! `plan` and gives the plan to `act`, never two for one key at once. It alone writes [`Memory`].
//!
//! A name is planned again only after a snapshot that is newer than the last work on it, so a stale snapshot never
//! causes a second container.

mod collecting;
mod counting;
mod deadlines;
mod evicting;
mod image_requests;
mod marking;
mod node;
mod node_cgroups;
mod preempting;
mod retrying;
mod starting;
mod shutdown;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use image_requests::{Collecting, ImageMessage};
use node_cgroups::write_node_cgroups;

use crate::act::ActContext;
use crate::counters::{Counters, PodWork};
use crate::model::allocation;
use crate::model::api::ApiNode;
use crate::model::collection::{CollectionNews, Provided};
use crate::model::driver::Drivers;
use crate::model::image_work::CollectRequest;
use crate::model::measured::Measured;
use crate::model::memory::{Enforcements, Executed, Memory, PodMemory};
use crate::model::node::{NodeLimits, NodePolicy};
use crate::model::node_cgroups::NodeCgroups;
use crate::model::object::Objects;
use crate::model::outcome::Outcome;
use crate::model::pod::{Desired, PodName, PodUid};
use crate::model::pods_use::{PodsUse, Wanted};
use crate::model::runtime::{ObservedName, Snapshot};
use crate::model::service::Services;
use crate::model::shutdown::ShutdownProgress;
use crate::model::step::Plan;
use crate::observe;
use crate::plan::node::NodeDecisions;
use crate::plan::{PlanView, gc, pod as plan_pod, restart};

/// The longest sleep: a safety net for deadlines that a clock change would miss.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How soon a failed removal of remains is retried.
const LEFTOVER_RETRY: Duration = Duration::from_secs(60);

/// How soon a pod is planned again after a plan that changed nothing: no failure to back off from, no change observed.
/// The runtime may answer calls about one container with `Unavailable` while it answers all others.
const NO_PROGRESS_RETRY: Duration = Duration::from_secs(1);

/// How soon a pod is planned again after its worker panicked: everything has been listed again by then.
const DEATH_RETRY: Duration = Duration::from_secs(60);

/// The loop's inputs.
pub struct ReconcileInputs {
    /// The desired state from all sources.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// The observed state.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Counts imported images.
    pub imported: watch::Receiver<u64>,
    /// Counts images that were pulled for no pod.
    pub pulled: watch::Receiver<u64>,
    /// The storage drivers that are registered.
    pub drivers: watch::Receiver<Arc<Drivers>>,
    /// Grows whenever a pod has left a volume of a driver.
    pub left_volumes: watch::Receiver<u64>,
    /// The Services of the cluster: read when a container is created; the loop waits only until they are first known.
    pub services: watch::Receiver<Services>,
    /// The Node object from the API server: read when a pod is admitted.
    pub node: watch::Receiver<ApiNode>,
    /// The node's addresses, the primary first.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// The moment from which on the machine is shutting down.
    pub shutting_down: watch::Receiver<Option<Timestamp>>,
    /// The machine as it was measured last.
    pub measured: watch::Receiver<Arc<Measured>>,
    /// What pods used when it was measured last.
    pub pods_use: watch::Receiver<Arc<PodsUse>>,
    /// The images that something on the node provides; `None` until that is known.
    pub provided: watch::Receiver<Option<Arc<Provided>>>,
    /// What people ask about images that nothing uses.
    pub collections: mpsc::Receiver<CollectRequest>,
}

/// What the loop needs to plan and to act.
#[derive(Clone)]
pub struct Rooms {
    /// The node's configuration.
    pub policy: Arc<NodePolicy>,
    /// How much the node has for pods.
    pub limits: NodeLimits,
    /// Executes plans.
    pub act: Arc<ActContext>,
    /// Requests reads from the observer.
    pub observe: observe::Handle,
    /// Counts the work on pods.
    pub counters: Arc<Counters>,
}

/// What the loop publishes.
pub struct Outputs {
    /// The memory, for status.
    pub memory: watch::Sender<Arc<Memory>>,
    /// Executed steps, for events and metrics.
    pub outcomes: mpsc::UnboundedSender<Executed>,
    /// The state of the node's cgroups.
    pub enforcements: watch::Sender<Enforcements>,
    /// How far the end of all pods has come, while the machine is shutting down.
    pub shutdown: watch::Sender<Option<ShutdownProgress>>,
    /// What has to be measured before it is decided who makes room.
    pub wanted: watch::Sender<Wanted>,
    /// What the node's events tell about the collection of images.
    pub image_news: mpsc::UnboundedSender<CollectionNews>,
    /// Called at each turn, for the health check.
    pub beat: Box<dyn Fn() + Send>,
}

/// What is being worked on; never twice at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The node as a whole. It comes first: pods that it rejects are not planned before that is known.
    Node,
    /// A pod name.
    Pod(PodName),
    /// A UID that only a directory or a cgroup refers to.
    Leftover(PodUid),
}

/// What a worker sends to the loop.
enum Message {
    /// The plan was executed or abandoned.
    Finished(Key, Arc<Outcome>),
    /// The snapshot shows the result: the key may be planned again.
    Settled(Key),
    /// The worker panicked.
    Died(Key),
    /// About images, which have been listed again.
    Images(ImageMessage),
}

/// What a worker is doing.
struct Work {
    /// The UID of the plan.
    uid: PodUid,
    cancel: CancellationToken,
    /// Anything that happens to the pod comes first.
    yields: bool,
    /// When the grace period ends, if the pod is being ended.
    ends: Option<Timestamp>,
    /// The memory at planning time.
    memory: Option<Arc<PodMemory>>,
    /// When it began, and what for.
    counted: Option<(Instant, PodWork)>,
}

struct Loop {
    rooms: Rooms,
    desired: Arc<Desired>,
    /// For a worker that must not miss a pod.
    desired_now: watch::Receiver<Arc<Desired>>,
    provided: Option<Arc<Provided>>,
    collecting: Collecting,
    image_news: mpsc::UnboundedSender<CollectionNews>,
    snapshot: Arc<Snapshot>,
    services: watch::Receiver<Services>,
    node: watch::Receiver<ApiNode>,
    shutting_down: Option<Timestamp>,
    measured: Arc<Measured>,
    pods_use: Arc<PodsUse>,
    memory: Memory,
    decisions: NodeDecisions,
    /// UIDs that no source wanted when they were found: each is counted once.
    orphans: BTreeSet<PodUid>,
    dirty: BTreeSet<Key>,
    busy: BTreeMap<Key, Work>,
    deadlines: BTreeMap<Key, Timestamp>,
    cgroups: watch::Sender<NodeCgroups>,
    progress: watch::Sender<Option<ShutdownProgress>>,
    wanted: watch::Sender<Wanted>,
    workers: JoinSet<()>,
    to_loop: mpsc::UnboundedSender<Message>,
}

/// Runs the loop until canceled; then waits for the steps in progress.
pub async fn run(mut inputs: ReconcileInputs, rooms: Rooms, outputs: Outputs, cancel: CancellationToken) {
    let (to_loop, mut from_workers) = mpsc::unbounded_channel();
    let (cgroups, cgroups_out) = watch::channel(NodeCgroups::default());
    let mut state = Loop::new(&inputs, rooms, &outputs, (cgroups, to_loop));
    let (act, out) = (state.rooms.act.clone(), outputs.enforcements.clone());
    state
        .workers
        .spawn(write_node_cgroups(act, cgroups_out, out, cancel.clone()));
    loop {
        let now = Timestamp::now();
        (outputs.beat)();
        state.take_desired(inputs.desired.borrow_and_update().clone(), now);
        state.take_snapshot(inputs.snapshot.borrow_and_update().clone());
        state.take_addresses(&inputs.addresses.borrow_and_update());
        state.take_shutdown(*inputs.shutting_down.borrow_and_update());
        state.take_measured(
            inputs.measured.borrow_and_update().clone(),
            inputs.pods_use.borrow_and_update().clone(),
        );
        state.take_provided(inputs.provided.borrow_and_update().clone());
        if state.plan_dirty(now, &cancel) {
            outputs.memory.send_replace(Arc::new(state.memory.clone()));
        }
        let services_known = state.services.borrow().are_known();
        // Every arm is cancel-safe: watches and the channel keep what was not taken, a deadline stays in the map.
        let cause = tokio::select! {
            () = cancel.cancelled() => break,
            Ok(()) = inputs.desired.changed() => "desired",
            Ok(()) = inputs.snapshot.changed() => "snapshot",
            Ok(()) = inputs.addresses.changed() => "addresses",
            Ok(()) = inputs.shutting_down.changed() => "shutdown",
            Ok(()) = inputs.measured.changed() => "measured",
            Ok(()) = inputs.pods_use.changed() => "use of pods",
            Ok(()) = inputs.provided.changed() => "provided images",
            Some(request) = inputs.collections.recv() => { state.take_request(request, &cancel); "images asked for" }
            Ok(()) = inputs.imported.changed() => { state.images_arrived(); "image" }
            Ok(()) = inputs.pulled.changed() => { state.images_arrived(); "image" }
            Ok(()) = inputs.drivers.changed() => { state.drivers_changed(); "drivers" }
            Ok(()) = inputs.left_volumes.changed() => { state.volumes_left(); "volumes" }
            Ok(()) = inputs.services.changed(), if !services_known => { state.services_changed(); "services" }
            Ok(()) = inputs.node.changed(), if !state.decisions.deferred.is_empty() => { state.dirty.insert(Key::Node); "node" }
            Some(message) = from_workers.recv() => state.take_message(message, &outputs),
            () = tokio::time::sleep(state.until_next_deadline(now)) => { state.due(Timestamp::now()); "deadline" }
        };
        while let Ok(message) = from_workers.try_recv() {
            state.take_message(message, &outputs);
        }
        while state.workers.try_join_next().is_some() {}
        tracing::trace!(cause, busy = state.busy.len(), "turn");
    }
    while state.workers.join_next().await.is_some() {}
}

impl Loop {
    /// Whether remains of the desired pod of this name are being removed: a manifest that comes back has its former
    /// UID.
    fn is_being_cleared(&self, name: &PodName) -> bool {
        let wanted = self.desired.get(name).map(|pod| Key::Leftover(pod.uid.clone()));
        wanted.is_some_and(|leftover| self.busy.contains_key(&leftover))
    }

    /// Plans every marked key that is not being worked on, the node first. Answers whether the memory changed.
    fn plan_dirty(&mut self, now: Timestamp, cancel: &CancellationToken) -> bool {
        let changed = self.plan_node(now, cancel);
        if !self.snapshot.listed || !matches!(self.snapshot.runtime.reachable, Some(Ok(()))) {
            return changed;
        }
        self.plan_pods(now, cancel) || changed
    }

    fn plan_pods(&mut self, now: Timestamp, cancel: &CancellationToken) -> bool {
        let free = |key: &&Key| match key {
            Key::Node => false,
            Key::Pod(name) => !self.busy.contains_key(*key) && !self.is_being_cleared(name),
            Key::Leftover(_) => !self.busy.contains_key(*key),
        };
        let mut ready: Vec<Key> = self.dirty.iter().filter(free).cloned().collect();
        ready.sort_by_cached_key(|key| match key {
            Key::Pod(name) => self.view(&ApiNode::Unknown).precedence(name),
            Key::Node | Key::Leftover(_) => None,
        });
        let mut changed = false;
        for key in ready {
            self.dirty.remove(&key);
            self.deadlines.remove(&key);
            let (uid, plan) = match &key {
                // It is marked again when it is admitted or rejected.
                Key::Pod(name) if self.decisions.is_undecided(name) => continue,
                // It is marked again when it is known.
                Key::Pod(name) if self.snapshot.unread.contains_key(name) => continue,
                Key::Pod(name) => {
                    let planned = std::panic::catch_unwind(AssertUnwindSafe(|| self.plan_pod(name, now)));
                    // A panic caused by one pod must neither end the agent nor leave the pod unattended forever.
                    let Ok((uid, plan, remembered)) = planned else {
                        tracing::error!(
                            pod = %name,
                            "planning a pod panicked; this is a bug in gantry, please report it; retrying"
                        );
                        self.deadlines.insert(key, now + DEATH_RETRY);
                        continue;
                    };
                    changed |= remembered;
                    (uid, plan)
                }
                Key::Node => continue,
                Key::Leftover(uid) if self.known_uids().contains(uid) => (uid.clone(), Plan::default()),
                Key::Leftover(uid) => {
                    let logs = self.snapshot.log_dirs.get(uid).map(PathBuf::as_path);
                    (uid.clone(), gc::leftover(uid, logs, &self.rooms.policy))
                }
            };
            if let Some(at) = plan.wake_at {
                self.deadlines.insert(key.clone(), at);
            }
            if !plan.is_idle() {
                self.start(key, uid, plan, cancel);
            }
        }
        changed
    }

    /// Plans one name with up-to-date memory; returns whether the memory changed.
    fn plan_pod(&mut self, name: &PodName, now: Timestamp) -> (PodUid, Plan, bool) {
        let (nothing, no_objects) = (ObservedName::default(), Objects::default());
        let services = self.services.borrow();
        let wanted = self.desired.get(name).cloned();
        let snapshot = self.snapshot.clone();
        let observed = snapshot.pods.get(name).map_or(&nothing, AsRef::as_ref);
        let seen = wanted.as_ref().and_then(|pod| observed.uids.get(&pod.uid));
        let saved = seen.and_then(|seen| seen.allocation.as_deref());
        let allotted = wanted.as_ref().map(|pod| allocation::allotted(pod, saved));
        let desired = allotted.as_deref();
        let before = self.memory.pods.get(name).cloned();
        let marks = desired.and_then(|pod| self.marks_for(pod));
        let view = PlanView {
            name,
            runtime_ready: self.snapshot.runtime.runtime_fault.is_none(),
            network_ready: self.snapshot.runtime.network_fault.is_none(),
            runtime_handlers: &snapshot.runtime.handlers,
            desired_complete: self.desired.complete_for(observed),
            unsupported: self.desired.unsupported(name),
            images: &self.snapshot.images,
            leftovers: &self.snapshot.leftovers,
            logs: wanted.as_ref().and_then(|pod| self.snapshot.logs.get(&pod.uid)),
            objects: desired
                .and_then(|pod| self.desired.objects(&pod.source))
                .unwrap_or(&no_objects),
            services: &services,
            allocatable: &self.rooms.limits.allocatable,
            node: marks.as_ref(),
        };
        let mut plan = plan_pod::plan(
            desired,
            observed,
            before.as_deref(),
            &self.rooms.policy,
            &view,
            now,
        );
        let subject = plan_pod::subject(desired, observed, before.as_deref(), &view).cloned();
        let runtime_ready = view.runtime_ready;
        drop(services);
        let memory = match &wanted {
            // The memory of another UID that is being removed stays until it is gone.
            Some(pod) if subject.as_ref() == Some(&pod.uid) => {
                let mut memory = restart::remembered(before.as_deref(), pod, observed, now);
                if runtime_ready {
                    self.resize(pod, seen, &mut memory, &mut plan, now);
                }
                Some(Arc::new(memory))
            }
            _ => before.clone().filter(|_| subject.is_some()),
        };
        let changed = memory != before;
        match memory {
            Some(memory) => self.memory.pods.insert(name.clone(), memory),
            None => self.memory.pods.remove(name),
        };
        (subject.unwrap_or_else(|| PodUid(String::new())), plan, changed)
    }
}
