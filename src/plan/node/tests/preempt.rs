//! Critical pods that have no room: tables of whom they displace, and random nodes where they come and go, victims take
//! their time, and agents are killed.

use super::*;
use crate::model::checkpoint::Checkpoint;
use crate::model::runtime::ObservedPod;

const CRITICAL: i32 = 2_000_000_000;

fn critical(name: &str, milli: i64) -> Pod {
    Pod {
        priority: Some(CRITICAL),
        ..pod(name, milli)
    }
}

impl Node {
    /// The pod runs with its container.
    fn lives(&mut self, pod: &Pod) {
        self.wants(pod.clone());
        self.starts(pod);
    }

    fn starts(&mut self, pod: &Pod) {
        self.runs(pod);
        let container = sample::instance("c", 0, 1, sample::running(1));
        self.seen(&pod.name).unwrap().containers = vec![container];
    }

    fn seen(&mut self, pod: &PodName) -> Option<&mut ObservedPod> {
        let name = Arc::make_mut(self.snapshot.pods.get_mut(pod)?);
        name.uids.values_mut().next()
    }

    /// Nothing of the pod runs any more.
    fn stops(&mut self, pod: &PodName) {
        let seen = self.seen(pod).unwrap();
        seen.sandboxes[0].ready = false;
        seen.containers[0].state = sample::exited(1, 2, 143);
    }

    /// Why it has ended or ends, as this agent or one before it has decided.
    fn end(&self, pod: &Pod) -> Option<&End> {
        if let Some(memory) = self.memory.pods.get(&pod.name) {
            return memory.ended.as_ref();
        }
        let seen = self.snapshot.pods.get(&pod.name)?.uids.get(&pod.uid)?;
        seen.checkpoint.as_ref()?.ended.as_ref()
    }
}

#[test]
fn a_critical_pod_waits_for_its_victims_and_for_nobody_else_and_then_is_admitted() {
    let mut node = Node::new();
    let [small, large] = [pod("a", 500), pod("b", 1200)];
    node.lives(&small);
    node.lives(&large);
    node.turn();
    let wants = critical("z", 1000);
    node.wants(wants.clone());
    node.check(expect![[r#"
        z: waits for cpu, instead of ["b"]
    "#]]);
    assert_eq!(
        (node.end(&large), node.end(&small)),
        (Some(&End::Preempted), None)
    );
    // It has its whole grace period.
    assert_eq!(node.memory.pods[&large.name].ends_by, Some(at(5)));
    assert!(node.decisions.is_undecided(&wants.name) && node.decisions.awaits_ends());
    // It takes its time. Nobody gets the room that was promised, and one that would fit beside it waits, too.
    node.wants(pod("c", 800));
    node.wants(pod("d", 400));
    node.check(expect![[r#"
        c: OutOfcpu
        d: waits for cpu, instead of []
        z: waits for cpu, instead of []
    "#]]);
    node.stops(&large.name);
    node.check(expect![[r#"
        d: admitted
        z: admitted
    "#]]);
    assert!(!node.decisions.awaits_ends());
    node.check(expect![[""]]);
}

#[test]
fn an_agent_that_is_killed_goes_on_with_what_is_on_disk() {
    let mut node = Node::new();
    let pods = [pod("a", 900), pod("b", 900), critical("z", 1000)];
    node.lives(&pods[0]);
    node.lives(&pods[1]);
    node.wants(pods[2].clone());
    node.check(expect![[r#"
        z: waits for cpu, instead of ["a"]
    "#]]);
    for is_saved in [false, true] {
        node.memory = Memory::default();
        node.decisions = NodeDecisions::default();
        let saved = Checkpoint {
            ended: Some(End::Preempted),
            ..Checkpoint::of(&pods[1])
        };
        // The other one of two equals: what is on disk decides.
        node.seen(&pods[1].name).unwrap().checkpoint = is_saved.then(|| Arc::new(saved));
        node.check(match is_saved {
            false => expect![[r#"
                z: waits for cpu, instead of ["a"]
            "#]],
            true => expect![[r#"
                z: waits for cpu, instead of []
            "#]],
        });
    }
    node.stops(&pods[1].name);
    node.check(expect![[r#"
        z: admitted
    "#]]);
}

#[test]
fn nobody_critical_waits_for_ever_for_one_that_cannot_be_stopped() {
    // Half as long again as the grace period, and at least ten seconds.
    for (grace, until) in [(30, 45), (2, 10), (0, 10), (1 << 62, i64::MAX)] {
        let mut node = Node::new();
        let stuck = Pod {
            grace: std::time::Duration::from_secs(grace),
            ..pod("a", 1500)
        };
        node.lives(&stuck);
        node.wants(critical("z", 1000));
        node.wants(pod("b", 900));
        node.turn();
        if until == i64::MAX {
            assert_eq!(plan(node.view(), node.now).wake_at, Some(Timestamp::MAX));
            continue;
        }
        assert_eq!(plan(node.view(), node.now).wake_at, Some(at(until)), "{grace}");
        node.now = at(until - 1);
        node.check(expect![[r#"
            b: waits for cpu, instead of []
            z: waits for cpu, instead of []
        "#]]);
        node.now = at(until);
        node.check(expect![[r#"
            b: OutOfcpu
            z: admitted
        "#]]);
        assert_eq!(plan(node.view(), node.now).wake_at, None);
    }
}

#[test]
fn a_pod_that_leaves_anyway_makes_room_and_one_without_containers_has_none() {
    let mut node = Node::new();
    let mut leaving = pod("a", 1500);
    leaving.deletion = Some(Deletion {
        asked: at(0),
        grace: std::time::Duration::from_secs(30),
    });
    node.lives(&leaving);
    node.lives(&pod("b", 400));
    node.wants(critical("z", 1000));
    node.check(expect![[r#"
        z: waits for cpu, instead of []
    "#]]);
    node.stops(&leaving.name);
    node.check(expect![[r#"
        z: admitted
    "#]]);
    // Its sandbox is there, but no container yet.
    let mut node = Node::new();
    node.wants(pod("a", 1500));
    node.runs(&pod("a", 1500));
    node.wants(critical("z", 1000));
    node.check(expect![[r#"
        z: waits for cpu, instead of ["a"]
    "#]]);
    node.check(expect![[r#"
        z: admitted
    "#]]);
}

#[test]
fn critical_pods_leave_only_for_those_of_higher_priority() {
    let mut node = Node::new();
    let kept = critical("a", 1500);
    node.lives(&kept);
    node.turn();
    node.wants(critical("y", 1000));
    let verdicts = node.turn();
    let Some(Verdict::Rejected(refusal)) = verdicts.get("y") else {
        panic!("{verdicts:?}");
    };
    assert_eq!(refusal.reason, "UnexpectedAdmissionError");
    let message = "Unexpected error while attempting to recover from admission failure: preemption: error finding a \
                   set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 500), ]";
    assert_eq!(refusal.message, message);
    node.wants(Pod {
        priority: Some(CRITICAL + 1000),
        ..pod("z", 1000)
    });
    node.check(expect![[r#"
        z: waits for cpu, instead of ["a"]
    "#]]);
    node.stops(&kept.name);
    node.check(expect![[r#"
        z: admitted
    "#]]);
}

#[test]
fn a_static_pod_is_critical_and_a_rejected_one_stays_rejected_until_it_has_room() {
    let mut node = Node::new();
    let kept = critical("a", 1500);
    node.lives(&kept);
    node.turn();
    let fixed = of_file(pod("net", 1000));
    node.wants(fixed.clone());
    node.check(expect![[r#"
        net: UnexpectedAdmissionError
    "#]]);
    node.gone(&kept);
    let other = pod("b", 1500);
    node.lives(&other);
    node.check(expect![[r#"
        net: waits for cpu, instead of ["b"]
    "#]]);
    assert!(node.end(&fixed).is_some_and(End::is_refusal));
    assert_eq!(node.decisions.rejected.len(), 1);
    node.stops(&other.name);
    node.check(expect![[r#"
        net: admitted
    "#]]);
    assert_eq!(node.end(&fixed), None);
}

#[test]
fn nobody_ends_for_a_pod_that_does_not_run_all_the_same_or_that_comes_before_a_shutdown() {
    let mut node = Node::new();
    let other = pod("a", 1500);
    node.lives(&other);
    node.turn();
    node.wants(of_file(elsewhere(pod("x", 1000))));
    node.wants(elsewhere(critical("y", 1000)));
    node.check(expect![[r#"
        x: NodeAffinity
        y: deferred since 2027-01-15T08:00:00Z
    "#]]);
    node.shutting_down = Some(at(0));
    node.wants(critical("z", 1000));
    node.check(expect![[r#"
        x: NodeShutdown
        y: NodeShutdown
        z: NodeShutdown
    "#]]);
    assert_eq!(node.end(&other), None);
}

#[test]
fn critical_pods_come_first_so_that_nobody_is_admitted_to_end_at_once() {
    let mut node = Node::new();
    node.wants(pod("a", 1500));
    node.wants(critical("y", 900));
    node.wants(Pod {
        priority: Some(CRITICAL + 1000),
        ..pod("z", 1500)
    });
    node.check(expect![[r#"
        a: OutOfcpu
        y: UnexpectedAdmissionError
        z: admitted
    "#]]);
}

/// What happens on a node.
#[derive(Debug, Clone)]
enum Event {
    Wanted(usize),
    Gone(usize),
    /// What was admitted gets its container.
    Starts(usize),
    /// What ends has ended.
    Stops(usize),
    AgentRestarts,
    Turn,
}

fn event() -> impl Strategy<Value = Event> {
    let which = || 0..7_usize;
    prop_oneof![
        6 => which().prop_map(Event::Wanted),
        1 => which().prop_map(Event::Gone),
        5 => which().prop_map(Event::Starts),
        3 => which().prop_map(Event::Stops),
        1 => Just(Event::AgentRestarts),
        5 => Just(Event::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_node_never_overcommits_and_ends_only_what_is_less_critical_and_never_more_while_they_end(
        sizes in proptest::collection::vec((1..1500_i64, 0..4_i32), 7),
        events in proptest::collection::vec(event(), 0..50),
    ) {
        let mut node = Node::new();
        node.limits.max_pods = 5;
        let pods: Vec<Pod> = sizes.iter().enumerate().map(|(i, (milli, rank))| {
            let priority = Some(if *rank < 2 { *rank } else { CRITICAL + rank });
            Pod { priority, ..pod(&format!("p{i}"), *milli) }
        }).collect();
        for event in events.into_iter().chain([Event::Turn]) {
            match event {
                Event::Wanted(which) => node.wants(pods[which].clone()),
                Event::Gone(which) => node.gone(&pods[which]),
                Event::Starts(which) => {
                    if is_live(&node, &pods[which]) && node.end(&pods[which]).is_none() && !node.snapshot.pods.contains_key(&pods[which].name) {
                        node.starts(&pods[which]);
                    }
                }
                Event::Stops(which) => {
                    if node.end(&pods[which]).is_some() && node.snapshot.pods.contains_key(&pods[which].name) {
                        node.stops(&pods[which].name);
                    }
                }
                Event::AgentRestarts => {
                    // The end is on disk first; what has failed is known by its status.
                    for (name, memory) in node.memory.pods.clone() {
                        let checkpoint = Checkpoint { ended: memory.ended.clone(), ..Checkpoint::default() };
                        match node.seen(&name) {
                            Some(seen) => {
                                seen.checkpoint = Some(Arc::new(checkpoint));
                                node.memory.pods.remove(&name);
                            }
                            None if memory.ended.is_none() => drop(node.memory.pods.remove(&name)),
                            None => {}
                        }
                    }
                    node.decisions = NodeDecisions::default();
                }
                Event::Turn => {
                    let awaited = node.decisions.waiting.clone();
                    let decided = node.turn();
                    for verdict in decided.iter() {
                        let (name, Verdict::Waits(Preemption { victims, .. })) = verdict else { continue };
                        let own = pods.iter().find(|pod| pod.name.name == *name).unwrap();
                        prop_assert!(victims.is_empty() || own.priority >= Some(CRITICAL));
                        for victim in victims {
                            prop_assert!(victim.priority < own.priority, "{name} displaces {}", victim.name);
                            prop_assert_eq!(node.end(victim), Some(&End::Preempted));
                        }
                        // Nobody new has come before it that could have taken what it was promised.
                        let first = awaited.len() == 1 && awaited.keys().all(|of| of.name == *name);
                        let only = decided.len() == 1;
                        prop_assert!(!(first && only) || victims.is_empty(), "{name} displaces once more");
                    }
                    let live = pods.iter().filter(|pod| node.desired.get(&pod.name).is_some());
                    let mut taken: Vec<i64> = Vec::new();
                    for pod in live {
                        let milli = crate::model::amounts::pod_requests(pod, crate::model::amounts::Overhead::With);
                        let runs = node.snapshot.pods.get(&pod.name).is_some_and(|name| {
                            name.uids[&pod.uid].containers.iter().any(|c| c.may_run())
                        });
                        let stays = is_live(&node, pod) && node.end(pod).is_none();
                        if runs || stays && !node.decisions.is_undecided(&pod.name) {
                            taken.push(milli.cpu_or_zero());
                        }
                    }
                    prop_assert!(taken.iter().sum::<i64>() <= 2000 && taken.len() <= 5, "{taken:?}");
                }
            }
        }
        // Whatever waits gets its room.
        for pod in &pods {
            if node.end(pod).is_some() && node.snapshot.pods.contains_key(&pod.name) {
                node.stops(&pod.name);
            }
        }
        node.turn();
        for pod in &pods {
            if node.end(pod).is_some() && node.snapshot.pods.contains_key(&pod.name) {
                node.stops(&pod.name);
            }
        }
        node.turn();
        prop_assert!(node.decisions.waiting.is_empty(), "{:?}", node.decisions.waiting);
    }
}
