//! The node and the program: names, versions, the first registration, the certificate.

use jiff::Timestamp;

use super::now::Now;
use super::process::ProcessStats;
use crate::counters::{Counters, Kind, Moments};
use crate::model::feature_gate::FeatureGate;
use crate::serve::metrics::exposition::Page;

pub(super) fn put(page: &mut Page, now: &Now, counters: &Counters) {
    page.family("gantry_build_info", Kind::Gauge, "The version of the agent.")
        .value(&[("version", env!("CARGO_PKG_VERSION"))], 1u64);
    put_version(page, &now.kubernetes_version);
    let name = now.node.metadata.name.as_deref().unwrap_or_default();
    let help = "The node's name. The value is always 1.";
    page.family("kubelet_node_name", Kind::Gauge, help)
        .value(&[("node", name)], 1u64);
    put_gates(page, &now.gates);
    put_startup(page, counters.registration.moments(), now.process.as_ref());
    put_certificate(page, counters.certificates.expiry(), now.at);
}

/// The version that the node reports. What is known only of a program in Go is empty.
fn put_version(page: &mut Page, version: &str) {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let platform = format!("linux/{}", architecture());
    let labels = [
        ("build_date", ""),
        ("compiler", "rustc"),
        ("git_commit", ""),
        ("git_tree_state", ""),
        ("git_version", version),
        ("go_version", ""),
        ("major", major),
        ("minor", minor),
        ("platform", platform.as_str()),
    ];
    let help = "The version of Kubernetes that the node reports. The value is always 1.";
    page.family("kubernetes_build_info", Kind::Gauge, help)
        .value(&labels, 1u64);
}

/// Those that gantry follows; what the kubelet's others would enable, it does not have.
fn put_gates(page: &mut Page, gates: &[FeatureGate]) {
    let help =
        "Whether a feature gate that gantry follows is on (1) or off (0), with the stage of its feature.";
    let mut family = page.family("kubernetes_feature_enabled", Kind::Gauge, help);
    for gate in gates {
        let labels = [("name", gate.name), ("stage", gate.stage.as_str())];
        family.value(&labels, u64::from(gate.enabled));
    }
}

/// The machine's architecture, as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How long the parts of the node's first registration took. A node that was registered before shows none.
fn put_startup(page: &mut Page, moments: Moments, process: Option<&ProcessStats>) {
    let seconds = |moment: Option<Timestamp>| moment.map(|moment| moment.as_nanosecond() as f64 / 1e9);
    let [tried, registered, ready] = [moments.tried, moments.registered, moments.ready].map(seconds);
    // As in the kubelet, nothing is shown before the node is registered.
    let begun = process.filter(|_| registered.is_some());
    let (boot, start) = (
        begun.map(ProcessStats::boot_seconds),
        begun.map(ProcessStats::start_seconds),
    );
    let between = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
    for (name, help, value) in [
        (
            "kubelet_node_startup_pre_kubelet_duration_seconds",
            "How many seconds after the machine the agent started.",
            between(boot, start),
        ),
        (
            "kubelet_node_startup_pre_registration_duration_seconds",
            "How many seconds after its own start the agent first tried to register the node.",
            between(start, tried),
        ),
        (
            "kubelet_node_startup_registration_duration_seconds",
            "How many seconds it took to register the node.",
            between(tried, registered),
        ),
        (
            "kubelet_node_startup_post_registration_duration_seconds",
            "How many seconds after its registration the node was ready.",
            between(registered, ready),
        ),
        (
            "kubelet_node_startup_duration_seconds",
            "How many seconds after the machine's start the node was ready.",
            between(boot, ready),
        ),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        if let Some(value) = value {
            family.value(&[], value);
        }
    }
}

fn put_certificate(page: &mut Page, expiry: Option<Timestamp>, now: Timestamp) {
    let left = expiry.map_or(f64::INFINITY, |expiry| expiry.duration_since(now).as_secs_f64());
    let help = "For how many seconds the node's client certificate is still valid; negative if it has expired, and +Inf \
                if there is none.";
    page.family(
        "kubelet_certificate_manager_client_ttl_seconds",
        Kind::Gauge,
        help,
    )
    .value(&[], left);
}
