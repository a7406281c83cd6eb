//! Which enforcement of node allocatable may be configured (`pkg/kubelet/apis/config/validation` of Kubernetes v1.36,
//! with gantry's messages). Pure.

use std::collections::BTreeSet;

use super::checks::Checks;
use super::raw::KubeletConfiguration;

/// Validates `enforceNodeAllocatable` and the keys that it needs.
pub fn node_allocatable(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let key = "enforceNodeAllocatable";
    let entries: Vec<&str> = config
        .enforce_node_allocatable
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let mut seen = BTreeSet::new();
    for &entry in &entries {
        if !seen.insert(entry) {
            checks.wrong(key, format!("{entry} is listed twice"));
            continue;
        }
        let cgroup = match entry {
            "none" if entries.len() > 1 => {
                let problem = "none cannot be combined with other entries; keep one of them";
                checks.wrong(key, problem);
                continue;
            }
            "none" => continue,
            "pods" => None,
            "system-reserved" | "system-reserved-compressible" => {
                Some(("systemReservedCgroup", &config.system_reserved_cgroup))
            }
            "kube-reserved" | "kube-reserved-compressible" => {
                Some(("kubeReservedCgroup", &config.kube_reserved_cgroup))
            }
            _ => {
                let known = "pods, system-reserved, system-reserved-compressible, kube-reserved, \
                             kube-reserved-compressible, none";
                checks.wrong(key, format!("{entry:?} is not one of {known}"));
                continue;
            }
        };
        if let Some((needed, None)) = cgroup {
            checks.wrong(key, format!("{entry} needs {needed} to be set"));
        }
        if config.cgroups_per_qos == Some(false) {
            let problem = format!("{entry} needs `cgroupsPerQOS: true`; otherwise use `[none]`");
            checks.wrong(key, problem);
        }
    }
    for base in ["system-reserved", "kube-reserved"] {
        let compressible = format!("{base}-compressible");
        if seen.contains(base) && seen.contains(compressible.as_str()) {
            let problem = format!("{base} and {compressible} cannot be combined; keep one");
            checks.wrong(key, problem);
        }
    }
    if config.reserved_system_cpus.is_some()
        && (config.system_reserved_cgroup.is_some() || config.kube_reserved_cgroup.is_some())
    {
        let problem = "cannot be combined with systemReservedCgroup or kubeReservedCgroup";
        checks.wrong("reservedSystemCPUs", problem);
    }
}
