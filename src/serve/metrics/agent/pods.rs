//! What is reported of pods. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::counters::Kind;
use crate::model::labels;
use crate::model::pod::{OF_API, PodName};
use crate::model::report::PodsReport;
use crate::serve::metrics::exposition::Page;

/// The lifecycle of a pod as the kubelet's pod workers name it.
const LIFECYCLES: [&str; 3] = ["sync", "terminating", "terminated"];

/// Why there is a pod, and whether it is static: `config` and `static` of the kubelet.
const CONFIGS: [(&str, &str); 5] = [
    ("desired", ""),
    ("desired", "true"),
    ("orphan", ""),
    ("orphan", "true"),
    ("runtime_only", "unknown"),
];

pub(super) fn put(page: &mut Page, report: &PodsReport) {
    put_counts(page, report);
    put_working(page, report);
    put_resizes(page, report);
    put_files(page, report);
}

/// Whether a source wants the pod: what is left of one that no source wants is reported, too.
fn is_wanted(report: &PodsReport, name: &PodName, pod: &Pod) -> bool {
    let uid = pod.metadata.uid.as_deref();
    let leaving = report.leaving.get(name);
    !leaving.is_some_and(|leaving| leaving.iter().any(|left| uid == Some(&left.0)))
}

/// The kubelet's label of a pod that is not from the API server.
fn static_label(pod: &Pod) -> &'static str {
    let source = pod.metadata.annotations.as_ref().and_then(labels::source);
    match source.is_some_and(|source| source != OF_API) {
        true => "true",
        false => "",
    }
}

fn phase(pod: &Pod) -> &str {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.unwrap_or("Unknown")
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

fn put_counts(page: &mut Page, report: &PodsReport) {
    let mut desired = BTreeMap::from([("", 0u64), ("true", 0)]);
    let mut active = desired.clone();
    let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ephemeral = 0u64;
    for (name, pod) in &report.pods {
        *phases.entry(phase(pod)).or_default() += 1;
        if !is_wanted(report, name, pod) {
            continue;
        }
        *desired.entry(static_label(pod)).or_default() += 1;
        *active.entry(static_label(pod)).or_default() += u64::from(!has_ended(pod));
        let added = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.ephemeral_containers.as_ref());
        ephemeral += added.map_or(0, Vec::len) as u64;
    }
    for (name, help, counts, label) in [
        (
            "kubelet_desired_pods",
            "How many pods the sources want. static is true if the pod is not from the API server.",
            desired,
            "static",
        ),
        (
            "kubelet_active_pods",
            "How many of the wanted pods have not ended: they count when others are admitted. static is true if the pod \
             is not from the API server.",
            active,
            "static",
        ),
        (
            "gantry_pods",
            "Number of pods on the node, by phase.",
            phases,
            "phase",
        ),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for (value, count) in counts {
            family.value(&[(label, value)], count);
        }
    }
    let help = "How many ephemeral containers the pods have.";
    page.family("kubelet_managed_ephemeral_containers", Kind::Gauge, help)
        .value(&[], ephemeral);
}

fn put_working(page: &mut Page, report: &PodsReport) {
    let mut counts: BTreeMap<(&str, (&str, &str)), u64> = BTreeMap::new();
    for (name, pod) in &report.pods {
        if !is_wanted(report, name, pod) {
            continue;
        }
        let lifecycle = match () {
            () if has_ended(pod) || report.finished.contains_key(name) => "terminated",
            () if pod.metadata.deletion_timestamp.is_some() => "terminating",
            () => "sync",
        };
        *counts
            .entry((lifecycle, ("desired", static_label(pod))))
            .or_default() += 1;
    }
    for (name, uids) in &report.leaving {
        let known = report.pods.get(name);
        for uid in uids {
            let of_it = known.filter(|pod| pod.metadata.uid.as_deref() == Some(&uid.0));
            let config = of_it.map_or(("runtime_only", "unknown"), |pod| ("orphan", static_label(pod)));
            *counts.entry(("terminating", config)).or_default() += 1;
        }
    }
    let help = "How many pods are on the node, by their lifecycle, by whether a source wants them (desired), wanted them \
                (orphan), or only the runtime knows them (runtime_only), and by whether they are static.";
    let mut family = page.family("kubelet_working_pods", Kind::Gauge, help);
    for config in CONFIGS {
        for lifecycle in LIFECYCLES {
            let labels = [
                ("lifecycle", lifecycle),
                ("config", config.0),
                ("static", config.1),
            ];
            family.value(&labels, counts.get(&(lifecycle, config)).copied().unwrap_or(0));
        }
    }
}

fn put_resizes(page: &mut Page, report: &PodsReport) {
    let conditions = || {
        let statuses = report.pods.values().filter_map(|pod| pod.status.as_ref());
        statuses.flat_map(|status| status.conditions.iter().flatten())
    };
    let is = |condition: &&PodCondition, kind: &str| condition.type_ == kind && condition.status == "True";
    let in_progress = conditions().filter(|condition| is(condition, "PodResizeInProgress"));
    let help = "How many pods are being resized.";
    page.family("kubelet_pod_in_progress_resizes", Kind::Gauge, help)
        .value(&[], in_progress.count() as u64);
    let mut pending: BTreeMap<String, u64> = BTreeMap::new();
    for condition in conditions().filter(|condition| is(condition, "PodResizePending")) {
        let reason = condition.reason.as_deref().unwrap_or_default();
        *pending.entry(reason.to_lowercase()).or_default() += 1;
    }
    let help = "How many resizes of pods are pending, by reason.";
    let mut family = page.family("kubelet_pod_pending_resizes", Kind::Gauge, help);
    for (reason, count) in &pending {
        family.value(&[("reason", reason)], *count);
    }
}

fn put_files(page: &mut Page, report: &PodsReport) {
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    for problem in &report.problems {
        *files.entry(problem.path.display().to_string()).or_default() += 1;
    }
    let help = "Number of rejected manifest documents, by file.";
    let mut family = page.family("gantry_manifest_problems", Kind::Gauge, help);
    for (file, count) in &files {
        family.value(&[("file", file)], *count);
    }
}
