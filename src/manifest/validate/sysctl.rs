//! Whether the kernel parameters of a pod are right, and which of them this node allows.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSpec, Sysctl};

use crate::manifest::context::ManifestContext;
use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};

/// Kernel parameters that every pod may set (`pkg/kubelet/sysctl/safe_sysctls.go`).
pub(super) const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// The kernel namespace of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SysctlNamespace {
    Net,
    Ipc,
    /// It has none: the parameter is global to the machine.
    None,
}

/// The one check of an API pod that is left to the node: whether the node allows its kernel parameters. Returns the
/// kubelet's message about the first one that it does not allow (`pkg/kubelet/sysctl/allowlist.go`).
pub(crate) fn forbidden_sysctl(spec: &PodSpec, context: &ManifestContext) -> Option<String> {
    let own = spec.security_context.as_ref()?;
    own.sysctls.iter().flatten().find_map(|sysctl| {
        let name = dotted(&sysctl.name);
        let with_host = match sysctl_namespace(&name) {
            SysctlNamespace::Net if spec.host_network == Some(true) => Some("Net"),
            SysctlNamespace::Ipc if spec.host_ipc == Some(true) => Some("IPC"),
            _ => None,
        };
        match with_host {
            _ if !allowed(&name, &context.allowed_unsafe_sysctls) => {
                Some(format!("forbidden sysctl: {name:?} not allowlisted"))
            }
            Some(kind) => Some(format!(
                "forbidden sysctl: {name:?} not allowed with host {kind} enabled"
            )),
            None => None,
        }
    })
}

pub(super) fn sysctls(
    sysctls: &[Sysctl],
    spec: &PodSpec,
    context: &ManifestContext,
    at: &FieldPath,
    faults: &mut Faults,
) {
    let (mut taken, mut written) = (BTreeSet::new(), BTreeSet::new());
    for (index, sysctl) in sysctls.iter().enumerate() {
        let at = at.index(index).field("name");
        if let Some(complaint) = names::sysctl(&sysctl.name) {
            faults.add(&at, format!("{:?} {complaint}", sysctl.name));
            continue;
        }
        let name = dotted(&sysctl.name);
        let message = format!("{name} is already set: keep one of the two");
        if !written.insert(sysctl.name.as_str()) {
            faults.add(&at, message);
        } else if !taken.insert(name.clone()) {
            // The same name in the other spelling.
            faults.warn(&at, message);
        }
        match sysctl_namespace(&name) {
            SysctlNamespace::Net if spec.host_network == Some(true) => {
                faults.add(
                    &at,
                    format!("{name} would change the host because hostNetwork is true"),
                );
            }
            SysctlNamespace::Ipc if spec.host_ipc == Some(true) => {
                faults.add(
                    &at,
                    format!("{name} would change the host because hostIPC is true"),
                );
            }
            // Admission rejects such a pod.
            SysctlNamespace::None => {
                faults.warn(
                    &at,
                    format!("{name} applies to the whole machine, so a pod cannot set it"),
                );
            }
            _ if !allowed(&name, &context.allowed_unsafe_sysctls) => {
                let message = format!("{name} is not allowed on this node: add it to allowedUnsafeSysctls");
                faults.warn(&at, message);
            }
            _ => {}
        }
    }
}

/// The name with dots: if slashes separate its parts, a dot belongs to the name of an interface.
pub(super) fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// By name, as in `sysctl.GetNamespace` of `k8s.io/component-helpers`.
pub(super) fn sysctl_namespace(name: &str) -> SysctlNamespace {
    match name {
        name if name.starts_with("net.") => SysctlNamespace::Net,
        "kernel.sem" => SysctlNamespace::Ipc,
        name if name.starts_with("kernel.shm")
            || name.starts_with("kernel.msg")
            || name.starts_with("fs.mqueue.") =>
        {
            SysctlNamespace::Ipc
        }
        _ => SysctlNamespace::None,
    }
}

pub(super) fn allowed(name: &str, patterns: &[String]) -> bool {
    SAFE_SYSCTLS.contains(&name)
        || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(&dotted(prefix)),
            None => name == dotted(pattern),
        })
}
