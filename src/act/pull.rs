//! One image pull: with one credential after the other, and recorded as the kubelet records it.

use std::time::Duration;

use k8s_cri::v1;
use tokio::time::Instant;

use super::context::ActContext;
use super::failure::{call_failure, failure, failure_of};
use super::pull_records::Intent;
use crate::cri::{CriError, Runtime};
use crate::model::outcome::StepError;
use crate::model::pull_record::PullCredentials;
use crate::model::reason::waiting;
use crate::model::registry::Credential;

/// An image that was pulled.
pub(super) struct Pulled {
    /// The runtime's reference to it.
    pub(super) reference: String,
    /// How long the pull took, without waiting for other pulls.
    pub(super) took: Duration,
}

/// The credentials that the node itself has for an image: those of its docker configuration, then those of plugins.
pub(super) async fn node_credentials(context: &ActContext, name: &str) -> Vec<Credential> {
    let of_node = context.docker_config.read().await.lookup(name);
    let provided = context.providers.lookup(name).await;
    of_node.into_iter().chain(provided).collect()
}

/// Pulls an image, and records that. `image` is the name as it was written, `name` the same with a tag. The caller has a
/// permit.
pub(super) async fn pull(
    context: &ActContext,
    image: &str,
    name: &str,
    offered: &[Credential],
) -> Result<Pulled, StepError> {
    let (records, images) = (&context.records, &context.counters.images);
    let _under_way = context.pulls.begin(name);
    let intent = begin(context, image).await?;
    records.count(images).await;
    let began = Instant::now();
    let pulled = with_credentials(context, image, name, offered).await;
    let took = began.elapsed();
    let ended = end(intent, pulled).await;
    records.count(images).await;
    let reference = ended?;
    if reference.is_empty() {
        let message = format!("imageRef of image {name:?} is not set");
        return Err(failure(waiting::ERR_IMAGE_PULL, message));
    }
    Ok(Pulled { reference, took })
}

/// Records that the image is about to be pulled.
async fn begin(context: &ActContext, image: &str) -> Result<Option<Intent>, StepError> {
    context.records.begin(image).await.map_err(|error| {
        let message = format!(
            "Failed to record image pull intent for container image {image:?}: failed to record image pull intent: {error}",
        );
        failure(waiting::ERR_IMAGE_PULL, message)
    })
}

/// Records the result of the pull.
async fn end(
    intent: Option<Intent>,
    pulled: Result<(String, PullCredentials), StepError>,
) -> Result<String, StepError> {
    match (pulled, intent) {
        (Ok((reference, with)), Some(intent)) if !reference.is_empty() => {
            intent.succeeded(&reference, with).await;
            Ok(reference)
        }
        (pulled, intent) => {
            if let Some(intent) = intent {
                intent.failed().await;
            }
            Ok(pulled?.0)
        }
    }
}

/// Tries one credential after the other; pulls without any if there is none. Returns the one that worked.
async fn with_credentials(
    context: &ActContext,
    image: &str,
    name: &str,
    offered: &[Credential],
) -> Result<(String, PullCredentials), StepError> {
    let mut credentials: Vec<_> = offered.iter().map(Some).collect();
    if credentials.is_empty() {
        credentials.push(None);
    }
    let mut refused = Vec::new();
    for credential in credentials {
        let pulled = context.runtime.pull_image(name, credential.map(auth));
        match pulled.await {
            Ok(reference) => return Ok((reference, PullCredentials::of(credential))),
            Err(error) if error.is_unreachable() => return Err(pull_failure(image, &[error])),
            Err(error) => refused.push(error),
        }
    }
    Err(pull_failure(image, &refused))
}

fn auth(credential: &Credential) -> v1::AuthConfig {
    v1::AuthConfig {
        username: credential.username.clone(),
        password: credential.password.clone(),
        ..Default::default()
    }
}

/// The image of that name, if the runtime has it.
pub(super) async fn inspect(runtime: &Runtime, name: &str) -> Result<Option<v1::Image>, StepError> {
    runtime.image_status(name).await.map_err(|error| {
        // The kubelet prints the reference here, which is empty whenever this fails.
        let message = format!("Failed to inspect image \"\": {}", error.grpc_text());
        call_failure(waiting::IMAGE_INSPECT_ERROR, message, &error)
    })
}

/// `evalCRIPullErr`: two errors that runtimes mark by a prefix have reasons of their own.
fn pull_failure(image: &str, errors: &[CriError]) -> StepError {
    let text = together(errors);
    let failure = |reason, message| StepError {
        failure: failure_of(errors.iter().any(CriError::is_unreachable)),
        ..failure(reason, message)
    };
    if let Some(detail) = text.strip_prefix(waiting::REGISTRY_UNAVAILABLE) {
        let message = format!("image pull failed for {image} because the registry is unavailable{detail}");
        failure(waiting::REGISTRY_UNAVAILABLE, message)
    } else if let Some(detail) = text.strip_prefix(waiting::SIGNATURE_VALIDATION_FAILED) {
        let message =
            format!("image pull failed for {image} because the signature validation failed{detail}");
        failure(waiting::SIGNATURE_VALIDATION_FAILED, message)
    } else {
        failure(waiting::ERR_IMAGE_PULL, text)
    }
}

/// Each text once; several are put in brackets, as in the kubelet (`k8s.io/apimachinery/pkg/util/errors`).
fn together(errors: &[CriError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        // The kubelet omits the code if it is `Unknown` (cri-client `PullImage`).
        let text = match error.code {
            tonic::Code::Unknown => error.message.clone(),
            _ => error.grpc_text(),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match &texts[..] {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_failed_pulls() {
        let check = |status: tonic::Status, reason: &str, message: &str| {
            let error = CriError::from_status("PullImage", &status);
            let got = pull_failure("x:v1", &[error.clone(), error]);
            assert_eq!((got.reason, &*got.message), (reason, message));
        };
        check(
            tonic::Status::unknown("no such host"),
            "ErrImagePull",
            "no such host",
        );
        check(
            tonic::Status::not_found("no manifest"),
            "ErrImagePull",
            "rpc error: code = NotFound desc = no manifest",
        );
        check(
            tonic::Status::unknown("RegistryUnavailable: it is down"),
            "RegistryUnavailable",
            "image pull failed for x:v1 because the registry is unavailable: it is down",
        );
        check(
            tonic::Status::unknown("SignatureValidationFailed"),
            "SignatureValidationFailed",
            "image pull failed for x:v1 because the signature validation failed",
        );
    }

    #[test]
    fn what_several_credentials_brought_is_told_together() {
        let error = |text: &str| CriError::from_status("PullImage", &tonic::Status::unknown(text));
        let got = pull_failure("x:v1", &[error("401"), error("403"), error("401")]);
        assert_eq!(got.message, "[401, 403]");
    }
}
