//! What two answers of the agent say together: what was used in the time between them. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::serve::top::wire::{
    Counters, CpuCounters, InterfaceCounters, PodCounters, PressureNow, ThrottlingCounters, Top,
};

/// What is known of the node, a pod or a container. Absent: not known, or not limited.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measures {
    /// CPU time used in a second, in nanoseconds.
    pub(super) cpu_nano_cores: Option<u64>,
    /// What may be used of it.
    pub(super) cpu_limit_nano_cores: Option<u64>,
    /// The share of the periods in which the limit was reached, in per cent.
    pub(super) throttled_percent: Option<f64>,
    /// The working set, in bytes.
    pub(super) memory_bytes: Option<u64>,
    /// What may be used of it.
    pub(super) memory_limit_bytes: Option<u64>,
    /// The share of the last 10 seconds in which at least one task waited, in per cent.
    pub(super) pressure: PressureNow,
}

/// Bytes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Traffic {
    pub(super) received_bytes_per_second: u64,
    pub(super) sent_bytes_per_second: u64,
}

/// The traffic of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InterfaceTraffic {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) traffic: Traffic,
}

/// The node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MeasuredNode {
    pub(super) measures: Measures,
    pub(super) interfaces: Vec<InterfaceTraffic>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MeasuredPod {
    pub(super) measures: Measures,
    /// Of all its interfaces.
    pub(super) network: Option<Traffic>,
    /// By name.
    pub(super) containers: Vec<(String, Measures)>,
}

/// The node in the time between two answers; the first one is absent if there is none yet.
pub(super) fn node(before: Option<&Top>, after: &Top) -> MeasuredNode {
    let nanos = elapsed(before, after);
    let before = before.map(|top| &top.node);
    let interfaces = before.map(|node| node.interfaces.as_slice()).unwrap_or_default();
    let traffic = |interface: &InterfaceCounters| {
        let before = interfaces.iter().find(|one| one.name == interface.name)?;
        Some(InterfaceTraffic {
            name: interface.name.clone(),
            traffic: traffic(before, interface, nanos?)?,
        })
    };
    MeasuredNode {
        measures: measures(before.map(|node| &node.counters), Some(&after.node.counters)),
        interfaces: after.node.interfaces.iter().filter_map(traffic).collect(),
    }
}

/// A pod of the second answer.
pub(super) fn pod(before: Option<&Top>, after: &Top, pod: &PodCounters) -> MeasuredPod {
    let nanos = elapsed(before, after);
    let old = before.and_then(|top| top.pods.iter().find(|one| one.uid == pod.uid));
    let containers: Vec<(String, Measures)> = pod
        .containers
        .iter()
        .map(|container| {
            let mut all = old.iter().flat_map(|old| &old.containers);
            let old = all.find(|one| one.id == container.id);
            let old = old.and_then(|old| old.counters.as_ref());
            (container.name.clone(), measures(old, container.counters.as_ref()))
        })
        .collect();
    let own = measures(old.and_then(|old| old.counters.as_ref()), pod.counters.as_ref());
    MeasuredPod {
        measures: Measures {
            // The pod's own cgroup has a limit only if every container has one.
            throttled_percent: containers
                .iter()
                .map(|(_, measures)| measures.throttled_percent)
                .fold(own.throttled_percent, greater),
            ..own
        },
        network: old.and_then(|old| network(old, pod, nanos?)),
        containers,
    }
}

fn greater(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

fn measures(before: Option<&Counters>, after: Option<&Counters>) -> Measures {
    let Some(after) = after else {
        return Measures::default();
    };
    // Another cgroup of the same path counts from zero.
    let before = before.filter(|before| before.cgroup == after.cgroup);
    let cpu = before.and_then(|before| {
        let nanos = between(before.at, after.at)?;
        per_second(before.cpu?.total, after.cpu?.total, nanos)
    });
    let throttling = |counters: &Counters| counters.cpu.and_then(|cpu| cpu.throttling);
    let throttled = || throttled(throttling(before?)?, throttling(after)?);
    let limit = after.cpu.and_then(|cpu: CpuCounters| cpu.limit);
    Measures {
        cpu_nano_cores: cpu,
        cpu_limit_nano_cores: limit,
        // A cgroup without a limit is held back by none.
        throttled_percent: limit.and_then(|_| throttled()),
        memory_bytes: after.memory.map(|memory| memory.working_set),
        memory_limit_bytes: after.memory.and_then(|memory| memory.limit),
        pressure: after.pressure,
    }
}

fn throttled(before: ThrottlingCounters, after: ThrottlingCounters) -> Option<f64> {
    let periods = after.periods.checked_sub(before.periods)?;
    let throttled = after.throttled_periods.checked_sub(before.throttled_periods)?;
    // It did not want to run.
    if periods == 0 {
        return Some(0.0);
    }
    Some((throttled as f64 * 100.0 / periods as f64).min(100.0))
}

/// The sum of the interfaces that were there before, while the sandbox is the same.
fn network(before: &PodCounters, after: &PodCounters, nanos: u64) -> Option<Traffic> {
    if before.sandbox != after.sandbox {
        return None;
    }
    let old = before.interfaces.as_ref()?;
    let mut sum = Traffic::default();
    for interface in after.interfaces.as_ref()? {
        let Some(before) = old.iter().find(|one| one.name == interface.name) else {
            continue;
        };
        let traffic = traffic(before, interface, nanos)?;
        sum.received_bytes_per_second = sum
            .received_bytes_per_second
            .saturating_add(traffic.received_bytes_per_second);
        sum.sent_bytes_per_second = sum
            .sent_bytes_per_second
            .saturating_add(traffic.sent_bytes_per_second);
    }
    Some(sum)
}

/// `None` if a counter was reset.
fn traffic(before: &InterfaceCounters, after: &InterfaceCounters, nanos: u64) -> Option<Traffic> {
    Some(Traffic {
        received_bytes_per_second: per_second(before.received, after.received, nanos)?,
        sent_bytes_per_second: per_second(before.sent, after.sent, nanos)?,
    })
}

/// Nanoseconds between the two answers.
fn elapsed(before: Option<&Top>, after: &Top) -> Option<u64> {
    between(before?.node.counters.at, after.node.counters.at)
}

/// Nanoseconds; `None` if the clock was set back, or if it is the same moment.
fn between(before: Timestamp, after: Timestamp) -> Option<u64> {
    let nanos = after.as_nanosecond().checked_sub(before.as_nanosecond())?;
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0)
}

/// `None` if the counter was reset.
fn per_second(before: u64, after: u64, nanos: u64) -> Option<u64> {
    let grown = u128::from(after.checked_sub(before)?);
    u64::try_from((grown * 1_000_000_000).checked_div(u128::from(nanos))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::sample;

    /// The measures of a container whose counters change from `before` to `after`.
    fn check(before: Option<Counters>, after: Option<Counters>, expected: Measures) {
        let got = measures(before.as_ref(), after.as_ref());
        assert_eq!(got, expected, "{before:?} to {after:?}");
    }

    fn at(millis: i64, total: u64) -> Counters {
        let mut counters = sample::counters(millis, total);
        (counters.memory, counters.pressure) = (None, PressureNow::default());
        counters
    }

    fn limited(millis: i64, total: u64, (throttled_periods, periods): (u64, u64)) -> Counters {
        let mut counters = at(millis, total);
        let cpu = counters.cpu.as_mut().unwrap();
        cpu.limit = Some(200_000_000);
        cpu.throttling = Some(ThrottlingCounters {
            periods,
            throttled_periods,
        });
        counters
    }

    #[test]
    fn a_rate_is_the_growth_of_a_counter_in_a_second() {
        let cpu = |nano_cores| Measures {
            cpu_nano_cores: nano_cores,
            ..Measures::default()
        };
        check(
            Some(at(0, 5)),
            Some(at(2000, 400_000_005)),
            cpu(Some(200_000_000)),
        );
        check(Some(at(0, 5)), Some(at(500, 5)), cpu(Some(0)));
        // No second answer yet.
        check(None, Some(at(0, 5)), cpu(None));
        // The counter was reset; the clock was set back; the same answer again.
        check(Some(at(0, 5)), Some(at(1000, 4)), cpu(None));
        check(Some(at(1000, 5)), Some(at(0, 6)), cpu(None));
        check(Some(at(0, 5)), Some(at(0, 5)), cpu(None));
        // Another cgroup of the same path.
        let another = Counters {
            cgroup: 8,
            ..at(1000, 6)
        };
        check(Some(at(0, 5)), Some(another), cpu(None));
        // No controller.
        let nothing = Counters {
            cpu: None,
            ..at(1000, 6)
        };
        check(Some(nothing), Some(at(2000, 6)), cpu(None));
        check(Some(at(0, 5)), Some(nothing), cpu(None));
        // Gone.
        check(Some(at(0, 5)), None, Measures::default());
    }

    #[test]
    fn throttling_is_the_share_of_the_periods_in_which_something_wanted_to_run() {
        let throttled = |percent| Measures {
            cpu_nano_cores: Some(10),
            cpu_limit_nano_cores: Some(200_000_000),
            throttled_percent: percent,
            ..Measures::default()
        };
        let before = limited(0, 0, (4, 10));
        check(
            Some(before),
            Some(limited(1000, 10, (12, 20))),
            throttled(Some(80.0)),
        );
        check(
            Some(before),
            Some(limited(1000, 10, (4, 10))),
            throttled(Some(0.0)),
        );
        check(Some(before), Some(limited(1000, 10, (3, 20))), throttled(None));
        // The kernel counts periods of the time before the limit was removed.
        let mut unlimited = limited(1000, 10, (12, 20));
        unlimited.cpu.as_mut().unwrap().limit = None;
        let without = Measures {
            cpu_nano_cores: Some(10),
            ..Measures::default()
        };
        check(Some(before), Some(unlimited), without);
    }

    #[test]
    fn memory_and_pressure_need_one_answer() {
        let counters = sample::counters(0, 5);
        let expected = Measures {
            memory_bytes: Some(50 << 20),
            memory_limit_bytes: Some(200 << 20),
            pressure: counters.pressure,
            ..Measures::default()
        };
        check(None, Some(counters), expected);
    }

    #[test]
    fn a_pod_is_held_back_as_much_as_its_most_throttled_container() {
        let (mut before, mut after) = (sample::top(0), sample::top(1000));
        before.pods[0].containers[0].counters = Some(limited(0, 0, (0, 0)));
        after.pods[0].containers[0].counters = Some(limited(1000, 10, (5, 10)));
        let measured = pod(Some(&before), &after, &after.pods[0]);
        assert_eq!(measured.containers[0].1.throttled_percent, Some(50.0));
        assert_eq!(measured.measures.throttled_percent, Some(50.0));
    }

    #[test]
    fn traffic_is_that_of_the_interfaces_that_were_there_while_the_sandbox_is_the_same() {
        let (before, after) = (sample::top(0), sample::top(2000));
        let traffic = |before: Option<&Top>, after: &Top| pod(before, after, &after.pods[0]).network;
        let expected = Traffic {
            received_bytes_per_second: 1000,
            sent_bytes_per_second: 500,
        };
        assert_eq!(traffic(Some(&before), &after), Some(expected));
        assert_eq!(traffic(None, &after), None);
        let interfaces = node(Some(&before), &after).interfaces;
        assert_eq!(interfaces[0].name, "eth0");
        assert_eq!(interfaces[0].traffic.received_bytes_per_second, 1_000_000);

        let mut changed = after.clone();
        changed.pods[0].sandbox = "s2".to_owned();
        assert_eq!(traffic(Some(&before), &changed), None);
        changed.pods[0] = after.pods[0].clone();
        changed.pods[0].interfaces = None;
        assert_eq!(traffic(Some(&before), &changed), None);
        let interfaces = after.pods[0].interfaces.clone().unwrap();
        let new = InterfaceCounters {
            name: "eth1".to_owned(),
            received: 7_000_000,
            sent: 0,
        };
        changed.pods[0].interfaces = Some([interfaces, vec![new]].concat());
        assert_eq!(traffic(Some(&before), &changed), Some(expected));
        let mut reset = before.clone();
        reset.pods[0].interfaces.as_mut().unwrap()[0].received = 1_000_000_000;
        assert_eq!(traffic(Some(&reset), &changed), None);
        // Another pod of the same name.
        changed = after.clone();
        changed.pods[0].uid = "u2".to_owned();
        assert_eq!(traffic(Some(&before), &changed), None);
    }
}
