//! The objects of the stories about volumes, as short as the API allows.

use serde_json::{Value, json};

use super::driver::Driver;
use crate::objects::IDLE;

/// A claim of a class: `""` is for volumes that are there already.
pub fn claim(name: &str, class: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        },
    })
}

/// The source of a PersistentVolume of a driver.
pub fn of_driver(driver: &Driver, volume: &str) -> Value {
    json!({"csi": {"driver": driver.name, "volumeHandle": volume, "fsType": "ext4"}})
}

/// A pod that runs a line of shell, with volumes that are mounted at /NAME. It has neither a network nor a token of its
/// own, which the stories are not about.
pub fn pod(name: &str, script: &str, volumes: &[(&str, Value)]) -> Value {
    let mounts = volumes
        .iter()
        .map(|(name, _)| json!({"name": name, "mountPath": format!("/{name}")}));
    let sources = volumes.iter().map(|(name, source)| {
        let mut volume = source.clone();
        volume["name"] = json!(name);
        volume
    });
    json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "hostNetwork": true,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": "gantry.local/busybox:1",
                "command": ["sh", "-c", format!("{script}; {IDLE}")],
                "volumeMounts": mounts.collect::<Vec<_>>(),
            }],
            "volumes": sources.collect::<Vec<_>>(),
        },
    })
}

/// A pod's volume of a claim.
pub fn of_claim(claim: &str) -> Value {
    json!({"persistentVolumeClaim": {"claimName": claim}})
}

/// The object a CSIDriver is made of.
pub fn csi_driver(driver: &Driver, spec: Value) -> Value {
    json!({"metadata": {"name": driver.name}, "spec": spec})
}
