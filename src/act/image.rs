//! The step that ensures a container's image (kubelet `pkg/kubelet/images/image_manager.go`).

use std::time::Duration;

use k8s_cri::v1;
use tokio::time::Instant;

use super::context::Work;
use super::effect::{Effect, Fact, ImageFound};
use super::failure::{abandoned, call_failure, failure, failure_of};
use super::pull_records::Intent;
use crate::counters::EnsureImage;
use crate::cri::{CriError, Runtime};
use crate::model::image_ref::ImageRef;
use crate::model::outcome::{Done, SlowAction, StepError};
use crate::model::pod::PullPolicy;
use crate::model::pull_record::{PullCredentials, PullSecret};
use crate::model::reason::waiting;
use crate::model::registry::Credential;
use crate::model::request::ImageRequest;
use crate::model::run_as::ImageUser;

/// The user that an image sets (`getImageUser` in `pkg/kubelet/kuberuntime/helpers.go`); root if it sets none.
fn user(image: &v1::Image) -> ImageUser {
    match &image.uid {
        Some(uid) => ImageUser::Uid(uid.value),
        None if image.username.is_empty() => ImageUser::Uid(0),
        None => ImageUser::Name(image.username.clone()),
    }
}

/// Ensures the image according to the pull policy.
pub(super) async fn ensure(work: &Work<'_>, request: ImageRequest) -> Result<Effect, StepError> {
    let reference = ImageRef::parse(&request.image).map_err(|wrong| {
        let image = &request.image;
        let message = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {wrong}"
        );
        failure(waiting::INVALID_IMAGE_NAME, message)
    })?;
    let name = reference.with_default_tag().to_string();
    let runtime = &work.context.runtime;
    let images = &work.context.counters.images;
    let present = match request.pull {
        PullPolicy::Always => Ok(None),
        PullPolicy::IfNotPresent | PullPolicy::Never => inspect(runtime, &name).await,
    };
    let present = present.inspect_err(|_| images.ensured(request.pull, EnsureImage::Unknown))?;
    if let Some(image) = present
        && may_use(work, &request, &image).await?
    {
        images.ensured(request.pull, EnsureImage::Present);
        return Ok(found(work, request, image));
    }
    let what = match request.pull {
        PullPolicy::Always => EnsureImage::Pull,
        PullPolicy::IfNotPresent => EnsureImage::Missing,
        PullPolicy::Never => EnsureImage::Never,
    };
    images.ensured(request.pull, what);
    // A pod that may not use an image does not learn that it is present.
    if request.pull == PullPolicy::Never {
        let message = format!(
            "Container image {:?} is not present with pull policy of Never",
            request.image
        );
        return Err(failure(waiting::ERR_IMAGE_NEVER_PULL, message));
    }
    // The wait for other pulls and the pull itself may both be dropped: only time is lost.
    tokio::select! {
        () = work.cancel.cancelled() => Err(abandoned(waiting::ERR_IMAGE_PULL)),
        result = pull(work, request, &name) => result,
    }
}

async fn pull(work: &Work<'_>, request: ImageRequest, name: &str) -> Result<Effect, StepError> {
    let runtime = &work.context.runtime;
    // Before waiting for a permit, as in the kubelet: a plugin that does not answer delays only its own images.
    let offered = credentials(work, &request, name).await?;
    let waiting_since = Instant::now();
    let image = request.image.clone();
    work.begins(&request.container, SlowAction::Pull { image });
    let waited_for = work.context.pulls.try_acquire();
    let _permit = match waited_for {
        Ok(permit) => permit,
        Err(_) => {
            let permit = work
                .context
                .pulls
                .acquire()
                .await
                .expect("the semaphore is never closed");
            // The task that held the permit may have pulled this very image.
            if request.pull == PullPolicy::IfNotPresent
                && let Some(image) = inspect(runtime, name).await?
                && may_use(work, &request, &image).await?
            {
                return Ok(found(work, request, image));
            }
            permit
        }
    };
    let (records, images) = (&work.context.records, &work.context.counters.images);
    let intent = begin(work, &request).await?;
    records.count(images).await;
    let pulling_since = Instant::now();
    let pulled = pull_with_credentials(work, &request, name, &offered).await;
    let ended = end(intent, pulled).await;
    records.count(images).await;
    let reference = ended?;
    if reference.is_empty() {
        let message = format!("imageRef of image {name:?} is not set");
        return Err(failure(waiting::ERR_IMAGE_PULL, message));
    }
    // Size and user: without them the container is created as root's, as in the kubelet.
    let image = inspect(runtime, name).await?.unwrap_or_default();
    let done = Done::ImagePulled {
        image: request.image.clone(),
        size: image.size,
        pull: whole_millis(pulling_since.elapsed()),
        waited: whole_millis(waiting_since.elapsed()),
    };
    let fact = note(work, request, reference, &image);
    Ok(Effect {
        done,
        fact: Some(fact),
    })
}

/// Whether the pod may use an image that is present: either it needs no credentials, or the pod has those with which it
/// was pulled.
async fn may_use(work: &Work<'_>, request: &ImageRequest, image: &v1::Image) -> Result<bool, StepError> {
    let own = request.credentials.as_ref();
    let own = own.map(|own| own.iter().filter_map(PullSecret::of).collect());
    let asked = work.context.records.may_use(
        &request.image,
        &image.id,
        own.map_err(String::clone),
        &work.context.counters.images,
    );
    asked.await.map_err(|why| failure(waiting::ERR_IMAGE_PULL, why))
}

/// Records that the image is about to be pulled.
async fn begin(work: &Work<'_>, request: &ImageRequest) -> Result<Option<Intent>, StepError> {
    let begun = work.context.records.begin(&request.image).await;
    begun.map_err(|error| {
        let message = format!(
            "Failed to record image pull intent for container image {:?}: failed to record image pull intent: {error}",
            request.image
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

/// The credentials for an image: the pod's before the node's and those of plugins.
async fn credentials(
    work: &Work<'_>,
    request: &ImageRequest,
    name: &str,
) -> Result<Vec<Credential>, StepError> {
    let own = request.credentials.as_ref();
    let own = own.map_err(|why| failure(waiting::ERR_IMAGE_PULL, why.clone()))?;
    let of_node = work.context.docker_config.read().await.lookup(name);
    let provided = work.context.providers.lookup(name).await;
    Ok(own.iter().cloned().chain(of_node).chain(provided).collect())
}

/// Tries one credential after the other; pulls without any if there is none. Returns the one that worked.
async fn pull_with_credentials(
    work: &Work<'_>,
    request: &ImageRequest,
    name: &str,
    offered: &[Credential],
) -> Result<(String, PullCredentials), StepError> {
    let mut credentials: Vec<_> = offered.iter().map(Some).collect();
    if credentials.is_empty() {
        credentials.push(None);
    }
    let mut refused = Vec::new();
    for credential in credentials {
        let pulled = work.context.runtime.pull_image(spec(name), credential.map(auth));
        match pulled.await {
            Ok(reference) => return Ok((reference, PullCredentials::of(credential))),
            Err(error) if error.is_unreachable() => return Err(pull_failure(&request.image, &[error])),
            Err(error) => refused.push(error),
        }
    }
    Err(pull_failure(&request.image, &refused))
}

fn auth(credential: &Credential) -> v1::AuthConfig {
    v1::AuthConfig {
        username: credential.username.clone(),
        password: credential.password.clone(),
        ..Default::default()
    }
}

/// The kubelet truncates both durations to milliseconds.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn found(work: &Work<'_>, request: ImageRequest, image: v1::Image) -> Effect {
    let done = Done::ImagePresent {
        image: request.image.clone(),
    };
    let fact = note(work, request, image.id.clone(), &image);
    Effect {
        done,
        fact: Some(fact),
    }
}

fn note(work: &Work<'_>, request: ImageRequest, reference: String, image: &v1::Image) -> Fact {
    let user = user(image);
    let refusal = request
        .run_as
        .refusal(&user, work.pod, work.uid, &request.container);
    Fact::Image(
        request.container,
        ImageFound {
            reference,
            user,
            refusal,
        },
    )
}

async fn inspect(runtime: &Runtime, name: &str) -> Result<Option<v1::Image>, StepError> {
    runtime.image_status(spec(name)).await.map_err(|error| {
        // The kubelet prints the reference here, which is empty whenever this fails.
        let message = format!("Failed to inspect image \"\": {}", error.grpc_text());
        call_failure(waiting::IMAGE_INSPECT_ERROR, message, &error)
    })
}

fn spec(name: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    }
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
    fn an_image_without_a_user_runs_as_root() {
        let mut image = v1::Image::default();
        assert_eq!(user(&image), ImageUser::Uid(0));
        image.username = "app".into();
        assert_eq!(user(&image), ImageUser::Name("app".into()));
        image.uid = Some(v1::Int64Value { value: 5 });
        assert_eq!(user(&image), ImageUser::Uid(5));
    }

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
