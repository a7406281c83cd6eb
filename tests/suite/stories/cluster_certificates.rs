//! Certificates in the volumes of pods of an API server, each with a key of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::cluster_tokens::in_own_mounts;
use super::cluster_trust::{runs, says};
use crate::agent::Machine;
use crate::fake_api::OF_PODS;

/// A pod with certificates of these types of keys in one volume, the first of them in three files.
fn bind(machine: &Machine, pod: &str, uid: &str, key_types: &[&str]) {
    let source = |(number, key_type): (usize, &&str)| {
        let mut own = json!({"signerName": "example.org/pods", "keyType": key_type,
            "credentialBundlePath": format!("bundle-{number}.pem")});
        if number == 0 {
            own["keyPath"] = json!("key.pem");
            own["certificateChainPath"] = json!("chain.pem");
            own["maxExpirationSeconds"] = json!(7200);
            own["userAnnotations"] = json!({"example.org/use": "mtls"});
        }
        json!({"podCertificate": own})
    };
    let sources: Vec<Value> = key_types.iter().enumerate().map(source).collect();
    let more = json!({
        "serviceAccountName": "default",
        "volumes": [{"name": "identity", "projected": {"sources": sources}}],
        "containers": [{"name": "c", "image": "demo:1",
            "volumeMounts": [{"name": "identity", "mountPath": "/identity"}]}],
    });
    machine.api().write(
        "serviceaccounts",
        "default",
        json!({"metadata": {"uid": "account"}}),
    );
    machine.api().bind_asking(pod, uid, "demo:1", more);
}

fn file(machine: &Machine, uid: &str, file: &str) -> String {
    let volume = machine.at.pods().join(uid);
    let volume = volume.join("volumes/kubernetes.io~projected/identity");
    std::fs::read_to_string(volume.join(file)).unwrap_or_default()
}

/// The requests that nobody has answered, once there are so many.
async fn asked(machine: &Machine, count: usize) -> Vec<(String, Value)> {
    let what = format!("{count} requests");
    machine
        .until(&what, |machine| machine.api().asked_for_pods().len() == count)
        .await;
    machine.api().asked_for_pods()
}

/// Whether the certificate is of the key, as the signer made it for this pod.
fn belongs(key: &str, chain: &str, pod: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key) else {
        return false;
    };
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    certificate.public_key().raw == key.subject_public_key_info()
        && certificate.subject().to_string() == format!("CN={pod}")
}

fn no_key_is_shown(machine: &Machine, keys: &[&str]) {
    let shown = format!(
        "{:?} {:?} {:?}",
        machine.memory(),
        machine.report(),
        machine.deeds()
    );
    for key in keys {
        let body = key.lines().nth(1).unwrap();
        assert!(!shown.contains(body), "a key is shown");
    }
}

#[tokio::test]
async fn a_pod_gets_certificates_of_its_own_and_new_ones_when_the_signer_says_so() {
    let story = "stories::cluster_certificates::a_pod_gets_certificates_of_its_own_and_new_ones_when_the_signer_says_so";
    if !in_own_mounts(story) {
        return;
    }
    let machine = Machine::joined().await;
    bind(&machine, "web", "u1", &["ED25519", "ECDSAP256"]);
    let requests = asked(&machine, 2).await;
    for (_, request) in &requests {
        let spec = &request["spec"];
        assert_eq!(request["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(
            [
                &spec["podName"],
                &spec["podUID"],
                &spec["nodeName"],
                &spec["serviceAccountUID"]
            ],
            ["web", "u1", "node", "account"]
        );
        assert!(spec["nodeUID"].as_str().is_some_and(|uid| !uid.is_empty()));
        STANDARD
            .decode(spec["stubPKCS10Request"].as_str().unwrap())
            .unwrap();
    }
    let first = requests
        .iter()
        .find(|(_, request)| request["spec"]["maxExpirationSeconds"] == 7200);
    let (first, request) = first.unwrap();
    assert_eq!(
        request["spec"]["unverifiedUserAnnotations"],
        json!({"example.org/use": "mtls"})
    );
    assert!(machine.fake.world().sandbox("web").is_none());
    for (name, _) in &requests {
        let times = if name == first { (2, 4) } else { (3600, 7200) };
        machine.api().issue(name, times);
    }
    runs(&machine, "web").await;
    let (key, chain) = (file(&machine, "u1", "key.pem"), file(&machine, "u1", "chain.pem"));
    assert!(belongs(&key, &chain, "web"), "{chain}");
    assert_eq!(file(&machine, "u1", "bundle-0.pem"), format!("{key}{chain}"));
    let other = file(&machine, "u1", "bundle-1.pem");
    assert!(other.starts_with("-----BEGIN PRIVATE KEY-----") && !other.contains(&key));

    // Another key with each certificate; meanwhile the former one stays.
    let requests = asked(&machine, 1).await;
    assert_eq!(file(&machine, "u1", "key.pem"), key);
    machine.api().issue(&requests[0].0, (3600, 7200));
    machine
        .until("a new certificate", |machine| {
            let now = file(machine, "u1", "key.pem");
            now != key && belongs(&now, &file(machine, "u1", "chain.pem"), "web")
        })
        .await;
    no_key_is_shown(&machine, &[&key, &file(&machine, "u1", "key.pem")]);
    assert_eq!(machine.fake.count("CreateContainer"), 1);
    assert_eq!(machine.api().all(OF_PODS).len(), 3);
}

#[tokio::test]
async fn a_refused_certificate_holds_its_own_pod_and_a_lost_request_is_made_again() {
    let story = "stories::cluster_certificates::a_refused_certificate_holds_its_own_pod_and_a_lost_request_is_made_again";
    if !in_own_mounts(story) {
        return;
    }
    let machine = Machine::joined().await;
    bind(&machine, "refused", "u1", &["ECDSAP384"]);
    let (name, _) = asked(&machine, 1).await.remove(0);
    machine.api().refuse_for_pod(&name, "only ED25519");
    let said = "PodCertificateRequest was permanently denied: reason=\"UnsupportedKeyType\" message=\"only ED25519\"";
    says(&machine, "refused", said).await;

    bind(&machine, "web", "u2", &["ED25519"]);
    let (name, _) = asked(&machine, 1).await.remove(0);
    machine.api().remove(OF_PODS, &name);
    let (again, _) = asked(&machine, 1).await.remove(0);
    assert_ne!(again, name);
    machine.api().issue(&again, (3600, 7200));
    runs(&machine, "web").await;

    bind(&machine, "rsa", "u3", &["RSA4096"]);
    says(
        &machine,
        "rsa",
        "gantry generates no key of type RSA4096: use ECDSAP256, ECDSAP384 or ED25519",
    )
    .await;
    assert!(machine.api().asked_for_pods().is_empty());
    // The refusal was for good, and the refused pod never ran.
    assert!(machine.fake.world().sandbox("refused").is_none());
    assert_eq!(machine.api().all(OF_PODS).len(), 2);
}

#[tokio::test]
async fn without_the_feature_gate_the_pod_is_told_of_it() {
    let mut machine = Machine::joined().await;
    machine.kill().await;
    machine.pod_certificates = false;
    machine.start().await;
    bind(&machine, "web", "u1", &["ED25519"]);
    says(
        &machine,
        "web",
        "podCertificate needs the feature gate PodCertificateRequest: true",
    )
    .await;
    assert_eq!(machine.api().all(OF_PODS).len(), 0);
}
