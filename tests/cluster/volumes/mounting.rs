//! What is mounted for pods, where, and with which calls of the driver.

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::Place;
use crate::node::{LONG, SOON, is_ready};
use crate::objects::uid;
use crate::wait::wait_for;

pub fn a_volume_is_staged_once_and_published_for_each_pod(place: &mut Place) {
    let driver = place.driver(
        "static",
        &[],
        json!({"attachRequired": false, "podInfoOnMount": true}),
    );
    driver.volume("static-1");
    let secret = json!({"metadata": {"name": "key"}, "stringData": {"password": "xyz"}});
    place.create("secrets", &secret);
    let mut source = of_driver(&driver, "static-1");
    source["csi"]["volumeAttributes"] = json!({"colour": "blue"});
    let key = json!({"name": "key", "namespace": place.namespace});
    source["csi"]["nodeStageSecretRef"] = key.clone();
    source["csi"]["nodePublishSecretRef"] = key;
    source["mountOptions"] = json!(["noatime"]);
    place.bound("static-pv", source);

    let write = pod("writer", "echo written >/v/file", &[("v", of_claim("static-pv"))]);
    let read = pod(
        "reader",
        "until cat /v/file; do :; done",
        &[("v", of_claim("static-pv"))],
    );
    let pods = [place.create("pods", &write), place.create("pods", &read)];
    place.wait_running("writer");
    place.wait_running("reader");
    let file = driver.data("static-1").join("file");
    wait_for("the file to be in the volume", SOON, || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    });

    check_requests(place, &driver, &pods);
    check_records(&driver, &pods);

    place.end("writer");
    wait_for("one pod to be left", SOON, || {
        match disk::mounts("static-pv/mount") {
            mounts if mounts.len() == 1 => Ok(()),
            mounts => Err(format!("{mounts:?}")),
        }
    });
    place.end("reader");
    place.wait_nothing_left();
    assert_eq!(
        driver.sequence("static-1"),
        [
            "NodeStageVolume",
            "NodePublishVolume",
            "NodePublishVolume",
            "NodeUnpublishVolume",
            "NodeUnpublishVolume",
            "NodeUnstageVolume",
        ]
    );
    let staged = disk::staged(&driver, "static-1");
    let directory = staged.parent().expect("the handle's directory");
    assert!(!directory.exists(), "{}", directory.display());
    let text = std::fs::read_to_string(&file).expect("the data stay");
    assert_eq!(text, "written\n");
}

/// The volume is staged once, and published for each pod.
#[track_caller]
fn check_requests(place: &Place, driver: &Driver, pods: &[Value]) {
    let staged = disk::staged(driver, "static-1");
    let capability = json!({
        "mount": {"fs_type": "ext4", "mount_flags": ["noatime"]},
        // The driver has SINGLE_NODE_MULTI_WRITER, which tells ReadWriteOnce from ReadWriteOncePod.
        "access_mode": {"mode": "SINGLE_NODE_MULTI_WRITER"},
    });
    assert_eq!(
        driver.requests("NodeStageVolume", "static-1"),
        [json!({
            "volume_id": "static-1",
            "staging_target_path": staged,
            "volume_capability": capability,
            "secrets": {"password": "xyz"},
            "volume_context": {"colour": "blue"},
        })]
    );
    let requests = driver.requests("NodePublishVolume", "static-1");
    assert_eq!(requests.len(), 2, "{requests:?}");
    for pod in pods {
        let target = disk::published(&uid(pod), "static-pv");
        let expected = json!({
            "volume_id": "static-1",
            "staging_target_path": staged,
            "target_path": target,
            "volume_capability": capability,
            "secrets": {"password": "xyz"},
            "volume_context": {
                "colour": "blue",
                "csi.storage.k8s.io/ephemeral": "false",
                "csi.storage.k8s.io/pod.name": pod["metadata"]["name"],
                "csi.storage.k8s.io/pod.namespace": place.namespace,
                "csi.storage.k8s.io/pod.uid": pod["metadata"]["uid"],
                "csi.storage.k8s.io/serviceAccount.name": "default",
            },
        });
        assert!(
            requests.contains(&expected),
            "{expected}\nis not of\n{requests:?}"
        );
    }
}

/// What lies beside the mount points is what another agent finds them again by.
#[track_caller]
fn check_records(driver: &Driver, pods: &[Value]) {
    for pod in pods {
        let target = disk::published(&uid(pod), "static-pv");
        let record = disk::record(&target);
        assert_eq!(record["driverName"], driver.name.as_str(), "{record}");
        assert_eq!(record["nodeName"], "node-1", "{record}");
        assert_eq!(record["specVolID"], "static-pv", "{record}");
        assert_eq!(record["volumeHandle"], "static-1", "{record}");
        assert_eq!(record["volumeLifecycleMode"], "Persistent", "{record}");
        let attachment = record["attachmentID"].as_str().unwrap_or_default();
        assert!(
            attachment.starts_with("csi-") && attachment.len() == 68,
            "{record}"
        );
    }
    let record = disk::record(&disk::staged(driver, "static-1"));
    assert_eq!(
        record,
        json!({"driverName": driver.name, "volumeHandle": "static-1"})
    );
}

pub fn a_block_volume_is_a_device_in_the_container(place: &mut Place) {
    let driver = place.driver("block", &[], json!({"attachRequired": false}));
    driver.block_volume("block-1");
    let mut source = json!({"csi": {"driver": driver.name, "volumeHandle": "block-1"}});
    source["volumeMode"] = json!("Block");
    place.bound("block-pv", source);

    let script = "echo written | dd of=/dev/xvda conv=fsync";
    let mut object = pod("block", script, &[("v", of_claim("block-pv"))]);
    let main = &mut object["spec"]["containers"][0];
    main["volumeMounts"].take();
    main["volumeDevices"] = json!([{"name": "v", "devicePath": "/dev/xvda"}]);
    let pod = place.create("pods", &object);
    place.wait_running("block");
    let image = driver.data("block-1");
    wait_for("what was written to be in the volume", SOON, || {
        let bytes = std::fs::read(&image).map_err(|error| error.to_string())?;
        match bytes.starts_with(b"written\n") {
            true => Ok(()),
            false => Err(format!("{:?}", &bytes[..16])),
        }
    });

    check_device(&driver, &uid(&pod));

    place.end("block");
    place.wait_nothing_left();
    wait_no_device();
    let ends = ["NodeUnpublishVolume", "NodeUnstageVolume"];
    assert_eq!(driver.sequence("block-1")[2..], ends);
}

/// Everything that knows the kubelet's directories finds the device there.
#[track_caller]
fn check_device(driver: &Driver, uid: &str) {
    let devices = disk::devices();
    let stage = &driver.requests("NodeStageVolume", "block-1")[0];
    assert_eq!(stage["volume_capability"]["block"], json!({}), "{stage}");
    assert_eq!(
        stage["staging_target_path"],
        json!(devices.join("staging/block-pv"))
    );
    let published = devices.join("publish/block-pv").join(uid);
    let publish = &driver.requests("NodePublishVolume", "block-1")[0];
    assert_eq!(publish["target_path"], json!(published));
    assert_eq!(publish["staging_target_path"], stage["staging_target_path"]);
    let link = disk::pod_directory(uid).join("volumeDevices/kubernetes.io~csi/block-pv");
    assert_eq!(std::fs::read_link(link).expect("a link"), published);
    let record = disk::record(&devices.join("block-pv/data/mount"));
    assert_eq!(record["specVolID"], "block-pv", "{record}");
    assert_eq!(record["volumeHandle"], "block-1", "{record}");
}

/// Neither mounts nor loop devices nor directories are left of it.
#[track_caller]
fn wait_no_device() {
    wait_for("the devices to be gone", LONG, || {
        let devices = disk::devices();
        let held = crate::process::run(&["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]);
        let mut left = disk::mounts("block-pv");
        left.extend(
            held.lines()
                .filter(|file| file.contains("block-1") || file.contains("block-pv"))
                .map(str::to_owned),
        );
        let directories = ["block-pv", "publish/block-pv", "staging/block-pv"];
        let there = directories
            .iter()
            .filter(|name| devices.join(name).exists())
            .map(|name| (*name).to_owned());
        left.extend(there);
        match left.is_empty() {
            true => Ok(()),
            false => Err(left.join("\n")),
        }
    });
}

pub fn an_inline_volume_is_gone_with_its_pod(place: &mut Place) {
    let modes = json!(["Ephemeral"]);
    let spec = json!({"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": modes});
    let driver = place.driver("inline", &[], spec);
    let source = json!({"csi": {"driver": driver.name, "volumeAttributes": {"size": "small"}}});
    let made = place.create("pods", &pod("inline", "echo written >/v/file", &[("v", source)]));
    place.wait_running("inline");

    let target = disk::published(&uid(&made), "v");
    let record = disk::record(&target);
    assert_eq!(record["volumeLifecycleMode"], "Ephemeral", "{record}");
    assert_eq!(record["specVolID"], "v", "{record}");
    let handle = record["volumeHandle"].as_str().expect("a handle");
    assert!(handle.starts_with("csi-") && handle.len() == 68, "{record}");
    let publish = &driver.requests("NodePublishVolume", handle)[0];
    assert_eq!(
        publish["volume_context"],
        json!({
            "size": "small",
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/pod.name": "inline",
            "csi.storage.k8s.io/pod.namespace": place.namespace,
            "csi.storage.k8s.io/pod.uid": made["metadata"]["uid"],
            "csi.storage.k8s.io/serviceAccount.name": "default",
        })
    );
    assert!(publish["staging_target_path"].is_null(), "{publish}");
    assert_eq!(driver.volumes(), [handle]);

    place.end("inline");
    place.wait_nothing_left();
    assert_eq!(driver.volumes(), Vec::<String>::new());
    assert_eq!(
        driver.sequence(handle),
        ["NodePublishVolume", "NodeUnpublishVolume"]
    );
}

pub fn a_driver_knows_the_pod_by_its_tokens_alone_if_it_asks_for_them(place: &mut Place) {
    let tokens = json!([{"audience": "vault", "expirationSeconds": 3600}]);
    let spec = json!({"attachRequired": false, "tokenRequests": tokens, "requiresRepublish": true});
    let driver = place.driver("tokens", &[], spec);
    driver.volume("tokens-1");
    place.bound("tokens-pv", of_driver(&driver, "tokens-1"));
    place.create("pods", &pod("tokens", "true", &[("v", of_claim("tokens-pv"))]));
    place.wait_running("tokens");
    let publish = &driver.requests("NodePublishVolume", "tokens-1")[0];
    let context = publish["volume_context"].as_object().expect("a context");
    let keys: Vec<&String> = context.keys().collect();
    assert_eq!(keys, ["csi.storage.k8s.io/serviceAccount.tokens"], "{publish}");
    let tokens = context["csi.storage.k8s.io/serviceAccount.tokens"]
        .as_str()
        .expect("text");
    let tokens: serde_json::Value = serde_json::from_str(tokens).expect("it is JSON");
    let token = &tokens["vault"];
    assert!(token["token"].is_string(), "{tokens}");
    assert!(token["expirationTimestamp"].is_string(), "{tokens}");
    // Staging is for all pods, and knows none.
    let stage = &driver.requests("NodeStageVolume", "tokens-1")[0];
    assert!(stage["volume_context"].is_null(), "{stage}");
}

pub fn a_volume_is_published_again_for_a_driver_that_requires_it(place: &mut Place) {
    let spec = json!({"attachRequired": false, "podInfoOnMount": true, "requiresRepublish": true});
    let driver = place.driver("again", &[], spec);
    driver.volume("again-1");
    place.bound("again-pv", of_driver(&driver, "again-1"));
    let ends_on_demand = "if [ -e /v/began ]; then sleep 1000; fi; touch /v/began; until [ -e /v/end ]; do sleep 0.1; done; exit";
    let made = place.create(
        "pods",
        &pod("again", ends_on_demand, &[("v", of_claim("again-pv"))]),
    );
    let mounted = disk::published(&uid(&made), "again-pv");
    place.wait_running("again");
    let publishes = || driver.requests("NodePublishVolume", "again-1");
    let wait_more = |than: usize| {
        wait_for("it to be published again", LONG, || match publishes().len() {
            so_many if so_many > than => Ok(()),
            so_many => Err(format!("published {so_many} times")),
        });
    };
    wait_more(1);
    let all = publishes();
    assert_eq!(all[0], all[1], "the driver is told the same");

    driver.fail("NodePublishVolume", "Unavailable not today");
    let text =
        "MountVolume.SetUp failed for volume \"again-pv\" : rpc error: code = Unavailable desc = not today";
    place.wait_event("again", "FailedMount", text);
    let status = &place.wait_running("again")["status"];
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{status}");
    driver.pass("NodePublishVolume");
    wait_more(publishes().len());

    // One that does not answer keeps no container from being restarted.
    driver.hang("NodePublishVolume");
    driver.wait_hung("NodePublishVolume");
    std::fs::write(mounted.join("end"), "").expect("the volume is mounted");
    place
        .api
        .wait(&place.at("pods", "again"), "restarted", LONG, |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod)
        });
    driver.pass("NodePublishVolume");

    // It has been mounted once.
    place.end("again");
    place.wait_nothing_left();
    assert_eq!(driver.requests("NodeStageVolume", "again-1").len(), 1);
    assert_eq!(driver.requests("NodeUnpublishVolume", "again-1").len(), 1);
}
