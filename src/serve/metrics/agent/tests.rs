//! The page, as text.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::process::ProcessStats;
use super::*;
use crate::model::feature_gate::{FeatureGate, Stage};
use crate::model::pod::{PodName, PodUid, Problem, ProblemKind};
use crate::model::report::PodsReport;
use crate::model::runtime::{ObservedName, ObservedPod, Snapshot};
use crate::model::step::StepKind;
use crate::serve::fixture;

fn lines(counters: &Counters, now: &Now) -> Vec<String> {
    let page = page(Format::Text, now, counters);
    String::from_utf8(page)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn check(counters: &Counters, now: &Now, expected: &[&str]) {
    let lines = lines(counters, now);
    for line in expected {
        assert!(
            lines.iter().any(|is| is == line),
            "{line} is not in\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn what_was_counted_is_shown_under_the_kubelets_names() {
    let counters = Counters::default();
    let (quick, slow) = (Duration::from_millis(250), Duration::from_millis(500));
    counters.calls.ran_sandbox("runc", quick, false);
    counters.calls.ran_sandbox("runc", slow, true);
    counters
        .steps
        .ended(StepKind::EnsureVolume, Duration::from_millis(1), false);
    counters
        .steps
        .ended(StepKind::EnsureImage, Duration::from_millis(3), true);
    counters.pods.running(Duration::from_millis(286));
    check(
        &counters,
        &Now {
            kubernetes_version: "v1.36.2".to_owned(),
            gates: vec![FeatureGate {
                name: "ComponentFlagz",
                stage: Stage::Beta,
                enabled: false,
            }],
            ..Now::default()
        },
        &[
            "kubernetes_feature_enabled{name=\"ComponentFlagz\",stage=\"BETA\"} 0",
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 2",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"0.48828125\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"+Inf\"} 2",
            "kubelet_runtime_operations_duration_seconds_sum{operation_type=\"run_podsandbox\"} 0.75",
            "kubelet_run_podsandbox_duration_seconds_bucket{runtime_handler=\"runc\",le=\"0.25\"} 1",
            "gantry_step_duration_seconds_count{verb=\"make volume\"} 1",
            "gantry_step_errors_total{verb=\"ensure image\"} 1",
            "kubelet_pod_start_duration_seconds_bucket{le=\"0.5\"} 1",
            "kubelet_started_pods_total 0",
            "kubelet_node_name{node=\"\"} 1",
            "kubelet_certificate_manager_client_ttl_seconds +Inf",
            "gantry_runtime_reachable 0",
        ],
    );
    let info = |line: &String| {
        line.starts_with("kubernetes_build_info{")
            && line.contains("git_version=\"v1.36.2\",go_version=\"\",major=\"1\",minor=\"36\"")
    };
    assert!(
        lines(
            &counters,
            &Now {
                kubernetes_version: "v1.36.2".to_owned(),
                ..Now::default()
            }
        )
        .iter()
        .any(info)
    );
}

#[test]
fn pods_containers_and_broken_manifests_are_counted_as_they_are() {
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
    let uid = PodUid(pod.metadata.uid.clone().unwrap());
    let observed = ObservedPod {
        sandboxes: vec![fixture::sandbox()],
        containers: vec![fixture::running("c1", "web", "")],
        allocation: None,
        checkpoint: None,
    };
    let uids = [(uid, observed)].into();
    let leaving = (PodName::new("default", "old"), [PodUid("o".to_owned())].into());
    let now = Now {
        report: Arc::new(PodsReport {
            pods: [(name.clone(), Arc::new(pod))].into(),
            problems: vec![problem.clone(), problem],
            leaving: [leaving].into(),
            ..PodsReport::default()
        }),
        snapshot: Arc::new(Snapshot {
            pods: [(name, Arc::new(ObservedName { uids }))].into(),
            ..Snapshot::default()
        }),
        ..Now::default()
    };
    check(
        &Counters::default(),
        &now,
        &[
            "gantry_manifest_problems{file=\"/etc/kubernetes/manifests/a \\\"b\\\".yaml\"} 2",
            "gantry_pods{phase=\"Running\"} 1",
            "kubelet_desired_pods{static=\"\"} 0",
            "kubelet_desired_pods{static=\"true\"} 1",
            "kubelet_active_pods{static=\"true\"} 1",
            "kubelet_working_pods{lifecycle=\"sync\",config=\"desired\",static=\"true\"} 1",
            "kubelet_working_pods{lifecycle=\"terminating\",config=\"runtime_only\",static=\"unknown\"} 1",
            "kubelet_working_pods{lifecycle=\"terminated\",config=\"orphan\",static=\"\"} 0",
            "kubelet_managed_ephemeral_containers 0",
            "kubelet_pod_in_progress_resizes 0",
            "kubelet_running_pods 1",
            "kubelet_running_containers{container_state=\"running\"} 1",
        ],
    );
}

#[test]
fn a_first_registration_is_shown_in_parts() {
    let counters = Counters::default();
    let at = |second: i64| Timestamp::now() + jiff::SignedDuration::from_secs(second);
    let now = Now {
        process: ProcessStats::read(),
        ..Now::default()
    };
    let shows = |name: &str| lines(&counters, &now).iter().any(|line| line.starts_with(name));
    counters.registration.trying(at(0));
    assert!(!shows("kubelet_node_startup_"), "the node is not registered");
    counters.registration.registered(at(2));
    assert!(shows("kubelet_node_startup_registration_duration_seconds 2"));
    assert!(shows("kubelet_node_startup_pre_kubelet_duration_seconds "));
    assert!(
        !shows("kubelet_node_startup_duration_seconds "),
        "the node is not ready"
    );
    counters.registration.ready(at(5));
    assert!(shows("kubelet_node_startup_post_registration_duration_seconds 3"));
    assert!(shows("kubelet_node_startup_duration_seconds "));
}

#[test]
fn the_agents_own_process_is_measured() {
    let now = Now {
        process: ProcessStats::read(),
        ..Now::default()
    };
    let lines = lines(&Counters::default(), &now);
    let value = |name: &str| -> f64 {
        let line = lines
            .iter()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e5);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_virtual_memory_max_bytes") >= value("process_virtual_memory_bytes"));
    let age = Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
    assert!((-2.0..86400.0).contains(&age), "started {age} s ago");
}
