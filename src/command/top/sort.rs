//! The order of the pods. Pure.

use std::cmp::Ordering;

use super::rows::PodRow;
use crate::cli::top::SortKey;

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Names upwards, amounts downwards.
    Usual,
    /// The other way round.
    Reversed,
}

/// Sorts pods. Those whose value is not known come last, and equal ones are in the order of their names.
pub(super) fn sort(pods: &mut [&PodRow], key: SortKey, order: Order) {
    let turned = |ordering: Ordering| match order {
        Order::Usual => ordering,
        Order::Reversed => ordering.reverse(),
    };
    let names = |one: &PodRow, other: &PodRow| {
        (&one.namespace, &one.name, &one.uid).cmp(&(&other.namespace, &other.name, &other.uid))
    };
    pods.sort_by(|one, other| {
        let by_value = match (value(one, key), value(other, key)) {
            (Some(one), Some(other)) => turned(other.total_cmp(&one)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        match key {
            SortKey::Name => turned(names(one, other)),
            _ => by_value.then_with(|| names(one, other)),
        }
    });
}

fn value(pod: &PodRow, key: SortKey) -> Option<f64> {
    let measures = &pod.measures;
    match key {
        SortKey::Cpu => measures.cpu_nano_cores.map(|cpu| cpu as f64),
        SortKey::Memory => measures.memory_bytes.map(|memory| memory as f64),
        SortKey::Throttling => measures.throttled_percent,
        SortKey::Restarts => pod.restarts.map(f64::from),
        SortKey::Pressure => measures.pressure.greatest(),
        SortKey::Network => pod
            .network
            .map(|traffic| traffic.received_bytes_per_second as f64 + traffic.sent_bytes_per_second as f64),
        SortKey::Name => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::rates::{Measures, Traffic};
    use crate::serve::top::wire::PressureNow;

    fn pod(name: &str, measures: Measures) -> PodRow {
        PodRow {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            status: None,
            ready: None,
            restarts: None,
            measures,
            network: None,
            containers: Vec::new(),
        }
    }

    fn check(pods: &[PodRow], key: SortKey, order: Order, expected: &[&str]) {
        let mut sorted: Vec<&PodRow> = pods.iter().collect();
        sort(&mut sorted, key, order);
        let names: Vec<&str> = sorted.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, expected, "{key:?} {order:?}");
    }

    #[test]
    fn amounts_are_sorted_downwards_and_what_is_not_known_comes_last() {
        let cpu = |name: &str, cpu: Option<u64>| {
            pod(
                name,
                Measures {
                    cpu_nano_cores: cpu,
                    ..Measures::default()
                },
            )
        };
        let pods = [
            cpu("b", Some(5)),
            cpu("c", None),
            cpu("d", Some(9)),
            cpu("a", Some(5)),
        ];
        check(&pods, SortKey::Cpu, Order::Usual, &["d", "a", "b", "c"]);
        check(&pods, SortKey::Cpu, Order::Reversed, &["a", "b", "d", "c"]);
        check(&pods, SortKey::Memory, Order::Usual, &["a", "b", "c", "d"]);
        check(&pods, SortKey::Name, Order::Usual, &["a", "b", "c", "d"]);
        check(&pods, SortKey::Name, Order::Reversed, &["d", "c", "b", "a"]);
    }

    #[test]
    fn each_key_sorts_by_its_own_column() {
        let mut low = pod("low", Measures::default());
        low.restarts = Some(1);
        low.network = Some(Traffic {
            received_bytes_per_second: 10,
            sent_bytes_per_second: 10,
        });
        low.measures = Measures {
            cpu_nano_cores: Some(1),
            memory_bytes: Some(1),
            throttled_percent: Some(1.0),
            pressure: PressureNow {
                io: Some(0.5),
                ..PressureNow::default()
            },
            ..Measures::default()
        };
        let mut top = pod("a-top", Measures::default());
        top.restarts = Some(2);
        top.network = Some(Traffic {
            received_bytes_per_second: 0,
            sent_bytes_per_second: 21,
        });
        top.measures = Measures {
            cpu_nano_cores: Some(2),
            memory_bytes: Some(2),
            throttled_percent: Some(1.5),
            pressure: PressureNow {
                cpu: Some(0.0),
                memory: Some(0.7),
                io: None,
            },
            ..Measures::default()
        };
        for key in [
            SortKey::Cpu,
            SortKey::Memory,
            SortKey::Throttling,
            SortKey::Restarts,
            SortKey::Pressure,
            SortKey::Network,
        ] {
            let pods = [low.clone(), top.clone()];
            check(&pods, key, Order::Usual, &["a-top", "low"]);
            check(&pods, key, Order::Reversed, &["low", "a-top"]);
        }
    }
}
