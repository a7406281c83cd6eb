//! Times to end that are longer than any machine lives: they hold nobody up but their own pod, and can be cut short.

use serde_json::json;

use crate::agent::{Machine, manifest};

/// What containerd can count.
const LONGEST: i64 = i64::MAX / 1_000_000_000;

async fn runs(machine: &Machine, pod: &str) {
    machine
        .until(&format!("{pod} runs"), |machine| {
            let object = machine.api().get("pods", pod).unwrap_or_default();
            object["status"]["phase"] == "Running"
        })
        .await;
}

#[tokio::test]
async fn a_manifest_with_a_grace_period_that_no_api_server_takes_is_rejected() {
    let machine = Machine::started().await;
    let spec = format!("terminationGracePeriodSeconds: {}", 1_i64 << 62);
    machine.write("web.yaml", &manifest("web", &spec, &["name: c, image: demo:1"]));
    let problem = machine
        .reported("the problem", |report| report.problems.first().cloned())
        .await;
    assert!(
        problem.to_string().contains(
            "terminationGracePeriodSeconds: 4611686018427387904 seconds is not a valid grace period"
        ),
        "{problem}"
    );
    machine.write("other.yaml", &manifest("other", "", &["name: c, image: demo:1"]));
    machine.running("other").await;
}

#[tokio::test]
async fn a_probe_with_an_endless_grace_period_stops_and_restarts_its_container() {
    let machine = Machine::started().await;
    let probe = format!(
        "livenessProbe: {{exec: {{command: [alive]}}, periodSeconds: 1, failureThreshold: 1, \
         terminationGracePeriodSeconds: {}}}",
        i64::MAX
    );
    machine.fake.answer("alive", 0, "");
    let container = format!("name: c, image: demo:1, {probe}");
    machine.write("web.yaml", &manifest("web", "", &[&container]));
    machine.running("web").await;
    machine.fake.answer("alive", 1, "");
    machine.called("StopContainer", 1).await;
    machine.fake.answer("alive", 0, "");
    machine.runs_again("c", 1).await;
    assert_eq!(machine.fake.world().graces[0], LONGEST);
}

#[tokio::test]
async fn a_deletion_with_an_endless_grace_period_is_cut_short_by_one_with_less() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    machine.fake.hold("StopContainer");
    let asked = json!({"deletionTimestamp": "2300-01-01T00:00:00Z", "deletionGracePeriodSeconds": i64::MAX});
    machine.api().patch("pods", "web", &json!({"metadata": asked}));
    machine.called("StopContainer", 1).await;
    // Others come and go.
    machine.api().bind("other", "u2", "demo:1");
    runs(&machine, "other").await;
    machine.api().delete_gracefully("web", 1);
    machine.called("StopContainer", 2).await;
    machine.fake.release("StopContainer");
    machine
        .until("web is gone", |machine| {
            machine.api().get("pods", "web").is_none()
        })
        .await;
    // In whichever order the calls were let go.
    let mut graces = machine.fake.world().graces.clone();
    graces.sort_unstable();
    assert!(matches!(graces[..], [..=2, LONGEST]), "{graces:?}");
}
