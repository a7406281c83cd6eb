//! Checks that pods can reach each other: IP forwarding, bridges, and the CNI configuration.

use std::path::Path;

use super::super::findings::Findings;
use crate::command::doctor::verdict::{Check, failure, good, warning};
use crate::config::Config;

pub(super) fn forwarding(findings: &Findings) -> Check {
    match (findings.ip_forward, &findings.other_cni[..]) {
        (true, _) => good("ip_forward", "on"),
        (false, []) => good(
            "ip_forward",
            "off; the agent turns it on when it sets up the pod network",
        ),
        (false, _) => warning(
            "ip_forward",
            "off, and another CNI plugin provides the network",
            "echo net.ipv4.ip_forward=1 | sudo tee /etc/sysctl.d/99-pods.conf && sudo sysctl --system",
        ),
    }
}

pub(super) fn bridges(findings: &Findings) -> Check {
    let subject = "br_netfilter";
    match findings.bridge_iptables {
        Some(true) => good(subject, "loaded, bridge-nf-call-iptables on"),
        Some(false) => warning(
            subject,
            "bridge-nf-call-iptables is off: Services between pods on this machine would fail",
            "echo net.bridge.bridge-nf-call-iptables=1 | sudo tee -a /etc/sysctl.d/99-pods.conf && sudo sysctl \
             --system",
        ),
        None => warning(
            subject,
            "not loaded: Services between pods on this machine would fail",
            "echo br_netfilter | sudo tee /etc/modules-load.d/pods.conf && sudo modprobe br_netfilter",
        ),
    }
}

pub(super) fn cni(findings: &Findings, config: &Config) -> Check {
    let subject = "CNI";
    if let Some(first) = findings.other_cni.first() {
        return good(
            subject,
            format!("{first} belongs to another network; it is used and left unchanged"),
        );
    }
    match &findings.missing_plugins[..] {
        [] if findings.foreign_bridge => {
            let at = config.network.cni_bin_dir.join("bridge");
            let found = format!(
                "{} is another vendor's: pods would get neither host ports nor bandwidth limits",
                at.display()
            );
            failure(
                subject,
                found,
                "sudo make install, or set another directory with --cni-bin-dir",
            )
        }
        [] => good(subject, "gantry's own network, plugins installed"),
        missing => {
            let at = config.network.cni_bin_dir.display();
            let found = format!("missing in {at}: {}", missing.join(", "));
            failure(
                subject,
                found,
                "sudo make install, or set their directory with --cni-bin-dir",
            )
        }
    }
}

/// Whether a CNI configuration is the agent's own, by its file name (`10-gantry.conflist`).
pub fn is_our_conflist(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.contains("gantry")
}
