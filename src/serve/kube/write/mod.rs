//! Requests that change something. What lies in the manifests directory is written there by the source of the manifests,
//! which is asked for it; a pod that runs is restarted, or gets an ephemeral container. Anything else is refused with what to
//! do instead.
//!
//! - `request`: a request, parsed at the border; `body`: what it sends, as `json`, YAML or, for two kinds, `protobuf`.
//! - `manifests`: objects of the manifests directory, created, changed and removed; `versions`: whether they have changed since
//!   a client read them.
//! - `running`: pods that run, restarted and debugged.
//! - `refusal`: what is not done here.

pub mod body;
mod json;
mod manifests;
mod protobuf;
mod refusal;
mod request;
mod running;
mod versions;

use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;

use super::kind::Kind;
use super::kubectl::Kubectl;
use super::path::{Part, Place};
use crate::model::manifest_edit::{ManifestKind, Target};
use crate::model::pod_name::PodName;
use crate::serve::answer::Refusal;

/// Carries out a request that changes something, or refuses it.
pub(super) async fn answer(kubectl: &Kubectl, place: Place, request: Request) -> Result<Response, Refusal> {
    let method = request.method().clone();
    let refused = || refusal::refuse(&method, &place);
    if place.part == Part::EphemeralContainers && method == Method::PATCH {
        return running::debug(kubectl, &place, request).await;
    }
    let kind = manifest_kind(place.kind).filter(|_| place.part == Part::Whole);
    let (Some(kind), Some(namespace)) = (kind, place.namespace.clone()) else {
        return Err(refused());
    };
    let target = |name: String| Target {
        kind,
        namespace: namespace.clone(),
        name,
    };
    match (&method, place.name.clone()) {
        (&Method::POST, None) => manifests::create(kubectl, target(String::new()), request).await,
        (&Method::PUT, Some(name)) => manifests::replace(kubectl, target(name), request).await,
        (&Method::PATCH, Some(name)) => manifests::patch(kubectl, target(name), request).await,
        (&Method::DELETE, Some(name)) => {
            let options = request::deletion(request).await?;
            let pod = PodName::new(namespace.clone(), name.clone());
            let runs =
                kind == ManifestKind::Pod && kubectl.served.world.pods.borrow().pods.contains_key(&pod);
            match runs {
                true => running::restart(kubectl, pod, options).await,
                false => manifests::remove(kubectl, target(name), options).await,
            }
        }
        _ => Err(refused()),
    }
}

fn manifest_kind(kind: Kind) -> Option<ManifestKind> {
    match kind {
        Kind::Pod => Some(ManifestKind::Pod),
        Kind::ConfigMap => Some(ManifestKind::ConfigMap),
        Kind::Secret => Some(ManifestKind::Secret),
        Kind::Event | Kind::Namespace | Kind::Node | Kind::Service => None,
    }
}
