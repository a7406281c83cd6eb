//! What the agent remembers of its own doing: back-offs and last errors. A cache; losing it costs no
//! container and no restart count, at most one back-off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::end::End;
use super::object::Payload;
use super::pod::{Container, PodName, PodUid};
use super::runtime::ObservedContainer;
use super::step::{Outcome, StepError};

/// What is remembered of every pod. Written by `reconcile` alone.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By name.
    pub pods: BTreeMap<PodName, Arc<PodMemory>>,
}

/// What is remembered of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodMemory {
    /// The UID it is about; another UID starts anew.
    pub uid: PodUid,
    /// Which of its lives it is about ([`super::pod::Pod::incarnation`]).
    pub incarnation: u64,
    /// When the node began to work on it (`status.startTime`).
    pub started: Timestamp,
    /// The last failure of a step about the pod as a whole, until one succeeds; with its back-off.
    pub failure: Option<(StepError, Backoff)>,
    /// By container name.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// Why it has ended, whatever its containers do.
    pub ended: Option<End>,
    /// The files of its volumes as they were last written; one that is not here is written once more.
    pub written: BTreeMap<String, Arc<Payload>>,
    /// What has been taken away of it already.
    pub remains: Remains,
    /// Why it has not got the resources that it asks for.
    pub resize: Option<PendingResize>,
}

/// A change of resources that was not allotted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingResize {
    /// Whether it may be later.
    pub outlook: Outlook,
    /// What the node lacks: `OutOfcpu`; or `Infeasible`.
    pub reason: String,
    /// What was asked for and what there is.
    pub message: String,
    /// The generation of the specification that asks for it.
    pub generation: i64,
}

/// Whether what is refused now may be granted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It is asked again when there is room.
    Deferred,
    /// Never on this node.
    Infeasible,
}

impl Outlook {
    /// The reason as the condition `PodResizePending` tells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outlook::Deferred => "Deferred",
            Outlook::Infeasible => "Infeasible",
        }
    }
}

/// What is left of a pod, as far as is remembered: taking away twice does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remains {
    /// Nothing was taken away.
    #[default]
    Everything,
    /// It has ended: its volumes and its cgroup are gone, its containers are kept for their logs.
    Containers,
    /// It was removed.
    Nothing,
}

impl PodMemory {
    /// Nothing remembered yet of a pod that the node began to work on at `started`.
    pub fn new(uid: PodUid, started: Timestamp) -> PodMemory {
        PodMemory {
            uid,
            incarnation: 0,
            started,
            failure: None,
            containers: BTreeMap::new(),
            ended: None,
            written: BTreeMap::new(),
            remains: Remains::Everything,
            resize: None,
        }
    }
}

impl PodMemory {
    /// What is remembered of a container as it is defined now.
    pub fn of_container(&self, container: &Container) -> Option<&ContainerMemory> {
        let memory = self.containers.get(&container.name)?;
        memory.is_of(container).then_some(memory)
    }
}

/// What is remembered of one container: of attempts to start one definition of it. Another definition is tried at once
/// (`GetBackoffKey` in `pkg/kubelet/kuberuntime/helpers.go`, `image_manager.go`).
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
    /// The wait after an attempt to start it that failed, since that attempt began. It is for one that left nothing that
    /// ended: an end has the back-off of restarts.
    pub retry: Option<Backoff>,
}

impl ContainerMemory {
    /// Nothing remembered yet of a container as it is defined now.
    pub fn of(container: &Container) -> ContainerMemory {
        ContainerMemory {
            definition: container.hash,
            ..ContainerMemory::default()
        }
    }

    /// Whether it is about the container as it is defined now.
    pub fn is_of(&self, container: &Container) -> bool {
        self.definition == container.hash
    }

    /// Until when it is not started again after the end of its newest instance; `None`: no back-off is in force. One
    /// that was started since, which the runtime has not told yet, is not waited for.
    pub fn restarts_at(&self, newest: &ObservedContainer, max: Duration) -> Option<Timestamp> {
        let restart = self.restart?;
        let started_since = newest.created < restart.since && self.failure.is_none();
        restart.holds(newest.finished()?, max).filter(|_| !started_since)
    }
}

/// An exponential back-off as the kubelet counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay in force.
    pub delay: Duration,
    /// When it was last lengthened.
    pub since: Timestamp,
}

impl Backoff {
    /// The first delay, of restarts and of pulls (`pkg/kubelet/kubelet.go`, `pkg/kubelet/images`).
    pub const FIRST: Duration = Duration::from_secs(10);

    /// The delay after one more event: doubled up to `max`, or the first again where the event came more than
    /// twice `max` after the last lengthening (`client-go/util/flowcontrol/backoff.go`).
    pub fn next(last: Option<Backoff>, event: Timestamp, now: Timestamp, max: Duration) -> Backoff {
        let delay = match last {
            Some(last) if !last.is_forgotten(event, max) => (last.delay * 2).min(max),
            _ => Backoff::FIRST.min(max),
        };
        Backoff { delay, since: now }
    }

    /// Until when an event at that time has to be waited out; `None` where it came so late that the back-off
    /// is forgotten.
    pub fn holds(self, event: Timestamp, max: Duration) -> Option<Timestamp> {
        (!self.is_forgotten(event, max)).then(|| event + self.delay)
    }

    /// When the delay has passed since its last lengthening.
    pub fn ends(self) -> Timestamp {
        self.since + self.delay
    }

    fn is_forgotten(self, event: Timestamp, max: Duration) -> bool {
        event > self.since + max * 2
    }
}

/// What was done for a pod, and what is remembered of it since.
#[derive(Debug, Clone)]
pub struct Executed {
    /// What was done.
    pub outcome: Arc<Outcome>,
    /// What is remembered after it.
    pub after: Arc<PodMemory>,
}

/// What became of the cgroups above the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Levels {
    /// None was written yet.
    #[default]
    Unset,
    /// They hold what they should.
    Set,
    /// One cannot be written; it is tried again.
    Failed {
        /// Its place in the tree.
        cgroup: Vec<String>,
        /// Why.
        why: String,
    },
}
