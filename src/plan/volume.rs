//! Volumes: what is made for a pod, and where a container's mount finds it.

use std::path::PathBuf;

use super::cgroup;
use crate::model::node::NodePolicy;
use crate::model::pod::{Medium, Pod, Volume, VolumeSource};
use crate::model::resources::Bytes;
use crate::model::step::{VolumeKind, VolumeRequest};

/// The plugin's name in the directory of an emptyDir, whatever its medium.
const EMPTY_DIR: &str = "kubernetes.io/empty-dir";

/// The volumes to be made: those that a container mounts, as in the kubelet.
pub(super) fn requests(pod: &Pod, policy: &NodePolicy) -> Vec<VolumeRequest> {
    let mounted = |volume: &&Volume| {
        pod.all_containers()
            .any(|container| container.mounts.iter().any(|mount| mount.volume == volume.name))
    };
    let request = |volume: &Volume| VolumeRequest {
        volume: volume.name.clone(),
        kind: kind(pod, volume, policy),
    };
    pod.volumes.iter().filter(mounted).map(request).collect()
}

/// Where a volume lies on the node; `None` where the pod has none of that name.
pub(super) fn host_path(pod: &Pod, name: &str, policy: &NodePolicy) -> Option<PathBuf> {
    let volume = pod.volumes.iter().find(|volume| volume.name == name)?;
    Some(path(pod, volume, policy))
}

fn path(pod: &Pod, volume: &Volume, policy: &NodePolicy) -> PathBuf {
    match &volume.source {
        VolumeSource::EmptyDir { .. } => policy.volume_dir(&pod.uid, EMPTY_DIR, &volume.name),
        VolumeSource::HostPath { path, .. } => path.clone(),
    }
}

fn kind(pod: &Pod, volume: &Volume, policy: &NodePolicy) -> VolumeKind {
    let path = path(pod, volume, policy);
    let group = pod.security.fs_group;
    match &volume.source {
        VolumeSource::HostPath { kind, .. } => VolumeKind::HostPath { path, kind: *kind },
        VolumeSource::EmptyDir {
            medium: Medium::Disk, ..
        } => VolumeKind::Directory { path, group },
        VolumeSource::EmptyDir {
            medium: Medium::Memory,
            size_limit,
        } => VolumeKind::Tmpfs {
            path,
            size: tmpfs_size(pod, *size_limit, policy),
            group,
        },
    }
}

/// The least of what the volume may take, the pod may take, and the node has
/// (`calculateEmptyDirMemorySize` in `pkg/volume/emptydir`).
fn tmpfs_size(pod: &Pod, limit: Option<Bytes>, policy: &NodePolicy) -> Option<Bytes> {
    let of_pod = cgroup::pod_cgroup(pod, &policy.cgroup).memory_limit.map(Bytes);
    [Some(policy.memory), of_pod, limit]
        .into_iter()
        .flatten()
        .filter(|size| size.0 > 0)
        .min()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::pod::{HostPathKind, Mount, Propagation, RestartPolicy};
    use crate::model::resources::{Amounts, Resources};
    use crate::model::sample;

    fn memory(size_limit: Option<i64>) -> VolumeSource {
        VolumeSource::EmptyDir {
            medium: Medium::Memory,
            size_limit: size_limit.map(Bytes),
        }
    }

    fn check(source: VolumeSource, pod_limit: Option<i64>, expected: Expect) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.security.fs_group = Some(2000);
        if let Some(limit) = pod_limit {
            pod = pod.with_resources(&[Resources {
                requests: Amounts::default(),
                limits: Amounts {
                    memory: Some(Bytes(limit)),
                    ..Amounts::default()
                },
            }]);
        }
        pod.containers[0].mounts = vec![Mount {
            volume: "v".to_owned(),
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::None,
        }];
        for name in ["v", "unused"] {
            pod.volumes.push(Volume {
                name: name.to_owned(),
                source: source.clone(),
            });
        }
        let requests = requests(&pod, &sample::policy());
        assert_eq!(requests.len(), 1, "only what is mounted is made");
        expected.assert_eq(&format!("{:?}", requests[0].kind));
    }

    #[test]
    fn each_kind() {
        check(
            VolumeSource::EmptyDir {
                medium: Medium::Disk,
                size_limit: Some(Bytes(5)),
            },
            None,
            expect![[
                r#"Directory { path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v", group: Some(2000) }"#
            ]],
        );
        check(
            VolumeSource::HostPath {
                path: PathBuf::from("/srv"),
                kind: HostPathKind::Directory,
            },
            None,
            expect![[r#"HostPath { path: "/srv", kind: Directory }"#]],
        );
        check(
            memory(None),
            None,
            expect![[
                r#"Tmpfs { path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v", size: Some(Bytes(25276510208)), group: Some(2000) }"#
            ]],
        );
        check(
            memory(Some(1 << 20)),
            Some(1 << 24),
            expect![[
                r#"Tmpfs { path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v", size: Some(Bytes(1048576)), group: Some(2000) }"#
            ]],
        );
        check(
            memory(Some(1 << 30)),
            Some(1 << 24),
            expect![[
                r#"Tmpfs { path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v", size: Some(Bytes(16777216)), group: Some(2000) }"#
            ]],
        );
    }
}
