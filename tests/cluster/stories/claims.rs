//! PersistentVolumes of the node's own directories, through claims that the control plane binds.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::LONG;
use crate::objects::{IDLE, pod, uid};
use crate::wait::wait_for;

const GROUP: u32 = 4711;

/// A PersistentVolume for one claim, and that claim.
fn volume(cluster: &Cluster, name: &str, source: Value) -> Value {
    let mut spec = json!({
        "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "claimRef": {"namespace": cluster.namespace, "name": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]},
        ]}]}},
    });
    for (key, value) in source.as_object().expect("a source is an object") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": format!("{}-{name}", cluster.namespace)}, "spec": spec})
}

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Mi"}},
    }})
}

fn mounting(name: &str, claim: &str, script: &str) -> Value {
    let mut object = pod(name, script);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object
}

/// The mount points of this node with this in their path.
fn mounted(part: &str) -> Result<Vec<String>, String> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points
        .filter(|point| point.contains(part))
        .map(str::to_owned)
        .collect())
}

fn gone(cluster: &Cluster, name: &str) {
    wait_for(&format!("{name} to be gone"), LONG, || {
        match cluster.api.get(&cluster.at("pods", name)) {
            Err(_) => Ok(()),
            Ok(pod) => Err(pod["status"].to_string()),
        }
    });
}

pub fn data_outlives_the_pods_that_use_it(cluster: &mut Cluster) {
    let place = tempfile::tempdir().expect("a directory can be made");
    let (local, host) = (place.path().join("local"), place.path().join("host"));
    fs::create_dir(&local).expect("it can be made");
    fs::write(local.join("old"), "x").expect("it can be written");
    fs::set_permissions(local.join("old"), fs::Permissions::from_mode(0o600)).expect("they can be set");
    for (name, source) in [
        ("local", json!({"local": {"path": local}})),
        (
            "host",
            json!({"hostPath": {"path": host, "type": "DirectoryOrCreate"}}),
        ),
    ] {
        let volume = volume(cluster, name, source);
        cluster.api.create("/api/v1/persistentvolumes", &volume);
        cluster.create("persistentvolumeclaims", &claim(name));
        let script = format!("echo first >>/data/log; id -G >/data/groups; {IDLE}");
        let mut first = mounting(name, name, &script);
        first["spec"]["securityContext"] = json!({"fsGroup": GROUP});
        cluster.create("pods", &first);
    }
    for (name, directory) in [("local", &local), ("host", &host)] {
        let running = cluster.wait_running(name);
        let points =
            mounted(&format!("{}/volumes/kubernetes.io~local-volume", uid(&running))).expect("mounts");
        assert_eq!(points.len(), usize::from(name == "local"), "{points:?}");
        cluster.api.delete(&cluster.at("pods", name));
        gone(cluster, name);
        wait_for("nothing to be mounted", LONG, || match mounted(&uid(&running))? {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        });
        let read = |file: &str| fs::read_to_string(directory.join(file)).expect("it is there");
        assert_eq!(read("log"), "first\n");
        assert!(read("groups").contains(&GROUP.to_string()), "{}", read("groups"));
        let again = format!("{name}-again");
        cluster.create("pods", &mounting(&again, name, &format!("cat /data/log; {IDLE}")));
        cluster.wait_running(&again);
        let namespace = format!("--namespace={}", cluster.namespace);
        let printed = cluster
            .node
            .prints(&["exec", &namespace, &again, "--", "cat", "/data/log"]);
        assert_eq!(printed, "first\n");
        cluster.api.delete(&cluster.at("pods", &again));
        gone(cluster, &again);
    }
    // What was there before belongs to the group of the first pod; the kubelet gives it no path of the host.
    let owner = |path: &Path| {
        let found = fs::metadata(path).expect("it is there");
        (found.gid(), found.mode() & 0o7777)
    };
    assert_eq!(owner(&local.join("old")), (GROUP, 0o660));
    assert_eq!(owner(&host).0, 0);
}

pub fn a_pod_waits_for_its_claim(cluster: &mut Cluster) {
    let place = tempfile::tempdir().expect("a directory can be made");
    let mut object = mounting("waits", "late", IDLE);
    // Past the scheduler, which would wait itself.
    object["spec"]["nodeName"] = json!("node-1");
    cluster.create("pods", &object);
    cluster.create("persistentvolumeclaims", &claim("late"));
    wait_for("the event", LONG * 4, || {
        let events = cluster.api.list(&cluster.all("events"))?;
        let messages = events.iter().filter(|event| event["reason"] == "FailedMount");
        let messages: Vec<&str> = messages.filter_map(|event| event["message"].as_str()).collect();
        let why = format!(
            "error processing PVC {}/late: PVC is not bound",
            cluster.namespace
        );
        match messages.iter().any(|message| message.contains(&why)) {
            true => Ok(()),
            false => Err(messages.join("; ")),
        }
    });
    let volume = volume(cluster, "late", json!({"hostPath": {"path": place.path()}}));
    cluster.api.create("/api/v1/persistentvolumes", &volume);
    cluster.wait_running("waits");
}
