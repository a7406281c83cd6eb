//! What is to be done about the node as a whole: which pods it runs, with which resources, and what the cgroups above them
//! hold. Pure, like the plan of a pod; the loop runs it under a key of its own.
//!
//! [`plan`] answers for all pods at once; [`resize()`] for one running pod that asks for other resources. What the node has
//! decided and no snapshot shows yet is [`NodeDecisions`]; [`apply`] brings it and the memory up to date.
//!
//! While the machine shuts down, [`ShutdownPlan`] says which pods end now; while it is short of something, [`EvictionPlan`]
//! does. [`end`] and [`resume`] note that in the memory.
//!
//! A critical pod that lacks room waits until others have ended for it: [`Verdict::Waits`] names them, and
//! [`end_for_critical`] notes their end in the memory.
//!
//! What is to be removed of unused images, and of the containers of ended pods, is [`NodePlan::collect`]; [`finish`] takes
//! in what that brought.
//!
//! Decisions of the same kind belong here: the ledger of exclusive CPUs, memory and devices (beside
//! [`NodeDecisions::allotting`]).

mod admission;
mod apply;
mod collected;
mod evict;
mod image_names;
mod image_records;
mod images;
mod occupants;
mod preempt;
mod pressure;
mod resize;
mod shutdown;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

pub use admission::{Preemption, Verdict, Verdicts};
pub use apply::{Applied, apply, end, end_for_critical};
pub use collected::finish;
pub use evict::{Evicted, EvictionPlan, Evictions};
pub use image_names::is_named;
pub use image_records::ImageRecords;
pub use images::survey;
pub use preempt::may_displace;
pub use resize::{ResizeVerdict, resize};
pub use shutdown::{Shutdown, ShutdownPlan, resume};

use super::admit::Refusal;
use super::cgroup;
use super::reserved::reserved_cgroups;
use crate::model::allocation;
use crate::model::api::ApiNode;
use crate::model::collection::{Collected, Collection, CollectionNews, Provided};
use crate::model::measured::Measured;
use crate::model::memory::{Memory, Outlook, PodMemory, Remains};
use crate::model::node::{NodeLimits, NodePolicy};
use crate::model::node_cgroups::NodeCgroups;
use crate::model::pod::{Desired, Pod, PodName, PodUid};
use crate::model::pods_use::PodsUse;
use crate::model::request::CgroupSetting;
use crate::model::runtime::Snapshot;

/// What the node's plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    /// The desired state from all sources.
    pub desired: &'a Desired,
    /// The observed state.
    pub snapshot: &'a Snapshot,
    /// What is remembered of pods.
    pub memory: &'a Memory,
    /// What was decided before.
    pub decisions: &'a NodeDecisions,
    /// The API server's version of the node: its labels and taints.
    pub node: &'a ApiNode,
    /// The moment from which on the machine is shutting down; `None`: it is not.
    pub shutting_down: Option<Timestamp>,
    /// The machine as it was measured last.
    pub measured: &'a Measured,
    /// What pods used when it was measured last.
    pub pods_use: &'a PodsUse,
    /// How much there is.
    pub limits: &'a NodeLimits,
    /// The images that something on the node provides; `None` until that is known.
    pub provided: Option<&'a Provided>,
    /// The node's configuration.
    pub policy: &'a NodePolicy,
}

/// What the node has decided, and neither snapshot nor memory shows. Losing it is harmless: it is decided again.
#[derive(Debug, Clone, Default)]
pub struct NodeDecisions {
    /// Static pods that are rejected; they are admitted when there is room. An API pod that was rejected has failed for good.
    pub rejected: BTreeMap<PodName, (PodUid, Refusal)>,
    /// Pods that are neither run nor rejected for a moment.
    pub deferred: BTreeMap<PodName, DeferredAdmission>,
    /// Pods that are neither run nor rejected until others have ended.
    pub waiting: BTreeMap<PodName, PodUid>,
    /// Pods that get other resources, until the snapshot shows their allocation.
    pub allotting: BTreeMap<PodName, Arc<Pod>>,
    /// How far the shutdown of the machine has come, while there is one.
    pub shutdown: Option<Shutdown>,
    /// How far evictions have come.
    pub evictions: Evictions,
    /// When images were there and used.
    pub images: ImageRecords,
    /// Since when the node lacks room, so that everything that is unused is removed: dead containers of ended pods, then
    /// images. Whoever decides that sets it; it is over when [`NodeDecisions::collected`] is later.
    pub reclaim_wanted: Option<Timestamp>,
    /// Since when a person wants all unused images removed.
    pub prune_wanted: Option<Timestamp>,
    /// What is being removed.
    pub collecting: Option<Arc<Collection>>,
    /// What the last removal for lack of room brought.
    pub collected: Option<Collected>,
}

impl NodeDecisions {
    /// Whether it is not decided yet what becomes of the pod.
    pub fn is_undecided(&self, pod: &PodName) -> bool {
        self.deferred.contains_key(pod) || self.waiting.contains_key(pod)
    }

    /// Whether the end of a pod may change what is decided of the node.
    pub fn awaits_ends(&self) -> bool {
        self.shutdown.is_some() || !self.waiting.is_empty() || self.evictions.awaits_ends()
    }
}

/// A pod whose admission waits for the node's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredAdmission {
    /// The pod.
    pub uid: PodUid,
    /// When it was deferred first.
    pub since: Timestamp,
}

/// What is to be done about the node.
#[derive(Debug)]
pub struct NodePlan {
    /// What becomes of pods that want room; `None` before the runtime is listed, when it is not known which pods run
    /// already.
    pub verdicts: Option<Verdicts>,
    /// What the cgroups above the pods should hold (none where pods have no cgroups of their own), and those of the
    /// machine's own programs.
    pub cgroups: NodeCgroups,
    /// What a shutdown of the machine needs, while there is one.
    pub shutdown: Option<ShutdownPlan>,
    /// What the node is short of, and which pods make room.
    pub evictions: EvictionPlan,
    /// What is to be removed to make room; `None` while something is being removed.
    pub collect: Option<Collection>,
    /// What is remembered of images from now on.
    pub images: ImageRecords,
    /// What the node's events tell about the images' file system.
    pub image_news: Vec<CollectionNews>,
    /// When the plan changes though nothing else does.
    pub wake_at: Option<Timestamp>,
}

/// Decides for the node as a whole. Linear in the number of pods, with a pass over all admitted pods for each one that is
/// not admitted yet.
pub fn plan(view: NodeView<'_>, now: Timestamp) -> NodePlan {
    let mut evictions = view.evictions(now);
    let verdicts = view
        .snapshot
        .listed
        .then(|| view.verdicts(&evictions.pressure, now));
    let decided = verdicts.as_ref().map_or(&[][..], |verdicts| &verdicts.new);
    let rejected: BTreeSet<&PodName> = decided
        .iter()
        .filter(|(pod, verdict)| verdict.rejects_until_there_is_room(pod))
        .map(|(pod, _)| &pod.name)
        .collect();
    let cgroups = NodeCgroups {
        qos: view.qos_cgroups(&rejected),
        reserved: reserved_cgroups(&view.policy.cgroup),
    };
    let shutdown = view.shutdown(now);
    let goes_on_at = shutdown.as_ref().and_then(|shutdown| shutdown.wake_at);
    let images = view.images(now);
    let measure_since = &mut evictions.wanted.machine_since;
    *measure_since = images.measure_since.max(*measure_since);
    let overdue_at = verdicts.as_ref().and_then(|verdicts| verdicts.changes_at);
    let deferred_until = view.deferred_until(decided);
    let wake_at = [
        deferred_until,
        goes_on_at,
        overdue_at,
        evictions.wake_at,
        images.wake_at,
    ];
    NodePlan {
        evictions,
        verdicts,
        cgroups,
        shutdown,
        collect: images.collect,
        images: images.records,
        image_news: images.news,
        wake_at: wake_at.into_iter().flatten().min(),
    }
}

/// The pods that wait for room to be resized.
pub fn waiting_for_room(memory: &Memory) -> impl Iterator<Item = &PodName> {
    let waits = |memory: &PodMemory| {
        let pending = memory.resize.as_ref();
        pending.is_some_and(|pending| pending.outlook == Outlook::Deferred)
    };
    let waiting = memory.pods.iter().filter(move |(_, memory)| waits(memory));
    waiting.map(|(name, _)| name)
}

impl NodeView<'_> {
    /// What is remembered of this very pod.
    fn remembered(&self, pod: &Pod) -> Option<&PodMemory> {
        let memory = self.memory.pods.get(&pod.name).map(AsRef::as_ref);
        memory.filter(|memory| memory.uid == pod.uid)
    }

    /// Whether nothing was taken away yet of what a pod of this name takes.
    fn takes_room(&self, pod: &Pod) -> bool {
        let memory = self.memory.pods.get(&pod.name);
        memory.is_none_or(|memory| memory.remains == Remains::Everything)
    }

    /// The pod with the resources that it counts with: those that it was allotted.
    fn allotted(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let decided = self.decisions.allotting.get(&pod.name);
        if let Some(decided) = decided.filter(|decided| decided.uid == pod.uid) {
            return decided.clone();
        }
        let name = self.snapshot.pods.get(&pod.name);
        let seen = name.and_then(|name| name.uids.get(&pod.uid));
        match allocation::allotted(pod, seen.and_then(|seen| seen.allocation.as_deref())) {
            Cow::Borrowed(_) => pod.clone(),
            Cow::Owned(allotted) => Arc::new(allotted),
        }
    }

    /// What the cgroups above the pods should hold, without the pods of these names.
    fn qos_cgroups(&self, rejected: &BTreeSet<&PodName>) -> Vec<CgroupSetting> {
        let counts = |pod: &&Arc<Pod>| self.takes_room(pod) && !rejected.contains(&pod.name);
        let running: Vec<_> = self
            .desired
            .pods()
            .filter(counts)
            .map(|pod| self.allotted(pod))
            .collect();
        let limits = self.limits;
        cgroup::node_levels(
            running.iter().map(AsRef::as_ref),
            &self.policy.cgroup,
            &limits.capacity,
            limits.pids_max,
            &limits.reserved,
        )
    }
}
