//! Attaching: the volumes in use that the node reports, and the attached ones that it waits for.

use serde_json::{Value, json};

use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::{CONTROLLERS, Place};
use crate::node::{LONG, SOON, stays};
use std::time::Duration;

const NODE: &str = "/api/v1/nodes/node-1";
const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";

/// Whether a list of the node's status has a volume.
fn has(node: &Value, list: &str, volume: &str) -> bool {
    let listed = node["status"][list].as_array();
    listed.is_some_and(|all| all.iter().any(|one| *one == volume || one["name"] == volume))
}

pub fn a_volume_is_staged_when_it_is_attached_and_detached_when_it_is_not_in_use(place: &mut Place) {
    let driver = place.world.shared.clone();
    driver.volume("attached-1");
    place.bound("attached-pv", of_driver(&driver, "attached-1"));
    let volume = format!("kubernetes.io/csi/{}^attached-1", driver.name);
    driver.hang("ControllerPublishVolume@attached-1");
    place.create(
        "pods",
        &pod("attached", "true", &[("v", of_claim("attached-pv"))]),
    );
    let node = place.api.wait(NODE, "using the volume", LONG, |node| {
        has(node, "volumesInUse", &volume)
    });
    assert!(!has(&node, "volumesAttached", &volume), "{}", node["status"]);
    stays(
        "no call for the volume",
        Duration::from_secs(1),
        || match driver.sequence("attached-1").as_slice() {
            [] => Ok(()),
            calls => Err(calls.join(", ")),
        },
    );
    driver.pass("ControllerPublishVolume@attached-1");
    place.wait_running("attached");
    let attachment = check_attached(place, &driver, &volume);
    unstaging_holds_the_attachment(place, &driver, &volume);
    place.api.wait(NODE, "using it no more", SOON, |node| {
        !has(node, "volumesInUse", &volume)
    });
    let path = format!("{ATTACHMENTS}/{}", crate::objects::name(&attachment));
    place.api.wait_gone(&path, CONTROLLERS);
    place.api.wait(NODE, "without the volume", SOON, |node| {
        !has(node, "volumesAttached", &volume)
    });
    let mut calls = driver.sequence("attached-1");
    // The controllers ask again where an answer was late.
    calls.dedup();
    assert_eq!(
        calls,
        [
            "ControllerPublishVolume",
            "NodeStageVolume",
            "NodePublishVolume",
            "NodeUnpublishVolume",
            "NodeUnstageVolume",
            "ControllerUnpublishVolume",
        ]
    );
}

/// What the API server has of it, and what the driver was asked for with.
#[track_caller]
fn check_attached(place: &Place, driver: &Driver, volume: &str) -> Value {
    place.wait_event(
        "attached",
        "SuccessfulAttachVolume",
        "AttachVolume.Attach succeeded",
    );
    let node = place.api.get(NODE).expect("the API server answers");
    assert!(has(&node, "volumesAttached", volume), "{}", node["status"]);
    // What the attacher has got of the driver, the node gives back to it.
    for call in ["NodeStageVolume", "NodePublishVolume"] {
        let request = &driver.requests(call, "attached-1")[0];
        assert_eq!(
            request["publish_context"],
            json!({"attachedTo": "node-1"}),
            "{request}"
        );
    }
    let attachment = attachment(place, "attached-pv").expect("it is attached");
    assert_eq!(attachment["status"]["attached"], true, "{attachment}");
    attachment
}

/// The volume is in use until it is staged no more, and is not detached before.
fn unstaging_holds_the_attachment(place: &Place, driver: &Driver, volume: &str) {
    driver.fail("NodeUnstageVolume@attached-1", "Unavailable not yet");
    place.end("attached");
    let is_tried = |call: &Value| {
        call["call"] == "NodeUnstageVolume"
            && call["request"]["volume_id"] == "attached-1"
            && call["error"].is_string()
    };
    crate::wait::wait_for("unstaging to be tried", SOON, || {
        match driver.calls().iter().any(is_tried) {
            true => Ok(()),
            false => Err("no such call".to_owned()),
        }
    });
    stays("the attachment", Duration::from_secs(1), || {
        let node = place.api.get(NODE)?;
        match has(&node, "volumesInUse", volume) && has(&node, "volumesAttached", volume) {
            true => Ok(()),
            false => Err(node["status"].to_string()),
        }
    });
    driver.pass("NodeUnstageVolume@attached-1");
}

fn attachment(place: &Place, volume: &str) -> Option<Value> {
    let all = place.api.list(ATTACHMENTS).expect("the API server answers");
    all.into_iter()
        .find(|one| one["spec"]["source"]["persistentVolumeName"] == volume)
}

pub fn how_many_volumes_the_node_can_have_is_asked_again(place: &mut Place) {
    let spec = json!({"attachRequired": false, "nodeAllocatableUpdatePeriodSeconds": 10});
    let driver = place.driver("crowded", &["--max-volumes=5"], spec);
    let count = |node: &Value| {
        let mut drivers = node["spec"]["drivers"].as_array().into_iter().flatten();
        let own = drivers.find(|one| one["name"] == driver.name.as_str());
        own.map(|own| own["allocatable"]["count"].clone())
    };
    let csi_node = "/apis/storage.k8s.io/v1/csinodes/node-1";
    let before = place.api.get(csi_node).expect("the API server answers");
    assert_eq!(count(&before), Some(json!(5)), "{before}");
    driver.has_room_for(3);
    place.api.wait(csi_node, "room for three volumes", LONG, |node| {
        count(node) == Some(json!(3))
    });
}
