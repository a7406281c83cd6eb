//! Drivers come and go: the sockets in the directory of plugins, and what the node says of them.

use serde_json::{Value, json};

use super::place::Place;
use crate::node::SOON;

const NODE: &str = "/api/v1/nodes/node-1";
const CSI_NODE: &str = "/apis/storage.k8s.io/v1/csinodes/node-1";

/// The entry of a driver in the CSINode object.
fn entry(node: &Value, driver: &str) -> Value {
    let drivers = node["spec"]["drivers"].as_array();
    let found = drivers.and_then(|all| all.iter().find(|one| one["name"] == driver));
    found.cloned().unwrap_or(Value::Null)
}

/// What the Node says of a driver: its annotation, and the label of the driver's topology.
fn of_node(node: &Value, driver: &str) -> (Value, Value) {
    let text = node["metadata"]["annotations"]["csi.volume.kubernetes.io/nodeid"]
        .as_str()
        .unwrap_or("{}");
    let nodes: Value = serde_json::from_str(text).expect("it is JSON");
    let label = node["metadata"]["labels"][format!("topology.{driver}/node")].clone();
    (nodes[driver].clone(), label)
}

pub fn a_driver_is_on_the_node_as_long_as_its_socket(place: &mut Place) {
    let driver = place.driver("seven", &["--max-volumes=7"], json!({"attachRequired": false}));
    let name = driver.name.clone();
    let node = place.api.wait(CSI_NODE, "with the driver", SOON, |node| {
        !entry(node, &name).is_null()
    });
    assert_eq!(
        entry(&node, &name),
        json!({
            "name": name,
            "nodeID": "node-1",
            "topologyKeys": [format!("topology.{name}/node")],
            "allocatable": {"count": 7},
        })
    );
    let owner = &node["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "Node", "{owner}");
    assert_eq!(owner["name"], "node-1", "{owner}");
    // Without a limit of the driver's there is none.
    let shared = entry(&node, &place.world.shared.name);
    assert_eq!(shared["allocatable"], Value::Null, "{shared}");
    // It is told after the object is written.
    driver.wait_registered_after(0);
    let asked: Vec<Value> = driver.calls().iter().map(|call| call["call"].clone()).collect();
    assert_eq!(asked, ["GetInfo", "NodeGetInfo", "NotifyRegistrationStatus"]);
    let object = place.api.get(NODE).expect("the API server answers");
    assert_eq!(of_node(&object, &name), (json!("node-1"), json!("node-1")));

    driver.stop();
    place.api.wait(CSI_NODE, "without the driver", SOON, |node| {
        entry(node, &name).is_null()
    });
    let object = place.api.wait(NODE, "without the driver", SOON, |node| {
        of_node(node, &name).0.is_null()
    });
    // Where volumes of the driver may be is no less true.
    assert_eq!(of_node(&object, &name).1, "node-1");
    driver.run();
    place.api.wait(CSI_NODE, "with the driver again", SOON, |node| {
        !entry(node, &name).is_null()
    });
}
