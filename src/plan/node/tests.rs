//! The node as a whole: tables of verdicts, and random days of a node with too little room.

mod evict;
mod preempt;
mod resize;
mod images;
mod shutdown;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::model::allocation::Allocation;
use crate::model::end::End;
use crate::model::pod::{Deletion, Provenance, RestartPolicy, Source, SourceSet};
use crate::model::resources::{Amounts, MilliCpu, Qos, Resources};
use crate::model::sample::{self, at};

/// A node of two cores for at most four pods.
struct Node {
    desired: Desired,
    snapshot: Snapshot,
    memory: Memory,
    decisions: NodeDecisions,
    node: ApiNode,
    shutting_down: Option<Timestamp>,
    measured: Measured,
    pods_use: PodsUse,
    limits: NodeLimits,
    provided: Option<Provided>,
    policy: NodePolicy,
    now: Timestamp,
}

fn cpu(milli: i64) -> Amounts {
    Amounts {
        cpu: Some(MilliCpu(milli)),
        ..Amounts::default()
    }
}

fn pod(name: &str, milli: i64) -> Pod {
    let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]).with_resources(&[Resources {
        requests: cpu(milli),
        limits: Amounts::default(),
    }]);
    pod.name = PodName::new("ns", name);
    pod.uid = sample::uid(&format!("uid-{name}"));
    pod
}

fn of_file(pod: Pod) -> Pod {
    let source = Source::File {
        path: "/etc/kubernetes/manifests/p.yaml".into(),
        document: 1,
    };
    Pod { source, ..pod }
}

fn elsewhere(mut pod: Pod) -> Pod {
    pod.placement.selector = [("disk".to_owned(), "ssd".to_owned())].into();
    pod
}

impl Node {
    fn new() -> Node {
        let mut policy = sample::policy();
        policy.cgroup.per_qos = true;
        Node {
            desired: Desired {
                files: Some(Arc::default()),
                api: Some(Arc::default()),
                ..Desired::default()
            },
            snapshot: Snapshot {
                listed: true,
                ..Snapshot::default()
            },
            memory: Memory::default(),
            decisions: NodeDecisions::default(),
            node: ApiNode::Present(Arc::default()),
            shutting_down: None,
            measured: Measured::default(),
            pods_use: PodsUse::default(),
            limits: NodeLimits {
                allocatable: cpu(2000),
                capacity: cpu(2000),
                max_pods: 4,
                ..NodeLimits::default()
            },
            provided: None,
            policy,
            now: at(0),
        }
    }

    fn set(&mut self, pod: &Pod) -> &mut SourceSet {
        let set = match pod.source {
            Source::Api => &mut self.desired.api,
            Source::File { .. } => &mut self.desired.files,
        };
        Arc::make_mut(set.as_mut().unwrap())
    }

    fn wants(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        self.set(&pod).pods.insert(pod.name.clone(), pod.clone());
    }

    fn gone(&mut self, pod: &Pod) {
        self.set(pod).pods.remove(&pod.name);
        self.snapshot.pods.remove(&pod.name);
        self.memory.pods.remove(&pod.name);
    }

    /// The pod has a sandbox.
    fn runs(&mut self, pod: &Pod) {
        let sandbox = sample::sandbox(0, true, 0);
        let mut observed = sample::observed(vec![sandbox], Vec::new());
        let seen = observed.uids.remove(&sample::uid("u1")).unwrap();
        observed.uids.insert(pod.uid.clone(), seen);
        self.snapshot.pods.insert(pod.name.clone(), Arc::new(observed));
    }

    fn view(&self) -> NodeView<'_> {
        NodeView {
            desired: &self.desired,
            snapshot: &self.snapshot,
            memory: &self.memory,
            decisions: &self.decisions,
            node: &self.node,
            shutting_down: self.shutting_down,
            measured: &self.measured,
            pods_use: &self.pods_use,
            limits: &self.limits,
            provided: self.provided.as_ref(),
            policy: &self.policy,
        }
    }

    /// Plans and applies, as the loop does; what was decided of whom.
    fn turn(&mut self) -> BTreeMap<String, Verdict> {
        let plan = plan(self.view(), self.now);
        let verdicts = plan.verdicts.expect("the runtime is listed");
        for (_, Preemption { victims, .. }) in verdicts.preemptions() {
            end_for_critical(victims, &self.snapshot, &mut self.memory, self.now);
        }
        let verdicts = verdicts.new;
        let decided = verdicts
            .iter()
            .map(|(pod, verdict)| (pod.name.name.clone(), verdict.clone()));
        let decided = decided.collect();
        let admitted = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == Verdict::Admitted);
        let admitted: Vec<_> = admitted.map(|(pod, _)| pod.clone()).collect();
        apply(verdicts, &mut self.decisions, &mut self.memory, self.now);
        for pod in admitted {
            // The plan of the pod begins to remember it.
            let memory = PodMemory::new(pod.uid.clone(), self.now);
            self.memory.pods.insert(pod.name.clone(), Arc::new(memory));
        }
        decided
    }

    fn check(&mut self, expected: Expect) {
        let lines = self.turn().into_iter().map(|(name, verdict)| match verdict {
            Verdict::Admitted => format!("{name}: admitted\n"),
            Verdict::Deferred(since) => format!("{name}: deferred since {since}\n"),
            Verdict::Waits(Preemption { victims, lacking }) => {
                let victims: Vec<_> = victims.iter().map(|pod| pod.name.name.as_str()).collect();
                format!("{name}: waits for {lacking}, instead of {victims:?}\n")
            }
            Verdict::Rejected(refusal) => format!("{name}: {}\n", refusal.reason),
        });
        expected.assert_eq(&lines.collect::<String>());
    }
}

#[test]
fn pods_are_admitted_in_the_order_of_their_names_while_there_is_room() {
    let mut node = Node::new();
    for (name, milli) in [("a", 900), ("b", 1200), ("c", 600)] {
        node.wants(pod(name, milli));
    }
    node.check(expect![[r#"
        a: admitted
        b: OutOfcpu
        c: admitted
    "#]]);
    // A rejected API pod has failed for good, also when there is room.
    node.gone(&pod("a", 900));
    node.check(expect![[""]]);
    let ended = node.memory.pods[&PodName::new("ns", "b")].ended.clone();
    assert!(matches!(ended, Some(End::Refused { ref reason, .. }) if reason == "OutOfcpu"));
}

#[test]
fn what_runs_comes_before_what_sorts_first() {
    let mut node = Node::new();
    let running = pod("z", 1500);
    node.wants(running.clone());
    node.runs(&running);
    node.wants(pod("a", 1000));
    node.check(expect![[r#"
        a: OutOfcpu
    "#]]);
}

#[test]
fn a_rejected_static_pod_is_admitted_when_there_is_room() {
    let mut node = Node::new();
    let other = of_file(pod("a", 1500));
    node.wants(other.clone());
    node.wants(of_file(pod("b", 1000)));
    node.check(expect![[r#"
        a: admitted
        b: UnexpectedAdmissionError
    "#]]);
    assert_eq!(node.decisions.rejected.len(), 1);
    node.gone(&other);
    node.check(expect![[r#"
        b: admitted
    "#]]);
    assert!(node.decisions.rejected.is_empty());
    node.check(expect![[""]]);
}

#[test]
fn a_rejected_pod_remembers_who_was_there_before_until_that_is_removed() {
    let mut node = Node::new();
    let first = pod("b", 500);
    node.wants(first.clone());
    node.turn();
    node.wants(pod("a", 1800));
    node.runs(&pod("a", 1800));
    let second = Pod {
        uid: sample::uid("uid-second"),
        ..first.clone()
    };
    node.wants(second.clone());
    let former = |node: &Node| node.memory.pods[&first.name].former.clone();
    node.check(expect![[r#"
        b: OutOfcpu
    "#]]);
    assert_eq!(former(&node), Some(first.uid.clone()));
    // One after the other is rejected: the first one is still to be removed.
    node.wants(Pod {
        uid: sample::uid("uid-third"),
        ..second
    });
    node.turn();
    assert_eq!(former(&node), Some(first.uid.clone()));
}

#[test]
fn a_pod_that_runs_after_all_still_remembers_who_was_there_before() {
    let mut node = Node::new();
    let other = of_file(pod("a", 1800));
    let first = of_file(pod("b", 500));
    let second = Pod {
        uid: sample::uid("uid-second"),
        ..first.clone()
    };
    node.wants(second.clone());
    let remember = |node: &mut Node, memory: PodMemory| {
        node.memory.pods.insert(first.name.clone(), Arc::new(memory));
    };
    // The first one is the only one with remains, and the second one is not ended.
    let check = |node: &Node| {
        let memory = &node.memory.pods[&first.name];
        let remaining: Vec<_> = memory.remaining().collect();
        assert_eq!((remaining, &memory.ended), (vec![&first.uid], &None));
    };
    // The first one is not removed yet, or that has failed, for which it has a memory of its own again.
    for has_failed in [false, true] {
        node.wants(other.clone());
        node.runs(&other);
        remember(&mut node, PodMemory::new(first.uid.clone(), at(0)));
        node.check(expect![[r#"
            b: UnexpectedAdmissionError
        "#]]);
        if has_failed {
            remember(&mut node, PodMemory::new(first.uid.clone(), at(0)));
        }
        node.gone(&other);
        let verdicts = plan(node.view(), node.now).verdicts.unwrap().new;
        assert_eq!(verdicts.last().unwrap().1, Verdict::Admitted);
        apply(verdicts, &mut node.decisions, &mut node.memory, node.now);
        check(&node);
    }
    // The second one was ended by a shutdown that did not take place.
    let ended = PodMemory {
        ended: Some(End::Shutdown),
        former: Some(first.uid.clone()),
        ..PodMemory::new(second.uid.clone(), at(0))
    };
    remember(&mut node, ended);
    assert_eq!(
        resume(&node.desired, &mut node.memory),
        std::slice::from_ref(&second.name)
    );
    check(&node);
}

#[test]
fn a_pod_that_is_deleted_takes_room_and_is_not_rejected() {
    let mut node = Node::new();
    let mut leaving = pod("a", 1500);
    leaving.deletion = Some(Deletion {
        asked: at(0),
        grace: std::time::Duration::from_secs(1),
    });
    node.wants(leaving.clone());
    node.wants(pod("b", 1000));
    node.check(expect![[r#"
        b: OutOfcpu
    "#]]);
    let mut memory = PodMemory::new(leaving.uid.clone(), node.now);
    memory.remains = Remains::Nothing;
    node.memory.pods.insert(leaving.name.clone(), Arc::new(memory));
    node.wants(pod("c", 1000));
    node.check(expect![[r#"
        c: admitted
    "#]]);
}

#[test]
fn admission_by_labels_is_deferred_for_a_second() {
    let mut node = Node::new();
    node.wants(elsewhere(pod("a", 1)));
    node.check(expect![[r#"
        a: deferred since 2027-01-15T08:00:00Z
    "#]]);
    assert_eq!(plan(node.view(), node.now).wake_at, Some(at(1)));
    // Each turn before has the same answer.
    node.check(expect![[r#"
        a: deferred since 2027-01-15T08:00:00Z
    "#]]);
    node.now = at(1);
    node.check(expect![[r#"
        a: NodeAffinity
    "#]]);
    assert!(node.decisions.deferred.is_empty());

    // The labels come in time.
    let mut node = Node::new();
    node.wants(elsewhere(pod("a", 1)));
    node.turn();
    let mut labelled = k8s_openapi::api::core::v1::Node::default();
    labelled.metadata.labels = Some([("disk".to_owned(), "ssd".to_owned())].into());
    node.node = ApiNode::Present(Arc::new(labelled));
    node.check(expect![[r#"
        a: admitted
    "#]]);

    // A static pod is rejected at once.
    let mut node = Node::new();
    node.wants(of_file(elsewhere(pod("a", 1))));
    node.check(expect![[r#"
        a: NodeAffinity
    "#]]);
}

#[test]
fn while_the_labels_are_unknown_admission_by_labels_stays_deferred() {
    let mut node = Node::new();
    node.node = ApiNode::Unknown;
    node.wants(elsewhere(pod("a", 1)));
    node.turn();
    node.now = at(3600);
    node.check(expect![[r#"
        a: deferred since 2027-01-15T08:00:00Z
    "#]]);
    assert_eq!(plan(node.view(), node.now).wake_at, None);
    // A pod from a checkpoint has run here before.
    Arc::make_mut(node.desired.api.as_mut().unwrap()).provenance = Provenance::Checkpoint;
    node.check(expect![[r#"
        a: admitted
    "#]]);
}

#[test]
fn before_the_runtime_is_listed_nothing_is_decided_but_the_qos_cgroups() {
    let mut node = Node::new();
    node.snapshot.listed = false;
    node.wants(pod("a", 100));
    let plan = plan(node.view(), node.now);
    assert!(plan.verdicts.is_none() && plan.cgroups.qos.len() == 3);
}

#[test]
fn qos_cgroups_count_what_pods_were_allotted_and_no_pod_without_room() {
    let shares = |node: &Node| {
        let burstable = &plan(node.view(), node.now).cgroups.qos[1];
        burstable.cpu_shares.unwrap()
    };
    let burstable = |name: &str, milli| Pod {
        qos: Qos::Burstable,
        ..pod(name, milli)
    };
    let mut node = Node::new();
    let (a, big) = (burstable("a", 500), of_file(burstable("b", 1000)));
    node.wants(a.clone());
    node.wants(big.clone());
    assert_eq!(shares(&node), 1536);
    // One that has asked for more counts with what it has.
    node.turn();
    node.decisions
        .allotting
        .insert(a.name.clone(), Arc::new(burstable("a", 1000)));
    assert_eq!(shares(&node), 2048);
    // A static pod that is rejected does not count.
    node.wants(of_file(burstable("c", 1500)));
    assert_eq!(shares(&node), 2048);
    // One that has ended does not.
    let memory = node.memory.pods.get_mut(&a.name).unwrap();
    Arc::make_mut(memory).remains = Remains::Nothing;
    assert_eq!(shares(&node), 1024);
}

#[test]
fn a_resize_is_allotted_when_there_is_room_and_else_deferred() {
    let mut node = Node::new();
    let (small, other) = (pod("a", 500), pod("b", 1000));
    for pod in [&small, &other] {
        node.wants(pod.clone());
        node.runs(pod);
    }
    let memory = PodMemory::new(small.uid.clone(), node.now);
    let ask = |node: &Node, milli: i64, allocation: Option<Allocation>| {
        let wanted = pod("a", milli);
        let mut seen = node.snapshot.pods[&small.name].uids[&small.uid].clone();
        seen.allocation = allocation.map(Arc::new);
        match resize(node.view(), &wanted, Some(&seen), &memory, node.now) {
            ResizeVerdict::Granted => "granted".to_owned(),
            ResizeVerdict::Waits => "waits".to_owned(),
            ResizeVerdict::Begins(_) => "begins".to_owned(),
            ResizeVerdict::Allotted(_) => "allotted".to_owned(),
            ResizeVerdict::Pending(pending, retry) => {
                format!("{:?} {}, again {retry:?}", pending.outlook, pending.reason)
            }
        }
    };
    let has = || Some(Allocation::of(&small));
    assert_eq!(ask(&node, 500, None), "begins");
    assert_eq!(ask(&node, 500, has()), "granted");
    assert_eq!(ask(&node, 1000, has()), "allotted");
    assert_eq!(
        ask(&node, 1001, has()),
        "Deferred OutOfcpu, again Some(2027-01-15T08:03:00Z)"
    );
    // While another one is allotted more than the snapshot shows, there is less room.
    node.decisions
        .allotting
        .insert(other.name.clone(), Arc::new(pod("b", 1400)));
    assert_eq!(
        ask(&node, 1000, has()),
        "Deferred OutOfcpu, again Some(2027-01-15T08:03:00Z)"
    );
}

/// What happens on a node.
#[derive(Debug, Clone)]
enum Event {
    Wanted(usize),
    Gone(usize),
    Starts(usize),
    Ends(usize),
    AgentRestarts,
    Turn,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Event::Wanted),
        2 => (0..6_usize).prop_map(Event::Gone),
        4 => (0..6_usize).prop_map(Event::Starts),
        1 => (0..6_usize).prop_map(Event::Ends),
        1 => Just(Event::AgentRestarts),
        4 => Just(Event::Turn),
    ]
}

/// Whether the node runs the pod, or is about to.
fn is_live(node: &Node, pod: &Pod) -> bool {
    match node.memory.pods.get(&pod.name) {
        Some(memory) => memory.ended.is_none() && memory.remains == Remains::Everything,
        None => node.snapshot.pods.contains_key(&pod.name),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_node_never_overcommits_never_ends_what_runs_and_comes_to_rest(
        sizes in proptest::collection::vec(1..1500_i64, 6),
        events in proptest::collection::vec(event(), 0..40),
    ) {
        let mut node = Node::new();
        let pods: Vec<Pod> = sizes.iter().enumerate().map(|(i, milli)| pod(&format!("p{i}"), *milli)).collect();
        for event in events.into_iter().chain([Event::Turn]) {
            match event {
                Event::Wanted(which) => node.wants(pods[which].clone()),
                Event::Gone(which) => node.gone(&pods[which]),
                // Only what was admitted and has not ended comes to a sandbox.
                Event::Starts(which) if is_live(&node, &pods[which]) => node.runs(&pods[which]),
                Event::Ends(which) => {
                    if let Some(memory) = node.memory.pods.get_mut(&pods[which].name) {
                        Arc::make_mut(memory).remains = Remains::Nothing;
                        node.snapshot.pods.remove(&pods[which].name);
                    }
                }
                Event::Starts(_) => {}
                Event::AgentRestarts => {
                    // What has ended or failed is not run again, by its status in the API; the rest is known by its sandboxes.
                    node.memory.pods.retain(|_, memory| memory.ended.is_some() || memory.remains != Remains::Everything);
                    node.decisions = NodeDecisions::default();
                    node.snapshot.pods.retain(|name, _| node.desired.get(name).is_some());
                }
                Event::Turn => {
                    let ran: Vec<_> = pods.iter().filter(|pod| node.snapshot.pods.contains_key(&pod.name)).collect();
                    let ran: Vec<_> = ran.into_iter().filter(|pod| is_live(&node, pod)).collect();
                    let decided = node.turn();
                    for pod in ran {
                        prop_assert!(!matches!(decided.get(&pod.name.name), Some(Verdict::Rejected(_))), "{}", pod.name);
                    }
                    let wanted = pods.iter().filter(|pod| node.desired.get(&pod.name).is_some());
                    let live: Vec<i64> = wanted.filter(|pod| is_live(&node, pod)).map(|pod| {
                        crate::model::amounts::pod_requests(pod, crate::model::amounts::Overhead::With).cpu_or_zero()
                    }).collect();
                    prop_assert!(live.iter().sum::<i64>() <= 2000 && live.len() <= 4, "{live:?}");
                    // Decided once, it is at rest.
                    prop_assert_eq!(node.turn(), BTreeMap::new());
                }
            }
        }
    }
}
