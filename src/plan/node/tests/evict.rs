//! Evictions: who goes first by the documentation's rules, how a round proceeds, and random days of a node that is short of
//! everything.

use std::time::Duration;

use super::*;
use crate::model::checkpoint::Checkpoint;
use crate::model::collection::Collected;
use crate::model::end::EvictionCause;
use crate::model::eviction::{EvictionPolicy, EvictionThreshold, Shortage, Signal};
use crate::model::measured::DiskLayout;
use crate::model::measured::FsUsage;
use crate::model::pods_use::{ContainerUse, PodUse};
use crate::model::resources::Bytes;
use crate::model::stats::{DirectoryUsage, FilesystemUsage, PodStorage, VolumeUsage};
use crate::model::threshold::Threshold;
use crate::model::volume::{Medium, Volume, VolumeSource};

const CRITICAL: i32 = 2_000_000_000;

fn of_priority(pod: Pod, priority: i32) -> Pod {
    Pod {
        priority: Some(priority),
        ..pod
    }
}

/// A pod that requests so many bytes of memory and of the disk, both limited to as much.
fn sized(name: &str, memory: i64, disk: i64) -> Pod {
    let amounts = Amounts {
        memory: (memory > 0).then_some(Bytes(memory)),
        ephemeral_storage: (disk > 0).then_some(Bytes(disk)),
        ..Amounts::default()
    };
    let mut sized = sample::pod(RestartPolicy::Always, &[], &["c"]).with_resources(&[Resources {
        requests: amounts.clone(),
        limits: Amounts {
            memory: None,
            ..amounts
        },
    }]);
    sized.name = PodName::new("ns", name);
    sized.uid = sample::uid(&format!("uid-{name}"));
    sized.priority = Some(0);
    sized
}

fn hard(signal: Signal, value: i64) -> EvictionThreshold {
    EvictionThreshold {
        signal,
        value: Threshold::Quantity(value),
        grace: Duration::ZERO,
        reclaim: None,
    }
}

/// What pods use: name, memory, processes, writable layer, log, volume.
type Used<'a> = (&'a str, u64, u64, u64, u64, u64);

fn used(second: i64, pods: &[Used<'_>]) -> PodsUse {
    let bytes = |bytes| DirectoryUsage { bytes, inodes: 1 };
    let of = |&(name, memory, processes, layer, log, volume): &Used<'_>| {
        let container = ContainerUse {
            id: "id".to_owned(),
            working_set: Some(memory),
        };
        let volume = VolumeUsage {
            name: "data".to_owned(),
            is_ephemeral: true,
            used: bytes(volume),
            is_counted: true,
            filesystem: FilesystemUsage {
                at: at(0),
                capacity: 0,
                available: 0,
                used: 0,
                inodes: 0,
                inodes_free: 0,
            },
        };
        let pod = PodUse {
            working_set: memory,
            processes,
            containers: [("c".to_owned(), container)].into(),
            storage: Some(PodStorage {
                layers: [("id".to_owned(), bytes(layer))].into(),
                logs: [("c".to_owned(), bytes(log))].into(),
                volumes: vec![volume],
                own_files: bytes(0),
            }),
        };
        (sample::uid(&format!("uid-{name}")), pod)
    };
    PodsUse {
        at: at(second),
        pods: pods.iter().map(of).collect(),
    }
}

impl Node {
    /// A node with these thresholds.
    fn short(thresholds: Vec<EvictionThreshold>) -> Node {
        let mut node = Node::new();
        node.limits.max_pods = 110;
        node.snapshot.runtime.reachable = Some(Ok(()));
        node.policy.eviction = EvictionPolicy {
            thresholds,
            ..EvictionPolicy::default()
        };
        node
    }

    fn has_pod(&mut self, pod: Pod) {
        self.wants(pod.clone());
        self.runs(&pod);
        let memory = PodMemory::new(pod.uid.clone(), at(0));
        self.memory.pods.insert(pod.name.clone(), Arc::new(memory));
    }

    fn measures(&mut self, second: i64, memory: i64, disk: i64) {
        let fs = FsUsage {
            capacity: Bytes(1000),
            available: Bytes(disk),
            inodes: 0,
            inodes_free: 0,
        };
        self.measured = Measured {
            at: at(second),
            memory: Bytes(1000),
            memory_available: Bytes(memory),
            nodefs: fs,
            imagefs: Some(fs),
            disks: self.measured.disks,
            pids_max: 1000,
            pids_used: 1000 - memory,
            ..Measured::default()
        };
    }

    /// Plans evictions and carries them out, as the loop does.
    fn evicts(&mut self, second: i64) -> EvictionPlan {
        self.now = at(second);
        let evictions = plan(self.view(), self.now).evictions;
        for one in &evictions.due {
            end(
                &one.pod,
                one.end.clone(),
                Some(one.by),
                &self.snapshot,
                &mut self.memory,
                self.now,
            );
            let mut checkpoint = Checkpoint::of(&one.pod);
            checkpoint.ended = Some(one.end.clone());
            self.observed(&one.pod.name.name).checkpoint = Some(Arc::new(checkpoint));
        }
        self.memory.pressure = evictions.pressure.clone();
        self.decisions.evictions = evictions.evictions.clone();
        evictions
    }

    fn check_evictions(&mut self, second: i64, expected: Expect) {
        let plan = self.evicts(second);
        let now = self.now;
        let mut text = String::new();
        for one in &plan.due {
            let grace = (one.by - now).get_seconds();
            text += &format!(
                "{} within {grace} s for {}: {}\n",
                one.pod.name.name,
                one.signal,
                one.end.message()
            );
        }
        let after = |at: Option<Timestamp>| at.map(|at| at.as_second() - sample::at(0).as_second());
        text += &format!(
            "short of {:?}, machine since {:?}, pods since {:?}{}, wakes at {:?}\n",
            plan.pressure.short_of,
            after(plan.wanted.machine_since),
            after(plan.wanted.pods_since),
            if plan.wanted.with_storage {
                " with disks"
            } else {
                ""
            },
            after(plan.wake_at),
        );
        expected.assert_eq(&text);
    }
}

#[test]
fn a_round_measures_pods_ends_one_and_measures_the_machine_when_it_is_gone() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.has_pod(sized("b", 0, 0));
    node.measures(10, 500, 500);
    node.check_evictions(
        10,
        expect![[r#"
        short of {}, machine since None, pods since None, wakes at None
    "#]],
    );
    node.measures(20, 99, 500);
    node.check_evictions(
        20,
        expect![[r#"
            short of {Memory}, machine since None, pods since Some(20), wakes at None
        "#]],
    );
    node.pods_use = used(21, &[("a", 300, 1, 0, 0, 0), ("b", 500, 1, 0, 0, 0)]);
    node.check_evictions(21, expect![[r#"
        b within 1 s for memory.available: The node was low on resource: memory. Threshold quantity: 100, available: 99. Container c was using 500, request is 0, has larger consumption of memory. 
        short of {Memory}, machine since None, pods since None, wakes at Some(51)
    "#]]);
    // Nobody else goes meanwhile.
    node.measures(22, 50, 500);
    node.check_evictions(
        22,
        expect![[r#"
        short of {Memory}, machine since None, pods since None, wakes at Some(51)
    "#]],
    );
    node.ends("b");
    node.check_evictions(
        23,
        expect![[r#"
        short of {Memory}, machine since Some(23), pods since None, wakes at None
    "#]],
    );
    node.measures(23, 600, 500);
    node.check_evictions(
        24,
        expect![[r#"
        short of {Memory}, machine since None, pods since None, wakes at Some(322)
    "#]],
    );
}

#[test]
fn an_end_that_lasts_does_not_hold_the_next_for_ever_and_what_is_not_measured_ends_nobody() {
    let mut node = Node::short(vec![hard(Signal::Pids, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.has_pod(of_priority(sized("b", 0, 0), 5));
    node.measures(1, 50, 500);
    node.evicts(1);
    node.pods_use = used(2, &[("a", 0, 3, 0, 0, 0), ("b", 0, 900, 0, 0, 0)]);
    // By priority first: the one with fewer processes.
    node.check_evictions(2, expect![[r#"
        a within 1 s for pid.available: The node was low on resource: pids. Threshold quantity: 100, available: 50. 
        short of {Pids}, machine since None, pods since None, wakes at Some(32)
    "#]]);
    node.check_evictions(
        32,
        expect![[r#"
        short of {Pids}, machine since Some(32), pods since None, wakes at None
    "#]],
    );
    node.measures(33, 50, 500);
    node.check_evictions(
        33,
        expect![[r#"
            short of {Pids}, machine since None, pods since Some(33), wakes at None
        "#]],
    );
    node.check_evictions(
        38,
        expect![[r#"
            short of {Pids}, machine since None, pods since Some(33), wakes at None
        "#]],
    );
}

#[test]
fn where_a_disk_is_short_what_nothing_uses_goes_before_any_pod() {
    let mut node = Node::short(vec![EvictionThreshold {
        reclaim: Some(Threshold::Quantity(50)),
        ..hard(Signal::Nodefs, 100)
    }]);
    node.has_pod(sized("a", 0, 0));
    node.measures(10, 500, 99);
    assert_eq!(node.evicts(10).reclaim, Some(at(10)));
    // It is asked for once.
    node.measures(12, 500, 98);
    assert_eq!(node.evicts(12).reclaim, None);
    node.decisions.collected = Some(Collected::at(at(15)));
    node.check_evictions(
        15,
        expect![[r#"
        short of {Disk}, machine since Some(15), pods since None, wakes at None
    "#]],
    );
    // That was enough.
    node.measures(16, 500, 151);
    node.check_evictions(
        16,
        expect![[r#"
        short of {Disk}, machine since None, pods since None, wakes at Some(312)
    "#]],
    );
    // The next time it is not.
    node.measures(20, 500, 50);
    assert_eq!(node.evicts(20).reclaim, Some(at(20)));
    node.decisions.collected = Some(Collected::at(at(21)));
    node.evicts(21);
    node.measures(21, 500, 149);
    node.check_evictions(
        22,
        expect![[r#"
            short of {Disk}, machine since None, pods since Some(21) with disks, wakes at None
        "#]],
    );
    node.pods_use = used(22, &[("a", 0, 1, 20, 30, 40)]);
    node.check_evictions(23, expect![[r#"
        a within 1 s for nodefs.available: The node was low on resource: ephemeral-storage. Threshold quantity: 100, available: 149. Container c was using 50, request is 0, has larger consumption of ephemeral-storage. 
        short of {Disk}, machine since None, pods since None, wakes at Some(53)
    "#]]);
    // On a disk of its own nothing of images and containers is in the way.
    let mut node = Node::short(vec![hard(Signal::Nodefs, 100)]);
    node.measured.disks = DiskLayout::Images;
    node.has_pod(sized("a", 0, 0));
    node.measures(10, 500, 99);
    let plan = node.evicts(10);
    assert_eq!((plan.reclaim, plan.wanted.pods_since), (None, Some(at(10))));
}

#[test]
fn a_soft_threshold_waits_and_leaves_pods_their_time() {
    let mut node = Node::short(vec![EvictionThreshold {
        grace: Duration::from_secs(60),
        reclaim: Some(Threshold::Quantity(50)),
        ..hard(Signal::Memory, 100)
    }]);
    node.policy.eviction.max_pod_grace = Some(Duration::from_secs(20));
    node.has_pod(sized("a", 0, 0));
    node.measures(0, 80, 500);
    node.check_evictions(
        0,
        expect![[r#"
        short of {Memory}, machine since None, pods since None, wakes at Some(60)
    "#]],
    );
    // The machine is measured again when the time is over.
    node.check_evictions(
        60,
        expect![[r#"
        short of {Memory}, machine since Some(60), pods since None, wakes at None
    "#]],
    );
    node.measures(60, 80, 500);
    node.evicts(60);
    node.pods_use = used(61, &[("a", 300, 1, 0, 0, 0)]);
    node.check_evictions(61, expect![[r#"
        a within 20 s for memory.available: The node was low on resource: memory. Threshold quantity: 100, available: 80. Container c was using 300, request is 0, has larger consumption of memory. 
        short of {Memory}, machine since None, pods since None, wakes at Some(91)
    "#]]);
}

/// The order in which pods would go.
fn order(node: &mut Node, uses: &[Used<'_>]) -> Vec<String> {
    let mut order = Vec::new();
    let mut second = 10;
    while let [one] = {
        node.measures(second, 50, 50);
        node.evicts(second);
        node.decisions.collected = Some(Collected::at(at(second)));
        node.evicts(second);
        node.pods_use = used(second, uses);
        node.evicts(second)
    }
    .due
    .as_slice()
    {
        let name = one.pod.name.name.clone();
        node.ends(&name);
        node.evicts(second + 1);
        order.push(name);
        second += 10;
    }
    order
}

#[test]
fn who_uses_more_than_it_requests_goes_first_then_lower_priority_then_more_beyond_the_request() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
    node.has_pod(sized("within", 500, 0));
    node.has_pod(of_priority(sized("low-within", 500, 0), -1));
    node.has_pod(sized("beyond-by-100", 100, 0));
    node.has_pod(sized("beyond-by-200", 0, 0));
    node.has_pod(of_priority(sized("high-beyond", 0, 0), 10));
    node.has_pod(sized("unknown", 900, 0));
    node.has_pod(of_priority(sized("critical", 0, 0), CRITICAL));
    node.has_pod(of_file(sized("static", 0, 0)));
    let uses = [
        ("within", 500, 1, 0, 0, 0),
        ("low-within", 400, 1, 0, 0, 0),
        ("beyond-by-100", 200, 1, 0, 0, 0),
        ("beyond-by-200", 200, 1, 0, 0, 0),
        ("high-beyond", 9000, 1, 0, 0, 0),
        ("critical", 9000, 1, 0, 0, 0),
        ("static", 9000, 1, 0, 0, 0),
    ];
    node.has_pod(of_priority(sized("unknown-high", 900, 0), 3));
    let expected = [
        "unknown",
        "unknown-high",
        "beyond-by-200",
        "beyond-by-100",
        "high-beyond",
        "low-within",
        "within",
    ];
    assert_eq!(order(&mut node, &uses), expected);
}

#[test]
fn what_counts_of_a_disk_is_what_lies_on_it() {
    let check = |signal, disks, expected: [&str; 3]| {
        let mut node = Node::short(vec![hard(signal, 100)]);
        node.measured.disks = disks;
        node.policy.eviction.limits_storage = false;
        for name in ["layers", "logs", "volumes"] {
            node.has_pod(sized(name, 0, 0));
        }
        let uses = [
            ("layers", 0, 1, 900, 3, 3),
            ("logs", 0, 1, 2, 600, 2),
            ("volumes", 0, 1, 1, 1, 700),
        ];
        assert_eq!(order(&mut node, &uses), expected, "{signal:?} {disks:?}");
    };
    let all = ["layers", "volumes", "logs"];
    check(Signal::Nodefs, DiskLayout::Shared, all);
    check(Signal::Imagefs, DiskLayout::Shared, all);
    check(Signal::Nodefs, DiskLayout::Images, ["volumes", "logs", "layers"]);
    check(Signal::Imagefs, DiskLayout::Images, ["layers", "logs", "volumes"]);
    check(Signal::Nodefs, DiskLayout::Split, all);
}

#[test]
fn a_pod_that_exceeds_a_limit_of_its_own_goes_whatever_is_free() {
    let check = |pod: Pod, uses: Used<'_>, expected: Expect| {
        let mut node = Node::short(Vec::new());
        node.has_pod(pod);
        node.measures(1, 900, 900);
        let before = node.evicts(1);
        assert!(before.wanted.with_storage, "{:?}", before.wanted);
        node.pods_use = used(2, &[uses]);
        let due = node.evicts(2).due;
        let text: Vec<String> = due
            .iter()
            .map(|one| format!("{}: {}", one.signal, one.end.message()))
            .collect();
        expected.assert_eq(&text.join("\n"));
        assert!(due.iter().all(|one| matches!(
            one.end,
            End::Evicted {
                cause: EvictionCause::Limit,
                ..
            }
        )));
    };
    let mut volume = sized("a", 0, 0);
    volume.volumes.push(Volume {
        name: "data".to_owned(),
        source: VolumeSource::EmptyDir {
            medium: Medium::Disk,
            size_limit: Some(Bytes(2048)),
        },
    });
    check(volume.clone(), ("a", 0, 1, 9000, 9000, 2048), expect![""]);
    check(
        volume,
        ("a", 0, 1, 0, 0, 2049),
        expect![[r#"emptydirfs.limit: Usage of EmptyDir volume "data" exceeds the limit "2Ki". "#]],
    );
    check(sized("a", 0, 100), ("a", 0, 1, 50, 25, 25), expect![""]);
    check(
        sized("a", 0, 100),
        ("a", 0, 1, 50, 25, 26),
        expect![
            "ephemeralpodfs.limit: Pod ephemeral local storage usage exceeds the total limit of containers 100. "
        ],
    );
    let mut two = sized("a", 0, 100);
    let mut other = two.containers[0].clone();
    other.name = "d".to_owned();
    two.containers.push(other);
    check(
        two,
        ("a", 0, 1, 60, 41, 0),
        expect![[
            r#"ephemeralcontainerfs.limit: Container c exceeded its local ephemeral storage limit "100". "#
        ]],
    );
    // A static pod stays, and nothing is measured for it.
    let mut node = Node::short(Vec::new());
    node.has_pod(of_file(sized("a", 0, 100)));
    node.measures(1, 900, 900);
    assert_eq!(node.evicts(1).wanted, crate::model::pods_use::Wanted::default());
}

#[test]
fn the_limits_are_looked_at_as_soon_as_the_disk_has_lost_what_is_left_of_one() {
    const MIB: i64 = 1 << 20;
    let mut node = Node::short(Vec::new());
    node.has_pod(sized("a", 0, 100 * MIB));
    node.has_pod(sized("b", 0, 500 * MIB));
    node.measures(1, 900, 4000 * MIB);
    node.evicts(1);
    let mebibytes = |mebibytes: u64| mebibytes << 20;
    node.pods_use = used(2, &[("a", 0, 1, 0, 0, mebibytes(40)), ("b", 0, 1, 0, 0, 0)]);
    let wanted = node.evicts(2).wanted;
    assert_eq!(wanted.nodefs_below, Some(Bytes(3940 * MIB)));
    assert_eq!(wanted.pods_since, None);
    node.measures(3, 900, 3940 * MIB);
    assert_eq!(node.evicts(3).wanted.pods_since, None);
    node.measures(4, 900, 3939 * MIB);
    let wanted = node.evicts(4).wanted;
    assert_eq!((wanted.pods_since, wanted.with_storage), (Some(at(4)), true));
    node.pods_use = used(
        5,
        &[("a", 0, 1, 0, 0, mebibytes(40)), ("b", 0, 1, 0, 0, mebibytes(61))],
    );
    let wanted = node.evicts(5).wanted;
    // It was the other one.
    assert_eq!(wanted.nodefs_below, Some(Bytes(3879 * MIB)));
    assert_eq!(wanted.pods_since, None);
    // One that has come since has written no more than the disk has lost since.
    node.has_pod(sized("c", 0, 30 * MIB));
    assert_eq!(node.evicts(6).wanted.nodefs_below, Some(Bytes(3909 * MIB)));
    // Also if nothing ran when it was looked at.
    let mut node = Node::short(Vec::new());
    node.measures(1, 900, 4000 * MIB);
    node.pods_use = used(2, &[]);
    node.evicts(2);
    node.has_pod(sized("c", 0, 30 * MIB));
    assert_eq!(node.evicts(3).wanted.nodefs_below, Some(Bytes(3970 * MIB)));
    // What a container wrote beside its log counts towards its own limit too, which is nearer than the pod's.
    let mut two = sized("a", 0, 100 * MIB);
    let mut other = two.containers[0].clone();
    other.name = "d".to_owned();
    two.containers.push(other);
    let mut node = Node::short(Vec::new());
    node.has_pod(two);
    node.measures(1, 900, 4000 * MIB);
    node.evicts(1);
    node.pods_use = used(2, &[("a", 0, 1, mebibytes(50), mebibytes(10), 0)]);
    assert_eq!(node.evicts(2).wanted.nodefs_below, Some(Bytes(3960 * MIB)));
}

#[test]
fn nobody_goes_while_the_runtime_does_not_answer() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.snapshot.runtime.reachable = Some(Err("no answer".to_owned()));
    node.measures(1, 50, 900);
    let plan = node.evicts(1);
    assert!(plan.pressure.short_of.contains(&Shortage::Memory));
    node.pods_use = used(2, &[("a", 500, 1, 0, 0, 0)]);
    assert!(node.evicts(2).due.is_empty());
    node.snapshot.runtime.reachable = Some(Ok(()));
    assert_eq!(node.evicts(3).due.len(), 1);
}

#[test]
fn nobody_goes_for_a_disk_while_it_is_not_known_what_pods_keep_there() {
    let mut node = Node::short(vec![hard(Signal::Nodefs, 100)]);
    node.measured.disks = DiskLayout::Images;
    node.has_pod(sized("a", 0, 0));
    node.measures(1, 900, 50);
    node.evicts(1);
    node.pods_use = used(2, &[("a", 0, 1, 0, 0, 500)]);
    for pod in node.pods_use.pods.values_mut() {
        pod.storage = None;
    }
    let plan = node.evicts(2);
    assert!(plan.due.is_empty() && plan.wanted.with_storage);
    assert!(plan.wanted.pods_since.is_some_and(|since| since > at(2)));
    node.pods_use = used(3, &[("a", 0, 1, 0, 0, 500)]);
    assert_eq!(node.evicts(3).due.len(), 1);
}

#[test]
fn a_round_that_began_for_memory_does_not_rank_for_a_disk() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100), hard(Signal::Nodefs, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.measures(1, 50, 50);
    assert_eq!(node.evicts(1).pressure.attempt.unwrap().0.as_str(), "memory");
    node.measures(2, 900, 50);
    node.pods_use = used(2, &[("a", 0, 1, 0, 0, 500)]);
    let plan = node.evicts(2);
    assert!(plan.due.is_empty());
    assert_eq!(plan.reclaim, Some(at(2)));
    // Memory does not wait for the removal.
    node.measures(3, 50, 50);
    assert_eq!(node.evicts(3).wanted.pods_since, Some(at(3)));
}

#[test]
fn what_an_agent_before_this_one_began_is_waited_for_also_if_it_is_listed_late() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.has_pod(sized("b", 0, 0));
    node.measures(1, 50, 900);
    node.evicts(1);
    node.pods_use = used(2, &[("a", 500, 1, 0, 0, 0), ("b", 100, 1, 0, 0, 0)]);
    assert_eq!(node.evicts(2).due.len(), 1);
    node.decisions = NodeDecisions::default();
    node.snapshot.listed = false;
    node.measures(3, 50, 900);
    node.evicts(3);
    node.snapshot.listed = true;
    node.pods_use = used(4, &[("a", 500, 1, 0, 0, 0), ("b", 100, 1, 0, 0, 0)]);
    assert!(node.evicts(4).due.is_empty());
    node.ends("a");
    assert_eq!(node.evicts(5).wanted.machine_since, Some(at(5)));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
    node.has_pod(sized("a", 0, 0));
    node.has_pod(sized("b", 0, 0));
    node.measures(5000, 50, 900);
    node.evicts(5000);
    node.pods_use = used(5001, &[("a", 500, 1, 0, 0, 0), ("b", 100, 1, 0, 0, 0)]);
    assert_eq!(node.evicts(5001).due.len(), 1);
    node.ends("a");
    node.evicts(5002);
    // An hour earlier: what was measured before says nothing.
    node.measures(1402, 50, 900);
    let plan = node.evicts(1402);
    assert!(plan.due.is_empty());
    assert_eq!(plan.wanted.pods_since, Some(at(1402)));
    node.pods_use = used(1403, &[("b", 100, 1, 0, 0, 0)]);
    assert_eq!(node.evicts(1403).due.len(), 1);
}

/// Others can charge their files to the project of a pod's volume.
#[test]
fn nobody_goes_for_what_a_quota_alone_says() {
    let uncounted = |second: i64, volume: u64| {
        let mut uses = used(second, &[("a", 0, 1, 0, 0, volume), ("b", 0, 1, 0, 0, 30)]);
        for pod in uses.pods.values_mut() {
            pod.storage.as_mut().unwrap().volumes[0].is_counted = false;
        }
        uses
    };
    let a = sample::uid("uid-a");
    let mut node = Node::short(Vec::new());
    node.has_pod(sized("a", 0, 100));
    node.measures(1, 900, 900);
    node.evicts(1);
    node.pods_use = uncounted(2, 101);
    let plan = node.evicts(2);
    assert!(plan.due.is_empty());
    assert_eq!(plan.wanted.walked, BTreeSet::from([a.clone()]));
    assert!(plan.wanted.pods_since.is_some_and(|since| since > at(2)));
    // It was another's.
    node.pods_use = used(3, &[("a", 0, 1, 0, 0, 1)]);
    let plan = node.evicts(3);
    assert!(plan.due.is_empty() && plan.wanted.walked.is_empty());
    // It is its own; and where no walk comes to an end there is no better number.
    for walked in [used(5, &[("a", 0, 1, 0, 0, 101)]), uncounted(5, 101)] {
        let mut node = Node::short(Vec::new());
        node.has_pod(sized("a", 0, 100));
        node.measures(1, 900, 900);
        node.pods_use = uncounted(4, 101);
        assert!(node.evicts(4).due.is_empty());
        node.pods_use = walked;
        assert_eq!(node.evicts(5).due.len(), 1);
    }
    // The same holds for whom a short disk would take first.
    let mut node = Node::short(vec![hard(Signal::Nodefs, 100)]);
    node.measured.disks = DiskLayout::Images;
    node.has_pod(sized("a", 0, 0));
    node.has_pod(sized("b", 0, 0));
    node.measures(1, 900, 50);
    node.evicts(1);
    node.pods_use = uncounted(2, 500);
    assert_eq!(node.evicts(2).wanted.walked, BTreeSet::from([a]));
    node.pods_use = used(3, &[("a", 0, 1, 0, 0, 1), ("b", 0, 1, 0, 0, 30)]);
    let due = node.evicts(3).due;
    assert_eq!(
        due.iter()
            .map(|one| one.pod.name.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn a_node_under_pressure_takes_what_does_not_make_it_worse() {
    let check = |memory, disk, pod: &Pod, expected: &str| {
        let mut node = Node::short(vec![hard(Signal::Memory, 100), hard(Signal::Nodefs, 100)]);
        node.measures(1, memory, disk);
        node.wants(pod.clone());
        let plan = plan(node.view(), at(1));
        let (_, verdict) = &plan.verdicts.as_ref().unwrap().new[0];
        let text = match verdict {
            Verdict::Rejected(refusal) => format!("{}: {}", refusal.reason, refusal.message),
            Verdict::Admitted => "admitted".to_owned(),
            Verdict::Deferred(_) | Verdict::Waits(_) => "not decided".to_owned(),
        };
        assert_eq!(text, expected);
    };
    let best_effort = sized("a", 0, 0);
    let burstable = Pod {
        qos: Qos::Burstable,
        ..sized("a", 10, 0)
    };
    let best_effort = Pod {
        qos: Qos::BestEffort,
        ..best_effort
    };
    check(500, 500, &best_effort, "admitted");
    check(
        50,
        500,
        &best_effort,
        "Evicted: The node had condition: [MemoryPressure]. ",
    );
    check(50, 500, &burstable, "admitted");
    check(
        50,
        50,
        &burstable,
        "Evicted: The node had condition: [DiskPressure MemoryPressure]. ",
    );
    check(
        500,
        50,
        &burstable,
        "Evicted: The node had condition: [DiskPressure]. ",
    );
    check(50, 50, &of_file(best_effort.clone()), "admitted");
    check(50, 50, &of_priority(best_effort.clone(), CRITICAL), "admitted");
    let mut prepared = best_effort;
    prepared.placement.tolerations = vec![crate::model::placement::Toleration {
        key: Some("node.kubernetes.io/memory-pressure".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        value: crate::model::placement::Tolerated::Any,
    }];
    check(50, 500, &prepared, "admitted");
    check(
        50,
        50,
        &prepared,
        "Evicted: The node had condition: [DiskPressure MemoryPressure]. ",
    );
}

/// A pod of a random day: its priority, request and use, and how many seconds its end takes.
type OfDay = (i32, i64, u64, i64);

fn of_day() -> impl Strategy<Value = OfDay> {
    let priority = prop_oneof![4 => -2..3i32, 1 => Just(CRITICAL)];
    (priority, prop_oneof![Just(0i64), 1..500i64], 1..500u64, 0..40i64)
}

proptest! {
    /// Whatever pods use and however long their ends take, and although the agent is killed now and then: one after the
    /// other goes until there is enough, none before one that comes first by the documentation, and no critical one.
    #[test]
    fn on_any_day_one_pod_after_the_other_goes_until_there_is_enough(
        pods in prop::collection::vec(of_day(), 1..8),
        need in 1..1500u64,
        kills in prop::collection::btree_set(0..200i64, 0..4),
    ) {
        let mut node = Node::short(vec![hard(Signal::Memory, 100)]);
        for (number, (priority, request, ..)) in pods.iter().enumerate() {
            node.has_pod(of_priority(sized(&number.to_string(), *request, 0), *priority));
        }
        let number_of = |name: &str| name.parse::<usize>().unwrap();
        let mut ends = BTreeMap::new();
        let (mut begun, mut last_kill) = (BTreeMap::new(), None);
        let mut gone = BTreeSet::new();
        for second in 1..400 {
            for (number, _) in ends.iter().filter(|(_, end)| **end == second) {
                node.ends(&usize::to_string(number));
                gone.insert(*number);
            }
            let freed: u64 = gone.iter().map(|number: &usize| pods[*number].2).sum();
            let is_enough = freed >= need;
            let running: Vec<_> = pods.iter().enumerate().filter(|(number, _)| !gone.contains(number)).collect();
            let names: Vec<String> = running.iter().map(|(number, _)| number.to_string()).collect();
            let uses: Vec<Used<'_>> = running.iter().zip(&names).map(|((_, pod), name)| (name.as_str(), pod.2, 1, 0, 0, 0)).collect();
            let is_killed = kills.contains(&second);
            if is_killed {
                node.decisions = NodeDecisions::default();
                last_kill = Some(second);
            }
            if is_killed || second % 10 == 0 || node.decisions.evictions != Evictions::default() {
                node.measures(second, if is_enough { 900 } else { 50 }, 900);
                node.pods_use = used(second, &uses);
            }
            let due = node.evicts(second).due;
            prop_assert!(due.len() <= 1);
            for one in &due {
                prop_assert!(!is_enough);
                // The end before it is over, or has lasted 30 s in this agent's life.
                let since = begun.values().max().copied().max(last_kill);
                let last = begun.iter().max_by_key(|(_, begun)| **begun);
                let is_over = last.is_none_or(|(number, _)| ends[number] <= second);
                prop_assert!(is_over || since.is_none_or(|since| second >= since + 30));
                begun.insert(number_of(&one.pod.name.name), second);
                let chosen = number_of(&one.pod.name.name);
                let key = |number: usize| {
                    let (priority, request, uses, _) = pods[number];
                    let beyond = i64::try_from(uses).unwrap() - request;
                    (beyond <= 0, priority, -beyond)
                };
                let others = (0..pods.len()).filter(|number| {
                    !ends.contains_key(number) && pods[*number].0 < CRITICAL
                });
                let first = others.map(key).min();
                prop_assert_eq!(first, Some(key(chosen)));
                prop_assert!(pods[chosen].0 < CRITICAL);
                ends.insert(chosen, second + 1 + pods[chosen].3);
            }
        }
        let freed: u64 = gone.iter().map(|number| pods[*number].2).sum();
        let left = (0..pods.len()).filter(|number| pods[*number].0 < CRITICAL && !gone.contains(number)).count();
        prop_assert!(freed >= need || left == 0, "{} of {} freed, {} left", freed, need, left);
        prop_assert!(freed >= need || node.memory.pressure.short_of.contains(&Shortage::Memory));
    }
}
