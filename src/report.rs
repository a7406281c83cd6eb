//! Loop 2: reports the observed state.
//!
//! It recomputes the status of each pod whose inputs changed, and the node's status every few seconds and whenever the
//! runtime's health changes. It changes nothing on the machine; it is the only writer of [`PodsReport`] and the node
//! status.

mod counting;
mod deadlines;
mod events;
mod node;
mod pod;
mod timeline;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod as PodObject};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::model::api::ApiNode;
use crate::model::collection::CollectionNews;
use crate::model::difference::differing;
use crate::model::event::Event;
use crate::model::eviction::NodePressure;
use crate::model::measured::Measured;
use crate::model::memory::{Enforcements, Executed, Memory};
use crate::model::mounted::MountedVolumes;
use crate::model::node::{MachineFacts, NodePolicy, NodeSettings};
use crate::model::outcome::StepStarted;
use crate::model::pod::{Desired, Pod, PodName, PodUid, Problem, Source};
use crate::model::pod_network::PodNetwork;
use crate::model::report::{PodsReport, StatusWritten};
use crate::model::runtime::{ObservedName, Snapshot};
use crate::model::system_kill::SystemKill;
use crate::status::object::{self as pod_object, Wanted};
use crate::status::pod as pod_status;

/// The longest sleep: a safety net for deadlines that a clock change would miss.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The loop's inputs.
pub struct ReportInputs {
    /// The desired state from all sources.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// The observed state.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The memory of the reconcile loop.
    pub memory: watch::Receiver<Arc<Memory>>,
    /// The work in progress.
    pub beginnings: mpsc::UnboundedReceiver<StepStarted>,
    /// The executed steps.
    pub outcomes: mpsc::UnboundedReceiver<Executed>,
    /// The statuses that the API server has taken; nobody sends any without an API server.
    pub written: mpsc::UnboundedReceiver<StatusWritten>,
    /// Measurements of the machine; a new value at least every `nodeStatusUpdateFrequency`.
    pub measured: watch::Receiver<Arc<Measured>>,
    /// The volumes of drivers on the node.
    pub mounted: watch::Receiver<Arc<MountedVolumes>>,
    /// The disks of storage networks on the node.
    pub disks: watch::Receiver<Arc<MountedVolumes>>,
    /// The Node object from the API server.
    pub node: watch::Receiver<ApiNode>,
    /// The node's pod network, as far as this program provides it.
    pub network: watch::Receiver<PodNetwork>,
    /// The moment from which on the machine is shutting down.
    pub shutting_down: watch::Receiver<Option<Timestamp>>,
    /// The state of the node's cgroups.
    pub enforcements: watch::Receiver<Enforcements>,
    /// What is told about the collection of images.
    pub image_news: mpsc::UnboundedReceiver<CollectionNews>,
    /// The processes that the kernel kills because the machine is out of memory.
    pub system_kills: mpsc::Receiver<SystemKill>,
    /// The node's addresses, the primary first.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
}

/// What does not change while the loop runs.
pub struct Facts {
    /// The node's configuration.
    pub policy: Arc<NodePolicy>,
    /// The node's own facts.
    pub settings: NodeSettings,
    /// The machine's properties.
    pub machine: MachineFacts,
}

/// What the loop publishes.
pub struct Outputs {
    /// The pods.
    pub pods: watch::Sender<Arc<PodsReport>>,
    /// The node.
    pub node: watch::Sender<Arc<Node>>,
    /// Events as they happen; there may be no receiver.
    pub events: mpsc::UnboundedSender<Event>,
    /// Called at each turn, for the health check.
    pub beat: Box<dyn Fn() + Send>,
    /// Counts executed steps and changes of statuses.
    pub counters: Arc<Counters>,
}

struct Loop {
    facts: Facts,
    desired: Arc<Desired>,
    snapshot: Arc<Snapshot>,
    memory: Arc<Memory>,
    /// The last reported version of each pod, also while the pod is being removed.
    shown: BTreeMap<PodName, Arc<Pod>>,
    /// When a status changes with time alone.
    due: BTreeMap<PodName, Timestamp>,
    /// From when on the end of a pod that makes room is late.
    late: BTreeMap<PodName, (PodUid, Timestamp)>,
    /// What was reported for pods that wait for the runtime's network.
    offline: BTreeMap<PodName, (PodUid, String)>,
    report: PodsReport,
    pressure: NodePressure,
    started: Timestamp,
    shutting_down: Option<Timestamp>,
    enforcements: Enforcements,
    /// `status.volumesInUse` of the Node.
    volumes_in_use: volumes::VolumesInUse,
    events: mpsc::UnboundedSender<Event>,
    counters: Arc<Counters>,
}

/// Runs the loop until canceled.
pub async fn run(mut inputs: ReportInputs, facts: Facts, outputs: Outputs, cancel: CancellationToken) {
    let mut state = Loop::new(facts, outputs.events, outputs.counters);
    state.begin(&inputs.addresses.borrow_and_update());
    state.take_network(&inputs.network.borrow_and_update());
    let mut node: Option<Arc<Node>> = None;
    loop {
        // Every arm is cancel-safe: the watches and the channels keep what was not taken.
        let (mut begun, mut recorded) = (Vec::new(), false);
        let (mut report_node, executed) = tokio::select! {
            () = cancel.cancelled() => return,
            Some(first) = inputs.beginnings.recv() => { begun.push(first); (false, None) }
            Some(executed) = inputs.outcomes.recv() => (false, Some(executed)),
            Some(news) = inputs.image_news.recv() => { state.take_image_news(&news); (false, None) }
            Some(kill) = inputs.system_kills.recv() => { state.take_system_kill(&kill); (false, None) }
            Some(write) = inputs.written.recv() => { recorded = state.record_write(&write); (false, None) }
            Ok(()) = inputs.desired.changed() => (false, None),
            Ok(()) = inputs.snapshot.changed() => (false, None),
            Ok(()) = inputs.memory.changed() => (false, None),
            Ok(()) = changed_volumes((&mut inputs.mounted, &mut inputs.disks), &mut inputs.node) => (false, None),
            Ok(()) = inputs.measured.changed() => (true, None),
            Ok(()) = inputs.network.changed() => (state.take_network(&inputs.network.borrow_and_update()), None),
            Ok(()) = inputs.addresses.changed() => (false, None),
            Ok(()) = inputs.shutting_down.changed() => (false, None),
            Ok(()) = inputs.enforcements.changed() => { state.take_enforcements(&inputs.enforcements.borrow_and_update()); (false, None) }
            () = tokio::time::sleep(state.until_next_change(Timestamp::now())) => (false, None),
        };
        (outputs.beat)();
        let now = Timestamp::now();
        let before = std::mem::replace(&mut state.snapshot, inputs.snapshot.borrow_and_update().clone());
        report_node |= before.runtime != state.snapshot.runtime;
        let mut changed = state.take(
            inputs.desired.borrow_and_update().clone(),
            &before,
            inputs.memory.borrow_and_update().clone(),
            now,
        );
        report_node |= state.take_surroundings(&mut inputs, now);
        let addresses = inputs.addresses.borrow_and_update().clone();
        report_node |= *addresses != *state.facts.settings.addresses;
        changed |= recorded | state.take_addresses(&addresses, now);
        // What has ended started before.
        begun.extend(std::iter::from_fn(|| inputs.beginnings.try_recv().ok()));
        for beginning in &begun {
            changed |= state.take_begun(beginning);
        }
        if let Some(executed) = &executed {
            changed |= state.take_executed(executed);
        }
        if report_node {
            let measured = inputs.measured.borrow_and_update().clone();
            let fresh = Arc::new(state.report_node(&measured, node.as_deref(), now));
            node = Some(fresh.clone());
            outputs.node.send_replace(fresh);
        }
        if changed || state.has_node_events(&outputs.pods.borrow()) {
            outputs.pods.send_replace(Arc::new(state.report.clone()));
        }
    }
}

/// Waits until what volumes are in use may have changed. Dropping it loses nothing.
async fn changed_volumes(
    (mounted, disks): (
        &mut watch::Receiver<Arc<MountedVolumes>>,
        &mut watch::Receiver<Arc<MountedVolumes>>,
    ),
    node: &mut watch::Receiver<ApiNode>,
) -> Result<(), watch::error::RecvError> {
    tokio::select! {
        changed = mounted.changed() => changed,
        changed = disks.changed() => changed,
        changed = node.changed() => changed,
    }
}

impl Loop {
    fn new(facts: Facts, events: mpsc::UnboundedSender<Event>, counters: Arc<Counters>) -> Loop {
        Loop {
            desired: Arc::default(),
            snapshot: Arc::default(),
            memory: Arc::default(),
            shown: BTreeMap::new(),
            due: BTreeMap::new(),
            late: BTreeMap::new(),
            offline: BTreeMap::new(),
            report: PodsReport::default(),
            pressure: NodePressure::default(),
            started: Timestamp::now(),
            shutting_down: None,
            enforcements: Enforcements::default(),
            volumes_in_use: Default::default(),
            events,
            counters,
            facts,
        }
    }

    /// The Node has this network from now on, and is to be reported again.
    fn take_network(&mut self, network: &PodNetwork) -> bool {
        self.facts.settings.network.clone_from(network);
        true
    }

    /// Recomputes what depends on a changed input; returns whether the report changed.
    fn take(
        &mut self,
        desired: Arc<Desired>,
        before: &Arc<Snapshot>,
        memory: Arc<Memory>,
        now: Timestamp,
    ) -> bool {
        let old_desired = std::mem::replace(&mut self.desired, desired);
        let old_memory = std::mem::replace(&mut self.memory, memory);
        let mut names: BTreeSet<PodName> = BTreeSet::new();
        if !Arc::ptr_eq(&old_desired, &self.desired) {
            names.extend(self.desired.changed_since(&old_desired));
        }
        names.extend(differing(&before.pods, &self.snapshot.pods).cloned());
        names.extend(differing(&old_memory.pods, &self.memory.pods).cloned());
        let is_known = |name: &&PodName| !self.snapshot.unread.contains_key(*name);
        names.extend(before.unread.keys().filter(is_known).cloned());
        let mut changed = false;
        for name in names {
            changed |= self.take_leaving(&name);
            changed |= self.emit_making_room(&name, &old_memory, now);
            changed |= self.report_pod(&name, now);
            changed |= self.emit_probe_events(&name, before, now);
            changed |= self.emit_network_events(&name, now);
        }
        let (then, since) = (before, &self.snapshot);
        if (then.listed, &then.runtime) != (since.listed, &since.runtime) {
            let shown: Vec<PodName> = self.shown.keys().cloned().collect();
            for name in shown {
                changed |= self.emit_network_events(&name, now);
            }
        }
        if !Arc::ptr_eq(&old_desired, &self.desired) {
            changed |= self.report_problems(now);
        }
        changed |= self.take_due(now) | self.take_late(now);
        let listed = std::mem::replace(&mut self.report.listed, self.snapshot.listed);
        changed || listed != self.snapshot.listed
    }

    /// Records which pods under a name have remains that no source wants; returns whether that changed.
    fn take_leaving(&mut self, name: &PodName) -> bool {
        let wanted = self.desired.get(name).map(|pod| &pod.uid);
        let observed = self.snapshot.pods.get(name);
        let uids = observed.into_iter().flat_map(|observed| observed.uids.keys());
        let uids = uids.chain(self.snapshot.unread.get(name).into_iter().flatten());
        let leaving: BTreeSet<PodUid> = uids.filter(|uid| Some(*uid) != wanted).cloned().collect();
        if leaving.is_empty() {
            return self.report.leaving.remove(name).is_some();
        }
        let before = self.report.leaving.insert(name.clone(), leaving);
        before.as_ref() != self.report.leaving.get(name)
    }

    /// Recomputes one pod, as [`Self::recompute_pod`] does. A panic caused by one pod leaves the other statuses untouched
    /// and keeps the pod's last status.
    fn report_pod(&mut self, name: &PodName, now: Timestamp) -> bool {
        // Until it can be read, what an agent before this one reported stands.
        if self.snapshot.unread.contains_key(name) {
            return false;
        }
        let former = self.report.pods.get(name).cloned();
        let changed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let changed = self.recompute_pod(name, now);
            if changed {
                self.record_progress(name, former.as_deref(), now);
            }
            changed
        }));
        changed.unwrap_or_else(|_| {
            tracing::error!(pod = %name, "computing a pod's status panicked; this is a bug in gantry, please report \
             it; keeping the last status");
            self.due.remove(name);
            false
        })
    }

    /// Recomputes one pod; returns whether its reported status changed.
    fn recompute_pod(&mut self, name: &PodName, now: Timestamp) -> bool {
        let Some(pod) = self.known_pod(name) else {
            return self.forget(name);
        };
        let nothing = ObservedName::default();
        let observed = self.snapshot.pods.get(name).cloned();
        let observed = observed.as_deref().unwrap_or(&nothing);
        let former = self.report.pods.get(name).cloned();
        let is_same_pod = self.shown.get(name).is_some_and(|shown| shown.uid == pod.uid);
        let reported = former.as_ref().filter(|_| is_same_pod);
        // The API server knows what an agent before this one published.
        let previous = reported
            .and_then(|object| object.status.as_ref())
            .or(pod.object.status.as_ref());
        let memory = self
            .memory
            .pods
            .get(name)
            .filter(|memory| memory.uid == pod.uid)
            .cloned();
        // Whether it may run is not decided yet: the first status may be that it was rejected.
        if pod.source == Source::Api && memory.is_none() && !is_same_pod {
            return false;
        }
        let memory = memory.as_deref();
        let status = self.status_of(&pod, observed, memory, previous, now);
        let new = memory.map(|memory| self.events_of(&pod, observed, memory, previous, now));
        let policy = &self.facts.policy;
        match memory.and_then(|memory| pod_status::changes_at(memory, observed, policy, now)) {
            Some(at) => self.due.insert(name.clone(), at),
            None => self.due.remove(name),
        };
        let finished = match pod_object::is_finished(&pod, memory, observed.uids.get(&pod.uid)) {
            true => self.report.finished.insert(name.clone(), pod.uid.clone()) != Some(pod.uid.clone()),
            false => self.report.finished.remove(name).is_some(),
        };
        let wanted = Wanted::by(self.desired.get(name).is_some());
        let former = former.as_deref();
        let metadata = pod_object::metadata(&pod, former, status.start_time.as_ref(), wanted, now);
        let status = Some(status);
        // The rest of a pod is long, and is copied only where something is reported.
        let is_reported = former.is_some_and(|former| {
            former.status == status && former.metadata == metadata && former.spec == pod.object.spec
        });
        self.shown.insert(name.clone(), pod.clone());
        if is_reported {
            return finished;
        }
        self.count_changes(&pod, previous, status.as_ref(), now);
        let spec = pod.object.spec.clone();
        let object = PodObject {
            metadata,
            spec,
            status,
        };
        self.report.pods.insert(name.clone(), Arc::new(object));
        self.queue_events(name, &pod.uid, new.unwrap_or_default(), now);
        true
    }

    fn report_problems(&mut self, now: Timestamp) -> bool {
        let sets = [&self.desired.files, &self.desired.api];
        let problems: Vec<Problem> = sets
            .into_iter()
            .flatten()
            .flat_map(|set| set.problems.iter().cloned())
            .collect();
        let warnings: Vec<Problem> = sets
            .into_iter()
            .flatten()
            .flat_map(|set| set.warnings.iter().cloned())
            .collect();
        let is_doubted_anew = warnings != self.report.warnings;
        self.report.warnings = warnings;
        let changed = problems != self.report.problems;
        let before = std::mem::replace(&mut self.report.problems, problems);
        if changed {
            self.emit_rejections(&before, now);
            self.report_refused_manifests(&before, now);
        }
        changed || is_doubted_anew
    }
}
