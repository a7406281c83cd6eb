//! Volumes that are images (KEP-4639): which images a pod needs for them, and what its containers mount
//! (`getImageVolumes` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go`, `makeMounts` in `pkg/kubelet/kubelet_pods.go`).
//! The runtime makes these mounts; the node has no directory for them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::context::PlanContext;
use super::environment::{Environment, Room};
use super::{pull, restart, sub_path};
use crate::model::image_mount::{ImageMount, VolumeImageRequest};
use crate::model::memory::FailedWork;
use crate::model::pod::{Container, ImageVolume, Pod, PullPolicy};
use crate::model::registry::Keyring;
use crate::model::step::Step;

/// The images of the volumes that these containers mount.
pub(super) fn images(pod: &Pod, keyring: &Result<Keyring, String>, containers: &[&Container]) -> Vec<Step> {
    let volumes = pod.image_volumes();
    let mounts = containers.iter().flat_map(|container| &container.mounts);
    let mounted: BTreeSet<&str> = mounts.map(|mount| mount.volume.as_str()).collect();
    let needed = volumes.iter().filter(|(name, _)| mounted.contains(*name));
    needed
        .map(|(name, image)| {
            Step::EnsureVolumeImage(VolumeImageRequest {
                volume: (*name).to_owned(),
                image: image.reference.to_owned(),
                pull: image.pull,
                credentials: pull::credentials(keyring, image.reference),
            })
        })
        .collect()
}

/// When the images that could not be had for a container's volumes are tried again. One that has appeared meanwhile is
/// not waited for.
pub(super) fn waits_until(context: PlanContext<'_>, container: &Container) -> Option<Timestamp> {
    let PlanContext {
        pod, memory, view, ..
    } = context;
    let failed = memory.failures.iter().filter_map(|(work, failure)| match work {
        FailedWork::ImageVolume(volume) => Some((volume.as_str(), failure.backoff.ends())),
        _ => None,
    });
    let mut waiting: BTreeMap<&str, Timestamp> = failed.collect();
    if waiting.is_empty() {
        return None;
    }
    let has_appeared = |image: &ImageVolume<'_>| {
        image.pull != PullPolicy::Always && restart::is_present(image.reference, view.images)
    };
    let volumes = pod.image_volumes();
    waiting.retain(|name, _| volumes.get(name).is_some_and(|image| !has_appeared(image)));
    let mounts = container.mounts.iter();
    mounts
        .filter_map(|mount| waiting.get(mount.volume.as_str()))
        .max()
        .copied()
}

/// The images among the container's mounts, with the parts of them that it mounts; or why a part is none.
pub(super) fn mounts(
    pod: &Pod,
    container: &Container,
    env: &Environment,
    room: &mut Room,
) -> Result<Vec<ImageMount>, String> {
    let volumes = pod.image_volumes();
    let mut mounts = Vec::new();
    for (index, mount) in container.mounts.iter().enumerate() {
        if !volumes.contains_key(mount.volume.as_str()) {
            continue;
        }
        let part = mount.sub_path.as_ref();
        let sub_path = part.map(|part| sub_path::path(part, container, env, room));
        mounts.push(ImageMount {
            volume: mount.volume.clone(),
            index,
            sub_path: sub_path.transpose()?.unwrap_or_default(),
        });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::memory::{Backoff, PodFailure, PodMemory};
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{Mount, Propagation, RestartPolicy, Volume, VolumeSource};
    use crate::model::reason::waiting;
    use crate::model::runtime::{ObservedImage, ObservedPod};
    use crate::model::sample::{self, at};
    use crate::model::value::SubPath;
    use crate::plan::PlanView;

    fn mount(volume: &str, sub_path: Option<&str>) -> Mount {
        Mount {
            volume: volume.to_owned(),
            sub_path: sub_path.map(|path| SubPath::Plain(path.to_owned())),
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Propagation::None,
        }
    }

    /// The container `c` mounts `a` and the disk, `d` mounts `a` twice; nobody mounts `b`.
    fn pod(pull: PullPolicy) -> Pod {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c", "d"]);
        let image = |reference: &str| VolumeSource::Image {
            reference: reference.to_owned(),
            pull,
        };
        let disk = VolumeSource::EmptyDir {
            medium: Default::default(),
            size_limit: None,
        };
        for (name, source) in [("disk", disk), ("a", image("i/a:1")), ("b", image("i/b:1"))] {
            let name = name.to_owned();
            pod.volumes.push(Volume { name, source });
        }
        pod.containers[0].mounts = vec![mount("disk", Some("x")), mount("a", Some("part"))];
        pod.containers[1].mounts = vec![mount("a", None), mount("a", Some("../x"))];
        pod
    }

    #[test]
    fn an_image_is_needed_once_if_a_container_mounts_it() {
        let pod = pod(PullPolicy::Never);
        let containers: Vec<_> = pod.containers.iter().collect();
        let steps = images(&pod, &Ok(Keyring::default()), &containers);
        let [Step::EnsureVolumeImage(request)] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(request.volume, "a");
        assert_eq!(request.image, "i/a:1");
        assert_eq!(request.pull, PullPolicy::Never);
    }

    #[test]
    fn a_part_of_an_image_does_not_lead_out_of_it() {
        let pod = pod(PullPolicy::Never);
        let mounts = |container: usize| {
            let container = &pod.containers[container];
            mounts(&pod, container, &Environment::default(), &mut Room::of_plan())
        };
        let expected = ImageMount {
            volume: "a".to_owned(),
            index: 1,
            sub_path: "part".to_owned(),
        };
        assert_eq!(mounts(0), Ok(vec![expected]));
        let refused = "unable to provision SubPath `../x`: must not contain '..'";
        assert_eq!(mounts(1), Err(refused.to_owned()));
    }

    #[test]
    fn a_container_waits_for_the_back_off_of_its_image_unless_the_image_has_appeared() {
        let check = |pull: PullPolicy, failed: &str, present: &str, expected: Option<i64>| {
            let pod = pod(pull);
            let mut memory = PodMemory::new(pod.uid.clone(), at(0));
            let failure = PodFailure {
                error: StepError {
                    reason: waiting::ERR_IMAGE_PULL,
                    message: String::new(),
                    failure: Failure::Failed,
                },
                backoff: Backoff {
                    delay: Duration::from_secs(20),
                    since: at(5),
                },
            };
            memory
                .failures
                .insert(FailedWork::ImageVolume(failed.to_owned()), failure);
            let images = [ObservedImage {
                id: "sha256:1".to_owned(),
                tags: vec![present.to_owned()],
                digests: Vec::new(),
                size: 1,
                pinned: false,
            }];
            let view = PlanView {
                name: &sample::name(),
                runtime_ready: true,
                network_ready: true,
                runtime_handlers: &[],
                desired_complete: true,
                unsupported: None,
                images: &images,
                leftovers: &Default::default(),
                logs: None,
                objects: &Default::default(),
                services: &Default::default(),
                allocatable: &Default::default(),
                node: None,
            };
            let context = PlanContext {
                pod: &pod,
                seen: &ObservedPod::default(),
                memory: &memory,
                policy: &sample::policy(),
                view: &view,
                now: at(6),
            };
            let until = waits_until(context, &pod.containers[0]);
            assert_eq!(until, expected.map(at), "{pull:?} {failed} {present}");
        };
        let present = "docker.io/i/a:1";
        check(PullPolicy::IfNotPresent, "a", "docker.io/other:1", Some(25));
        check(PullPolicy::IfNotPresent, "a", present, None);
        check(PullPolicy::Always, "a", present, Some(25));
        check(PullPolicy::IfNotPresent, "b", "docker.io/other:1", None);
    }
}
