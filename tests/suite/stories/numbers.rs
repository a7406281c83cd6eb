//! What the agent does is counted, with the kubelet's names and labels.

use crate::agent::{Machine, manifest, simple};

/// Waits until a number is at least that large.
async fn reaches(machine: &Machine, name: &str, labels: &[&str], least: f64) {
    let what = format!("{name} {labels:?} to reach {least}");
    machine
        .until(&what, |machine| machine.counted(name, labels) >= least)
        .await;
}

#[tokio::test]
async fn a_pod_that_starts_and_ends_moves_the_numbers() {
    let machine = Machine::started().await;
    machine.fake.answer("ready", 0, "");
    let c = "name: c, image: demo:1, readinessProbe: {exec: {command: [ready]}, periodSeconds: 1}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    machine.running("web").await;
    for (name, labels) in [
        ("kubelet_started_pods_total", &[][..]),
        ("kubelet_started_containers_total", &["container"]),
        ("kubelet_containers_per_pod_count", &[]),
        ("kubelet_pod_worker_start_duration_seconds", &[]),
        ("kubelet_pod_worker_duration_seconds", &["create"]),
        ("kubelet_pod_start_duration_seconds", &[]),
        ("kubelet_runtime_operations_total", &["run_podsandbox"]),
        ("kubelet_runtime_operations_total", &["start_container"]),
        ("kubelet_run_podsandbox_duration_seconds", &[]),
        (
            "kubelet_image_manager_ensure_image_requests_total",
            &["ifnotpresent"],
        ),
        ("kubelet_pleg_relist_duration_seconds", &[]),
        ("gantry_step_duration_seconds", &["start container"]),
        ("prober_probe_total", &["Readiness", "successful", "c"]),
    ] {
        reaches(&machine, name, labels, 1.0).await;
    }
    assert_eq!(machine.counted("kubelet_started_pods_total", &[]), 1.0);
    assert_eq!(machine.counted("kubelet_started_pods_errors_total", &[]), 0.0);
    assert_eq!(machine.counted("kubelet_orphaned_runtime_pods_total", &[]), 0.0);
    machine.delete("web.yaml");
    machine
        .until("the pod to be gone", |machine| machine.pod("web").is_none())
        .await;
    reaches(&machine, "kubelet_pod_worker_duration_seconds", &["kill"], 1.0).await;
    let what = "the series of its probes to end";
    let is_probed = |machine: &Machine| machine.counted("prober_probe_total", &[]) > 0.0;
    machine.until(what, |machine| !is_probed(machine)).await;
}

#[tokio::test]
async fn what_fails_is_counted_with_its_reason() {
    let machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest("web", "", &["name: c, image: nothing:1, imagePullPolicy: Never"]),
    );
    let labels = ["container", "ErrImageNeverPull"];
    reaches(&machine, "kubelet_started_containers_errors_total", &labels, 1.0).await;
    let labels = ["never", "false", "unknown"];
    reaches(
        &machine,
        "kubelet_image_manager_ensure_image_requests_total",
        &labels,
        1.0,
    )
    .await;
}

#[tokio::test]
async fn a_pod_of_the_api_server_is_counted_when_its_watch_shows_it_running() {
    let machine = Machine::joined().await;
    machine.write("static.yaml", &simple("static"));
    machine.api().bind("web", "u1", "demo:1");
    let created = serde_json::json!({"metadata": {"creationTimestamp": "2026-11-20T08:00:00Z"}});
    machine.api().patch("pods", "web", &created);
    reaches(&machine, "kubelet_pod_start_total_duration_seconds", &[], 1.0).await;
    reaches(&machine, "kubelet_pod_start_sli_duration_seconds", &[], 1.0).await;
    reaches(&machine, "kubelet_pod_status_sync_duration_seconds", &[], 1.0).await;
    reaches(&machine, "kubelet_mirror_pods", &[], 1.0).await;
}
