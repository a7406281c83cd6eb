//! What the agent remembers about its own actions: back-offs and last errors. A cache: losing it costs no container and
//! no restart count, at most one back-off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::Doubling;
use super::end::End;
use super::eviction::NodePressure;
use super::expansion::Expansion;
use super::object::Payload;
use super::outcome::{Outcome, StepError, StepReport};
use super::pod::{Container, PodName, PodUid};
use super::reserved_cgroup::ReservedFor;
use super::runtime::ObservedContainer;
use super::step::{StepKind, Subject};

/// What is remembered of every pod. Written by `reconcile` alone.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By name.
    pub pods: BTreeMap<PodName, Arc<PodMemory>>,
    /// What the node is short of.
    pub pressure: NodePressure,
}

/// What is remembered of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodMemory {
    /// The UID that this is about; a pod with another UID starts with an empty memory.
    pub uid: PodUid,
    /// The incarnation that it is about ([`super::pod::Pod::incarnation`]).
    pub incarnation: u64,
    /// When the node first worked on it (`status.startTime`).
    pub started: Timestamp,
    /// What failed outside its attempts to start containers, until it succeeds or is no longer needed.
    pub failures: BTreeMap<FailedWork, PodFailure>,
    /// By container name.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// Why the node ended it, regardless of its containers.
    pub ended: Option<End>,
    /// By when its end has to be over, if the node chose that: the pod has this long, or its grace period if that is
    /// shorter.
    pub ends_by: Option<Timestamp>,
    /// The files of its volumes as they were last written; a volume without an entry is written again.
    pub written: BTreeMap<String, Arc<Payload>>,
    /// When its volumes that are published again from time to time were published last, by name.
    pub published: BTreeMap<String, Timestamp>,
    /// Its volumes that were enlarged last, by name: until their claims say so, too.
    pub expanded: BTreeMap<String, Expansion>,
    /// What is left of the pod on the node.
    pub remains: Remains,
    /// Why the pod does not have its desired resources yet.
    pub resize: Option<PendingResize>,
    /// The pod of this name that was here before, of which something may be left, if this one was rejected at once.
    pub former: Option<PodUid>,
}

impl PodMemory {
    /// The pods of this name of which something may be left on the node.
    pub fn remaining(&self) -> impl Iterator<Item = &PodUid> {
        let own = (self.remains != Remains::Nothing).then_some(&self.uid);
        own.into_iter().chain(&self.former)
    }
}

/// Work for a pod that failed, and whose next attempt waits for its back-off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailedWork {
    /// A volume, by name: no container of the pod is started before it is made.
    Volume(String),
    /// An enlargement of a volume, by name, which delays only itself.
    Expansion(String),
    /// Publishing a volume again, by name, which delays only itself: the pod has the volume.
    Republish(String),
    /// The image of a volume, by the volume's name: it delays the containers that mount the volume.
    ImageVolume(String),
    /// A resize of the running pod, which delays only itself.
    Resize,
    /// Any other step: it delays the pod's plan; the end of the pod only if the step is part of an end.
    Step(StepKind),
}

impl FailedWork {
    /// The work that a step is part of; `None`: an attempt to start a container, see [`ContainerMemory`].
    pub fn of(report: &StepReport) -> Option<FailedWork> {
        match (&report.subject, report.kind) {
            (_, kind) if kind.starts_container() => None,
            (Subject::Volume(name), StepKind::ExpandVolume) => Some(FailedWork::Expansion(name.clone())),
            (Subject::Volume(name), StepKind::RepublishVolume) => Some(FailedWork::Republish(name.clone())),
            (Subject::Volume(name), _) => Some(FailedWork::Volume(name.clone())),
            (Subject::ImageVolume(name), _) => Some(FailedWork::ImageVolume(name.clone())),
            (_, StepKind::Resize) => Some(FailedWork::Resize),
            (_, kind) => Some(FailedWork::Step(kind)),
        }
    }
}

/// The last failure of some work, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFailure {
    /// Why it failed.
    pub error: StepError,
    /// The wait before the next attempt.
    pub backoff: Backoff,
}

/// A resize that is not allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingResize {
    /// Whether it may be allocated later.
    pub outlook: Outlook,
    /// What the node lacks: `OutOfcpu`; or `Infeasible`.
    pub reason: String,
    /// The requested and the available amounts.
    pub message: String,
    /// The generation of the specification that requests it.
    pub generation: i64,
    /// Since when it has this outlook.
    pub since: Timestamp,
}

/// Whether a rejected resize may be granted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It is retried when there is room.
    Deferred,
    /// Never on this node.
    Infeasible,
}

impl Outlook {
    /// The reason in the condition `PodResizePending`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outlook::Deferred => "Deferred",
            Outlook::Infeasible => "Infeasible",
        }
    }
}

/// What is left of a pod, as far as is remembered: removing it twice does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remains {
    /// Nothing has been removed.
    #[default]
    Everything,
    /// The pod has ended: its volumes and its cgroup are gone, its containers stay for their logs.
    Containers,
    /// It was removed.
    Nothing,
}

impl PodMemory {
    /// An empty memory of a pod that the node first worked on at `started`.
    pub fn new(uid: PodUid, started: Timestamp) -> PodMemory {
        PodMemory {
            uid,
            incarnation: 0,
            started,
            failures: BTreeMap::new(),
            containers: BTreeMap::new(),
            ended: None,
            ends_by: None,
            written: BTreeMap::new(),
            published: BTreeMap::new(),
            expanded: BTreeMap::new(),
            remains: Remains::Everything,
            resize: None,
            former: None,
        }
    }
}

impl PodMemory {
    /// When everything of that kind that failed may be tried again; `None`: nothing waits.
    pub fn waits_until(&self, now: Timestamp, which: impl Fn(&FailedWork) -> bool) -> Option<Timestamp> {
        let failures = self.failures.iter().filter(|(work, _)| which(work));
        let ends = failures.map(|(_, failure)| failure.backoff.ends());
        ends.filter(|end| *end > now).max()
    }

    /// When that work, if it failed, may be tried again; `None`: it does not wait.
    pub fn retried_at(&self, work: &FailedWork, now: Timestamp) -> Option<Timestamp> {
        let end = self.failures.get(work)?.backoff.ends();
        (end > now).then_some(end)
    }

    /// What is remembered of a container, if its definition is still the same.
    pub fn of_container(&self, container: &Container) -> Option<&ContainerMemory> {
        let memory = self.containers.get(&container.name)?;
        memory.is_of(container).then_some(memory)
    }
}

/// What is remembered of one container: of attempts to start one definition of it. A changed definition is tried
/// immediately (`GetBackoffKey` in `pkg/kubelet/kuberuntime/helpers.go`, `image_manager.go`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerMemory {
    /// The definition that was tried ([`Container::hash`]).
    pub definition: u32,
    /// The last failure to pull, create or start it, until one succeeds.
    pub failure: Option<StepError>,
    /// The back-off of pulling its image.
    pub pull: Option<Backoff>,
    /// The back-off of restarting it after an end.
    pub restart: Option<Backoff>,
    /// The back-off after a failed attempt to start it, counted from the start of the attempt. It applies only if the
    /// attempt left no ended instance, which has the back-off of restarts.
    pub retry: Option<Backoff>,
}

impl ContainerMemory {
    /// An empty memory of a container with its current definition.
    pub fn of(container: &Container) -> ContainerMemory {
        ContainerMemory {
            definition: container.hash,
            ..ContainerMemory::default()
        }
    }

    /// Whether it is about the container's current definition.
    pub fn is_of(&self, container: &Container) -> bool {
        self.definition == container.hash
    }

    /// When it may be restarted after the end of its newest instance; `None`: no back-off is in force. An instance
    /// started since then that the runtime does not list yet does not extend it.
    pub fn restarts_at(&self, newest: &ObservedContainer, max: Duration) -> Option<Timestamp> {
        let restart = self.restart?;
        let started_since = newest.created < restart.since && self.failure.is_none();
        restart.holds(newest.finished()?, max).filter(|_| !started_since)
    }
}

/// An exponential back-off, computed as in the kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay in force.
    pub delay: Duration,
    /// When it was last extended.
    pub since: Timestamp,
}

impl Backoff {
    /// The first delay, of restarts and of pulls (`pkg/kubelet/kubelet.go`, `pkg/kubelet/images`).
    pub const FIRST: Duration = Duration::from_secs(10);

    /// The longest delay between two pulls of an image.
    pub const LONGEST_OF_PULLS: Duration = Duration::from_secs(300);

    /// The delay after one more event: doubled up to `max`, or reset if the event came more than twice `max` after the
    /// last extension (`client-go/util/flowcontrol/backoff.go`).
    pub fn next(last: Option<Backoff>, event: Timestamp, now: Timestamp, max: Duration) -> Backoff {
        let last = last.filter(|last| !last.is_forgotten(event, max));
        let delay = Doubling::new(Backoff::FIRST, max).after(last.map(|last| last.delay));
        Backoff { delay, since: now }
    }

    /// The delay after one more pull that failed at that time.
    pub fn of_pull(last: Option<Backoff>, ended: Timestamp) -> Backoff {
        Backoff::next(last, ended, ended, Backoff::LONGEST_OF_PULLS)
    }

    /// The end of the back-off after an event at that time; `None` if the event came so late that the back-off is
    /// reset.
    pub fn holds(self, event: Timestamp, max: Duration) -> Option<Timestamp> {
        (!self.is_forgotten(event, max)).then(|| event + self.delay)
    }

    /// When the delay since its last extension has passed.
    pub fn ends(self) -> Timestamp {
        self.since + self.delay
    }

    fn is_forgotten(self, event: Timestamp, max: Duration) -> bool {
        event > self.since + max * 2
    }
}

/// The outcome for a pod, and the memory after it.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The executed steps.
    pub outcome: Arc<Outcome>,
    /// The memory after it.
    pub after: Arc<PodMemory>,
}

/// The state of the node's cgroups beside those of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforcements {
    /// Those above the pods together.
    pub qos: Enforcement,
    /// That of each owner of reserved resources.
    pub reserved: BTreeMap<ReservedFor, Enforcement>,
}

impl Enforcements {
    /// Takes what was written or failed now. Answers whether that differs from before; what was not written stays.
    pub fn take(&mut self, new: Enforcements) -> bool {
        let mut changed = self.qos.take(new.qos);
        for (owner, new) in new.reserved {
            changed |= self.reserved.entry(owner).or_default().take(new);
        }
        changed
    }
}

/// What became of the limits of a cgroup, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// None was written yet.
    #[default]
    Unset,
    /// They are up to date.
    Set,
    /// One of them cannot be written; the write is retried.
    Failed {
        /// Its place in the tree.
        cgroup: Vec<String>,
        /// Why.
        why: String,
    },
}

impl Enforcement {
    fn take(&mut self, new: Enforcement) -> bool {
        let differs = new != Enforcement::Unset && *self != new;
        if differs {
            *self = new;
        }
        differs
    }
}
