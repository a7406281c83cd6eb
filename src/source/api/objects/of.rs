//! Which objects pods need of the API server.

use std::collections::BTreeSet;

use crate::manifest::names;
use crate::model::object::{Known, Reference, TrustAnchors};
use crate::model::pod::{Pod, VolumeSource};
use crate::model::reference::all_references;

/// Where the pods come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    /// The API server: it has everything that they refer to.
    #[default]
    Api,
    /// Manifests: of what they refer to, the API server has only RuntimeClasses and CSIDrivers.
    Files,
}

impl Of {
    /// What a pod needs of the API server, as far as it is known.
    pub(super) fn references<'a>(
        self,
        pod: &Pod,
        known: impl Fn(&Reference) -> Option<&'a Known>,
    ) -> BTreeSet<Reference> {
        match self {
            // A reference that cannot be a name refers to nothing and is not requested.
            Of::Api => all_references(pod, known)
                .into_iter()
                .filter(is_possible)
                .collect(),
            Of::Files => {
                let class = pod.runtime_class.clone().map(Reference::RuntimeClass);
                let drivers = pod.volumes.iter().filter_map(|volume| match &volume.source {
                    VolumeSource::Csi(inline) => Some(Reference::CsiDriver(inline.driver.clone())),
                    _ => None,
                });
                class.into_iter().chain(drivers).filter(is_possible).collect()
            }
        }
    }
}

/// Whether the API server can have an object of this name. The name becomes part of a request.
pub(super) fn is_possible(reference: &Reference) -> bool {
    // A comma would start another selector.
    let selects = |text: &str| !text.contains(['=', ',', '\\']) && !text.contains(char::is_control);
    match reference {
        Reference::Object(key) => names::dns_subdomain(&key.name).is_none(),
        Reference::RuntimeClass(name) | Reference::PersistentVolume(name) | Reference::CsiDriver(name) => {
            names::dns_subdomain(name).is_none()
        }
        Reference::Claim(key) => names::dns_subdomain(&key.name).is_none(),
        Reference::TrustAnchors(TrustAnchors::Named(name)) => {
            names::path_segment(name).is_none() && selects(name)
        }
        Reference::TrustAnchors(TrustAnchors::Signed { signer, .. }) => selects(signer),
        // Its names are those of the pod, or a sum.
        Reference::Token(_) | Reference::Certificate(_) | Reference::Attachment(_) => true,
        // It is not the API server's.
        Reference::Driver(_) => false,
    }
}
