//! The node of the [`super::world`]: its room and its labels, what it has decided, and another pod that takes room. Its
//! plan is made before that of the story's pod, as the loop does it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::world::World;
use crate::model::allocation;
use crate::model::amounts;
use crate::model::api::ApiNode;
use crate::model::end::End;
use crate::model::memory::{Memory, PodMemory};
use crate::model::node::NodeLimits;
use crate::model::pod::{Desired, Pod, PodName, RestartPolicy, Source, SourceSet};
use crate::model::resources::{Amounts, MilliCpu, Resources};
use crate::model::runtime::{ObservedName, Snapshot};
use crate::model::sample;
use crate::model::step::Plan;
use crate::plan::node::{self, NodeDecisions, NodeView, ResizeVerdict, Verdict};

/// What pods may use together, in thousandths of a core.
const ROOM: i64 = 2000;
/// The label that some pods require, and its value.
const LABEL: (&str, &str) = ("disk", "ssd");

/// What the agent knows of the node's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// Nothing yet.
    Unknown,
    /// It has none.
    Without,
    /// It has those that pods require.
    With,
}

/// Another pod that wants room.
struct Other {
    pod: Arc<Pod>,
    /// It was admitted and has a sandbox.
    runs: bool,
}

/// The node.
pub(super) struct Node {
    pub(super) labels: Labels,
    pub(super) decisions: NodeDecisions,
    /// The moment from which on the machine is shutting down.
    pub(super) shutting_down: Option<Timestamp>,
    other: Option<Other>,
    limits: NodeLimits,
}

/// What is decided about the resources of a pod.
pub(super) struct Resized {
    /// The plan, which may be nothing but the saving of an allocation.
    pub(super) plan: Plan,
    /// The pod gets what it asks for, once that is saved.
    pub(super) is_allotted: bool,
}

impl Node {
    pub(super) fn new() -> Node {
        let amounts = || Amounts {
            cpu: Some(MilliCpu(ROOM)),
            ..Amounts::default()
        };
        Node {
            labels: Labels::With,
            decisions: NodeDecisions::default(),
            shutting_down: None,
            other: None,
            limits: NodeLimits {
                allocatable: amounts(),
                capacity: amounts(),
                max_pods: 10,
                ..NodeLimits::default()
            },
        }
    }

    fn api_node(&self) -> ApiNode {
        let labels = match self.labels {
            Labels::Unknown => return ApiNode::Unknown,
            Labels::Without => None,
            Labels::With => Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
        };
        let mut node = api::Node::default();
        node.metadata.labels = labels;
        ApiNode::Present(Arc::new(node))
    }
}

/// A pod that requests so much, in its first container.
pub(super) fn requesting(pod: Pod, milli: i64) -> Pod {
    let cpu = Amounts {
        cpu: Some(MilliCpu(milli)),
        ..Amounts::default()
    };
    pod.with_resources(&[Resources {
        requests: cpu,
        limits: Amounts::default(),
    }])
}

/// A pod that runs only where the node has the label.
pub(super) fn choosy(mut pod: Pod) -> Pod {
    pod.placement.selector = [(LABEL.0.to_owned(), LABEL.1.to_owned())].into();
    pod
}

/// A pod of a manifest.
pub(super) fn of_file(pod: Pod) -> Pod {
    let source = Source::File {
        path: "/etc/kubernetes/manifests/p.yaml".into(),
        document: 1,
    };
    Pod { source, ..pod }
}

fn request(pod: &Pod) -> i64 {
    amounts::pod_requests(pod, amounts::Overhead::With).cpu_or_zero()
}

impl World {
    /// Another pod wants room, if there is none yet.
    pub(super) fn other_comes(&mut self, milli: i64) {
        self.node.other.get_or_insert_with(|| {
            let mut pod = requesting(sample::pod(RestartPolicy::Always, &[], &["o"]), milli);
            pod.name = PodName::new("ns", "other");
            pod.uid = sample::uid("other");
            let pod = Arc::new(pod);
            Other { pod, runs: false }
        });
    }

    /// The other pod is gone.
    pub(super) fn other_goes(&mut self) {
        self.node.other = None;
    }

    /// The agent is started again: it knows what it finds.
    pub(super) fn agent_restarts(&mut self) {
        self.memory = None;
        self.node.decisions = NodeDecisions::default();
        self.killed = true;
    }

    /// Plans the node, and remembers its verdicts.
    pub(super) fn plan_node(&mut self, desired: Option<&Pod>) {
        let mut memory = self.memory_of_all();
        if self.node.shutting_down.is_none() && self.node.decisions.shutdown.take().is_some() {
            let before = memory.clone();
            self.with_view(desired, &before, |view| node::resume(view.desired, &mut memory));
        }
        let plan = self.with_view(desired, &memory, |view| node::plan(view, self.now));
        if let Some(shutdown) = plan.shutdown {
            let before = memory.clone();
            self.with_view(desired, &before, |view| {
                // What the other pod's memory would be is nobody's business here.
                let own = shutdown.due.iter().filter(|(pod, _)| pod.name == sample::name());
                for (pod, by) in own {
                    node::end(
                        pod,
                        End::Shutdown,
                        Some(*by),
                        view.snapshot,
                        &mut memory,
                        self.now,
                    );
                }
            });
            self.node.decisions.shutdown = Some(shutdown.shutdown);
        }
        let verdicts = plan.verdicts.expect("the runtime is listed").new;
        if let Some(other) = &mut self.node.other {
            let own = verdicts.iter().find(|(pod, _)| pod.name == other.pod.name);
            match own.map(|(_, verdict)| verdict) {
                None => {}
                Some(Verdict::Admitted) => other.runs = true,
                // It finds room on another node.
                Some(Verdict::Rejected(_)) => self.node.other = None,
                Some(Verdict::Deferred(_)) => panic!("it requires no label"),
                Some(Verdict::Waits(_)) => panic!("nobody makes room for it"),
            }
        }
        let is_critical = desired.is_some_and(|pod| pod.source != Source::Api);
        let makes_room = verdicts
            .iter()
            .any(|(_, verdict)| matches!(verdict, Verdict::Waits(_)));
        if let Some(pod) = desired {
            let own = verdicts.iter().find(|(of, _)| of.name == pod.name);
            let has_sandbox = self
                .observed
                .uids
                .get(&pod.uid)
                .is_some_and(|seen| !seen.sandboxes.is_empty());
            let is_rejected = matches!(own, Some((_, Verdict::Rejected(_))));
            assert!(!is_rejected || !has_sandbox, "a pod that runs is rejected");
        }
        let applied = node::apply(verdicts, &mut self.node.decisions, &mut memory, self.now);
        // A pod that was admitted in this plan has taken its room.
        self.memory = memory.pods.remove(&sample::name()).map(Arc::unwrap_or_clone);
        for (pod, refusal) in &applied.rejected {
            let is_label = refusal.reason == crate::plan::admit::NODE_AFFINITY;
            let lacks = match is_label {
                true => self.node.labels != Labels::With,
                false if self.node.shutting_down.is_some() => true,
                false => request(pod) + self.taken_beside(pod, desired) > ROOM,
            };
            assert!(lacks, "{} is rejected though it fits: {refusal:?}", pod.name);
        }
        if makes_room {
            assert!(is_critical && self.node.other.take().is_some());
            self.plan_node(desired);
            assert!(
                !self.is_deferred(),
                "its room is not free: {:?}",
                self.node.decisions
            );
        }
    }

    /// When the node is planned again though nothing else happens.
    pub(super) fn node_wakes_at(&self, desired: Option<&Pod>) -> Option<Timestamp> {
        let memory = self.memory_of_all();
        self.with_view(desired, &memory, |view| node::plan(view, self.now).wake_at)
    }

    /// Whether it is not decided what becomes of the pod, which is not planned.
    pub(super) fn is_deferred(&self) -> bool {
        self.node.decisions.is_undecided(&sample::name())
    }

    /// Decides about the resources of the pod, whose plan this is. `memory` is what is remembered of it now.
    pub(super) fn resize(&self, pod: &Pod, memory: &mut PodMemory, plan: Plan) -> Resized {
        let seen = self.observed.uids.get(&pod.uid);
        let all = self.memory_of_all();
        let verdict = self.with_view(Some(pod), &all, |view| {
            node::resize(view, pod, seen, memory, self.now)
        });
        let only = |step| Plan {
            stages: vec![vec![step]],
            ..Plan::default()
        };
        let (plan, is_allotted) = match verdict {
            ResizeVerdict::Granted => {
                memory.resize = None;
                (plan, false)
            }
            ResizeVerdict::Waits => (plan, false),
            ResizeVerdict::Begins(save) => (only(save), false),
            ResizeVerdict::Allotted(save) => {
                memory.resize = None;
                assert!(self.has_room(pod), "{} gets more than there is", pod.name);
                (only(save), true)
            }
            // It is asked about again in each turn, which is sooner than the loop does it.
            ResizeVerdict::Pending(pending, _) => {
                memory.resize = Some(pending);
                (plan, false)
            }
        };
        Resized { plan, is_allotted }
    }

    /// Whether the pod has room for what it asks for, and the label that it requires.
    pub(super) fn fits(&self, pod: &Pod) -> bool {
        self.has_room(pod) && (pod.placement.selector.is_empty() || self.node.labels == Labels::With)
    }

    /// Whether it has room beside the other one.
    pub(super) fn has_room(&self, pod: &Pod) -> bool {
        let other = self.node.other.as_ref();
        request(pod) + other.map_or(0, |other| request(&other.pod)) <= ROOM
    }

    /// What the admitted pods of other names take: of the story's pod, what it was allotted.
    fn taken_beside(&self, pod: &Pod, desired: Option<&Pod>) -> i64 {
        if pod.name == sample::name() {
            let other = self.node.other.as_ref();
            return other.map_or(0, |other| request(&other.pod));
        }
        let admitted = desired.filter(|own| !self.is_rejected(own)).cloned();
        admitted.map_or(0, |own| {
            let seen = self.observed.uids.get(&own.uid);
            let allocation = seen.and_then(|seen| seen.allocation.as_deref());
            request(&allocation::allotted(&Arc::new(own), allocation))
        })
    }

    /// What gets a sandbox was admitted.
    pub(super) fn may_run(&self, pod: &Pod) {
        let memory = self.memory.as_ref().filter(|memory| memory.uid == pod.uid);
        let is_refused = memory.is_some_and(|memory| memory.ended.is_some());
        assert!(
            !is_refused && !self.is_deferred(),
            "{} was not admitted: {memory:?}",
            pod.name
        );
    }

    /// Whether the node has rejected the pod.
    pub(super) fn is_rejected(&self, pod: &Pod) -> bool {
        let memory = self.memory.as_ref().filter(|memory| memory.uid == pod.uid);
        let ended = memory.and_then(|memory| memory.ended.as_ref());
        ended.is_some_and(|ended| ended.is_refusal())
    }

    fn memory_of_all(&self) -> Memory {
        let own = self.memory.clone();
        let mut memory = Memory::default();
        memory.pods.extend(own.map(|own| (sample::name(), Arc::new(own))));
        memory
    }

    fn with_view<T>(
        &self,
        desired: Option<&Pod>,
        memory: &Memory,
        work: impl FnOnce(NodeView<'_>) -> T,
    ) -> T {
        let (mut files, mut from_api) = (SourceSet::default(), SourceSet::default());
        let mut snapshot = Snapshot {
            listed: true,
            ..Snapshot::default()
        };
        if let Some(pod) = desired {
            let set = match pod.source {
                Source::Api => &mut from_api,
                Source::File { .. } => &mut files,
            };
            set.pods.insert(pod.name.clone(), Arc::new(pod.clone()));
        }
        if !self.observed.uids.is_empty() {
            let observed = Arc::new(self.observed.clone());
            snapshot.pods.insert(sample::name(), observed);
        }
        if let Some(Other { pod, runs }) = &self.node.other {
            from_api.pods.insert(pod.name.clone(), pod.clone());
            if *runs {
                let mut observed = sample::observed(vec![sample::sandbox(0, true, 0)], Vec::new());
                let seen = observed.uids.remove(&sample::uid("u1")).unwrap();
                let uids = [(pod.uid.clone(), seen)].into();
                snapshot
                    .pods
                    .insert(pod.name.clone(), Arc::new(ObservedName { uids }));
            }
        }
        let desired = Desired {
            files: Some(Arc::new(files)),
            api: Some(Arc::new(from_api)),
            ..Desired::default()
        };
        work(NodeView {
            desired: &desired,
            snapshot: &snapshot,
            memory,
            decisions: &self.node.decisions,
            node: &self.node.api_node(),
            shutting_down: self.node.shutting_down,
            measured: &Default::default(),
            pods_use: &Default::default(),
            limits: &self.node.limits,
            provided: None,
            policy: &self.policy,
        })
    }
}
