//! Manifests as people leave them: copies beside the file of the pod that runs, and files that are still being written.

use gantry::model::event::EventType;
use gantry::model::report::PodsReport;

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
        .reported(&what, |report| (refused(report) == files).then_some(()))
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
        let expected = format!(
            "{}: metadata.name: {} already has a pod",
            copy.display(),
            own.display()
        );
        assert!(text.starts_with(&expected), "{text}");
    }
    let events = &report.events[&full_name("web")];
    let clashes = events
        .iter()
        .filter(|event| event.what.reason == "FailedValidation");
    let clashes: Vec<_> = clashes
        .map(|event| {
            (
                event.what.kind,
                event.count,
                Some(&event.uid.0) == pod.metadata.uid.as_ref(),
            )
        })
        .collect();
    assert_eq!(
        clashes,
        [(EventType::Warning, 1, true), (EventType::Warning, 1, true)]
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

/// Opens a manifest and writes to it; who gets it closes it.
fn being_written(machine: &Machine, file: &str, content: &str) -> std::fs::File {
    use std::io::Write as _;
    let mut open = std::fs::File::create(machine.manifest(file)).unwrap();
    open.write_all(content.as_bytes()).unwrap();
    open
}

/// Waits until a file has been left alone for so long that silence alone would make it complete.
async fn is_quiet(machine: &Machine, file: &str) {
    let path = machine.manifest(file);
    let age = || std::fs::metadata(&path).unwrap().modified().unwrap().elapsed();
    let quiet = std::time::Duration::from_millis(1200);
    machine
        .until("a quiet file", |_| age().is_ok_and(|age| age > quiet))
        .await;
}

#[tokio::test]
async fn a_manifest_that_is_valid_half_written_starts_when_it_is_closed() {
    use std::io::Write as _;
    let machine = Machine::started().await;
    let mut open = being_written(&machine, "web.yaml", &simple("web"));
    is_quiet(&machine, "web.yaml").await;
    machine.write("other.yaml", &simple("other"));
    machine.running("other").await;
    assert!(machine.pod("web").is_none(), "{}", machine.seen());
    writeln!(open, "  - {{name: second, image: demo:1}}").unwrap();
    drop(open);
    let pod = machine.running("web").await;
    assert!(container(&pod, "second").is_some());
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
}

#[tokio::test]
async fn an_agent_that_starts_while_a_manifest_is_written_leaves_its_pod_alone_until_it_is_closed() {
    let mut machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    let before = running_ids(&machine.fake);
    machine.kill().await;
    let new = manifest("web", "", &["name: new, image: demo:1"]);
    let open = being_written(&machine, "web.yaml", &new);
    is_quiet(&machine, "web.yaml").await;
    machine.start().await;
    machine.running("web").await;
    machine.write("other.yaml", &simple("other"));
    machine.running("other").await;
    assert_eq!(running_ids(&machine.fake)[0], before[0]);
    assert_eq!(machine.fake.count("StopContainer"), 0);
    drop(open);
    machine
        .pod_told("web", "the new version", |pod| {
            crate::agent::is_ready(pod) && container(pod, "new").is_some()
        })
        .await;
}
