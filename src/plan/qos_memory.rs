//! Memory by QoS class: what `qosReserved` keeps from the classes below, and what `MemoryQoS` (KEP-2570) throttles and
//! protects on cgroup v2. Pure.

use std::collections::BTreeMap;

use crate::model::amounts::{self, Overhead};
use crate::model::memory_rules::{MemoryProtection, MemoryQos, MemoryReservation};
use crate::model::node::{CgroupLayout, CgroupVersion};
use crate::model::pod::{Container, Pod};
use crate::model::resources::{Amounts, Qos};

/// What the pods of a node request together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct QosRequests {
    /// CPU of the burstable ones, in millicores.
    pub(super) burstable_cpu: i64,
    burstable_memory: i64,
    guaranteed_memory: i64,
}

impl QosRequests {
    /// Those of these pods.
    pub(super) fn of<'a>(pods: impl Iterator<Item = &'a Pod>) -> QosRequests {
        pods.fold(QosRequests::default(), |mut sum, pod| {
            let requests = amounts::pod_requests(pod, Overhead::With);
            let memory = match pod.qos {
                Qos::Guaranteed => &mut sum.guaranteed_memory,
                Qos::Burstable => &mut sum.burstable_memory,
                Qos::BestEffort => return sum,
            };
            *memory = memory.saturating_add(requests.memory_or_zero());
            if pod.qos == Qos::Burstable {
                sum.burstable_cpu = sum.burstable_cpu.saturating_add(requests.cpu_or_zero());
            }
            sum
        })
    }
}

/// The memory of one cgroup above the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LevelMemory {
    pub(super) limit: Option<i64>,
    pub(super) protection: MemoryProtection,
}

/// The memory of the cgroups above the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LevelsMemory {
    /// Of `kubepods`, whose limit is that of the node.
    pub(super) guaranteed: LevelMemory,
    pub(super) burstable: LevelMemory,
    pub(super) best_effort: LevelMemory,
}

/// `setMemoryReserve` and `setMemoryQoS` in `pkg/kubelet/cm/qos_container_manager_linux.go`.
pub(super) fn of_levels(
    requests: &QosRequests,
    layout: &CgroupLayout,
    capacity: &Amounts,
    reserved: &Amounts,
) -> LevelsMemory {
    let mut levels = LevelsMemory::default();
    if let Some(percent) = layout.memory.reserved_percent {
        let allocatable = capacity.memory_or_zero() - reserved.memory_or_zero();
        let part = |request: i64| request.saturating_mul(percent) / 100;
        let burstable = allocatable - part(requests.guaranteed_memory);
        let best_effort = burstable - part(requests.burstable_memory);
        // Nothing left is no limit, as in the kubelet; less than nothing, which the kubelet would write, is none either.
        let limit = |bytes: i64| Some(bytes).filter(|&bytes| allocatable > 0 && bytes > 0);
        levels.burstable.limit = limit(burstable);
        levels.best_effort.limit = limit(best_effort);
    }
    if let Some(rules) = enabled(layout) {
        // The parent has to cover what is protected below it. 0 removes what an earlier policy wrote.
        let (all, burstable) = match rules.reservation {
            MemoryReservation::Tiered => (
                requests
                    .guaranteed_memory
                    .saturating_add(requests.burstable_memory),
                requests.burstable_memory,
            ),
            MemoryReservation::None => (0, 0),
        };
        levels.guaranteed.protection.min = Some(all);
        levels.burstable.protection.low = Some(burstable);
    }
    levels
}

/// The protection of a pod that requests this much (`ResourceConfigForPod` in `pkg/kubelet/cm/helpers_linux.go`).
pub(super) fn of_pod(pod: &Pod, requests: &Amounts, layout: &CgroupLayout) -> MemoryProtection {
    let none = MemoryProtection::default();
    let is_tiered = |rules: &&MemoryQos| rules.reservation == MemoryReservation::Tiered;
    let request = Some(requests.memory_or_zero()).filter(|&request| request > 0);
    match (enabled(layout).filter(is_tiered), pod.qos) {
        (None, _) => none,
        (Some(_), Qos::Guaranteed) => MemoryProtection { min: request, ..none },
        (Some(_), _) => MemoryProtection { low: request, ..none },
    }
}

/// The entries of a container's `unified` values (`generateLinuxContainerResources` in
/// `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`).
pub(super) fn of_container(
    pod: &Pod,
    container: &Container,
    layout: &CgroupLayout,
) -> BTreeMap<String, String> {
    let Some(rules) = enabled(layout) else {
        return BTreeMap::new();
    };
    let request = container.resources.requests.memory_or_zero();
    let limit = container.resources.limits.memory_or_zero();
    let protects = request != 0 && rules.reservation == MemoryReservation::Tiered;
    let mut unified: Vec<(&str, i64)> = match (protects, pod.qos) {
        (true, Qos::Guaranteed) => vec![("memory.min", request)],
        (true, _) => vec![("memory.low", request)],
        (false, _) => vec![("memory.min", 0), ("memory.low", 0)],
    };
    if request != limit {
        let most = match limit {
            0 => rules.allocatable.0,
            limit => limit,
        };
        let high = throttled_from(rules, request, most);
        unified.extend((most > 0 && high > request).then_some(("memory.high", high)));
    }
    let named = |(name, bytes): (&str, i64)| (name.to_owned(), bytes.to_string());
    unified.into_iter().map(named).collect()
}

/// How much memory a container may use before it is throttled, in whole pages: `memory.high`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the kubelet's arithmetic, to the bit"
)]
fn throttled_from(rules: &MemoryQos, request: i64, most: i64) -> i64 {
    let bytes = request as f64 + (most as f64 - request as f64) * rules.throttling;
    // The kubelet rounds the bytes down, and the quotient as it becomes a whole number.
    (bytes.floor() / rules.page_size as f64) as i64 * rules.page_size
}

fn enabled(layout: &CgroupLayout) -> Option<&MemoryQos> {
    let rules = layout.memory.qos.as_ref();
    rules.filter(|_| layout.version == CgroupVersion::V2)
}
