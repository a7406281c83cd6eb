//! The parts of volumes that a container mounts: `subPath`, `subPathExpr` (`makeMounts` in
//! `pkg/kubelet/kubelet_pods.go`). This module determines the paths; `act` opens them and ensures that none leads out
//! of its volume.

use std::collections::BTreeSet;

use super::content::Origin;
use super::environment::{Environment, Room};
use super::volume;
use crate::model::bounds;
use crate::model::expand::expand;
use crate::model::pod::Container;
use crate::model::request::SubPathMount;
use crate::model::value::SubPath;

/// What to mount before the container is created, or why that is impossible.
pub(super) fn mounts(
    origin: Origin<'_>,
    container: &Container,
    env: &Environment,
    room: &mut Room,
) -> Result<Vec<SubPathMount>, String> {
    let Origin { pod, policy, .. } = origin;
    let images = pod.image_volumes();
    let mut mounts = Vec::new();
    for (index, mount) in container.mounts.iter().enumerate() {
        let Some(part) = &mount.sub_path else { continue };
        // The runtime itself mounts the part of an image.
        if images.contains_key(mount.volume.as_str()) {
            continue;
        }
        let root = volume::host_path(origin, &mount.volume)?;
        let path = path(part, container, env, room)?;
        mounts.push(SubPathMount {
            volume: mount.volume.clone(),
            root,
            path,
            target: volume::sub_path_target(pod, &mount.volume, &container.name, index, policy),
        });
    }
    Ok(mounts)
}

/// The path of a part within its volume; or why it is none.
pub(super) fn path(
    part: &SubPath,
    container: &Container,
    env: &Environment,
    room: &mut Room,
) -> Result<String, String> {
    let path = match part {
        SubPath::Plain(path) => path.clone(),
        SubPath::Expression(expression) => {
            let path = expanded(expression, env)?;
            // Paths are not passed to the program, but can be just as long.
            room.take_of_plan(path.len())
                .map_err(|whose| whose.message(container))?;
            path
        }
    };
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!(
            "unable to provision SubPath `{path}`: must not contain '..'"
        ));
    }
    Ok(path)
}

/// Every variable must be set: an empty part of the path would lead to another directory.
fn expanded(expression: &str, env: &Environment) -> Result<String, String> {
    let mut missing = BTreeSet::new();
    let path = expand(
        expression,
        |name| {
            let value = env.get(name).filter(|value| !value.is_empty());
            if value.is_none() {
                missing.insert(name.to_owned());
            }
            value
        },
        bounds::PATH - 1,
    );
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().collect();
        return Err(format!("missing value for {}", missing.join(", ")));
    }
    path.map_err(|_| {
        format!(
            "subPathExpr exceeds the maximum path length of {} bytes",
            bounds::PATH - 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{Medium, Mount, Propagation, RestartPolicy, Volume, VolumeSource};
    use crate::model::sample;

    fn check(part: SubPath, expected: Result<&str, &str>) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::EmptyDir {
                medium: Medium::Disk,
                size_limit: None,
            },
        });
        let mount = |sub_path| Mount {
            volume: "v".to_owned(),
            sub_path,
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Propagation::None,
        };
        pod.containers[0].mounts = vec![mount(None), mount(Some(part))];
        let env = Environment::from([("POD", "web"), ("UP", "..")]);
        let room = &mut Room::of_plan();
        let origin = Origin::sample(&pod);
        match mounts(origin, &pod.containers[0], &env, room) {
            Ok(mounts) => {
                assert_eq!(mounts.len(), 1);
                assert_eq!(Ok(mounts[0].path.as_str()), expected);
                assert!(mounts[0].target.ends_with("pods/u1/volume-subpaths/v/c/1"));
                assert!(
                    mounts[0]
                        .root
                        .ends_with("pods/u1/volumes/kubernetes.io~empty-dir/v")
                );
            }
            Err(error) => assert_eq!(Err(error.as_str()), expected),
        }
    }

    #[test]
    fn parts_are_expanded_and_stay_inside() {
        let expression = |text: &str| SubPath::Expression(text.to_owned());
        check(SubPath::Plain("a/b".to_owned()), Ok("a/b"));
        check(SubPath::Plain("$(POD)".to_owned()), Ok("$(POD)"));
        check(expression("logs/$(POD)"), Ok("logs/web"));
        check(expression("$(B)$(A)$(B)"), Err("missing value for A, B"));
        check(
            expression("$(UP)/x"),
            Err("unable to provision SubPath `../x`: must not contain '..'"),
        );
        check(
            SubPath::Plain("/etc".to_owned()),
            Err("error SubPath `/etc` must not be an absolute path"),
        );
    }
}
