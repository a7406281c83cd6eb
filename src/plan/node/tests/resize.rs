//! Who gets room to be resized where several wait for it.

use super::*;
use crate::model::memory::{Outlook, PendingResize};

/// A pod that runs with so much, asks for so much more, and has waited since that second.
struct Waiting {
    name: &'static str,
    has: i64,
    wants: i64,
    priority: i32,
    since: i64,
}

impl Node {
    fn waits(&mut self, waiting: &Waiting) {
        let of = |milli| Pod {
            priority: Some(waiting.priority),
            ..pod(waiting.name, milli)
        };
        let before = of(waiting.has);
        self.wants(of(waiting.wants));
        self.runs(&before);
        let observed = Arc::make_mut(self.snapshot.pods.get_mut(&before.name).unwrap());
        let seen = observed.uids.values_mut().next().unwrap();
        seen.allocation = Some(Arc::new(Allocation::of(&before)));
        let memory = PodMemory {
            resize: Some(PendingResize {
                outlook: Outlook::Deferred,
                reason: "OutOfcpu".to_owned(),
                message: "no room".to_owned(),
                generation: 2,
                since: at(waiting.since),
            }),
            ..PodMemory::new(before.uid.clone(), at(0))
        };
        self.memory.pods.insert(before.name.clone(), Arc::new(memory));
    }

    /// Whether the pod gets what it asks for now.
    fn gets(&self, name: &str) -> bool {
        let name = PodName::new("ns", name);
        let pod = self.desired.get(&name).unwrap();
        let seen = &self.snapshot.pods[&name].uids[&pod.uid];
        let memory = &self.memory.pods[&name];
        match super::resize(self.view(), pod, Some(seen), memory, self.now) {
            ResizeVerdict::Allotted(_) => true,
            ResizeVerdict::Pending(pending, _) => {
                assert_eq!(pending.outlook, Outlook::Deferred);
                false
            }
            other => panic!("{other:?}"),
        }
    }
}

fn check(waiting: &[Waiting], get: &[&str]) {
    let mut node = Node::new();
    for one in waiting {
        node.waits(one);
    }
    // Whoever is asked, in whatever order, as when work on the others is not done yet.
    let got: Vec<_> = waiting
        .iter()
        .map(|one| one.name)
        .filter(|name| node.gets(name))
        .collect();
    assert_eq!(got, get);
}

#[test]
fn the_higher_priority_gets_the_room_whoever_is_asked_first() {
    let one = |name, has, wants, priority, since| Waiting {
        name,
        has,
        wants,
        priority,
        since,
    };
    // There are 2000: 1000 are free.
    let low = || one("a", 500, 1200, 0, 1);
    check(&[low(), one("b", 500, 1200, 10, 2)], &["b"]);
    // What does not fit keeps nobody waiting.
    check(&[low(), one("b", 500, 1700, 10, 2)], &["a"]);
    // There is enough for both.
    check(&[low(), one("b", 500, 800, 10, 2)], &["a", "b"]);
    // The longer wait counts among equals.
    check(&[low(), one("b", 500, 1200, 0, 0)], &["b"]);
    check(&[low(), one("b", 500, 1200, 0, 2)], &["a"]);
    // What shrinks comes first, and makes room.
    check(&[low(), one("b", 1300, 600, -1, 2)], &["a", "b"]);
}

#[test]
fn a_critical_pod_that_asks_for_more_has_others_end_for_it() {
    let mut node = Node::new();
    let waiting = Waiting {
        name: "a",
        has: 500,
        wants: 1200,
        priority: 2_000_000_000,
        since: 0,
    };
    node.waits(&waiting);
    let other = pod("b", 1000);
    node.wants(other.clone());
    node.runs(&other);
    node.wants(pod("c", 500));
    let verdicts = plan(node.view(), node.now).verdicts.unwrap();
    let preempted: Vec<_> = verdicts.preemptions().collect();
    let [(of, preemption)] = preempted[..] else {
        panic!("{preempted:?}");
    };
    assert_eq!((&*of.name.name, &*preemption.victims[0].name.name), ("a", "b"));
    // Nobody gets that room meanwhile.
    node.check(expect![[r#"
        c: waits for cpu, instead of []
    "#]]);
    assert_eq!(
        node.memory.pods[&other.name].ended,
        Some(End::Preempted),
        "the sandbox has no containers"
    );
    node.check(expect![[r#"
        c: admitted
    "#]]);
    assert!(node.gets("a"));
    // One that is not critical has nobody end for it.
    let mut node = Node::new();
    node.waits(&Waiting {
        priority: 0,
        ..waiting
    });
    node.wants(other.clone());
    node.runs(&other);
    let verdicts = plan(node.view(), node.now).verdicts.unwrap();
    assert_eq!(verdicts.preemptions().count(), 0);
    assert!(!node.gets("a"));
}
