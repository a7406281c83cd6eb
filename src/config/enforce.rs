//! Which enforcement of node allocatable may be configured (`pkg/kubelet/apis/config/validation` of Kubernetes v1.36,
//! with gantry's messages). Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::Checks;
use super::process::below_root;
use super::raw::KubeletConfiguration;

const KEY: &str = "enforceNodeAllocatable";

/// Validates `enforceNodeAllocatable` and the keys that it needs.
pub fn node_allocatable(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let key = KEY;
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
        match entry {
            "none" if entries.len() > 1 => {
                let problem = "none cannot be combined with other entries; keep one of them";
                checks.wrong(key, problem);
                continue;
            }
            "none" => continue,
            "pods" => {}
            "system-reserved" | "system-reserved-compressible" => {
                let cgroup = ("systemReservedCgroup", &config.system_reserved_cgroup);
                needs(entry, cgroup, ("systemReserved", &config.system_reserved), checks);
            }
            "kube-reserved" | "kube-reserved-compressible" => {
                let cgroup = ("kubeReservedCgroup", &config.kube_reserved_cgroup);
                needs(entry, cgroup, ("kubeReserved", &config.kube_reserved), checks);
            }
            _ => {
                let known = "pods, system-reserved, system-reserved-compressible, kube-reserved, \
                             kube-reserved-compressible, none";
                checks.wrong(key, format!("{entry:?} is not one of {known}"));
                continue;
            }
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

/// An entry needs the name of a cgroup, and amounts.
fn needs(
    entry: &str,
    (named, path): (&str, &Option<String>),
    (amounts, reserved): (&str, &Option<BTreeMap<String, String>>),
    checks: &mut Checks<'_>,
) {
    match path {
        None => checks.wrong(KEY, format!("{entry} needs {named} to be set")),
        Some(path) => {
            if let Err(problem) = below_root(path) {
                checks.wrong(named, problem);
            }
        }
    }
    // The kubelet does not start either: "cgroup is not configured properly".
    if reserved.as_ref().is_none_or(|reserved| reserved.is_empty()) {
        checks.wrong(KEY, format!("{entry} needs {amounts} to be set"));
    }
}
