//! Probes: what containers are asked, and what comes of the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use k8s_openapi::api::core::v1 as api;

use crate::agent::{Machine, condition, container, manifest, restarts, state};
use crate::probed::listen;

/// Whether the container has started and is ready.
fn health(pod: &api::Pod, of: &str) -> (Option<bool>, bool) {
    let status = container(pod, of).unwrap();
    (status.started, status.ready)
}

#[tokio::test]
async fn a_pod_is_ready_when_its_readiness_probe_says_so_and_no_longer() {
    let machine = Machine::started().await;
    machine.fake.answer("cat /tmp/r", 1, "cat: no such file\n");
    let c = "name: c, image: demo:1, readinessProbe: {exec: {command: [cat, /tmp/r]}, periodSeconds: 1, failureThreshold: 1}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    let (message, _) = machine.event("Unhealthy").await;
    assert_eq!(message, "Readiness probe failed: cat: no such file\n");
    let pod = machine.pod("web").unwrap();
    assert_eq!(
        (state(&pod, "c").as_str(), health(&pod, "c")),
        ("running", (Some(true), false))
    );
    assert_eq!(
        (condition(&pod, "Ready"), condition(&pod, "ContainersReady")),
        ("False", "False")
    );
    let unready = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let unready: Vec<_> = unready
        .filter(|c| c.type_ == "Ready")
        .filter_map(|c| c.message.clone())
        .collect();
    assert_eq!(unready, ["containers with unready status: [c]"]);
    machine.fake.answer("cat /tmp/r", 0, "");
    machine.running("web").await;
    machine.fake.answer("cat /tmp/r", 1, "gone");
    let pod = machine
        .pod_told("web", "unready", |pod| condition(pod, "Ready") == "False")
        .await;
    // It is sent nothing, and runs on.
    assert_eq!((state(&pod, "c").as_str(), restarts(&pod, "c")), ("running", 0));
    assert_eq!(machine.fake.count("StopContainer"), 0);
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_restarted_and_begins_anew() {
    let machine = Machine::started().await;
    machine.fake.answer("live", 1, "dead");
    let c = "name: c, image: demo:1, livenessProbe: {exec: {command: [live]}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 7}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    let killing = machine.event("Killing").await;
    machine.fake.answer("live", 0, "");
    assert_eq!(killing.0, "Container c failed liveness probe, will be restarted");
    let pod = machine
        .pod_told("web", "restarted", |pod| {
            restarts(pod, "c") == 1 && state(pod, "c") == "running"
        })
        .await;
    assert_eq!(health(&pod, "c"), (Some(true), true));
    assert_eq!(
        machine.event("Unhealthy").await,
        ("Liveness probe failed: dead".to_owned(), 2)
    );
    let stops = machine.fake.calls();
    let graces: Vec<_> = stops.iter().filter(|call| call.call == "StopContainer").collect();
    assert_eq!(graces.len(), 1);
    assert_eq!(machine.fake.world().graces.last(), Some(&7));
}

#[tokio::test]
async fn until_a_container_has_started_its_other_probes_wait() {
    let machine = Machine::started().await;
    machine.fake.answer("start", 1, "not yet");
    let c = "name: c, image: demo:1, startupProbe: {exec: {command: [start]}, periodSeconds: 1, failureThreshold: 30}, readinessProbe: {exec: {command: [ready]}, periodSeconds: 1}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    let (message, _) = machine.event("Unhealthy").await;
    assert_eq!(message, "Startup probe failed: not yet");
    let pod = machine.pod("web").unwrap();
    assert_eq!(health(&pod, "c"), (Some(false), false));
    let asked = |what: &str| {
        machine
            .fake
            .calls()
            .iter()
            .filter(|call| call.about == what)
            .count()
    };
    assert_eq!(asked("ready"), 0);
    machine.fake.answer("start", 0, "");
    let pod = machine.running("web").await;
    assert_eq!(health(&pod, "c"), (Some(true), true));
    assert!(asked("ready") >= 1);
}

#[tokio::test]
async fn a_container_that_does_not_start_in_time_is_restarted() {
    let machine = Machine::started().await;
    machine.fake.answer("start", 1, "no");
    let c = "name: c, image: demo:1, startupProbe: {exec: {command: [start]}, periodSeconds: 1, failureThreshold: 1}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    let (message, _) = machine.event("Killing").await;
    machine.fake.answer("start", 0, "");
    assert_eq!(message, "Container c failed startup probe, will be restarted");
    let pod = machine.running("web").await;
    assert_eq!(restarts(&pod, "c"), 1);
}

#[tokio::test]
async fn what_follows_a_sidecar_waits_until_it_has_started() {
    let machine = Machine::started().await;
    machine.fake.answer("start", 1, "not yet");
    let init = "initContainers: [{name: s, image: demo:1, restartPolicy: Always, startupProbe: {exec: {command: [start]}, periodSeconds: 1, failureThreshold: 30}}]";
    machine.write("web.yaml", &manifest("web", init, &["name: c, image: demo:1"]));
    machine.event("Unhealthy").await;
    let pod = machine.pod("web").unwrap();
    assert_eq!(
        (state(&pod, "s").as_str(), condition(&pod, "Initialized")),
        ("running", "False")
    );
    assert_eq!(machine.fake.count("CreateContainer"), 1);
    machine.fake.answer("start", 0, "");
    let pod = machine.running("web").await;
    assert_eq!(condition(&pod, "Initialized"), "True");
}

#[tokio::test]
async fn a_command_whose_call_does_not_return_fails_within_the_probes_own_time_and_the_others_go_on() {
    let machine = Machine::started().await;
    let (port, _asked) = listen(Arc::new(AtomicU16::new(200)), "/").await;
    let hanging = "name: c, image: demo:1, readinessProbe: {exec: {command: [leaves, one]}, periodSeconds: 1, failureThreshold: 1}";
    let c = format!(
        "name: d, image: demo:1, readinessProbe: {{httpGet: {{host: 127.0.0.1, port: {port}}}, periodSeconds: 1}}"
    );
    // As the runtime does while a process that the command left behind holds its output.
    machine.fake.hold("ExecSync");
    machine.write("web.yaml", &manifest("web", "", &[hanging, &c]));
    let (message, _) = machine.event("Unhealthy").await;
    assert_eq!(
        message,
        "Readiness probe failed: command timed out: \"leaves one\" timed out after 1s"
    );
    machine
        .pod_told("web", "the other one ready", |pod| health(pod, "d").1)
        .await;
    assert!(!health(&machine.pod("web").unwrap(), "c").1);
    // It is asked again each time, and is well when the runtime answers.
    machine.called("ExecSync", 3).await;
    machine.fake.release("ExecSync");
    machine.running("web").await;
}

#[tokio::test]
async fn http_is_asked_with_its_headers_and_follows_its_own_host() {
    let machine = Machine::started().await;
    let status = Arc::new(AtomicU16::new(503));
    let (port, mut asked) = listen(status.clone(), "/moved").await;
    let c = format!(
        "name: c, image: demo:1, ports: [{{name: web, containerPort: {port}}}], readinessProbe: {{httpGet: {{host: 127.0.0.1, port: web, path: /x?y=1, httpHeaders: [{{name: x-foo-bar, value: b}}]}}, periodSeconds: 1, failureThreshold: 1}}"
    );
    machine.write("web.yaml", &manifest("web", "", &[&c]));
    let (message, _) = machine.event("Unhealthy").await;
    assert_eq!(
        message,
        "Readiness probe failed: HTTP probe failed with statuscode: 503"
    );
    let request = asked.recv().await.unwrap();
    let text = format!(
        "GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nX-Foo-Bar: b\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(request, text, "letter by letter what the kubelet sends");
    status.store(302, Ordering::SeqCst);
    machine.running("web").await;
}

#[tokio::test]
async fn a_readiness_gate_that_nobody_opens_keeps_the_pod_unready() {
    let machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest(
            "web",
            "readinessGates: [{conditionType: example.com/ok}]",
            &["name: c, image: demo:1"],
        ),
    );
    let pod = machine
        .pod_told("web", "containers ready", |pod| {
            condition(pod, "ContainersReady") == "True"
        })
        .await;
    let all = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = all.clone().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(
        (
            ready.status.as_str(),
            ready.reason.as_deref(),
            ready.message.as_deref()
        ),
        (
            "False",
            Some("ReadinessGatesNotReady"),
            Some("corresponding condition of pod readiness gate \"example.com/ok\" does not exist.")
        )
    );
}
