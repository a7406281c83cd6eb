//! Trust anchors of the cluster in the volumes of pods of an API server.

use std::collections::BTreeSet;

use gantry::identity::certificate::certificates;
use serde_json::{Value, json};

use super::cluster_tokens::in_own_mounts;
use crate::agent::{Machine, is_ready};
use crate::authority::Authority;
use crate::fake_api::BUNDLES_ARE_SERVED;
use crate::pods::name;

const BUNDLES: &str = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";

/// A pod with a volume of these sources.
fn bind(machine: &Machine, pod: &str, uid: &str, sources: Value) {
    let mounts = json!([{"name": "trust", "mountPath": "/trust"}]);
    let more = json!({
        "volumes": [{"name": "trust", "projected": {"sources": sources}}],
        "containers": [{"name": "c", "image": "demo:1", "volumeMounts": mounts}],
    });
    machine.api().bind_asking(pod, uid, "demo:1", more);
}

fn file(machine: &Machine, uid: &str, file: &str) -> Option<String> {
    let volume = machine
        .at
        .pods()
        .join(uid)
        .join("volumes/kubernetes.io~projected/trust");
    std::fs::read_to_string(volume.join(file)).ok()
}

/// The anchors of a file, whatever their order.
fn anchors(machine: &Machine, uid: &str, name: &str) -> BTreeSet<Vec<u8>> {
    read(&file(machine, uid, name).unwrap_or_default())
}

fn read(pem: &str) -> BTreeSet<Vec<u8>> {
    let found = certificates(pem.as_bytes()).unwrap_or_default();
    found.iter().map(|one| one.der().to_vec()).collect()
}

pub(super) async fn runs(machine: &Machine, pod: &str) {
    let ready = |report: &gantry::model::report::PodsReport| {
        let pod = report.pods.get(&name(pod));
        pod.is_some_and(is_ready_pod).then_some(())
    };
    machine.reported(&format!("{pod} runs"), ready).await;
}

fn is_ready_pod(pod: &std::sync::Arc<k8s_openapi::api::core::v1::Pod>) -> bool {
    is_ready(pod)
}

pub(super) async fn says(machine: &Machine, pod: &str, said: &str) {
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&name(pod))?;
        let mut said_so = events
            .iter()
            .filter(|event| event.what.reason == "FailedMount" && event.what.message.contains(said));
        said_so.next().map(|_| ())
    };
    machine.reported(&format!("{pod}: {said}"), event).await;
}

#[tokio::test]
async fn anchors_by_name_and_by_signer_follow_their_bundles() {
    let story = "stories::cluster_trust::anchors_by_name_and_by_signer_follow_their_bundles";
    if !in_own_mounts(story) {
        return;
    }
    let [one, two, three] = ["one", "two", "three"].map(|name| Authority::new(name).pem);
    let machine = Machine::joined().await;
    machine.api().content().serves_bundles = true;
    let bundle = |name: &str, live: &str, pem: &str| {
        let object = json!({"metadata": {"labels": {"live": live}},
            "spec": {"signerName": "example.org/ca", "trustBundle": pem}});
        machine.api().write("clustertrustbundles", name, object);
    };
    bundle("example.org:ca:1", "yes", &one);
    bundle("example.org:ca:2", "yes", &format!("{one}{two}"));
    bundle("example.org:ca:3", "no", &three);
    let plain = json!({"spec": {"trustBundle": three}});
    machine.api().write("clustertrustbundles", "plain", plain);
    let signed = json!({"signerName": "example.org/ca", "path": "signed.pem",
        "labelSelector": {"matchLabels": {"live": "yes"}}});
    let sources = json!([
        {"clusterTrustBundle": {"name": "plain", "path": "plain.pem"}},
        {"clusterTrustBundle": signed},
        {"clusterTrustBundle": {"name": "none", "path": "none.pem", "optional": true}},
        {"clusterTrustBundle": {"signerName": "example.org/ca", "path": "nothing.pem", "optional": true}},
    ]);
    bind(&machine, "web", "u1", sources.clone());
    runs(&machine, "web").await;
    assert_eq!(anchors(&machine, "u1", "plain.pem"), read(&three));
    assert_eq!(
        anchors(&machine, "u1", "signed.pem"),
        read(&format!("{one}{two}"))
    );
    assert_eq!(
        file(&machine, "u1", "signed.pem")
            .unwrap()
            .matches("BEGIN")
            .count(),
        2
    );
    assert_eq!(file(&machine, "u1", "none.pem").as_deref(), Some(""));
    assert_eq!(file(&machine, "u1", "nothing.pem").as_deref(), Some(""));
    // What is watched is what is asked for, once for all pods.
    bind(&machine, "other", "u2", sources);
    runs(&machine, "other").await;
    let watches = |selector: &str| machine.api().watches(&format!("{BUNDLES} {selector}"));
    assert_eq!(watches("spec.signerName=example.org/ca"), 1);
    assert_eq!(watches("metadata.name=plain"), 1);
    assert_eq!(watches(""), 0);

    // A bundle changes, one comes, one is labelled away.
    let plain = json!({"spec": {"trustBundle": two}});
    machine.api().write("clustertrustbundles", "plain", plain);
    bundle("example.org:ca:4", "yes", &three);
    machine
        .until("the new anchors are there", |machine| {
            anchors(machine, "u1", "plain.pem") == read(&two)
                && anchors(machine, "u2", "signed.pem") == read(&format!("{one}{two}{three}"))
        })
        .await;
    machine.api().remove("pods", "web");
    machine.api().remove("pods", "other");
    machine
        .until("nothing is watched any more", |_| {
            watches("spec.signerName=example.org/ca") + watches("metadata.name=plain") == 0
        })
        .await;
}

#[tokio::test]
async fn a_pod_waits_for_its_anchors_and_the_kubelets_words_are_told() {
    let story = "stories::cluster_trust::a_pod_waits_for_its_anchors_and_the_kubelets_words_are_told";
    if !in_own_mounts(story) {
        return;
    }
    let machine = Machine::joined().await;
    let by_name = json!([{"clusterTrustBundle": {"name": "late", "path": "a.pem"}}]);
    // An API server that has none, as by default.
    bind(&machine, "web", "u1", by_name.clone());
    says(
        &machine,
        "web",
        "ClusterTrustBundle projection is not supported in static kubelet mode",
    )
    .await;
    assert!(machine.api().count(&format!("GET {BUNDLES_ARE_SERVED}")) > 0);
    assert_eq!(machine.api().count(&format!("GET {BUNDLES}")), 0);

    let machine = Machine::joined().await;
    machine.api().content().serves_bundles = true;
    bind(&machine, "web", "u1", by_name);
    let by_signer = json!([{"clusterTrustBundle": {"signerName": "example.org/ca", "path": "a.pem",
        "labelSelector": {}}}]);
    bind(&machine, "signed", "u2", by_signer);
    says(
        &machine,
        "web",
        "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"late\" not found",
    )
    .await;
    says(
        &machine,
        "signed",
        "combination of signerName and labelSelector matched zero ClusterTrustBundles",
    )
    .await;
    let pem = Authority::new("late").pem;
    let late = json!({"spec": {"trustBundle": pem}});
    machine.api().write("clustertrustbundles", "late", late);
    runs(&machine, "web").await;
    assert_eq!(anchors(&machine, "u1", "a.pem"), read(&pem));
}
