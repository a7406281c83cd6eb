//! Manifests as people leave them: copies beside the file of the pod that runs, and files that are still being written.

use gantry::model::report::{EventKind, PodsReport};

use super::running_ids;
use crate::agent::{Machine, container, full_name, manifest, simple};

/// The files that are refused, by their names.
fn refused(report: &PodsReport) -> Vec<String> {
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    report
        .problems
        .iter()
        .map(|problem| name(&problem.path))
        .collect()
}

/// Waits until exactly these files are refused.
async fn until_refused(machine: &Machine, files: &[&str]) {
    let what = format!("{files:?} refused");
    machine
        .told(&what, |report| (refused(report) == files).then_some(()))
        .await;
}

#[tokio::test]
async fn a_copy_of_a_manifest_leaves_the_pod_that_runs_alone_until_its_own_file_goes() {
    let mut machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    let pod = machine.running("web").await;
    let before = running_ids(&machine.fake);
    let old = manifest("web", "", &["name: old, image: demo:1"]);
    machine.write("web.yaml.bak", &old);
    until_refused(&machine, &["web.yaml.bak"]).await;
    machine.write("web-old.yaml", &old);
    until_refused(&machine, &["web-old.yaml", "web.yaml.bak"]).await;
    let report = machine.report();
    for (problem, copy) in report.problems.iter().zip(["web-old.yaml", "web.yaml.bak"]) {
        let text = problem.to_string();
        let (copy, own) = (machine.manifest(copy), machine.manifest("web.yaml"));
        let expected = format!("{}: metadata.name: {} has a pod", copy.display(), own.display());
        assert!(text.starts_with(&expected), "{text}");
    }
    let events = &report.events[&full_name("web")];
    let clashes = events.iter().filter(|event| event.reason == "FailedValidation");
    let clashes: Vec<_> = clashes
        .map(|event| {
            (
                event.kind,
                event.count,
                Some(&event.uid.0) == pod.metadata.uid.as_ref(),
            )
        })
        .collect();
    assert_eq!(
        clashes,
        [(EventKind::Warning, 1, true), (EventKind::Warning, 1, true)]
    );
    for agent in [
        "this agent",
        "another agent",
        "an agent that knows nothing of the time before",
    ] {
        assert_eq!(running_ids(&machine.fake), before, "{agent}");
        assert_eq!(machine.fake.count("StopContainer"), 0, "{agent}");
        machine.kill().await;
        if agent == "another agent" {
            std::fs::remove_dir_all(machine.at.root.path().join("state")).unwrap();
        }
        machine.start().await;
        machine.running("web").await;
        until_refused(&machine, &["web-old.yaml", "web.yaml.bak"]).await;
    }
    assert_eq!(running_ids(&machine.fake), before);
    machine.delete("web.yaml");
    let new = machine.pod_told("web", "the copy's pod", |pod| {
        crate::agent::is_ready(pod) && container(pod, "old").is_some()
    });
    assert_ne!(new.await.metadata.uid, pod.metadata.uid);
    until_refused(&machine, &["web.yaml.bak"]).await;
}
