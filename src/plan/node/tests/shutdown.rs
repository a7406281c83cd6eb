//! Shutdowns of the machine: tables of one, and random ones with pods that take their time, agents that are killed, and
//! shutdowns that are cancelled.

use std::time::Duration;

use super::*;
use crate::model::checkpoint::Checkpoint;
use crate::model::runtime::ObservedPod;
use crate::model::shutdown::{ShutdownGroup, ShutdownPeriods, ShutdownStage};

const CRITICAL: i32 = 2_000_000_000;

impl Node {
    /// A pod that runs, of the API unless it is of a file.
    fn has(&mut self, pod: Pod, priority: i32, grace: u64) {
        let pod = Pod {
            priority: Some(priority),
            grace: Duration::from_secs(grace),
            ..pod
        };
        self.wants(pod.clone());
        self.runs(&pod);
    }

    pub(super) fn observed(&mut self, pod: &str) -> &mut ObservedPod {
        let name = PodName::new("ns", pod);
        let observed = Arc::make_mut(self.snapshot.pods.get_mut(&name).unwrap());
        observed.uids.values_mut().next().unwrap()
    }

    /// The end of a pod is done with.
    pub(super) fn ends(&mut self, pod: &str) {
        for sandbox in &mut self.observed(pod).sandboxes {
            sandbox.ready = false;
        }
        // An agent that was killed has to see for itself.
        if let Some(memory) = self.memory.pods.get_mut(&PodName::new("ns", pod)) {
            Arc::make_mut(memory).remains = Remains::Containers;
        }
    }

    /// Plans the shutdown and carries it out, as the loop does.
    fn shuts_down(&mut self) -> ShutdownPlan {
        let plan = plan(self.view(), self.now);
        let shutdown = plan.shutdown.expect("the machine is shutting down");
        for (pod, by) in &shutdown.due {
            end(
                pod,
                End::Shutdown,
                Some(*by),
                &self.snapshot,
                &mut self.memory,
                self.now,
            );
        }
        self.decisions.shutdown = Some(shutdown.shutdown.clone());
        shutdown
    }

    fn check_shutdown(&mut self, now: i64, expected: Expect) {
        self.now = at(now);
        let shutdown = self.shuts_down();
        let due = shutdown.due.iter();
        let due =
            due.map(|(pod, by)| format!("{} within {} s\n", pod.name.name, (*by - self.now).get_seconds()));
        let text = format!("{}\n", shutdown.progress.at(self.now));
        expected.assert_eq(&(due.collect::<String>() + &text));
        assert_eq!(shutdown.progress.is_over(), shutdown.wake_at.is_none());
    }
}

#[test]
fn normal_pods_end_first_and_then_critical_ones_each_within_its_grace_period_or_the_groups() {
    let mut node = Node::new();
    node.has(pod("a", 1), 0, 5);
    node.has(of_file(pod("b", 1)), -10, 3600);
    node.has(of_file(pod("c", 1)), CRITICAL, 7);
    node.has(pod("d", 1), CRITICAL + 1000, 90);
    assert!(plan(node.view(), node.now).shutdown.is_none());
    node.shutting_down = Some(at(0));
    node.check_shutdown(
        0,
        expect![[r#"
            b within 20 s
            a within 5 s
            Shutting down: 0 of 4 pods have ended, 20 s left (priority 0)
        "#]],
    );
    node.ends("a");
    node.check_shutdown(
        4,
        expect![[r#"
            Shutting down: 1 of 4 pods have ended, 16 s left (priority 0)
        "#]],
    );
    node.ends("b");
    node.check_shutdown(
        6,
        expect![[r#"
            c within 7 s
            d within 10 s
            Shutting down: 2 of 4 pods have ended, 10 s left (priority 2000000000)
        "#]],
    );
    node.ends("c");
    // The last one does not end in time.
    node.check_shutdown(
        16,
        expect![[r#"
            Shutting down: 3 of 4 pods have ended
        "#]],
    );
    node.ends("d");
    node.check_shutdown(
        17,
        expect![[r#"
            Shutting down: 4 of 4 pods have ended
        "#]],
    );
}

#[test]
fn a_group_without_pods_takes_no_time_and_one_whose_time_is_over_is_not_waited_for() {
    let mut node = Node::new();
    node.policy.shutdown =
        ShutdownPeriods::new([(0, 20), (10, 30), (20, 0), (30, 5)].map(|(priority, seconds)| {
            ShutdownGroup {
                priority,
                period: Duration::from_secs(seconds),
            }
        }));
    node.has(pod("a", 1), 15, 60);
    node.has(pod("b", 1), 20, 60);
    node.has(pod("c", 1), 30, 60);
    node.shutting_down = Some(at(0));
    node.check_shutdown(
        0,
        expect![[r#"
            a within 30 s
            Shutting down: 0 of 3 pods have ended, 30 s left (priority 10)
        "#]],
    );
    // It gets no time at all.
    node.check_shutdown(
        30,
        expect![[r#"
            b within 0 s
            c within 5 s
            Shutting down: 0 of 3 pods have ended, 5 s left (priority 30)
        "#]],
    );
    let mut empty = Node::new();
    empty.shutting_down = Some(at(0));
    empty.check_shutdown(
        0,
        expect![[r#"
            Shutting down: 0 of 0 pods have ended
        "#]],
    );
}

#[test]
fn new_pods_are_rejected_and_static_ones_admitted_when_it_is_over() {
    let mut node = Node::new();
    node.shutting_down = Some(at(0));
    node.wants(pod("a", 1));
    node.wants(of_file(pod("b", 1)));
    node.check(expect![[r#"
        a: NodeShutdown
        b: NodeShutdown
    "#]]);
    assert_eq!(node.shuts_down().progress.pods, 0);
    node.shutting_down = None;
    node.check(expect![[r#"
        b: admitted
    "#]]);
}

#[test]
fn what_is_ended_already_is_waited_for_and_what_has_ended_is_not() {
    let mut node = Node::new();
    for name in ["done", "deleted", "failing", "gone", "held", "succeeded"] {
        node.has(pod(name, 1), 0, 30);
    }
    // Its objects are still there, and nothing of it runs.
    node.turn();
    let remember = |node: &mut Node, name: &str, change: &dyn Fn(&mut PodMemory)| {
        let of = pod(name, 1);
        let mut memory = PodMemory::new(of.uid.clone(), node.now);
        change(&mut memory);
        node.memory.pods.insert(of.name, Arc::new(memory));
    };
    remember(&mut node, "done", &|memory| memory.ended = Some(End::Deadline));
    node.observed("done").sandboxes.clear();
    remember(&mut node, "failing", &|memory| memory.ended = Some(End::Deadline));
    let mut deleted = pod("deleted", 1);
    deleted.grace = Duration::from_secs(30);
    deleted.deletion = Some(Deletion {
        asked: at(0),
        grace: Duration::from_secs(9),
    });
    node.wants(deleted);
    // No source wants it.
    let set = Arc::make_mut(node.desired.api.as_mut().unwrap());
    set.pods.remove(&PodName::new("ns", "gone"));
    // Another agent may have started it.
    set.pods.remove(&PodName::new("ns", "held"));
    set.unsupported
        .insert(PodName::new("ns", "held"), sample::uid("uid-held"));
    let mut succeeded = pod("succeeded", 1);
    succeeded.restart_policy = RestartPolicy::Never;
    succeeded.containers[0].restart = RestartPolicy::Never;
    node.wants(succeeded);
    let exited = sample::instance("c", 0, 0, sample::exited(0, 0, 0));
    node.observed("succeeded").containers = vec![exited];
    node.shutting_down = Some(at(0));
    node.check_shutdown(
        0,
        expect![[r#"
            deleted within 9 s
            Shutting down: 0 of 4 pods have ended, 20 s left (priority 0)
        "#]],
    );
    assert_eq!(
        node.memory.pods[&PodName::new("ns", "failing")].ended,
        Some(End::Deadline)
    );
}

#[test]
fn while_the_runtime_does_not_answer_the_machine_waits_for_all_groups_together_and_no_longer() {
    let mut node = Node::new();
    node.has(pod("a", 1), 0, 5);
    node.snapshot.listed = false;
    node.shutting_down = Some(at(0));
    let stage = |node: &mut Node, now| {
        node.now = at(now);
        node.shuts_down().progress.stage
    };
    let waits = ShutdownStage::Group {
        priority: 0,
        until: at(30),
    };
    assert_eq!(stage(&mut node, 0), waits);
    assert_eq!(stage(&mut node, 29), waits);
    node.now = at(30);
    node.desired.api = None;
    node.snapshot.pods.clear();
    assert_eq!(stage(&mut node, 30), ShutdownStage::Over);
}

/// A pod of a random shutdown.
#[derive(Debug, Clone)]
struct Member {
    is_static: bool,
    priority: i32,
    grace: u64,
    /// How long its end takes, if it gets that long.
    takes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Passes(u64),
    AgentIsKilled,
    IsCancelled,
}

fn member() -> impl Strategy<Value = Member> {
    let priorities = prop_oneof![
        Just(-5),
        Just(0),
        Just(999),
        Just(1000),
        Just(5000),
        Just(CRITICAL)
    ];
    (any::<bool>(), priorities, 0..40u64, 0..50u64).prop_map(|(is_static, priority, grace, takes)| Member {
        is_static,
        priority,
        grace,
        takes,
    })
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => (1..15u64).prop_map(Happens::Passes),
        1 => Just(Happens::AgentIsKilled),
        1 => Just(Happens::IsCancelled),
    ]
}

fn periods() -> impl Strategy<Value = ShutdownPeriods> {
    let group = (prop_oneof![Just(0), Just(1000), Just(CRITICAL)], 0..30u64);
    prop::collection::btree_map(group.0, group.1, 1..4).prop_map(|groups| {
        ShutdownPeriods::new(groups.into_iter().map(|(priority, seconds)| ShutdownGroup {
            priority,
            period: Duration::from_secs(seconds),
        }))
    })
}

/// When each pod that is being ended will have ended.
type Ending = BTreeMap<String, Timestamp>;

/// One turn of the loop; what of its plan has to hold in each.
fn turn(
    node: &mut Node,
    members: &BTreeMap<String, Member>,
    ending: &mut Ending,
    killed: bool,
) -> ShutdownPlan {
    let done: Vec<_> = ending
        .iter()
        .filter(|(_, at)| **at <= node.now)
        .map(|(name, _)| name.clone())
        .collect();
    for name in done {
        ending.remove(&name);
        node.ends(&name);
    }
    let shutdown = node.shuts_down();
    let periods = node.policy.shutdown.clone();
    for (pod, by) in &shutdown.due {
        let member = &members[&pod.name.name];
        let group = &periods.groups()[periods.group_of(member.priority)];
        let longest = group.period.min(Duration::from_secs(member.grace));
        assert_eq!(*by, node.now + longest, "{pod:?}");
        assert!(killed || !ending.contains_key(&pod.name.name), "it ends twice");
        let end = (node.now + Duration::from_secs(member.takes)).min(*by);
        ending.entry(pod.name.name.clone()).or_insert(end);
        // The end of an API pod is on disk before anything is stopped.
        let ended = (!member.is_static).then_some(End::Shutdown);
        node.observed(&pod.name.name).checkpoint = Some(Arc::new(Checkpoint {
            ended,
            leaving: member.is_static,
            ..Checkpoint::default()
        }));
    }
    shutdown
}

proptest! {
    #[test]
    fn whatever_happens_every_pod_has_its_time_and_nothing_is_lost(
        members in prop::collection::vec(member(), 0..8),
        periods in periods(),
        events in prop::collection::vec(happens(), 0..20),
    ) {
        let mut node = Node::new();
        node.policy.shutdown = periods.clone();
        let members: BTreeMap<String, Member> = members
            .into_iter()
            .enumerate()
            .map(|(index, member)| (format!("p{index}"), member))
            .collect();
        for (name, member) in &members {
            let of = pod(name, 1);
            let of = if member.is_static { of_file(of) } else { of };
            node.has(of, member.priority, member.grace);
        }
        node.shutting_down = Some(at(0));
        let (mut ending, mut killed, mut cancelled, mut last_kill) = (Ending::new(), false, false, at(0));
        let (mut due, mut groups) = (BTreeMap::new(), Vec::new());
        let mut events = events.into_iter();
        loop {
            let shutdown = turn(&mut node, &members, &mut ending, killed);
            for (of, _) in &shutdown.due {
                let group = periods.group_of(members[&of.name.name].priority);
                due.entry(of.name.name.clone()).or_insert((group, node.now));
                groups.push(group);
            }
            prop_assert!(killed || groups.is_sorted(), "a group ends before one of lower priority: {groups:?}");
            if shutdown.progress.is_over() {
                break;
            }
            let wake_at = shutdown.wake_at.expect("it goes on by itself");
            prop_assert!(wake_at > node.now);
            match events.next() {
                Some(Happens::Passes(seconds)) => {
                    let next = node.now + Duration::from_secs(seconds);
                    let next_end = ending.values().copied().filter(|end| *end > node.now).min();
                    node.now = [Some(next), Some(wake_at), next_end].into_iter().flatten().min().unwrap();
                }
                Some(Happens::AgentIsKilled) => {
                    killed = true;
                    last_kill = node.now;
                    node.memory = Memory::default();
                    node.decisions = NodeDecisions::default();
                }
                Some(Happens::IsCancelled) => {
                    cancelled = true;
                    break;
                }
                None => {
                    let next_end = ending.values().copied().filter(|end| *end > node.now).min();
                    node.now = next_end.map_or(wake_at, |end| end.min(wake_at));
                }
            }
        }
        // It takes no longer than all groups, counted from the last time that the agent had to begin anew.
        prop_assert!(node.now <= last_kill + periods.total());
        prop_assert!(cancelled || due.len() == members.len(), "some pod was not ended: {due:?}");

        node.shutting_down = None;
        node.decisions.shutdown = None;
        let resumed = resume(&node.desired, &mut node.memory);
        for (name, member) in &members {
            let name = PodName::new("ns", name);
            let ended = node.memory.pods.get(&name).and_then(|memory| memory.ended.clone());
            match due.contains_key(&name.name) && !member.is_static {
                // Also for an agent that is killed now.
                true => {
                    let saved = node.observed(&name.name).checkpoint.clone().unwrap();
                    prop_assert_eq!(saved.ended.clone(), Some(End::Shutdown));
                }
                false => prop_assert_eq!(ended, None, "{} does not run again", name),
            }
            prop_assert!(!resumed.contains(&name) || member.is_static);
        }
        let rejected = node.turn().into_values().filter(|verdict| *verdict != Verdict::Admitted).count();
        prop_assert_eq!(rejected, 0);
    }
}
