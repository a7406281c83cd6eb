//! How the node joins its API server: registration, lease, events. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use super::checks::Checks;
use super::gates;
use super::own::GantryConfiguration;
use super::raw::KubeletConfiguration;
use super::surroundings::span;
use crate::model::api::{CutOffStart, TrustBundles};

/// The node's membership in a cluster.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// `registerNode`
    pub register: bool,
    /// `rotateCertificates`
    pub renew_certificates: bool,
    /// `registerWithTaints`
    pub taints: Vec<Taint>,
    /// `providerID`
    pub provider_id: Option<String>,
    /// `--cloud-provider=external`: a cloud controller completes the node.
    pub external_cloud: bool,
    /// `cutOffStart`
    pub cut_off_start: CutOffStart,
    /// The feature gate `ClusterTrustBundleProjection`.
    pub trust_bundles: TrustBundles,
    /// The feature gate `PodCertificateRequest`.
    pub pod_certificates: bool,
    /// `syncFrequency`: how soon objects that cannot be watched are requested again, and volumes published again whose
    /// drivers require it.
    pub refresh: Duration,
    /// `nodeLeaseDurationSeconds`
    pub lease: Duration,
    /// `kubeAPIQPS`; 0 means the usual number of Kubernetes' clients.
    pub requests_per_second: u32,
    /// `kubeAPIBurst`, likewise.
    pub request_burst: u32,
    /// `eventRecordQPS`; 0 means no limit.
    pub events_per_second: u32,
    /// `eventBurst`
    pub event_burst: u32,
}

/// The default of `syncFrequency`.
const SYNC: Duration = Duration::from_secs(60);

/// The valid effects of a taint.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The configuration section of this name.
pub(super) fn member(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> Member {
    let mut taints: Vec<Taint> = written
        .register_with_taints
        .iter()
        .flatten()
        .filter_map(|taint| serde_json::from_value(serde_json::to_value(taint).ok()?).ok())
        .collect();
    let text = own.register_with_taints.as_deref().unwrap_or_default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match taint(part) {
            Some(taint) => taints.push(taint),
            None => own_checks.wrong(
                "registerWithTaints",
                format!(
                    "{part:?} is not a taint; write key=value:Effect with one of {}",
                    EFFECTS.join(", ")
                ),
            ),
        }
    }
    let provider = own.cloud_provider.as_deref().unwrap_or_default();
    if !matches!(provider, "" | "external") {
        own_checks.wrong(
            "cloudProvider",
            format!("{provider:?} is no longer supported, as in the kubelet; use external, or omit it"),
        );
    }
    let number = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Member {
        register: written.register_node != Some(false),
        renew_certificates: written.rotate_certificates == Some(true),
        taints,
        provider_id: written.provider_id.clone().filter(|id| !id.is_empty()),
        external_cloud: provider == "external",
        cut_off_start: cut_off_start(own, own_checks),
        trust_bundles: trust_bundles(written, checks),
        pod_certificates: gates::is_on_if_enabled(written, gates::POD_CERTIFICATES),
        refresh: Some(span(written.sync_frequency))
            .filter(|period| !period.is_zero())
            .unwrap_or(SYNC),
        lease: Duration::from_secs(u64::from(
            written
                .node_lease_duration_seconds
                .and_then(|seconds| u32::try_from(seconds).ok())
                .filter(|&seconds| seconds > 0)
                .unwrap_or(40),
        )),
        requests_per_second: number(written.kube_api_qps),
        request_burst: number(written.kube_api_burst),
        events_per_second: number(written.event_record_qps),
        event_burst: number(written.event_burst),
    }
}

fn cut_off_start(own: &GantryConfiguration, own_checks: &mut Checks<'_>) -> CutOffStart {
    match own.cut_off_start.as_deref().unwrap_or_default() {
        "" | "Tolerated" => CutOffStart::Tolerated,
        "Always" => CutOffStart::Always,
        "Never" => CutOffStart::Never,
        other => {
            let complaint = format!("{other:?} must be Tolerated, Always or Never");
            own_checks.wrong("cutOffStart", complaint);
            CutOffStart::Never
        }
    }
}

/// The kubelet's feature gates of these names are off by default, and one needs the other.
fn trust_bundles(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> TrustBundles {
    let gates = written.feature_gates.as_ref();
    let is_on = |gate: &str| gates.and_then(|gates| gates.get(gate)) == Some(&true);
    match (is_on("ClusterTrustBundleProjection"), is_on("ClusterTrustBundle")) {
        (true, true) => TrustBundles::Projected,
        (true, false) => {
            let problem = "ClusterTrustBundleProjection needs ClusterTrustBundle: true";
            checks.wrong("featureGates", problem);
            TrustBundles::Off
        }
        (false, _) => TrustBundles::Off,
    }
}

/// `key=value:Effect`, or `key:Effect`.
fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (rest, None),
    };
    let is_right = !key.is_empty() && EFFECTS.contains(&effect);
    is_right.then(|| Taint {
        key: key.to_owned(),
        value: value.filter(|value| !value.is_empty()),
        effect: effect.to_owned(),
        time_added: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_bundles_need_two_gates() {
        let check = |gates: &[&str], want: TrustBundles, problems: usize| {
            let gates: serde_json::Map<_, _> = gates
                .iter()
                .map(|gate| ((*gate).to_owned(), true.into()))
                .collect();
            let value = serde_json::json!({ "featureGates": gates });
            let written = serde_json::from_value(value.clone()).unwrap();
            let layer = crate::config::layers::Layer {
                value,
                ..Default::default()
            };
            let mut checks = Checks::new(&layer);
            assert_eq!(trust_bundles(&written, &mut checks), want);
            assert_eq!(checks.problems.len(), problems);
        };
        let (one, other) = ("ClusterTrustBundle", "ClusterTrustBundleProjection");
        check(&[], TrustBundles::Off, 0);
        check(&[one], TrustBundles::Off, 0);
        check(&[one, other], TrustBundles::Projected, 0);
        check(&[other], TrustBundles::Off, 1);
    }

    #[test]
    fn taints_of_the_flag() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, &str)>| {
            let found = taint(text);
            let found = found
                .as_ref()
                .map(|t| (t.key.as_str(), t.value.as_deref(), t.effect.as_str()));
            assert_eq!(found, expected, "{text}");
        };
        check("a=b:NoSchedule", Some(("a", Some("b"), "NoSchedule")));
        check("x.io/a:NoExecute", Some(("x.io/a", None, "NoExecute")));
        check("a=:NoExecute", Some(("a", None, "NoExecute")));
        check("a=b:Never", None);
        check("=b:NoSchedule", None);
        check("a", None);
    }
}
