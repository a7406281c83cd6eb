//! What volumes hold, as the node measures it.

use serde_json::{Value, json};

use super::objects::{of_claim, of_driver, pod};
use super::place::Place;
use crate::node::LONG;
use crate::wait::wait_for;

const NODE: &str = "/api/v1/nodes/node-1/proxy";

pub fn volumes_are_measured(place: &mut Place) {
    let driver = place.driver("measured", &[], json!({"attachRequired": false}));
    driver.volume("measured-1");
    place.bound("measured-pv", of_driver(&driver, "measured-1"));
    let object = pod(
        "measured",
        "printf 12345 >/v/file",
        &[("v", of_claim("measured-pv"))],
    );
    place.create("pods", &object);
    place.wait_running("measured");
    let expected = json!({
        "name": "v",
        "pvcRef": {"name": "measured-pv", "namespace": place.namespace},
        "capacityBytes": 1 << 20,
        "availableBytes": (1 << 20) - 5,
        "usedBytes": 5,
        "inodes": 1000,
        "inodesFree": 999,
        "inodesUsed": 1,
    });
    let summary = format!("{NODE}/stats/summary");
    wait_for("the volume in the summary", LONG, || {
        let answer = place.api.get(&summary)?;
        let mut volume = of_pod(&answer, &place.namespace, "measured");
        if let Some(members) = volume.as_object_mut() {
            members.remove("time");
            // Whether the driver reports the volume's health is another matter.
            members.remove("volumeHealthStats");
        }
        match volume == expected {
            true => Ok(()),
            false => Err(volume.to_string()),
        }
    });
    let labels = format!(
        "{{namespace=\"{}\",persistentvolumeclaim=\"measured-pv\"}}",
        place.namespace
    );
    let metrics = format!("{NODE}/metrics");
    wait_for("the volume in the metrics", LONG, || {
        let answer = place.api.get(&metrics)?;
        let page = answer.as_str().unwrap_or_default();
        let value = |name: &str| {
            let series = format!("kubelet_volume_stats_{name}{labels} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&series));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        let seen = ["capacity_bytes", "used_bytes", "inodes", "inodes_used"].map(value);
        match seen == [Some(1_048_576.0), Some(5.0), Some(1000.0), Some(1.0)] {
            true => Ok(()),
            false => Err(format!("{seen:?}")),
        }
    });
}

/// The one volume of a pod in the summary.
fn of_pod(summary: &Value, namespace: &str, name: &str) -> Value {
    let pods = summary["pods"].as_array();
    let is_it = |pod: &&Value| pod["podRef"]["name"] == name && pod["podRef"]["namespace"] == namespace;
    let found = pods.and_then(|all| all.iter().find(is_it));
    found.map_or(Value::Null, |pod| pod["volume"][0].clone())
}
