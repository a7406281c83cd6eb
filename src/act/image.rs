//! The steps that ensure the images of containers and volumes (kubelet `pkg/kubelet/images/image_manager.go`).

use std::time::Duration;

use k8s_cri::v1;
use tokio::time::Instant;

use super::context::Work;
use super::effect::{Effect, Fact, ImageFound};
use super::failure::{abandoned, failure};
use super::pull::{self, Pulled, inspect, node_credentials};
use super::pulls_at_work::Pulling;
use super::{download, lasting};
use crate::counters::EnsureImage;
use crate::model::image_mount::VolumeImageRequest;
use crate::model::image_progress::{Phase, Progress};
use crate::model::image_ref::ImageRef;
use crate::model::outcome::{Done, LastingPull, SlowAction, StepError};
use crate::model::pod::PullPolicy;
use crate::model::pull_record::PullSecret;
use crate::model::reason::waiting;
use crate::model::registry::Credential;
use crate::model::request::ImageRequest;
use crate::model::run_as::ImageUser;

/// How often it is looked how far a pull has come. Most have ended before the first look.
const EACH: Duration = Duration::from_secs(5);

/// The user that an image sets (`getImageUser` in `pkg/kubelet/kuberuntime/helpers.go`); root if it sets none.
fn user(image: &v1::Image) -> ImageUser {
    match &image.uid {
        Some(uid) => ImageUser::Uid(uid.value),
        None if image.username.is_empty() => ImageUser::Uid(0),
        None => ImageUser::Name(image.username.clone()),
    }
}

/// An image to ensure, whatever for.
struct Wanted<'a> {
    /// As the manifest writes it.
    image: &'a str,
    pull: PullPolicy,
    /// The pod's own.
    credentials: &'a Result<Vec<Credential>, String>,
    /// The container that the events of the pull are about; `None`: the pod.
    container: Option<&'a str>,
}

/// An image that is present now.
struct Present {
    /// The runtime's reference.
    reference: String,
    image: v1::Image,
    done: Done,
}

/// Ensures the image of a container according to the pull policy.
pub(super) async fn ensure(work: &Work<'_>, request: ImageRequest) -> Result<Effect, StepError> {
    let wanted = Wanted {
        image: &request.image,
        pull: request.pull,
        credentials: &request.credentials,
        container: Some(&request.container),
    };
    let present = make_present(work, wanted).await?;
    let user = user(&present.image);
    let refusal = request
        .run_as
        .refusal(&user, work.pod, work.uid, &request.container);
    let found = ImageFound {
        reference: present.reference,
        user,
        refusal,
    };
    Ok(Effect {
        done: present.done,
        fact: Some(Fact::Image(request.container, found)),
    })
}

/// Ensures the image of a volume according to the volume's pull policy.
pub(super) async fn ensure_of_volume(
    work: &Work<'_>,
    request: VolumeImageRequest,
) -> Result<Effect, StepError> {
    let wanted = Wanted {
        image: &request.image,
        pull: request.pull,
        credentials: &request.credentials,
        container: None,
    };
    let present = make_present(work, wanted).await?;
    Ok(Effect {
        done: present.done,
        fact: Some(Fact::VolumeImage(request.volume, present.reference)),
    })
}

async fn make_present(work: &Work<'_>, wanted: Wanted<'_>) -> Result<Present, StepError> {
    let reference = ImageRef::parse(wanted.image).map_err(|wrong| {
        let image = wanted.image;
        let message = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {wrong}"
        );
        failure(waiting::INVALID_IMAGE_NAME, message)
    })?;
    let name = reference.with_default_tag().to_string();
    let runtime = &work.context.runtime;
    let images = &work.context.counters.images;
    let present = match wanted.pull {
        PullPolicy::Always => Ok(None),
        PullPolicy::IfNotPresent | PullPolicy::Never => inspect(runtime, &name).await,
    };
    let present = present.inspect_err(|_| images.ensured(wanted.pull, EnsureImage::Unknown))?;
    if let Some(image) = present
        && may_use(work, &wanted, &image).await?
    {
        images.ensured(wanted.pull, EnsureImage::Present);
        return Ok(found(&wanted, image));
    }
    let what = match wanted.pull {
        PullPolicy::Always => EnsureImage::Pull,
        PullPolicy::IfNotPresent => EnsureImage::Missing,
        PullPolicy::Never => EnsureImage::Never,
    };
    images.ensured(wanted.pull, what);
    // A pod that may not use an image does not learn that it is present.
    if wanted.pull == PullPolicy::Never {
        let message = format!(
            "Container image {:?} is not present with pull policy of Never",
            wanted.image
        );
        return Err(failure(waiting::ERR_IMAGE_NEVER_PULL, message));
    }
    // The wait for other pulls and the pull itself may both be dropped: only time is lost.
    tokio::select! {
        () = work.cancel.cancelled() => Err(abandoned(waiting::ERR_IMAGE_PULL)),
        result = pull(work, &wanted, &name) => result,
    }
}

async fn pull(work: &Work<'_>, wanted: &Wanted<'_>, name: &str) -> Result<Present, StepError> {
    let runtime = &work.context.runtime;
    // Before waiting for a permit, as in the kubelet: a plugin that does not answer delays only its own images.
    let offered = credentials(work, wanted, name).await?;
    let waiting_since = Instant::now();
    let image = wanted.image.to_owned();
    work.begins(wanted.container, SlowAction::Pull { image });
    let pulling = work.context.pulls.begin_for(work.uid, wanted.image);
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
            if wanted.pull == PullPolicy::IfNotPresent
                && let Some(image) = inspect(runtime, name).await?
                && may_use(work, wanted, &image).await?
            {
                return Ok(found(wanted, image));
            }
            permit
        }
    };
    if !work.context.pulls.may_ask_registry(Instant::now()) {
        return Err(failure(waiting::ERR_IMAGE_PULL, "pull QPS exceeded".to_owned()));
    }
    pulling.reached(Progress::begin(Phase::Downloading));
    let pulled = pull::pull(work.context, wanted.image, name, &offered);
    let pulled = watched(work, wanted, name, &pulling, pulled).await?;
    // Size and user: without them the container is created as root's, as in the kubelet.
    let image = inspect(runtime, name).await?.unwrap_or_default();
    let done = Done::ImagePulled {
        image: wanted.image.to_owned(),
        size: image.size,
        pull: whole_millis(pulled.took),
        waited: whole_millis(waiting_since.elapsed()),
    };
    Ok(Present {
        reference: pulled.reference,
        image,
        done,
    })
}

/// Pulls, looks how far that is, and reports that it lasts.
async fn watched(
    work: &Work<'_>,
    wanted: &Wanted<'_>,
    name: &str,
    pulling: &Pulling,
    pull: impl Future<Output = Result<Pulled, StepError>>,
) -> Result<Pulled, StepError> {
    let lasts = |after| {
        let pull = LastingPull {
            image: wanted.image.to_owned(),
            after,
            progress: pulling.progress(),
        };
        work.begins(wanted.container, SlowAction::PullLasts(pull));
    };
    tokio::select! {
        pulled = pull => pulled,
        // Both are dropped when the pull has ended; the one reads, the other reports.
        never = download::watch(&work.context.runtime, name, EACH, |now| pulling.reached(now)) => never,
        never = lasting::report(Instant::now(), lasts) => never,
    }
}

/// Whether the pod may use an image that is present: either it needs no credentials, or the pod has those with which it
/// was pulled.
async fn may_use(work: &Work<'_>, wanted: &Wanted<'_>, image: &v1::Image) -> Result<bool, StepError> {
    let own = wanted.credentials.as_ref();
    let own = own.map(|own| own.iter().filter_map(PullSecret::of).collect());
    let asked = work.context.records.may_use(
        wanted.image,
        &image.id,
        own.map_err(String::clone),
        &work.context.counters.images,
    );
    asked.await.map_err(|why| failure(waiting::ERR_IMAGE_PULL, why))
}

/// The credentials for an image: the pod's before the node's and those of plugins.
async fn credentials(work: &Work<'_>, wanted: &Wanted<'_>, name: &str) -> Result<Vec<Credential>, StepError> {
    let own = wanted.credentials.as_ref();
    let own = own.map_err(|why| failure(waiting::ERR_IMAGE_PULL, why.clone()))?;
    let of_node = node_credentials(work.context, name).await;
    Ok(own.iter().cloned().chain(of_node).collect())
}

/// The kubelet truncates both durations to milliseconds.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn found(wanted: &Wanted<'_>, image: v1::Image) -> Present {
    Present {
        reference: image.id.clone(),
        image,
        done: Done::ImagePresent {
            image: wanted.image.to_owned(),
        },
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
}
