//! Pods whose volumes are PersistentVolumes of the API server.

use serde_json::{Value, json};

use crate::agent::{Machine, is_ready};
use crate::pods::name;

/// A pod's specification with a volume, which its container mounts.
fn mounting(volume: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("v");
    json!({
        "containers": [{"name": "c", "image": "demo:1", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
        "volumes": [volume],
    })
}

fn claim(volume: &str) -> Value {
    json!({"metadata": {"uid": "c1"}, "spec": {"volumeName": volume}, "status": {"phase": "Bound"}})
}

async fn says(machine: &Machine, pod: &str, said: &str) {
    let event = |report: &gantry::model::report::PodsReport| {
        let mut events = report.events.get(&name(pod))?.iter();
        let found = events.find(|event| event.what.reason == "FailedMount" && event.what.message == said);
        found.map(|_| ())
    };
    machine.reported(&format!("{pod}: {said}"), event).await;
}

async fn runs(machine: &Machine, pod: &str) {
    let ready = |report: &gantry::model::report::PodsReport| {
        let pod = report.pods.get(&name(pod));
        pod.is_some_and(|pod| is_ready(pod)).then_some(())
    };
    machine.reported(&format!("{pod} runs"), ready).await;
}

/// Where the pods' containers have the volume from.
fn sources(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let mounts = world.containers.values().flat_map(|own| &own.config.mounts);
    let volumes = mounts.filter(|mount| mount.container_path == "/data");
    volumes
        .map(|mount| format!("{} {}", mount.host_path, mount.readonly))
        .collect()
}

fn unprocessed(why: &str) -> String {
    format!(
        "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
         volumes=[v]: {why}"
    )
}

#[tokio::test]
async fn a_pod_waits_for_its_claim_and_starts_when_it_is_bound() {
    let machine = Machine::joined().await;
    let spec = mounting(json!({"persistentVolumeClaim": {"claimName": "data", "readOnly": true}}));
    machine.api().bind_asking("web", "u1", "demo:1", spec);
    let about = "error processing PVC default/data:";
    says(
        &machine,
        "web",
        &unprocessed(&format!(
            "{about} failed to fetch PVC from API server: persistentvolumeclaims \"data\" not found"
        )),
    )
    .await;
    let mut pending = claim("");
    pending["status"]["phase"] = json!("Pending");
    machine.api().write("persistentvolumeclaims", "data", pending);
    says(
        &machine,
        "web",
        &unprocessed(&format!("{about} PVC is not bound")),
    )
    .await;
    machine
        .api()
        .write("persistentvolumeclaims", "data", claim("pv1"));
    says(
        &machine,
        "web",
        &unprocessed(&format!(
            "{about} failed to fetch PV pv1 from API server: persistentvolumes \"pv1\" not found"
        )),
    )
    .await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 0);
    let place = tempfile::tempdir().unwrap();
    let spec = json!({"hostPath": {"path": place.path(), "type": "Directory"}, "claimRef": {"uid": "c1"}});
    machine
        .api()
        .write("persistentvolumes", "pv1", json!({"spec": spec}));
    runs(&machine, "web").await;
    assert_eq!(sources(&machine), [format!("{} true", place.path().display())]);
}

#[tokio::test]
async fn the_claim_of_an_ephemeral_volume_must_be_the_pods_own() {
    let mut machine = Machine::joined().await;
    let place = tempfile::tempdir().unwrap();
    let spec = json!({"hostPath": {"path": place.path()}, "claimRef": {"uid": "c1"}});
    machine
        .api()
        .write("persistentvolumes", "pv1", json!({"spec": spec}));
    machine
        .api()
        .write("persistentvolumeclaims", "web-v", claim("pv1"));
    let volume = json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
    machine.api().bind_asking("web", "u1", "demo:1", mounting(volume));
    let why = "PVC default/web-v was not created for pod default/web (pod is not owner)";
    says(&machine, "web", &unprocessed(why)).await;
    let mut own = claim("pv1");
    own["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u1", "controller": true}]);
    machine.api().write("persistentvolumeclaims", "web-v", own);
    // Who owns a claim does not change, so it is asked for again after a minute only; another agent knows it at once.
    machine.kill().await;
    machine.start().await;
    runs(&machine, "web").await;
    assert_eq!(sources(&machine), [format!("{} false", place.path().display())]);
}
