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

/// The namespace of the kernel that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SysctlNamespace {
    Net,
    Ipc,
    /// It has none: it is the whole machine's.
    None,
}

/// What only the node can decide of a pod that the API server has validated: whether it allows the kernel parameters.
/// Tells what it does not, in the kubelet's words (`pkg/kubelet/sysctl/allowlist.go`).
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
        let message = format!("{name} is set already: keep one of the two");
        if !written.insert(sysctl.name.as_str()) {
            faults.add(&at, message);
        } else if !taken.insert(name.clone()) {
            // The same in the other spelling.
            faults.warn(&at, message);
        }
        match sysctl_namespace(&name) {
            SysctlNamespace::Net if spec.host_network == Some(true) => {
                faults.add(
                    &at,
                    format!("{name} would be the host's, because hostNetwork is true"),
                );
            }
            SysctlNamespace::Ipc if spec.host_ipc == Some(true) => {
                faults.add(
                    &at,
                    format!("{name} would be the host's, because hostIPC is true"),
                );
            }
            // The node refuses such a pod when it is to be admitted.
            SysctlNamespace::None => {
                faults.warn(
                    &at,
                    format!("{name} belongs to the whole machine, so no pod can set it"),
                );
            }
            _ if !allowed(&name, &context.allowed_unsafe_sysctls) => {
                let message =
                    format!("{name} is not allowed on this node: allowedUnsafeSysctls must have it");
                faults.warn(&at, message);
            }
            _ => {}
        }
    }
}

/// The name with dots: with slashes between the parts, a dot belongs to the name of an interface.
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

/// By name, as `sysctl.GetNamespace` of `k8s.io/component-helpers` knows them.
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
