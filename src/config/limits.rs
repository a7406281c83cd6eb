//! Reserved resources, node allocatable enforcement and eviction thresholds, typed. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::Checks;
use super::raw::KubeletConfiguration;
use super::surroundings::span;
use super::{Cgroups, Enforce, amounts, reserved};
use crate::model::cpu_list::CpuList;
use crate::model::duration::Span;
use crate::model::eviction::Signal;
use crate::model::node::CgroupDriver;
use crate::model::resources::Amounts;
use crate::model::threshold::Threshold;

/// Reserved resources and eviction.
#[derive(Debug, Clone)]
pub struct Eviction {
    /// `systemReserved`; `pid` as the extended resource of that name.
    pub system_reserved: Amounts,
    /// `kubeReserved`, likewise.
    pub kube_reserved: Amounts,
    /// `reservedSystemCPUs`, whose number replaces the reserved amounts of CPU; empty: none.
    pub reserved_cpus: CpuList,
    /// `evictionHard` by signal.
    pub hard: BTreeMap<String, Threshold>,
    /// `evictionSoft` by signal, with the grace period.
    pub soft: BTreeMap<String, (Threshold, Duration)>,
    /// `evictionMinimumReclaim` by signal.
    pub minimum_reclaim: BTreeMap<String, Threshold>,
    /// `evictionPressureTransitionPeriod`
    pub pressure_transition: Duration,
    /// `localStorageCapacityIsolation`
    pub limits_storage: bool,
    /// `evictionMaxPodGracePeriod`; a negative value means the pod's own grace period.
    pub max_pod_grace: Option<Duration>,
}

/// The configuration section of this name.
pub fn cgroups(written: &KubeletConfiguration, stated_driver: bool, checks: &mut Checks<'_>) -> Cgroups {
    let driver = match written.cgroup_driver.as_deref() {
        Some("systemd") => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    };
    let root = written.cgroup_root.as_deref().unwrap_or_default();
    let components: Vec<String> = root
        .split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    if components.iter().any(|part| part == "." || part == "..") {
        checks.wrong("cgroupRoot", format!("{root:?} must be a plain cgroup path"));
    }
    let enforce = written
        .enforce_node_allocatable
        .iter()
        .flatten()
        .filter_map(|entry| match entry.as_str() {
            "pods" => Some(Enforce::Pods),
            "system-reserved" => Some(Enforce::SystemReserved),
            "system-reserved-compressible" => Some(Enforce::SystemReservedCompressible),
            "kube-reserved" => Some(Enforce::KubeReserved),
            "kube-reserved-compressible" => Some(Enforce::KubeReservedCompressible),
            _ => None,
        });
    Cgroups {
        driver: stated_driver.then_some(driver),
        root: components,
        per_qos: written.cgroups_per_qos != Some(false),
        cfs_quota: written.cpu_cfs_quota != Some(false),
        cfs_period: span(written.cpu_cfs_quota_period),
        pod_pids: written.pod_pids_limit.filter(|&limit| limit > 0),
        enforce: enforce.collect(),
        system_reserved: written.system_reserved_cgroup.clone(),
        kube_reserved: written.kube_reserved_cgroup.clone(),
        single_process_oom_kill: written.single_process_oom_kill,
        qos_reserved: reserved::qos_reserved(written, checks),
        memory_qos: reserved::memory_qos(written, checks),
        refuse_v1: written.fail_cgroup_v1 == Some(true),
    }
}

/// The configuration section of this name.
pub fn eviction(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Eviction {
    let mut amounts = |key: &str, map: &Option<BTreeMap<String, String>>| {
        amounts::reserved(map.as_ref().unwrap_or(&BTreeMap::new())).unwrap_or_else(|(name, problem)| {
            checks.wrong_entry(key, &name, problem);
            Default::default()
        })
    };
    let system_reserved = amounts("systemReserved", &written.system_reserved);
    let kube_reserved = amounts("kubeReserved", &written.kube_reserved);
    let reserved_cpus = reserved::system_cpus(written, checks);
    let (system_reserved, kube_reserved) =
        reserved::with_cpus(&reserved_cpus, system_reserved, kube_reserved);
    let hard = thresholds("evictionHard", &written.eviction_hard, amounts::threshold, checks);
    let soft = thresholds("evictionSoft", &written.eviction_soft, amounts::threshold, checks);
    let no_grace = BTreeMap::new();
    let graces = written.eviction_soft_grace_period.as_ref().unwrap_or(&no_grace);
    let mut with_grace = BTreeMap::new();
    for (signal, threshold) in soft {
        match graces.get(&signal).map(|grace| grace.parse::<Span>()) {
            Some(Ok(grace)) if grace >= Span(0) => {
                with_grace.insert(signal, (threshold, grace.unsigned()));
            }
            Some(Ok(grace)) => {
                let problem = format!("{grace} must not be negative");
                checks.wrong_entry("evictionSoftGracePeriod", &signal, problem);
            }
            Some(Err(error)) => checks.wrong_entry("evictionSoftGracePeriod", &signal, error.to_string()),
            None => {
                let problem = "needs an entry in evictionSoftGracePeriod";
                checks.wrong_entry("evictionSoft", &signal, problem);
            }
        }
    }
    let grace = written.eviction_max_pod_grace_period.unwrap_or(0);
    Eviction {
        system_reserved,
        kube_reserved,
        reserved_cpus,
        hard,
        soft: with_grace,
        minimum_reclaim: thresholds(
            "evictionMinimumReclaim",
            &written.eviction_minimum_reclaim,
            |text| amounts::reclaim(text).map(Some),
            checks,
        ),
        pressure_transition: span(written.eviction_pressure_transition_period),
        limits_storage: written.local_storage_capacity_isolation != Some(false),
        max_pod_grace: u64::try_from(grace).ok().map(Duration::from_secs),
    }
}

/// The entries of one of the maps by signal; `read` is how its values are written. An entry of a signal that follows
/// another one is named in a warning: the kubelet logs that it ignores those of the containers' file system
/// (`UpdateContainerFsThresholds` in `pkg/kubelet/eviction/helpers.go`).
fn thresholds(
    key: &str,
    map: &Option<BTreeMap<String, String>>,
    read: impl Fn(&str) -> Result<Option<Threshold>, String>,
    checks: &mut Checks<'_>,
) -> BTreeMap<String, Threshold> {
    let mut found = BTreeMap::new();
    for (name, text) in map.iter().flatten() {
        let Some(signal) = Signal::of(name) else {
            let signals = Signal::ALL.map(Signal::as_str).join(", ");
            let problem = format!("is not an eviction signal; use one of {signals}");
            checks.wrong_entry(key, name, problem);
            continue;
        };
        match read(text) {
            Ok(threshold) => found.extend(threshold.map(|threshold| (name.clone(), threshold))),
            Err(problem) => checks.wrong_entry(key, name, problem),
        }
        if let Some(origin) = signal.follows() {
            let origin = origin.as_str();
            let text = match (key, signal) {
                ("evictionSoft", Signal::AllocatableMemory) => {
                    format!(
                        "is ignored: this signal has the threshold of {origin} in evictionHard alone; set that"
                    )
                }
                (_, Signal::AllocatableMemory) => {
                    format!("is ignored: for this signal the value of {origin} counts; set that")
                }
                _ => format!(
                    "is ignored: for this signal the value of {origin} counts, or that of imagefs where images and \
                     containers share a file system; set that"
                ),
            };
            checks.warn_entry(key, name, text);
        }
    }
    found
}
