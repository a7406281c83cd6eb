//! The agent or a driver ends at a bad moment: nothing is lost, nothing is mounted twice, nothing stays.

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::Place;
use crate::kubeadm::Agent as Who;
use crate::node::{LONG, SOON, container};
use crate::objects::{IDLE, uid};
use crate::wait::wait_for;

/// The spec of drivers that have inline volumes too.
pub fn both_modes() -> Value {
    let modes = ["Persistent", "Ephemeral"];
    json!({"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": modes})
}

/// The container of a pod.
pub fn id(pod: &Value) -> Value {
    container(pod, "main")["containerID"].clone()
}

/// A script that says each second that it can still write.
const WRITES: &str = "while date +%s%N >/v/file; do sleep 0.1; done; exit 1";

/// One pod with a volume of each kind, and one with a directory of the first.
fn make_pods(place: &mut Place, driver: &Driver) -> [Value; 2] {
    driver.volume("outlive-1");
    driver.block_volume("outlive-2");
    place.bound("outlive-pv", of_driver(driver, "outlive-1"));
    let mut device = of_driver(driver, "outlive-2");
    device["volumeMode"] = json!("Block");
    place.bound("outlive-device", device);
    let inline = json!({"csi": {"driver": driver.name}});
    let volumes = [("v", of_claim("outlive-pv")), ("inline", inline)];
    let mut with_all = pod("all", WRITES, &volumes);
    let device = json!({"name": "device", "persistentVolumeClaim": {"claimName": "outlive-device"}});
    with_all["spec"]["volumes"]
        .as_array_mut()
        .expect("a list")
        .push(device);
    let main = &mut with_all["spec"]["containers"][0];
    main["volumeDevices"] = json!([{"name": "device", "devicePath": "/dev/xvda"}]);
    let mut below = pod("below", IDLE, &[("v", of_claim("outlive-pv"))]);
    below["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("below");
    [place.create("pods", &with_all), place.create("pods", &below)]
}

pub fn volumes_outlive_a_killed_agent(place: &mut Place) {
    let driver = place.driver("outlive", &[], both_modes());
    let pods = make_pods(place, &driver);
    let before: Vec<Value> = ["all", "below"]
        .map(|name| id(&place.wait_running(name)))
        .to_vec();
    let mounted = || -> Vec<String> {
        let mut found: Vec<String> = pods.iter().flat_map(|pod| disk::mounts(&uid(pod))).collect();
        found.extend(disk::mounts(&format!("csi/{}/", driver.name)));
        found.sort();
        found
    };
    let mounts = mounted();

    for _ in 0..2 {
        let registered = driver.registrations();
        {
            let mut agent = place.world.agent.lock().expect("no story has failed with it");
            agent.kill();
            agent.start(&place.api);
        }
        driver.wait_registered_after(registered);
    }
    let is_written = std::fs::read_to_string(driver.data("outlive-1").join("file"));
    wait_for("the pod to write still", SOON, || {
        let now = std::fs::read_to_string(driver.data("outlive-1").join("file"));
        match now.is_ok() && now.as_ref().ok() != is_written.as_ref().ok() {
            true => Ok(()),
            false => Err(format!("{now:?}")),
        }
    });
    let after: Vec<Value> = ["all", "below"]
        .map(|name| id(&place.wait_running(name)))
        .to_vec();
    assert_eq!(before, after, "no container was started again");
    assert_eq!(mounted(), mounts, "each is mounted once");

    place.end("all");
    place.end("below");
    place.wait_nothing_left();
    assert!(driver.data("outlive-1").join("file").exists(), "the data stay");
    wait_for("everything to be unstaged", LONG, || {
        match driver.sequence("outlive-2").last().map(String::as_str) {
            Some("NodeUnstageVolume") => Ok(()),
            last => Err(format!("{last:?}")),
        }
    });
}

pub fn an_end_outlives_a_killed_agent(place: &mut Place) {
    let driver = place.driver("ending", &[], both_modes());
    for call in ["NodeUnpublishVolume", "NodeUnstageVolume"] {
        driver.volume(call);
        let name = call.to_lowercase();
        place.bound(&name, of_driver(&driver, call));
        place.create(
            "pods",
            &pod(&name, "echo written >/v/file", &[("v", of_claim(&name))]),
        );
        place.wait_running(&name);
        driver.fail(call, "Unavailable not yet");
        place.api.delete(&place.at("pods", &name));
        wait_for(&format!("{call} to be tried"), SOON, || {
            let is_it = |line: &Value| line["call"] == call && line["error"].is_string();
            match driver.calls().iter().any(is_it) {
                true => Ok(()),
                false => Err("no such call".to_owned()),
            }
        });
        {
            let mut agent = place.world.agent.lock().expect("no story has failed with it");
            agent.kill();
            driver.pass(call);
            agent.start(&place.api);
        }
        place.api.wait_gone(&place.at("pods", &name), LONG);
        if call == "NodeUnstageVolume" && Who::asked_for() == Who::Kubelet {
            // It finds volumes again by the directories of pods alone: what is only staged stays until the end of the
            // next pod that has the volume.
            let next = pod("next", "true", &[("v", of_claim(&name))]);
            place.create("pods", &next);
            place.wait_running("next");
            place.end("next");
        }
        place.wait_nothing_left();
        let file = driver.data(call).join("file");
        assert!(file.exists(), "the data stay: {}", file.display());
        assert_eq!(
            driver.sequence(call).last().map(String::as_str),
            Some("NodeUnstageVolume")
        );
    }
}

pub fn a_driver_that_is_killed_serves_on(place: &mut Place) {
    let driver = place.driver("killed", &[], both_modes());
    driver.volume("killed-1");
    place.bound("killed-pv", of_driver(&driver, "killed-1"));
    place.create("pods", &pod("writer", WRITES, &[("v", of_claim("killed-pv"))]));
    let before = id(&place.wait_running("writer"));
    driver.kill();
    // Its sockets are still there, and nobody answers.
    place.create("pods", &pod("late", "true", &[("v", of_claim("killed-pv"))]));
    place.wait_event("late", "FailedMount", "MountVolume.");
    driver.run();
    place.wait_running("late");
    assert_eq!(before, id(&place.wait_running("writer")));
    assert_eq!(disk::mounts("killed-pv/mount").len(), 2);
    driver.kill();
    place.api.delete(&place.at("pods", "late"));
    place.api.delete(&place.at("pods", "writer"));
    driver.run();
    place.api.wait_gone(&place.at("pods", "late"), LONG);
    place.api.wait_gone(&place.at("pods", "writer"), LONG);
    place.wait_nothing_left();
}
