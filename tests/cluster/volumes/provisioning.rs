//! Volumes that are made because somebody claims them, by the external controllers.

use serde_json::json;

use super::disk;
use super::objects::{claim, of_claim, pod};
use super::place::{CONTROLLERS, Place};
use crate::node::SOON;
use crate::objects::{condition, uid};
use crate::wait::wait_for;

const VOLUMES: &str = "/api/v1/persistentvolumes";
const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";

/// What the provisioner has made for a claim: the name of the PersistentVolume, and the driver's handle.
#[track_caller]
fn provisioned(place: &Place, name: &str) -> (String, String) {
    let path = place.at("persistentvolumeclaims", name);
    let claim = place.api.wait(&path, "bound", CONTROLLERS, |claim| {
        claim["status"]["phase"] == "Bound"
    });
    let volume = claim["spec"]["volumeName"]
        .as_str()
        .expect("a bound claim")
        .to_owned();
    let object = place
        .api
        .get(&format!("{VOLUMES}/{volume}"))
        .expect("it is there");
    let handle = object["spec"]["csi"]["volumeHandle"].as_str().expect("a handle");
    (volume, handle.to_owned())
}

pub fn a_claim_is_provisioned_shared_by_pods_and_deleted(place: &mut Place) {
    let driver = place.world.shared.clone();
    place.create("persistentvolumeclaims", &claim("data", "shared"));
    let write = pod("writer", "echo written >/v/file", &[("v", of_claim("data"))]);
    let writer = place.create("pods", &write);
    place.wait_running("writer");
    let (volume, handle) = provisioned(place, "data");
    let read = pod(
        "reader",
        "grep written /v/file || exit 1",
        &[("v", of_claim("data"))],
    );
    place.create("pods", &read);
    place.wait_running("reader");
    assert_eq!(driver.requests("NodeStageVolume", &handle).len(), 1);
    assert_eq!(driver.requests("NodePublishVolume", &handle).len(), 2);
    // The provisioner's own words reach the driver's node.
    let context = &driver.requests("NodeStageVolume", &handle)[0]["volume_context"];
    let provisioner = &context["storage.kubernetes.io/csiProvisionerIdentity"];
    assert!(provisioner.is_string(), "{context}");
    assert_eq!(context["madeFor"], volume.as_str(), "{context}");
    assert_eq!(disk::mounts(&format!("{volume}/mount")).len(), 2);
    assert!(disk::published(&uid(&writer), &volume).join("file").exists());

    place.end("writer");
    place.end("reader");
    place.api.delete(&place.at("persistentvolumeclaims", "data"));
    place.api.wait_gone(&format!("{VOLUMES}/{volume}"), CONTROLLERS);
    let attached = place.api.list(ATTACHMENTS).expect("the API server answers");
    let ours = |attachment: &&serde_json::Value| {
        attachment["spec"]["source"]["persistentVolumeName"] == volume.as_str()
    };
    assert_eq!(attached.iter().find(ours), None);
    let mut calls = driver.sequence(&handle);
    // The controllers ask again where an answer was late; two pods make two of the first.
    calls.dedup();
    assert_eq!(
        calls[calls.len() - 4..],
        [
            "NodeUnpublishVolume",
            "NodeUnstageVolume",
            "ControllerUnpublishVolume",
            "DeleteVolume",
        ]
    );
    assert_eq!(disk::mounts(&volume), Vec::<String>::new());
}

pub fn a_volume_grows_while_it_is_mounted(place: &mut Place) {
    let driver = place.world.shared.clone();
    place.create("persistentvolumeclaims", &claim("growing", "shared"));
    let made = place.create("pods", &pod("growing", "true", &[("v", of_claim("growing"))]));
    place.wait_running("growing");
    let (volume, handle) = provisioned(place, "growing");
    let path = place.at("persistentvolumeclaims", "growing");
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
    place.api.patch(&path, &larger);
    let claim = place.api.wait(&path, "larger", CONTROLLERS, |claim| {
        let has_conditions = claim["status"]["conditions"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        claim["status"]["capacity"]["storage"] == "2Mi" && !has_conditions
    });
    let statuses = &claim["status"]["allocatedResourceStatuses"];
    assert!(statuses.is_null(), "{claim}");
    assert_eq!(claim["status"]["allocatedResources"]["storage"], "2Mi", "{claim}");
    assert_eq!(condition(&claim, "FileSystemResizePending"), &json!(null));
    let request = &driver.requests("NodeExpandVolume", &handle)[0];
    let published = disk::published(&uid(&made), &volume);
    assert_eq!(request["volume_path"], json!(published), "{request}");
    assert_eq!(
        request["staging_target_path"],
        json!(disk::staged(&driver, &handle)),
        "{request}"
    );
    assert_eq!(
        request["capacity_range"]["required_bytes"], "2097152",
        "{request}"
    );
    place.wait_event(
        "growing",
        "FileSystemResizeSuccessful",
        "MountVolume.NodeExpandVolume succeeded",
    );
    // It is the same pod still, and the volume was not mounted anew.
    assert_eq!(driver.requests("NodePublishVolume", &handle).len(), 1);
}

pub fn a_generic_ephemeral_volume_is_gone_with_its_pod(place: &mut Place) {
    let driver = place.world.shared.clone();
    let template = json!({"spec": claim("unnamed", "shared")["spec"]});
    let source = json!({"ephemeral": {"volumeClaimTemplate": template}});
    let made = place.create("pods", &pod("scratch", "echo written >/v/file", &[("v", source)]));
    place.wait_running("scratch");
    let claim = place
        .api
        .get(&place.at("persistentvolumeclaims", "scratch-v"))
        .expect("a claim of the pod's name and the volume's");
    assert_eq!(
        claim["metadata"]["ownerReferences"][0]["uid"],
        made["metadata"]["uid"]
    );
    let (volume, handle) = provisioned(place, "scratch-v");
    let file = driver.data(&handle).join("file");
    wait_for("the file to be in the volume", SOON, || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    });
    place.end("scratch");
    place
        .api
        .wait_gone(&place.at("persistentvolumeclaims", "scratch-v"), CONTROLLERS);
    place.api.wait_gone(&format!("{VOLUMES}/{volume}"), CONTROLLERS);
    assert!(!driver.volumes().contains(&handle), "{handle}");
}
