//! What a cluster does around the API server for its nodes: approves and signs their requests for certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::FakeApi;
use crate::authority::{Authority, Life};

/// The kind of the requests.
pub(crate) const REQUESTS: &str = "certificatesigningrequests";

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
