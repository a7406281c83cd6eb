//! Volumes that cannot be mounted: what the pod's owner is told, and that the pod starts as soon as they can.

use serde_json::{Value, json};

use super::objects::{claim, of_claim, of_driver, pod};
use super::place::Place;
use crate::node::here;

/// Has a pod bound to the node without asking the scheduler, which would refuse it first.
fn placed(mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!("node-1");
    pod
}

pub fn what_a_volume_lacks_is_reported_in_events(place: &mut Place) {
    let driver = place.driver("lacking", &[], json!({"attachRequired": false}));
    driver.volume("lacking-1");
    driver.block_volume("lacking-2");
    place.bound("lacking-pv", of_driver(&driver, "lacking-1"));
    let mut device = of_driver(&driver, "lacking-2");
    device["volumeMode"] = json!("Block");
    place.bound("lacking-device", device);
    let pending = claim("pending", "no-such-class");
    place.create("persistentvolumeclaims", &pending);
    driver.fail("NodeStageVolume", "Unavailable no disk today");

    let absent = json!({"csi": {"driver": "absent.csi.gantry.local"}});
    for (name, source) in [
        ("missing", of_claim("missing")),
        ("pending", of_claim("pending")),
        ("device", of_claim("lacking-device")),
        ("absent", absent),
        ("failing", of_claim("lacking-pv")),
    ] {
        place.create("pods", &placed(pod(name, "true", &[("v", source)])));
    }
    // A volume that no container mounts is waited for by nobody.
    let mut unused = placed(pod("unused", "true", &[("v", of_claim("missing"))]));
    unused["spec"]["containers"][0]["volumeMounts"].take();
    place.create("pods", &unused);

    for (name, text) in lacks(&place.namespace) {
        place.wait_event(name, "FailedMount", &text);
        let pod = place.api.get(&place.at("pods", name)).expect("it is there");
        assert_eq!(pod["status"]["phase"], "Pending", "{name}: {}", pod["status"]);
        let waits = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(waits, "ContainerCreating", "{name}: {}", pod["status"]);
    }
    place.wait_running("unused");
    driver.pass("NodeStageVolume");
    place.wait_running("failing");
}

/// What is said of each pod.
fn lacks(namespace: &str) -> [(&'static str, String); 5] {
    let lacks = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: ";
    let claims = format!("error processing PVC {}/", namespace);
    [
        (
            "missing",
            format!("{lacks}{claims}missing: failed to fetch PVC from API server: persistentvolumeclaims \"missing\" not found"),
        ),
        ("pending", format!("{lacks}{claims}pending: PVC is not bound")),
        (
            "device",
            format!("{lacks}volume v has volumeMode Block, but is specified in volumeMounts"),
        ),
        (
            "absent",
            "MountVolume.SetUp failed for volume \"v\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name absent.csi.gantry.local not found in the list of registered CSI drivers".to_owned(),
        ),
        (
            "failing",
            "MountVolume.MountDevice failed for volume \"lacking-pv\" : rpc error: code = Unavailable desc = no disk today".to_owned(),
        ),
    ]
}

pub fn a_volume_for_one_pod_is_refused_to_a_second(place: &mut Place) {
    let driver = place.driver("single", &[], json!({"attachRequired": false}));
    driver.volume("single-1");
    let mut source = of_driver(&driver, "single-1");
    source["accessModes"] = json!(["ReadWriteOncePod"]);
    place.bound("single-pv", source);
    place.create("pods", &pod("first", "true", &[("v", of_claim("single-pv"))]));
    place.wait_running("first");
    for call in ["NodeStageVolume", "NodePublishVolume"] {
        let request = &driver.requests(call, "single-1")[0];
        let mode = &request["volume_capability"]["access_mode"]["mode"];
        assert_eq!(mode, "SINGLE_NODE_SINGLE_WRITER", "{request}");
    }
    let second = |name: &str| pod(name, "true", &[("v", of_claim("single-pv"))]);
    place.create("pods", &second("scheduled"));
    place.create("pods", &placed(second("placed")));
    place.wait_event(
        "scheduled",
        "FailedScheduling",
        "0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.",
    );
    place.wait_event(
        "placed",
        "FailedMount",
        "MountVolume.SetUp failed for volume \"single-pv\" : volume uses the ReadWriteOncePod access mode and is already in use by another pod",
    );
    assert_eq!(driver.requests("NodePublishVolume", "single-1").len(), 1);
    place.api.delete(&place.at("pods", "scheduled"));
    place.end("first");
    place.wait_running("placed");
}

pub fn volumes_of_a_node_stay_on_it(place: &mut Place) {
    let local = |name: &str, node: &str| {
        let expressions = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
        json!({
            "local": {"path": here(name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}},
        })
    };
    std::fs::create_dir(here("local-there")).expect("a private directory");
    place.bound("local-there", local("local-there", "node-1"));
    place.bound("local-absent", local("local-absent", "node-1"));
    place.bound("local-elsewhere", local("local-there", "node-2"));
    let path = here("host-path-there");
    place.bound(
        "host-path-there",
        json!({"hostPath": {"path": path, "type": "DirectoryOrCreate"}}),
    );
    let absent = here("host-path-absent").display().to_string();
    place.bound(
        "host-path-absent",
        json!({"hostPath": {"path": absent, "type": "Directory"}}),
    );
    let names = [
        "local-there",
        "local-absent",
        "local-elsewhere",
        "host-path-there",
        "host-path-absent",
    ];
    for name in names {
        let object = pod(name, "echo written >/v/file", &[("v", of_claim(name))]);
        place.create("pods", &placed(object));
    }
    for name in ["local-there", "host-path-there"] {
        place.wait_running(name);
        let file = here(name).join("file");
        crate::wait::wait_for("the file to be there", crate::node::SOON, || {
            std::fs::read_to_string(&file).map_err(|error| error.to_string())
        });
    }
    wait_refusals(place);
    // What is not the node's own is never removed with the pod.
    place.end("local-there");
    assert_eq!(
        super::disk::mounts("local-volume/local-there"),
        Vec::<String>::new()
    );
    assert!(here("local-there").join("file").exists());
}

/// What is said of the volumes that are elsewhere or nowhere.
#[track_caller]
fn wait_refusals(place: &Place) {
    let absent = here("host-path-absent").display().to_string();
    let missing = here("local-absent").display().to_string();
    for (name, text) in [
        (
            "local-absent",
            format!("MountVolume.NewMounter initialization failed for volume \"local-absent\" : path \"{missing}\" does not exist"),
        ),
        (
            "local-elsewhere",
            "MountVolume.NodeAffinity check failed for volume \"local-elsewhere\" : no matching NodeSelectorTerms".to_owned(),
        ),
        (
            "host-path-absent",
            format!("MountVolume.SetUp failed for volume \"host-path-absent\" : hostPath type check failed: {absent} is not a directory"),
        ),
    ] {
        place.wait_event(name, "FailedMount", &text);
    }
}
