//! Volumes: what is created for a pod, and the paths of container mounts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::content::{FilesLeft, Origin};
use super::network_disk::{self, DiskSource};
use super::{cgroup, claim, csi, huge_pages, nfs};
use crate::model::memory::PodMemory;
use crate::model::network_disk::DiskPlugin;
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Medium, Pod, Volume, VolumeSource};
use crate::model::request::{VolumeKind, VolumeRequest, set_up_failed};
use crate::model::resources::Bytes;
use crate::model::value::Projection;

/// The plugin name in the path of an emptyDir, whatever its medium.
const EMPTY_DIR: &str = "kubernetes.io/empty-dir";

/// The volumes to create: those that a container uses, as in the kubelet.
pub(super) fn requests(origin: Origin<'_>) -> Vec<VolumeRequest> {
    let mut left = FilesLeft::of_pod();
    let request = |volume: &Volume| {
        Some(VolumeRequest {
            volume: volume.name.clone(),
            called: called(origin, volume),
            kind: kind(origin, volume, &mut left)?,
        })
    };
    used(origin.pod).into_iter().filter_map(request).collect()
}

/// The volumes of a running pod whose files differ from the desired ones. If the content can no longer be computed, the
/// volume stays as it is, as in the kubelet.
pub(super) fn updates(origin: Origin<'_>, memory: &PodMemory) -> Vec<VolumeRequest> {
    let mut left = FilesLeft::of_pod();
    let projected = |volume: &&Volume| matches!(volume.source, VolumeSource::Projected { .. });
    let request = |volume: &Volume| match kind(origin, volume, &mut left)? {
        VolumeKind::Files { files, .. } if memory.written.get(&volume.name) == Some(&files) => None,
        kind @ VolumeKind::Files { .. } => Some(VolumeRequest {
            volume: volume.name.clone(),
            called: called(origin, volume),
            kind,
        }),
        _ => None,
    };
    used(origin.pod)
        .into_iter()
        .filter(projected)
        .filter_map(request)
        .collect()
}

/// The volumes that were not mounted before these containers were added to the pod; volumes with files are among
/// [`updates`].
pub(super) fn added(origin: Origin<'_>, containers: &[&Container]) -> Vec<VolumeRequest> {
    let pod = origin.pod;
    let ephemeral: BTreeSet<&str> = pod.ephemeral_containers.iter().map(|c| c.name.as_str()).collect();
    let added = containers.iter().copied();
    let wanted = used_by(added.filter(|container| ephemeral.contains(container.name.as_str())));
    if wanted.is_empty() {
        return Vec::new();
    }
    let had = used_by(pod.own_containers());
    let is_new = |volume: &&Volume| {
        let name = volume.name.as_str();
        wanted.contains(name) && !had.contains(name)
    };
    let mut left = FilesLeft::of_pod();
    let request = |volume: &Volume| match kind(origin, volume, &mut left)? {
        VolumeKind::Files { .. } => None,
        kind => Some(VolumeRequest {
            volume: volume.name.clone(),
            called: called(origin, volume),
            kind,
        }),
    };
    pod.volumes.iter().filter(is_new).filter_map(request).collect()
}

/// The names of the volumes that containers mount, or have as devices.
fn used_by<'a>(containers: impl Iterator<Item = &'a Container>) -> BTreeSet<&'a str> {
    let used = |container: &'a Container| {
        let mounts = container.mounts.iter().map(|mount| mount.volume.as_str());
        mounts.chain(container.devices.iter().map(|device| device.volume.as_str()))
    };
    containers.flat_map(used).collect()
}

/// The path on the node of a volume that containers have as a device; or why it is not known.
pub(super) fn device_path(origin: Origin<'_>, name: &str) -> Result<PathBuf, String> {
    let mut volumes = origin.pod.volumes.iter();
    let volume = volumes.find(|volume| volume.name == name);
    let volume = volume.ok_or_else(|| format!("the pod has no volume {name:?}"))?;
    claim::resolve(origin, volume)?.device(origin)
}

/// The volumes that containers use.
pub(super) fn used(pod: &Pod) -> Vec<&Volume> {
    let names = used_by(pod.all_containers());
    let volumes = pod.volumes.iter();
    volumes
        .filter(|volume| names.contains(volume.name.as_str()))
        .collect()
}

/// Whether a volume is always read-only for containers.
pub(super) fn is_read_only(pod: &Pod, name: &str) -> bool {
    let volume = pod.volumes.iter().find(|volume| volume.name == name);
    volume.is_some_and(|volume| match volume.source {
        VolumeSource::Projected { .. } | VolumeSource::Image { .. } => true,
        VolumeSource::Claim { read_only, .. }
        | VolumeSource::Nfs { read_only, .. }
        | VolumeSource::Iscsi { read_only, .. }
        | VolumeSource::Fc { read_only, .. } => read_only,
        // The driver publishes it so.
        VolumeSource::Csi(_) => false,
        VolumeSource::EmptyDir { .. } | VolumeSource::HostPath { .. } => false,
    })
}

/// The mount point for a part of a volume of a container (`volume-subpaths` in `pkg/volume/util/subpath`).
pub(super) fn sub_path_target(
    pod: &Pod,
    volume: &str,
    container: &str,
    index: usize,
    policy: &NodePolicy,
) -> PathBuf {
    let dir = sub_paths_dir(pod, policy);
    dir.join(volume).join(container).join(index.to_string())
}

/// The directory of the mount points for parts of volumes.
pub(super) fn sub_paths_dir(pod: &Pod, policy: &NodePolicy) -> PathBuf {
    policy.pod_dir(&pod.uid).join("volume-subpaths")
}

/// The directory name, and whether the files are on a tmpfs: only a ConfigMap is not secret (`wrappedVolumeSpec` in
/// `pkg/volume/{configmap,secret,downwardapi,projected}`).
fn plugin(kind: Projection) -> (&'static str, Medium) {
    match kind {
        Projection::ConfigMap => ("kubernetes.io/configmap", Medium::Disk),
        Projection::Secret => ("kubernetes.io/secret", Medium::Memory),
        Projection::DownwardApi => ("kubernetes.io/downward-api", Medium::Memory),
        Projection::Projected => ("kubernetes.io/projected", Medium::Memory),
    }
}

/// The path of a volume on the node; or why it is not known.
pub(super) fn host_path(origin: Origin<'_>, name: &str) -> Result<PathBuf, String> {
    let mut volumes = origin.pod.volumes.iter();
    let volume = volumes.find(|volume| volume.name == name);
    let volume = volume.ok_or_else(|| format!("the pod has no volume {name:?}"))?;
    Ok(match &volume.source {
        VolumeSource::EmptyDir { .. } => own_path(origin, EMPTY_DIR, volume),
        VolumeSource::HostPath { path, .. } => path.clone(),
        VolumeSource::Claim { .. } => claim::resolve(origin, volume)?.path(origin)?,
        VolumeSource::Csi(_) => csi::places(origin).target(&volume.name),
        VolumeSource::Nfs { .. } => nfs::path(origin, &volume.name),
        VolumeSource::Iscsi { .. } => network_disk::path(origin, DiskPlugin::Iscsi, &volume.name),
        VolumeSource::Fc { .. } => network_disk::path(origin, DiskPlugin::Fc, &volume.name),
        VolumeSource::Image { .. } => {
            return Err(format!("volume {name:?} is an image, which has no path here"));
        }
        VolumeSource::Projected { kind, .. } => own_path(origin, plugin(*kind).0, volume),
    })
}

/// Where a volume is that lives as long as the pod.
fn own_path(origin: Origin<'_>, plugin: &str, volume: &Volume) -> PathBuf {
    origin.policy.volume_dir(&origin.pod.uid, plugin, &volume.name)
}

/// What messages call a volume.
pub(super) fn called(origin: Origin<'_>, volume: &Volume) -> String {
    let claimed = match volume.source {
        VolumeSource::Claim { .. } => claim::resolve(origin, volume).ok(),
        _ => None,
    };
    claimed.map_or_else(|| volume.name.clone(), |resolved| resolved.name.to_owned())
}

/// What is to be made for a volume that has no files.
pub(super) fn kind_of(origin: Origin<'_>, volume: &Volume) -> Option<VolumeKind> {
    kind(origin, volume, &mut FilesLeft::of_pod())
}

/// What to make; `None`: nothing, because the runtime mounts it.
fn kind(origin: Origin<'_>, volume: &Volume, left: &mut FilesLeft) -> Option<VolumeKind> {
    let Origin { pod, policy, .. } = origin;
    let group = pod.security.fs_group;
    Some(match &volume.source {
        VolumeSource::Image { .. } => return None,
        VolumeSource::Claim { read_only, .. } => claim::kind(origin, volume, *read_only),
        VolumeSource::Csi(own) => csi::inline(origin, volume, own),
        VolumeSource::Nfs { export, read_only } => nfs::kind(origin, &volume.name, export, &[], *read_only),
        VolumeSource::Iscsi { source, read_only } => {
            network_disk::inline(origin, &volume.name, DiskSource::Iscsi(source), *read_only)
        }
        VolumeSource::Fc { source, read_only } => {
            network_disk::inline(origin, &volume.name, DiskSource::Fc(source), *read_only)
        }
        VolumeSource::HostPath { path, kind } => VolumeKind::HostPath {
            path: path.clone(),
            kind: *kind,
        },
        VolumeSource::EmptyDir {
            medium: Medium::Disk, ..
        } => VolumeKind::Directory {
            path: own_path(origin, EMPTY_DIR, volume),
            group,
        },
        VolumeSource::EmptyDir {
            medium: Medium::Memory,
            size_limit,
        } => VolumeKind::Tmpfs {
            path: own_path(origin, EMPTY_DIR, volume),
            size: tmpfs_size(pod, *size_limit, policy),
            group,
        },
        VolumeSource::EmptyDir {
            medium: Medium::HugePages(stated),
            ..
        } => match huge_pages::page_size(pod, *stated) {
            Ok(page) => VolumeKind::HugePages {
                path: own_path(origin, EMPTY_DIR, volume),
                page,
                group,
            },
            Err(why) => VolumeKind::Missing {
                message: set_up_failed(&volume.name, why),
            },
        },
        VolumeSource::Projected { kind, mode, sources } => match origin.files(*mode, sources, left) {
            Ok(files) => VolumeKind::Files {
                path: own_path(origin, plugin(*kind).0, volume),
                tmpfs: (plugin(*kind).1 == Medium::Memory).then(|| tmpfs_size(pod, None, policy)),
                group,
                files: Arc::new(files),
            },
            Err(why) => VolumeKind::Missing {
                message: set_up_failed(&volume.name, why),
            },
        },
    })
}

/// The minimum of the volume's limit, the pod's limit, and the node's memory (`calculateEmptyDirMemorySize` in
/// `pkg/volume/emptydir`).
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
            sub_path: None,
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Propagation::None,
        }];
        for name in ["v", "unused"] {
            pod.volumes.push(Volume {
                name: name.to_owned(),
                source: source.clone(),
            });
        }
        let requests = requests(Origin::sample(&pod));
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
