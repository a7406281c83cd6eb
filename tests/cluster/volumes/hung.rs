//! A driver does not answer: what waits for it waits alone, says what for, and ends with the agent.

use std::sync::Arc;

use serde_json::{Value, json};

use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::Place;
use super::restarts::both_modes;
use crate::kubeadm::Agent as Who;
use crate::node::{LONG, timed};
use crate::wait::wait_for;

/// The calls that wait, each for a volume and a pod of its name.
const STAGE: (&str, &str) = ("NodeStageVolume", "stages");
const PUBLISH: (&str, &str) = ("NodePublishVolume", "publishes");
const UNPUBLISH: (&str, &str) = ("NodeUnpublishVolume", "unpublishes");
const UNSTAGE: (&str, &str) = ("NodeUnstageVolume", "unstages");
const CALLS: [(&str, &str); 4] = [STAGE, PUBLISH, UNPUBLISH, UNSTAGE];

/// How long the end of an agent may take while its calls wait.
const SECONDS: u64 = 5;

pub fn a_call_that_hangs_holds_its_pod_alone(place: &mut Place) {
    let driver = place.driver("hung", &[], both_modes());
    let other = place.driver("well", &[], both_modes());
    for name in CALLS.map(|(_, name)| name).into_iter().chain(["well-hung"]) {
        volume(place, &driver, name);
    }
    volume(place, &other, "well-other");
    for (_, name) in [UNPUBLISH, UNSTAGE] {
        start(place, name, &of_claim(name));
        place.wait_running(name);
    }

    for call in CALLS {
        driver.hang(&held(call));
    }
    for (_, name) in [STAGE, PUBLISH] {
        start(place, name, &of_claim(name));
    }
    for (_, name) in [UNPUBLISH, UNSTAGE] {
        place.api.delete(&place.at("pods", name));
    }
    CALLS.iter().for_each(|call| driver.wait_hung(&held(*call)));
    // Only unstaging is nobody's wait.
    place.api.wait_gone(&place.at("pods", UNSTAGE.1), LONG);
    others_come_and_go(place, &driver, "first");
    wait_reported(place, &driver);

    {
        let mut agent = place.world.agent.lock().expect("no story has failed with it");
        let ((), took) = timed(|| agent.stop());
        agent.start(&place.api);
        assert!(took.as_secs() < SECONDS, "the agent's end took {took:?}");
    }
    CALLS.iter().for_each(|call| driver.wait_hung(&held(*call)));
    others_come_and_go(place, &driver, "second");

    CALLS.iter().for_each(|call| driver.pass(&held(*call)));
    place.api.wait_gone(&place.at("pods", UNPUBLISH.1), LONG);
    for (_, name) in [STAGE, PUBLISH] {
        place.wait_running(name);
        place.end(name);
    }
    place.wait_nothing_left();
}

pub fn a_pod_whose_volume_hangs_can_be_deleted(place: &mut Place) {
    let driver = place.driver("gone", &[], both_modes());
    for (call, name) in [("NodeStageVolume", "gone-1"), ("NodePublishVolume", "gone-2")] {
        volume(place, &driver, name);
        let call = held((call, name));
        driver.hang(&call);
        start(place, name, &of_claim(name));
        driver.wait_hung(&call);
        place.api.delete(&place.at("pods", name));
        if call.starts_with("NodeStageVolume") {
            // Nothing of the pod is mounted, so nothing holds it.
            place.api.wait_gone(&place.at("pods", name), LONG);
        }
        driver.pass(&call);
        place.api.wait_gone(&place.at("pods", name), LONG);
    }
    place.wait_nothing_left();
}

/// How a call about its volume alone is held back.
fn held((call, volume): (&str, &str)) -> String {
    format!("{call}@{volume}")
}

/// A volume of a driver with a PersistentVolume and a claim of its name.
fn volume(place: &mut Place, driver: &Driver, name: &str) {
    driver.volume(name);
    place.bound(name, of_driver(driver, name));
}

fn start(place: &Place, name: &str, volume: &Value) {
    place.create("pods", &pod(name, "true", &[("v", volume.clone())]));
}

/// Pods without volumes, with volumes of the same driver and of another start and end.
fn others_come_and_go(place: &Place, driver: &Arc<Driver>, round: &str) {
    let inline = json!({"csi": {"driver": driver.name}});
    let volumes = [
        ("none", json!({"emptyDir": {}})),
        ("same", of_claim("well-hung")),
        ("inline", inline),
        ("other", of_claim("well-other")),
    ];
    let named = |kind: &str| format!("{kind}-{round}");
    for (kind, volume) in &volumes {
        start(place, &named(kind), volume);
    }
    for (kind, _) in &volumes {
        place.wait_running(&named(kind));
        place.end(&named(kind));
    }
}

/// Waits until an event of each pod that waits says what for.
fn wait_reported(place: &Place, driver: &Driver) {
    if Who::asked_for() == Who::Kubelet {
        // It says nothing before the call has failed.
        return;
    }
    let path = format!("/api/v1/namespaces/{}/events", place.namespace);
    for (call, pod) in [STAGE, PUBLISH, UNPUBLISH] {
        let is_it = |event: &&Value| {
            let message = event["message"].as_str().unwrap_or_default();
            event["involvedObject"]["name"] == pod && message.contains(call) && message.contains(&driver.name)
        };
        wait_for(&format!("an event of {pod} about {call}"), LONG, || {
            let events = place.api.list(&path)?;
            let messages = || events.iter().map(|event| event["message"].to_string());
            match events.iter().any(|event| is_it(&event)) {
                true => Ok(()),
                false => Err(messages().collect::<Vec<_>>().join("\n")),
            }
        });
    }
}
