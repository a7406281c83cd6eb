//! What a cluster does around the API server for its nodes: approves and signs their requests for certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::FakeApi;
use crate::authority::{Authority, Life};

/// The kind of the requests.
pub(crate) const REQUESTS: &str = "certificatesigningrequests";

/// The kind of the requests for certificates of pods.
pub(crate) const OF_PODS: &str = "podcertificaterequests";

/// A request with its certificate.
pub(super) fn signed(authority: &Authority, mut object: Value, life: Life) -> Value {
    let request = STANDARD
        .decode(object["spec"]["request"].as_str().unwrap())
        .unwrap();
    let certificate = authority.sign(&String::from_utf8(request).unwrap(), life);
    object["status"] = json!({
        "conditions": [{"type": "Approved", "status": "True", "reason": "AutoApproved"}],
        "certificate": STANDARD.encode(certificate),
    });
    object
}

impl FakeApi {
    /// The names of all requests for certificates.
    pub(crate) fn asked_for(&self) -> Vec<String> {
        let content = self.content();
        let keys = content.objects.keys().filter(|(kind, _, _)| *kind == REQUESTS);
        keys.map(|(_, _, name)| name.clone()).collect()
    }

    /// The requests for certificates of pods that nobody has answered, with their names.
    pub(crate) fn asked_for_pods(&self) -> Vec<(String, Value)> {
        let content = self.content();
        let all = content
            .objects
            .iter()
            .filter(|((kind, _, _), _)| *kind == OF_PODS);
        let open = all.filter(|(_, object)| object["status"].is_null());
        open.map(|((_, _, name), object)| (name.clone(), object.clone()))
            .collect()
    }

    /// Issues a certificate for a pod, to be renewed and to end after so many seconds.
    pub(crate) fn issue(&self, name: &str, (renew, ends): (i64, i64)) {
        let mut object = self.get(OF_PODS, name).unwrap();
        let request = STANDARD
            .decode(object["spec"]["stubPKCS10Request"].as_str().unwrap())
            .unwrap();
        let pod = object["spec"]["podName"].as_str().unwrap().to_owned();
        let chain = Authority::new("pods").sign_der(&request, &pod);
        let after = |seconds| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        object["status"] = json!({
            "conditions": [condition("Issued", "Signed", "")],
            "certificateChain": chain,
            "notBefore": after(0), "beginRefreshAt": after(renew), "notAfter": after(ends),
        });
        self.write(OF_PODS, name, object);
    }

    /// Refuses one for good.
    pub(crate) fn refuse_for_pod(&self, name: &str, message: &str) {
        let mut object = self.get(OF_PODS, name).unwrap();
        object["status"] = json!({"conditions": [condition("Denied", "UnsupportedKeyType", message)]});
        self.write(OF_PODS, name, object);
    }

    /// Approves and signs a request.
    pub(crate) fn sign(&self, name: &str, life: Life) {
        let object = self.get(REQUESTS, name).unwrap();
        let object = signed(self.shared.authority.as_ref().unwrap(), object, life);
        self.shared.put(REQUESTS, "", name, object);
    }

    /// Denies a request.
    pub(crate) fn deny(&self, name: &str) {
        let mut object = self.get(REQUESTS, name).unwrap();
        object["status"] = json!({"conditions": [
            {"type": "Denied", "status": "True", "reason": "KubectlDeny", "message": "not today"}
        ]});
        self.shared.put(REQUESTS, "", name, object);
    }
}

fn condition(kind: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": jiff::Timestamp::now()})
}
