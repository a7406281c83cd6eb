//! What is reserved beyond amounts: CPUs by their numbers, and memory by QoS class. Pure.

use super::checks::Checks;
use super::gates;
use super::raw::KubeletConfiguration;
use crate::model::cpu_list::CpuList;
use crate::model::memory_rules::MemoryReservation;
use crate::model::resources::{Amounts, MilliCpu};

/// The kubelet's default (`DefaultMemoryThrottlingFactor`).
const THROTTLING: f64 = 0.9;

/// `reservedSystemCPUs`. Whether the machine has them is checked later.
pub(super) fn system_cpus(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> CpuList {
    let text = written.reserved_system_cpus.as_deref().unwrap_or_default();
    text.parse().unwrap_or_else(|error| {
        checks.wrong("reservedSystemCPUs", format!("{error}"));
        CpuList::default()
    })
}

/// The reserved amounts of system and agent, where CPUs are reserved by number: those are all that is reserved
/// (`cmd/kubelet/app/server.go`).
pub(super) fn with_cpus(cpus: &CpuList, mut system: Amounts, mut kube: Amounts) -> (Amounts, Amounts) {
    if !cpus.is_empty() {
        system.cpu = Some(MilliCpu(i64::from(cpus.len()) * 1000));
        kube.cpu = None;
    }
    (system, kube)
}

/// `qosReserved` (`ParseQOSReserved` in `pkg/kubelet/cm/container_manager.go`), in percent.
pub(super) fn qos_reserved(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Option<i64> {
    let map = written.qos_reserved.as_ref().filter(|map| !map.is_empty())?;
    // The kubelet would silently reserve nothing.
    if !gates::is_on_if_enabled(written, gates::QOS_RESERVED) {
        let problem = "needs `featureGates: {QOSReserved: true}`; omit it otherwise";
        checks.wrong("qosReserved", problem);
    }
    let mut found = None;
    for (name, text) in map {
        if name != "memory" {
            checks.wrong_entry("qosReserved", name, "cannot be reserved; memory can");
            continue;
        }
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        found = percent.filter(|percent| (0..=100).contains(percent));
        if found.is_none() {
            let problem = format!("{text:?} is not a percentage between 0% and 100%");
            checks.wrong_entry("qosReserved", name, problem);
        }
    }
    found
}

/// `memoryThrottlingFactor` and `memoryReservationPolicy`, which the feature gate `MemoryQoS` turns on.
pub(super) fn memory_qos(
    written: &KubeletConfiguration,
    checks: &mut Checks<'_>,
) -> Option<(f64, MemoryReservation)> {
    let is_on = gates::is_on_if_enabled(written, gates::MEMORY_QOS);
    let reservation = match written.memory_reservation_policy.as_deref() {
        Some("TieredReservation") => MemoryReservation::Tiered,
        _ => MemoryReservation::None,
    };
    if reservation == MemoryReservation::Tiered && !is_on {
        let problem = "TieredReservation needs `featureGates: {MemoryQoS: true}`; use None otherwise";
        checks.wrong("memoryReservationPolicy", problem);
    }
    let throttling = written.memory_throttling_factor.unwrap_or(THROTTLING);
    is_on.then_some((throttling, reservation))
}
