//! Names, times, durations and amounts in Kubernetes' format.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::model::pod::Pod;
use crate::model::resources::{Amounts, Bytes, MilliCpu, count_quantity};

/// The pod's name in messages: `web_default(uid)`.
pub(super) fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", pod.name.name, pod.name.namespace, pod.uid)
}

/// A time in the API's format: whole seconds.
pub(super) fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Amounts by the names of their resources.
pub(super) fn quantities(amounts: &Amounts) -> BTreeMap<String, Quantity> {
    let bytes = |amount: Option<Bytes>| amount.map(Bytes::quantity);
    let stated = [
        ("cpu", amounts.cpu.map(MilliCpu::quantity)),
        ("memory", bytes(amounts.memory)),
        ("ephemeral-storage", bytes(amounts.ephemeral_storage)),
    ];
    let stated = stated.into_iter();
    let stated = stated.filter_map(|(name, amount)| Some((name.to_owned(), amount?)));
    let pages = amounts.hugepages.iter();
    let pages = pages.map(|(size, bytes)| (format!("hugepages-{}", size.quantity()), bytes.quantity()));
    let extended = amounts.extended.iter();
    let extended = extended.map(|(name, count)| (name.clone(), count_quantity(*count)));
    let all = stated.chain(pages).chain(extended);
    all.map(|(name, amount)| (name, Quantity(amount))).collect()
}

/// A duration in Go's format: `10s`, `1m20s`, `1.5s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let nanos = duration.subsec_nanos();
    if duration < Duration::from_secs(1) {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", fraction(nanos / 1_000, nanos % 1_000, 3)),
            _ => format!("{}ms", fraction(nanos / 1_000_000, nanos % 1_000_000, 6)),
        };
    }
    let whole = u32::try_from(duration.as_secs() % 60).expect("less than sixty");
    let seconds = fraction(whole, nanos, 9);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn fraction(whole: u32, part: u32, digits: usize) -> String {
    let text = format!("{whole}.{part:0digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let check =
            |nanos: u64, expected: &str| assert_eq!(go_duration(Duration::from_nanos(nanos)), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(36_000_000, "36ms");
        check(1_250_000_000, "1.25s");
        check(10_000_000_000, "10s");
        check(80_000_000_000, "1m20s");
        check(300_000_000_000, "5m0s");
        check(3_600_000_000_000, "1h0m0s");
        check(100_000_000, "100ms");
    }
}
