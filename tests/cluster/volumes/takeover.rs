//! Pods with volumes go from the agent under test to the kubelet and back: nothing restarts, nothing is mounted twice,
//! and the last agent takes down what the first has mounted. With `AGENT=kubelet` both are the kubelet.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::{claim, of_claim, of_driver, pod};
use super::place::{CONTROLLERS, Place};
use crate::kubeadm::Agent as Who;
use crate::node::{LONG, container};
use crate::objects::{name, uid};
use crate::wait::wait_for;

/// How many pods there are of each of the three kinds.
const EACH: usize = 10;
/// What each pod does first.
const WRITES: &str = "echo kept >/v/file";

pub fn volumes_go_to_another_agent_and_back(place: &mut Place) {
    let modes = ["Persistent", "Ephemeral"];
    let spec = json!({"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": modes});
    let driver = place.driver("passed", &[], spec);
    make_pods(place, &driver);
    let pods = settled(place);
    assert_eq!(pods.len(), 3 * EACH);
    let mounted = || -> Vec<String> {
        let mut found: Vec<String> = pods.values().flat_map(|pod| disk::mounts(&uid(pod))).collect();
        // What is published of a device is named after the pod, too.
        found.extend(disk::mounts("/globalmount"));
        found.sort();
        found
    };
    let mounts = mounted();
    for who in [Who::Kubelet, Who::asked_for()] {
        let registered = driver.registrations();
        {
            let mut agent = place.world.agent.lock().expect("no story has failed with it");
            agent.stop();
            agent.start_as(who, &place.api);
        }
        driver.wait_registered_after(registered);
        let now = settled(place);
        for (name, pod) in &pods {
            assert_eq!(
                container(pod, "main")["containerID"],
                container(&now[name], "main")["containerID"],
                "{name}"
            );
            assert_eq!(container(&now[name], "main")["restartCount"], 0, "{name}");
        }
        assert_eq!(mounted(), mounts, "each is mounted once");
        assert_kept(&driver);
    }
    for name in pods.keys() {
        place.api.delete(&place.at("pods", name));
    }
    for name in pods.keys() {
        place.api.wait_gone(&place.at("pods", name), LONG);
    }
    place.wait_nothing_left();
    place.wait_no_trace(&driver);
    assert_kept(&driver);
    for number in 0..EACH {
        for kind in ["static", "device"] {
            let last = driver.sequence(&format!("{kind}-{number}"));
            let last = last.last().map(String::as_str);
            assert_eq!(last, Some("NodeUnstageVolume"), "{kind} {number}");
        }
    }
}

/// What the pods have written is there.
fn assert_kept(driver: &Driver) {
    for number in 0..EACH {
        let file = driver.data(&format!("static-{number}")).join("file");
        assert_eq!(
            std::fs::read(&file).expect("it is there"),
            b"kept\n",
            "{}",
            file.display()
        );
    }
}

fn make_pods(place: &mut Place, driver: &Driver) {
    let inline = json!({"csi": {"driver": driver.name}});
    for number in 0..EACH {
        let name = |kind: &str| format!("{kind}-{number}");
        driver.volume(&name("static"));
        place.bound(&name("static"), of_driver(driver, &name("static")));
        driver.block_volume(&name("device"));
        let mut source = of_driver(driver, &name("device"));
        source["volumeMode"] = json!("Block");
        place.bound(&name("device"), source);
        place.create("persistentvolumeclaims", &claim(&name("dynamic"), "shared"));

        let volumes = [("v", of_claim(&name("static"))), ("inline", inline.clone())];
        place.create("pods", &pod(&name("static"), WRITES, &volumes));
        let volumes = [("v", of_claim(&name("dynamic")))];
        place.create("pods", &pod(&name("dynamic"), WRITES, &volumes));
        let mut device = pod(&name("device"), "true", &[("v", of_claim(&name("device")))]);
        let main = &mut device["spec"]["containers"][0];
        main["volumeMounts"].take();
        main["volumeDevices"] = json!([{"name": "v", "devicePath": "/dev/xvda"}]);
        place.create("pods", &device);
    }
}

/// Waits until every pod runs.
#[track_caller]
fn settled(place: &Place) -> BTreeMap<String, Value> {
    let path = format!("/api/v1/namespaces/{}/pods", place.namespace);
    wait_for("the pods to run", CONTROLLERS, || {
        let pods = place.api.list(&path)?;
        match pods.iter().all(crate::node::is_ready) {
            true => Ok(pods.into_iter().map(|pod| (name(&pod), pod)).collect()),
            false => Err(pods
                .iter()
                .map(|pod| format!("{} {}", pod["metadata"]["name"], pod["status"]["phase"]))
                .collect::<Vec<_>>()
                .join("\n")),
        }
    })
}
