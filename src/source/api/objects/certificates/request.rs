//! PodCertificateRequests: what is sent, and what the signer answers.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::key::PodKey;
use crate::model::object::certificate::CertificateKey;
use crate::source::api::objects::pem;
use crate::source::api::pods;

/// What a signer answers.
pub(super) enum Answer {
    /// The certificate.
    Issued(Issued),
    /// There will be none, for this reason.
    Refused(String),
}

/// A certificate.
pub(super) struct Issued {
    /// Its key, as PEM.
    pub(super) key: String,
    /// The certificates, as PEM.
    pub(super) chain: String,
    /// From when on the signer wants it to be renewed.
    pub(super) renew: Timestamp,
    /// When it ends.
    pub(super) ends: Timestamp,
}

/// Sends a request; its name.
pub(super) async fn send(
    key: &CertificateKey,
    node_uid: &str,
    own: &PodKey,
    client: kube::Client,
) -> Result<String, String> {
    let namespace = &key.pod.namespace;
    let accounts = kube::Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let account = accounts.get(&key.account).await;
    let account = account.map_err(|error| format!("while fetching service account: {}", message(&error)))?;
    let account_uid = account.metadata.uid.unwrap_or_default();
    let object = object(key, node_uid, account_uid, own.stub()?);
    let requests = kube::Api::<PodCertificateRequest>::namespaced(client, namespace);
    let made = requests.create(&PostParams::default(), &object).await;
    let made = made.map_err(|error| {
        let why = message(&error);
        format!("while creating PodCertificateRequest: while creating on API: {why}")
    })?;
    made.metadata
        .name
        .ok_or_else(|| "the API server's answer has no name".to_owned())
}

fn message(error: &kube::Error) -> String {
    pods::refusal_of(error).unwrap_or_else(|| "no answer from the API server".to_owned())
}

fn object(key: &CertificateKey, node_uid: &str, account_uid: String, stub: Vec<u8>) -> PodCertificateRequest {
    let request = &key.request;
    let annotations = request.annotations.clone();
    PodCertificateRequest {
        metadata: ObjectMeta {
            namespace: Some(key.pod.namespace.clone()),
            generate_name: Some("req-".to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: key.pod.name.clone(),
                uid: key.uid.0.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: PodCertificateRequestSpec {
            signer_name: request.signer.clone(),
            pod_name: key.pod.name.clone(),
            pod_uid: key.uid.0.clone(),
            service_account_name: key.account.clone(),
            service_account_uid: account_uid,
            node_name: key.node.clone(),
            node_uid: node_uid.to_owned(),
            max_expiration_seconds: request.most_seconds,
            stub_pkc_s10_request: ByteString(stub),
            unverified_user_annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..PodCertificateRequestSpec::default()
        },
        status: None,
    }
}

/// What the signer has answered; absent if nothing yet.
pub(super) fn answer(object: &PodCertificateRequest, own: &PodKey) -> Result<Option<Answer>, String> {
    let Some(status) = &object.status else {
        return Ok(None);
    };
    for condition in status.conditions.iter().flatten() {
        let verb = match condition.type_.as_str() {
            "Denied" => "denied",
            "Failed" => "failed",
            "Issued" => {
                let times = status.begin_refresh_at.as_ref().zip(status.not_after.as_ref());
                let chain = cleaned(status.certificate_chain.as_deref().unwrap_or_default());
                return match times.filter(|_| !chain.is_empty()) {
                    Some((renew, ends)) => Ok(Some(Answer::Issued(Issued {
                        key: own.pem(),
                        chain,
                        renew: renew.0,
                        ends: ends.0,
                    }))),
                    None => Err("the signer's answer has no certificate, or not its times".to_owned()),
                };
            }
            _ => continue,
        };
        let (reason, message) = (&condition.reason, &condition.message);
        return Ok(Some(Answer::Refused(format!(
            "PodCertificateRequest was permanently {verb}: reason={reason:?} message={message:?}"
        ))));
    }
    Ok(None)
}

/// The certificates alone, without what is between them.
fn cleaned(chain: &str) -> String {
    let found = CertificateDer::pem_slice_iter(chain.as_bytes()).filter_map(Result::ok);
    found.map(|one| pem::encoded("CERTIFICATE", &one)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::object::certificate::KeyType;

    fn answer_of(status: Value) -> Result<Option<Answer>, String> {
        let object = json!({"metadata": {}, "spec": {"nodeName": "n", "nodeUID": "u", "podName": "p", "podUID": "u",
            "serviceAccountName": "s", "serviceAccountUID": "u", "signerName": "a/b", "stubPKCS10Request": ""},
            "status": status});
        let object = serde_json::from_value(object).unwrap();
        answer(&object, &PodKey::generate(&KeyType::Ed25519).unwrap())
    }

    fn condition(kind: &str) -> Value {
        json!([{"type": kind, "status": "True", "reason": "No", "message": "not \"today\"",
            "lastTransitionTime": "2026-11-30T20:00:00Z"}])
    }

    #[test]
    fn a_signer_answers_once_and_for_good() {
        assert!(answer_of(json!({})).unwrap().is_none());
        for (kind, verb) in [("Denied", "denied"), ("Failed", "failed")] {
            let Ok(Some(Answer::Refused(why))) = answer_of(json!({"conditions": condition(kind)})) else {
                panic!("{kind}");
            };
            let want = format!(
                r#"PodCertificateRequest was permanently {verb}: reason="No" message="not \"today\"""#
            );
            assert_eq!(why, want);
        }
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let pem = own.cert.pem();
        let status = json!({
            "conditions": condition("Issued"),
            "certificateChain": format!("a comment\n{pem}between\n{pem}"),
            "beginRefreshAt": "2026-11-30T21:00:00Z", "notBefore": "2026-11-30T20:00:00Z",
            "notAfter": "2026-11-30T22:00:00Z",
        });
        let Ok(Some(Answer::Issued(issued))) = answer_of(status) else {
            panic!("it is issued");
        };
        assert_eq!(issued.chain.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!issued.chain.contains("comment") && !issued.chain.contains("between"));
        assert!(issued.renew < issued.ends);
        let bare = json!({"conditions": condition("Issued")});
        assert!(answer_of(bare).is_err());
    }
}
