//! The agent's own counters, served at `/metrics`. A metric that the kubelet has, too, uses the kubelet's name, labels
//! and buckets (`pkg/kubelet/metrics/metrics.go`), because dashboards query them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use super::exposition::{Format, Histogram, Kind, Page};
use super::process::ProcessStats;
use crate::model::labels;
use crate::model::outcome::{Done, StepReport};
use crate::model::pod::OF_API;
use crate::model::report::PodsReport;
use crate::model::runtime::{ContainerState, Snapshot};
use crate::model::step::StepKind;

/// `ExponentialBuckets(.005, 2.5, 14)` of the kubelet.
const OPERATION_SECONDS: &[f64] = &[
    0.005,
    0.0125,
    0.03125,
    0.078125,
    0.1953125,
    0.48828125,
    1.220703125,
    3.0517578125,
    7.62939453125,
    19.073486328125,
    47.6837158203125,
    119.20928955078125,
    298.0232238769531,
    745.0580596923828,
];
/// The kubelet's buckets for the start of a pod.
const POD_START_SECONDS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
/// The agent's own steps can take much less than a millisecond.
const STEP_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384, 32.768, 65.536,
];

/// Where other modules report what they did.
#[derive(Debug, Default)]
pub struct Metrics {
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Clone, Default)]
struct Recorded {
    /// By verb.
    steps: BTreeMap<StepKind, Counted>,
    /// Calls of the runtime by the kubelet's name for them.
    operations: BTreeMap<&'static str, Counted>,
    pod_start: Option<Histogram>,
}

#[derive(Debug, Clone)]
struct Counted {
    seconds: Histogram,
    errors: u64,
}

impl Counted {
    fn new(buckets: &'static [f64]) -> Self {
        Counted {
            seconds: Histogram::new(buckets),
            errors: 0,
        }
    }

    fn add(&mut self, took: Duration, failed: bool) {
        self.seconds.observe(took.as_secs_f64());
        self.errors += u64::from(failed);
    }
}

impl Metrics {
    /// Counts a finished step.
    pub fn record_step(&self, step: &StepReport) {
        let failed = step.result.is_err();
        let mut recorded = self.lock();
        let counted = recorded
            .steps
            .entry(step.kind)
            .or_insert_with(|| Counted::new(STEP_SECONDS));
        counted.add(step.took, failed);
        if let Some((operation, took)) = operation(step) {
            let counted = recorded
                .operations
                .entry(operation)
                .or_insert_with(|| Counted::new(OPERATION_SECONDS));
            counted.add(took, failed);
        }
    }

    /// Counts a pod whose containers all run for the first time, with the time since the pod was first seen.
    pub fn record_pod_start(&self, took: Duration) {
        let mut recorded = self.lock();
        recorded
            .pod_start
            .get_or_insert_with(|| Histogram::new(POD_START_SECONDS))
            .observe(took.as_secs_f64());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.recorded.lock().expect("no holder of this lock can panic")
    }
}

/// The kubelet's name of the runtime operation for a step, with its duration.
fn operation(step: &StepReport) -> Option<(&'static str, Duration)> {
    let name = match (step.kind, &step.result) {
        (StepKind::RunSandbox, _) => "run_podsandbox",
        (StepKind::StopSandbox, _) => "stop_podsandbox",
        (StepKind::RemoveSandbox, _) => "remove_podsandbox",
        (StepKind::CreateContainer, _) => "create_container",
        (StepKind::StartContainer, _) => "start_container",
        (StepKind::StopContainer, _) => "stop_container",
        (StepKind::RemoveContainer, _) => "remove_container",
        (StepKind::EnsureImage, Ok(Done::ImagePulled { pull, .. })) => return Some(("pull_image", *pull)),
        (StepKind::EnsureImage, Err(error)) if error.reason == "ErrImagePull" => "pull_image",
        _ => return None,
    };
    Some((name, step.took))
}

impl Metrics {
    /// The page that `/metrics` answers: what was counted, and what is looked at now.
    pub(super) fn page(
        &self,
        format: Format,
        node: &Node,
        report: Arc<PodsReport>,
        snapshot: Arc<Snapshot>,
    ) -> Vec<u8> {
        let now = Now {
            node: node.metadata.name.clone().unwrap_or_default(),
            report,
            snapshot,
            process: ProcessStats::read(),
        };
        page(format, &now, &self.lock().clone())
    }
}

/// Values that are not counted but read at each scrape.
struct Now {
    node: String,
    report: Arc<PodsReport>,
    snapshot: Arc<Snapshot>,
    process: Option<ProcessStats>,
}

fn page(format: Format, now: &Now, recorded: &Recorded) -> Vec<u8> {
    let mut page = Page::new(format);
    page.family("gantry_build_info", Kind::Gauge, "The version of the agent.")
        .value(&[("version", env!("CARGO_PKG_VERSION"))], 1u64);
    put_recorded(&mut page, recorded);
    put_pods(&mut page, &now.report);
    put_runtime(&mut page, &now.snapshot);
    page.family(
        "kubelet_node_name",
        Kind::Gauge,
        "The node's name. The value is always 1.",
    )
    .value(&[("node", &now.node)], 1u64);
    if let Some(process) = &now.process {
        process.put(&mut page);
    }
    page.finish()
}

fn put_recorded(page: &mut Page, recorded: &Recorded) {
    let mut steps = page.family(
        "gantry_step_duration_seconds",
        Kind::Histogram,
        "Duration in seconds of pod steps, by verb.",
    );
    for (kind, counted) in &recorded.steps {
        steps.histogram(&[("verb", kind.as_str())], &counted.seconds);
    }
    drop(steps);
    let mut errors = page.family(
        "gantry_step_errors_total",
        Kind::Counter,
        "Number of failed pod steps, by verb.",
    );
    for (kind, counted) in &recorded.steps {
        errors.value(&[("verb", kind.as_str())], counted.errors);
    }
    drop(errors);
    let label = "operation_type";
    let mut seconds = page.family(
        "kubelet_runtime_operations_duration_seconds",
        Kind::Histogram,
        "Duration in seconds of runtime operations. Broken down by operation type.",
    );
    for (operation, counted) in &recorded.operations {
        seconds.histogram(&[(label, operation)], &counted.seconds);
    }
    drop(seconds);
    let mut errors = page.family(
        "kubelet_runtime_operations_errors_total",
        Kind::Counter,
        "Cumulative number of runtime operation errors by operation type.",
    );
    for (operation, counted) in recorded
        .operations
        .iter()
        .filter(|(_, counted)| counted.errors > 0)
    {
        errors.value(&[(label, operation)], counted.errors);
    }
    drop(errors);
    let mut total = page.family(
        "kubelet_runtime_operations_total",
        Kind::Counter,
        "Cumulative number of runtime operations by operation type.",
    );
    for (operation, counted) in &recorded.operations {
        total.value(&[(label, operation)], counted.seconds.count());
    }
    drop(total);
    if let Some(seconds) = &recorded.pod_start {
        let help =
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
        page.family("kubelet_pod_start_duration_seconds", Kind::Histogram, help)
            .histogram(&[], seconds);
    }
}

fn put_pods(page: &mut Page, report: &PodsReport) {
    let mut desired: BTreeMap<&str, u64> = BTreeMap::new();
    let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
    for pod in report.pods.values() {
        let source = pod.metadata.annotations.as_ref().and_then(labels::source);
        let is_static = if source.is_some_and(|source| source != OF_API) {
            "true"
        } else {
            ""
        };
        *desired.entry(is_static).or_default() += 1;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        *phases.entry(phase.unwrap_or("Unknown")).or_default() += 1;
    }
    let help = "The number of pods the kubelet is being instructed to run. static is true if the pod is not from \
                the apiserver.";
    let mut family = page.family("kubelet_desired_pods", Kind::Gauge, help);
    for (is_static, count) in desired {
        family.value(&[("static", is_static)], count);
    }
    drop(family);
    let mut family = page.family(
        "gantry_pods",
        Kind::Gauge,
        "Number of pods on the node, by phase.",
    );
    for (phase, count) in phases {
        family.value(&[("phase", phase)], count);
    }
    drop(family);
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    for problem in &report.problems {
        *files.entry(problem.path.display().to_string()).or_default() += 1;
    }
    let mut family = page.family(
        "gantry_manifest_problems",
        Kind::Gauge,
        "Number of rejected manifest documents, by file.",
    );
    for (file, count) in &files {
        family.value(&[("file", file)], *count);
    }
    drop(family);
}

fn put_runtime(page: &mut Page, snapshot: &Snapshot) {
    let pods = || snapshot.pods.values().flat_map(|name| name.uids.values());
    let running = pods().filter(|pod| pod.ready_sandbox().is_some()).count();
    page.family(
        "kubelet_running_pods",
        Kind::Gauge,
        "Number of pods that have a running pod sandbox",
    )
    .value(&[], running as u64);
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for container in pods().flat_map(|pod| &pod.containers) {
        let state = match container.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited { .. } => "exited",
            ContainerState::Unknown => "unknown",
        };
        *states.entry(state).or_default() += 1;
    }
    let mut family = page.family(
        "kubelet_running_containers",
        Kind::Gauge,
        "Number of containers currently running",
    );
    for (state, count) in states {
        family.value(&[("container_state", state)], count);
    }
    drop(family);
    let reachable = matches!(snapshot.runtime.reachable, Some(Ok(())));
    page.family(
        "gantry_runtime_reachable",
        Kind::Gauge,
        "1 if the container runtime responds, 0 otherwise.",
    )
    .value(&[], u64::from(reachable));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{PodName, Problem, ProblemKind};
    use crate::model::runtime::{ObservedName, ObservedPod};
    use crate::model::step::Subject;
    use crate::serve::fixture;

    fn step(kind: StepKind, millis: u64, result: Result<Done, StepError>) -> StepReport {
        StepReport {
            subject: Subject::Pod,
            kind,
            began: "2026-11-21T01:00:00Z".parse().unwrap(),
            took: Duration::from_millis(millis),
            result,
        }
    }

    fn failure() -> Result<Done, StepError> {
        Err(StepError {
            reason: "ErrImagePull",
            message: String::new(),
            failure: Failure::Failed,
        })
    }

    fn lines(metrics: &Metrics, now: &Now) -> Vec<String> {
        let page = page(Format::Text, now, &metrics.lock());
        String::from_utf8(page)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn nothing() -> Now {
        Now {
            node: "vm".into(),
            report: Arc::default(),
            snapshot: Arc::default(),
            process: None,
        }
    }

    fn check(metrics: &Metrics, now: &Now, expected: &[&str]) {
        let lines = lines(metrics, now);
        for line in expected {
            assert!(
                lines.iter().any(|is| is == line),
                "{line} is not in\n{}",
                lines.join("\n")
            );
        }
    }

    #[test]
    fn steps_are_counted_under_our_name_and_the_kubelets() {
        let metrics = Metrics::default();
        metrics.record_step(&step(StepKind::RunSandbox, 250, Ok(Done::Nothing)));
        metrics.record_step(&step(StepKind::RunSandbox, 500, failure()));
        metrics.record_step(&step(StepKind::EnsureVolume, 1, Ok(Done::Nothing)));
        metrics.record_step(&step(
            StepKind::EnsureImage,
            3,
            Ok(Done::ImagePresent { image: "a".into() }),
        ));
        metrics.record_step(&step(StepKind::EnsureImage, 3, failure()));
        metrics.record_pod_start(Duration::from_millis(286));
        check(
            &metrics,
            &nothing(),
            &[
                "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 2",
                "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
                "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"0.48828125\"} 1",
                "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"+Inf\"} 2",
                "kubelet_runtime_operations_duration_seconds_sum{operation_type=\"run_podsandbox\"} 0.75",
                "kubelet_runtime_operations_total{operation_type=\"pull_image\"} 1",
                "gantry_step_duration_seconds_count{verb=\"make volume\"} 1",
                "gantry_step_errors_total{verb=\"ensure image\"} 1",
                "kubelet_pod_start_duration_seconds_bucket{le=\"0.5\"} 1",
                "kubelet_node_name{node=\"vm\"} 1",
                "gantry_runtime_reachable 0",
            ],
        );
        let lines = lines(&metrics, &nothing());
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("operation_type=\"make volume\""))
        );
    }

    #[test]
    fn pods_containers_and_broken_manifests_are_counted_as_they_are() {
        let mut now = nothing();
        let problem = Problem {
            path: "/etc/kubernetes/manifests/a \"b\".yaml".into(),
            document: 1,
            line: None,
            field: String::new(),
            message: String::new(),
            pod: None,
            kind: ProblemKind::Invalid,
        };
        let pod = fixture::pod("default", "web-vm");
        let name = PodName::new("default", "web-vm");
        now.report = Arc::new(PodsReport {
            pods: [(name.clone(), Arc::new(pod))].into(),
            problems: vec![problem.clone(), problem],
            ..PodsReport::default()
        });
        let observed = ObservedPod {
            sandboxes: vec![fixture::sandbox()],
            containers: vec![fixture::running("c1", "web", "")],
            allocation: None,
            checkpoint: None,
        };
        let uids = [(crate::model::pod::PodUid("u".into()), observed)].into();
        now.snapshot = Arc::new(Snapshot {
            pods: [(name, Arc::new(ObservedName { uids }))].into(),
            ..Snapshot::default()
        });
        check(
            &Metrics::default(),
            &now,
            &[
                "gantry_manifest_problems{file=\"/etc/kubernetes/manifests/a \\\"b\\\".yaml\"} 2",
                "gantry_pods{phase=\"Running\"} 1",
                "kubelet_desired_pods{static=\"true\"} 1",
                "kubelet_running_pods 1",
                "kubelet_running_containers{container_state=\"running\"} 1",
            ],
        );
    }

    #[test]
    fn the_agents_own_process_is_measured() {
        let now = Now {
            process: ProcessStats::read(),
            ..nothing()
        };
        let lines = lines(&Metrics::default(), &now);
        let value = |name: &str| -> f64 {
            let line = lines
                .iter()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 3.0);
        let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
        assert!((-2.0..86400.0).contains(&age), "started {age} s ago");
    }
}
