//! Hooks: what is done after a start and before a stop.

use crate::agent::{Machine, full_name, manifest, restarts, state};

/// The calls about containers, and what they were about, in their order.
fn deeds(machine: &Machine) -> Vec<String> {
    let mut calls = machine.deeds();
    calls.retain(|call| matches!(call.call, "StartContainer" | "StopContainer" | "ExecSync"));
    let reported = calls.into_iter().map(|call| match call.call {
        "ExecSync" => format!("ExecSync {}", call.about),
        other => other.to_owned(),
    });
    reported.collect()
}

fn reasons(machine: &Machine) -> Vec<(String, String)> {
    let report = machine.report();
    let events = report
        .events
        .get(&full_name("web"))
        .into_iter()
        .flat_map(|events| events.iter());
    events
        .map(|event| (event.what.reason.clone(), event.what.message.clone()))
        .collect()
}

#[tokio::test]
async fn hooks_run_after_the_start_and_before_the_stop_also_of_a_pod_whose_manifest_is_gone() {
    let mut machine = Machine::started().await;
    let c = "name: c, image: demo:1, lifecycle: {postStart: {exec: {command: [hello]}}, preStop: {exec: {command: [bye, now]}}}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    machine.running("web").await;
    machine.called("ExecSync", 1).await;
    // An agent that remembers nothing finds the hook with the container.
    machine.kill().await;
    machine.delete("web.yaml");
    machine.start().await;
    machine.called("RemovePodSandbox", 1).await;
    assert_eq!(
        deeds(&machine),
        [
            "StartContainer",
            "ExecSync hello",
            "ExecSync bye now",
            "StopContainer"
        ]
    );
}

#[tokio::test]
async fn a_hook_before_the_stop_that_fails_is_told_and_holds_nothing_up() {
    let machine = Machine::started().await;
    machine.fake.answer("bye", 3, "no");
    let c = |word: &str| {
        format!(
            "name: c, image: demo:1, args: [{word}], lifecycle: {{preStop: {{exec: {{command: [bye]}}}}}}"
        )
    };
    machine.write("web.yaml", &manifest("web", "", &[&c("a")]));
    machine.running("web").await;
    machine.delete("web.yaml");
    machine.called("RemovePodSandbox", 1).await;
    assert_eq!(
        deeds(&machine),
        ["StartContainer", "ExecSync bye", "StopContainer"]
    );
}

#[tokio::test]
async fn a_hook_before_the_stop_that_overruns_the_grace_has_failed_and_a_wait_has_not() {
    let overrun = |hook: &'static str| async move {
        let machine = Machine::started().await;
        let spec = "terminationGracePeriodSeconds: 1";
        let c = |word: &str| {
            format!("name: c, image: demo:1, args: [{word}], lifecycle: {{preStop: {{{hook}}}}}")
        };
        machine.write("web.yaml", &manifest("web", spec, &[&c("a")]));
        let old = machine.running("web").await.metadata.uid.clone();
        machine.fake.hold("ExecSync");
        machine.write("web.yaml", &manifest("web", spec, &[&c("b")]));
        machine
            .pod_told("web", "the new version", |pod| {
                crate::agent::is_ready(pod) && pod.metadata.uid != old
            })
            .await;
        reasons(&machine)
    };
    let failed = ("FailedPreStopHook".to_owned(), "PreStopHook failed".to_owned());
    let reported = overrun("exec: {command: [bye]}").await;
    assert_eq!(
        reported.iter().filter(|event| **event == failed).count(),
        1,
        "{reported:?}"
    );
    let reported = overrun("sleep: {seconds: 1}").await;
    assert!(!reported.contains(&failed), "{reported:?}");
}

#[tokio::test]
async fn a_container_whose_hook_after_the_start_fails_is_ended_and_restarted() {
    let machine = Machine::started().await;
    machine.fake.answer("sh -c exit 1", 1, "");
    let c = "name: c, image: demo:1, lifecycle: {postStart: {exec: {command: [sh, -c, exit 1]}}}";
    machine.write("web.yaml", &manifest("web", "", &[c]));
    // The first restart is at once, the next waits.
    let pod = machine
        .pod_told("web", "waits", |pod| {
            restarts(pod, "c") == 1 && state(pod, "c") == "Waiting: PostStartHookError"
        })
        .await;
    let uid = pod.metadata.uid.clone().unwrap();
    let reasons = reasons(&machine);
    for (reason, message) in [
        ("FailedPostStartHook", "PostStartHook failed"),
        ("Killing", "FailedPostStartHook"),
    ] {
        assert!(
            reasons.contains(&(reason.to_owned(), message.to_owned())),
            "{reasons:?}"
        );
    }
    let memory = machine.memory();
    let failure = memory.pods[&full_name("web")].containers["c"]
        .failure
        .clone()
        .unwrap();
    assert_eq!(
        (failure.reason, failure.message),
        (
            "PostStartHookError",
            format!(
                "Exec lifecycle hook ([sh -c exit 1]) for Container \"c\" in Pod \"web-node_default({uid})\" failed - error: command 'sh -c exit 1' exited with 1: , message: \"\""
            )
        )
    );
    assert_eq!(
        deeds(&machine)[..3],
        ["StartContainer", "ExecSync sh -c exit 1", "StopContainer"]
    );
}
