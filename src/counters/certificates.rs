//! The certificate with which the node is known to the API server.

use std::sync::Mutex;

use jiff::Timestamp;

use super::family::{Counter, Family, Head, lock};

/// The node's client certificate.
#[derive(Debug)]
pub struct Certificates {
    errors: Counter<0>,
    expiry: Mutex<Option<Timestamp>>,
}

impl Default for Certificates {
    fn default() -> Self {
        Certificates {
            errors: Counter::new(Head {
                name: "kubelet_certificate_manager_client_expiration_renew_errors",
                help: "How often the node's client certificate could not be renewed.",
                labels: [],
            }),
            expiry: Mutex::default(),
        }
    }
}

impl Certificates {
    /// A renewal has failed.
    pub fn failed(&self) {
        self.errors.count([]);
    }

    /// The certificate in use expires then; `None`: there is none.
    pub fn expires(&self, at: Option<Timestamp>) {
        *lock(&self.expiry) = at;
    }

    /// When the certificate in use expires.
    pub fn expiry(&self) -> Option<Timestamp> {
        *lock(&self.expiry)
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.errors]
    }
}
