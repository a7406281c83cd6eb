//! Volumes through claims: from the claim that a pod names to the PersistentVolume, and to what is mounted
//! (`createVolumeSpec` in `pkg/kubelet/volumemanager/populator`).

use std::path::PathBuf;

use super::content::Origin;
use super::network_disk::{self, DiskSource};
use super::{csi, local, nfs, placement};
use crate::model::network_disk::DiskPlugin;
use crate::model::object::lookup::Lookup;
use crate::model::persistent::{Claim, PersistentSource, PersistentVolume};
use crate::model::pod::{ClaimOrigin, Volume, VolumeSource};
use crate::model::reference;
use crate::model::request::{VolumeKind, set_up_failed};

/// The PersistentVolume behind a volume.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub(super) name: &'a str,
    volume: &'a PersistentVolume,
}

impl Resolved<'_> {
    /// Where the pod's containers find it on the node; or why they cannot mount it.
    pub(super) fn path(&self, origin: Origin<'_>) -> Result<PathBuf, String> {
        match &self.volume.source {
            _ if self.volume.is_block => Err(format!("PersistentVolume {} is a device", self.name)),
            PersistentSource::HostPath { path, .. } => Ok(path.clone()),
            PersistentSource::Csi(_) => Ok(csi::places(origin).target(self.name)),
            PersistentSource::Nfs(_) => Ok(nfs::path(origin, self.name)),
            PersistentSource::Iscsi(_) => Ok(network_disk::path(origin, DiskPlugin::Iscsi, self.name)),
            PersistentSource::Fc(_) => Ok(network_disk::path(origin, DiskPlugin::Fc, self.name)),
            PersistentSource::Local { .. } | PersistentSource::Unsupported(_) => {
                Ok(local::path(origin, self.name))
            }
        }
    }

    /// The driver that makes it.
    pub(super) fn driver(&self) -> Option<&str> {
        match &self.volume.source {
            PersistentSource::Csi(source) => Some(&source.driver),
            _ => None,
        }
    }

    /// Where the pod's containers find it as a device.
    pub(super) fn device(&self, origin: Origin<'_>) -> Result<PathBuf, String> {
        match &self.volume.source {
            PersistentSource::Csi(_) if self.volume.is_block => {
                Ok(csi::places(origin).device_link(self.name))
            }
            PersistentSource::Local { .. } if self.volume.is_block => Ok(local::link(origin, self.name)),
            PersistentSource::Iscsi(_) if self.volume.is_block => {
                Ok(network_disk::link(origin, DiskPlugin::Iscsi, self.name))
            }
            PersistentSource::Fc(_) if self.volume.is_block => {
                Ok(network_disk::link(origin, DiskPlugin::Fc, self.name))
            }
            _ => Err(format!("PersistentVolume {} is no device", self.name)),
        }
    }
}

/// The PersistentVolume behind a volume; or why there is none, in the kubelet's words.
pub(super) fn resolve<'a>(origin: Origin<'a>, volume: &'a Volume) -> Result<Resolved<'a>, String> {
    let VolumeSource::Claim {
        claim, origin: of, ..
    } = &volume.source
    else {
        return Err(format!("volume {} names no claim", volume.name));
    };
    let key = reference::claim(origin.pod, claim);
    let about = |why: String| format!("error processing PVC {key}: {why}");
    let found = claim_of(origin, claim).map_err(about)?;
    if *of == ClaimOrigin::OfPod && found.owner.as_ref() != Some(&origin.pod.uid.0) {
        return Err(format!(
            "PVC {key} was not created for pod {} (pod is not owner)",
            origin.pod.name
        ));
    }
    let name = found.bound_to().map_err(|why| about(why.to_owned()))?;
    let resolved = volume_of(origin, name, &found.uid).map_err(about)?;
    let misused = match resolved.is_block {
        true if is_mounted(origin, &volume.name) => Some("Block, but is specified in volumeMounts"),
        false if is_device(origin, &volume.name) => Some("Filesystem, but is specified in volumeDevices"),
        _ => None,
    };
    match misused {
        Some(how) => Err(format!("volume {} has volumeMode {how}", volume.name)),
        None => Ok(Resolved {
            name,
            volume: resolved,
        }),
    }
}

fn is_mounted(origin: Origin<'_>, volume: &str) -> bool {
    let mut mounts = origin
        .pod
        .all_containers()
        .flat_map(|container| &container.mounts);
    mounts.any(|mount| mount.volume == volume)
}

fn is_device(origin: Origin<'_>, volume: &str) -> bool {
    let mut devices = origin
        .pod
        .all_containers()
        .flat_map(|container| &container.devices);
    devices.any(|device| device.volume == volume)
}

fn claim_of<'a>(origin: Origin<'a>, name: &str) -> Result<&'a Claim, String> {
    let why = match origin.objects.claim(reference::claim(origin.pod, name)) {
        Lookup::Found(claim) => return Ok(claim),
        Lookup::Missing => format!("persistentvolumeclaims {name:?} not found"),
        Lookup::Unread(why) => why.to_owned(),
        // Nothing is started before there is an answer.
        Lookup::Asked => "the API server does not answer".to_owned(),
    };
    Err(format!("failed to fetch PVC from API server: {why}"))
}

fn volume_of<'a>(origin: Origin<'a>, name: &str, claim: &str) -> Result<&'a PersistentVolume, String> {
    let volume = match origin.objects.persistent_volume(name) {
        Lookup::Found(volume) => Ok(volume),
        Lookup::Missing => Err(format!("persistentvolumes {name:?} not found")),
        Lookup::Unread(why) => Err(why.to_owned()),
        Lookup::Asked => Err("the API server does not answer".to_owned()),
    };
    let volume = volume.map_err(|why| format!("failed to fetch PV {name} from API server: {why}"))?;
    match &volume.claim {
        None => Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        )),
        Some(own) if own != claim => Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {own} does not point to claim.UID {claim}"
        )),
        Some(_) => Ok(volume),
    }
}

/// What is to be made for it.
pub(super) fn kind(origin: Origin<'_>, volume: &Volume, read_only: bool) -> VolumeKind {
    let resolved = match resolve(origin, volume) {
        Ok(resolved) => resolved,
        // The kubelet's message, in which these are lists of volumes.
        Err(why) => {
            let name = &volume.name;
            return VolumeKind::Missing {
                message: format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], failed to \
                     process volumes=[{name}]: {why}"
                ),
            };
        }
    };
    if !is_on_its_node(origin, resolved.volume) {
        let operation = match resolved.volume.is_block {
            true => "MapVolume",
            false => "MountVolume",
        };
        return VolumeKind::Missing {
            message: format!(
                "{operation}.NodeAffinity check failed for volume {:?} : no matching NodeSelectorTerms",
                resolved.name
            ),
        };
    }
    of_source(origin, volume, &resolved, read_only)
}

/// What is to be made for a PersistentVolume, by its type.
fn of_source(origin: Origin<'_>, volume: &Volume, resolved: &Resolved<'_>, read_only: bool) -> VolumeKind {
    let place = (resolved.name, resolved.volume);
    let failed = |why: String| VolumeKind::Missing {
        message: set_up_failed(resolved.name, why),
    };
    match &resolved.volume.source {
        PersistentSource::Csi(source) => csi::exhausted(origin, source)
            .unwrap_or_else(|| csi::persistent(origin, place, source, read_only)),
        PersistentSource::Local { path, fs_type } => {
            local::kind(origin, place, (path, fs_type.as_deref()), read_only)
        }
        PersistentSource::Iscsi(source) => {
            network_disk::persistent(origin, place, DiskSource::Iscsi(source), read_only)
        }
        PersistentSource::Fc(source) => {
            network_disk::persistent(origin, place, DiskSource::Fc(source), read_only)
        }
        PersistentSource::Unsupported(source) => VolumeKind::Missing {
            message: set_up_failed(
                &volume.name,
                format!(
                    "PersistentVolume {}: {source} is not supported by this version of gantry yet: use hostPath, local, nfs, \
                     iscsi, fc or csi",
                    resolved.name
                ),
            ),
        },
        // Of these the kubelet has no devices, either.
        PersistentSource::HostPath { .. } | PersistentSource::Nfs(_) if resolved.volume.is_block => {
            failed(format!(
                "PersistentVolume {} has volumeMode Block, which only volumes of type local, iscsi, fc or csi can have",
                resolved.name
            ))
        }
        PersistentSource::HostPath { .. } if !resolved.volume.mount_options.is_empty() => {
            VolumeKind::Missing {
                message: format!(
                    "MountVolume.MountOptionSupport check failed for volume {:?} : mount options are not supported for this \
                     volume type",
                    resolved.name
                ),
            }
        }
        // A group owns no path of the host, as in the kubelet.
        PersistentSource::HostPath { path, kind } => VolumeKind::HostPath {
            path: path.clone(),
            kind: *kind,
        },
        PersistentSource::Nfs(export) => {
            let options = &resolved.volume.mount_options;
            nfs::kind(origin, resolved.name, export, options, read_only)
        }
    }
}

/// Whether the volume can be used here. Where the node's labels are not known, the scheduler's answer stands.
fn is_on_its_node(origin: Origin<'_>, volume: &PersistentVolume) -> bool {
    match (&volume.affinity, origin.node) {
        (Some(terms), Some(node)) => placement::holds_one(terms, node),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};

    use super::super::volume;
    use super::*;
    use crate::model::nfs::NfsExport;
    use crate::model::object::{Known, Object, Objects, Reference};
    use crate::model::placement::{NodeMarks, Requirement, Term, Test};
    use crate::model::pod::{Mount, RestartPolicy};
    use crate::model::sample;

    struct Case {
        claim: Option<Claim>,
        volume: Option<PersistentVolume>,
        read_only: bool,
        of: ClaimOrigin,
        node: Option<NodeMarks>,
        group: Option<i64>,
    }

    fn local() -> PersistentVolume {
        PersistentVolume {
            claim: Some("c1".to_owned()),
            is_block: false,
            affinity: None,
            access: Vec::new(),
            capacity: String::new(),
            mount_options: Vec::new(),
            source: PersistentSource::Local {
                path: PathBuf::from("/mnt/disk"),
                fs_type: None,
            },
        }
    }

    fn bound() -> Case {
        Case {
            claim: Some(Claim {
                uid: "c1".to_owned(),
                is_bound: true,
                volume: "pv".to_owned(),
                ..Claim::default()
            }),
            volume: Some(local()),
            read_only: false,
            of: ClaimOrigin::Named,
            node: None,
            group: None,
        }
    }

    fn check(case: Case, expected: Expect) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.security.fs_group = case.group;
        pod.volumes = vec![Volume {
            name: "v".to_owned(),
            source: VolumeSource::Claim {
                claim: "data".to_owned(),
                read_only: case.read_only,
                origin: case.of,
            },
        }];
        pod.containers[0].mounts = vec![Mount {
            volume: "v".to_owned(),
            sub_path: None,
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Default::default(),
        }];
        let mut objects = Objects::default();
        if let Some(claim) = case.claim {
            let key = Reference::Claim(reference::claim(&pod, "data"));
            objects.insert(key, Known::Found(Object::Claim(claim).into()));
        }
        if let Some(volume) = case.volume {
            let key = Reference::PersistentVolume("pv".to_owned());
            objects.insert(key, Known::Found(Object::PersistentVolume(volume).into()));
        }
        let origin = Origin {
            objects: &objects,
            node: case.node.as_ref(),
            ..Origin::sample(&pod)
        };
        let made = kind(origin, &pod.volumes[0], case.read_only);
        // Without the volume no container is created that would write beside it.
        let refusal = volume::host_path(origin, "v").err();
        expected.assert_eq(&format!("{made:?}\n{refusal:?}"));
    }

    #[test]
    fn a_local_volume_is_mounted_in_the_pods_directory() {
        check(
            bound(),
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "ext4", options: [], group: None })
                None"#]],
        );
        check(
            Case {
                group: Some(2000),
                ..bound()
            },
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "ext4", options: [], group: Some((2000, Always)) })
                None"#]],
        );
        check(
            Case {
                group: Some(2000),
                read_only: true,
                ..bound()
            },
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadOnly, fs_type: "ext4", options: [], group: None })
                None"#]],
        );
    }

    #[test]
    fn a_path_of_the_host_is_used_where_it_is_and_another_type_is_refused() {
        let with = |source| Case {
            volume: Some(PersistentVolume { source, ..local() }),
            group: Some(2000),
            ..bound()
        };
        let host = PersistentSource::HostPath {
            path: PathBuf::from("/srv"),
            kind: Default::default(),
        };
        check(
            with(host),
            expect![[r#"
            HostPath { path: "/srv", kind: Unchecked }
            None"#]],
        );
        check(
            with(PersistentSource::Unsupported("rbd".to_owned())),
            expect![[r#"
                Missing { message: "MountVolume.SetUp failed for volume \"v\" : PersistentVolume pv: rbd is not supported by this version of gantry yet: use hostPath, local, nfs, iscsi, fc or csi" }
                None"#]],
        );
    }

    #[test]
    fn a_server_and_a_device_are_mounted_with_the_options_of_their_volume() {
        let with = |source, options: &[&str]| Case {
            volume: Some(PersistentVolume {
                source,
                mount_options: options.iter().map(|&option| option.to_owned()).collect(),
                ..local()
            }),
            group: Some(2000),
            ..bound()
        };
        let server = |server: &str| {
            PersistentSource::Nfs(NfsExport {
                server: server.to_owned(),
                path: "/a".to_owned(),
            })
        };
        check(
            with(server("nas"), &["nfsvers=4.1", "hard", "", "hard"]),
            expect![[r#"
                Nfs(NfsMount { source: "nas:/a", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~nfs/pv", options: ["hard", "nfsvers=4.1"], access: ReadWrite })
                None"#]],
        );
        check(
            Case {
                read_only: true,
                ..with(server("2001:db8::7"), &[])
            },
            expect![[r#"
                Nfs(NfsMount { source: "[2001:db8::7]:/a", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~nfs/pv", options: [], access: ReadOnly })
                None"#]],
        );
        check(
            with(server("-o"), &[]),
            expect![[r#"
            Missing { message: "MountVolume.SetUp failed for volume \"pv\" : the server \"-o\" begins with '-', as no name or address does: mount(8) would take it for an option" }
            None"#]],
        );
        let device = PersistentSource::Local {
            path: PathBuf::from("/dev/disk/by-id/x"),
            fs_type: Some("xfs".to_owned()),
        };
        check(
            with(device, &["noatime"]),
            expect![[r#"
            Local(LocalVolume { source: "/dev/disk/by-id/x", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "xfs", options: ["noatime"], group: Some((2000, Always)) })
            None"#]],
        );
        let host = PersistentSource::HostPath {
            path: PathBuf::from("/srv"),
            kind: Default::default(),
        };
        check(
            with(host, &["noatime"]),
            expect![[r#"
            Missing { message: "MountVolume.MountOptionSupport check failed for volume \"pv\" : mount options are not supported for this volume type" }
            None"#]],
        );
    }

    #[test]
    fn a_claim_without_a_volume_delays_the_pod_in_the_kubelets_words() {
        let claim = |claim| Case { claim, ..bound() };
        check(
            claim(None),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ns/data: failed to fetch PVC from API server: persistentvolumeclaims \"data\" not found" }
                Some("error processing PVC ns/data: failed to fetch PVC from API server: persistentvolumeclaims \"data\" not found")"#]],
        );
        check(
            claim(Some(Claim::default())),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ns/data: PVC is not bound" }
                Some("error processing PVC ns/data: PVC is not bound")"#]],
        );
        check(
            Case {
                volume: None,
                ..bound()
            },
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ns/data: failed to fetch PV pv from API server: persistentvolumes \"pv\" not found" }
                Some("error processing PVC ns/data: failed to fetch PV pv from API server: persistentvolumes \"pv\" not found")"#]],
        );
        let volume = |of: Option<&str>, is_block| Case {
            volume: Some(PersistentVolume {
                claim: of.map(str::to_owned),
                is_block,
                ..local()
            }),
            ..bound()
        };
        check(
            volume(None, false),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ns/data: found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim" }
                Some("error processing PVC ns/data: found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim")"#]],
        );
        check(
            volume(Some("c2"), false),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ns/data: found PV object pv but its pv.Spec.ClaimRef.UID c2 does not point to claim.UID c1" }
                Some("error processing PVC ns/data: found PV object pv but its pv.Spec.ClaimRef.UID c2 does not point to claim.UID c1")"#]],
        );
        check(
            volume(Some("c1"), true),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: volume v has volumeMode Block, but is specified in volumeMounts" }
                Some("volume v has volumeMode Block, but is specified in volumeMounts")"#]],
        );
    }

    #[test]
    fn an_ephemeral_volumes_claim_is_the_pods_own() {
        let owned = |owner: Option<&str>| {
            let mut case = bound();
            case.of = ClaimOrigin::OfPod;
            if let Some(claim) = &mut case.claim {
                claim.owner = owner.map(str::to_owned);
            }
            case
        };
        check(
            owned(Some("u1")),
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "ext4", options: [], group: None })
                None"#]],
        );
        check(
            owned(Some("u2")),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: PVC ns/data was not created for pod ns/p (pod is not owner)" }
                Some("PVC ns/data was not created for pod ns/p (pod is not owner)")"#]],
        );
        check(
            owned(None),
            expect![[r#"
                Missing { message: "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: PVC ns/data was not created for pod ns/p (pod is not owner)" }
                Some("PVC ns/data was not created for pod ns/p (pod is not owner)")"#]],
        );
    }

    #[test]
    fn a_volume_of_another_node_is_not_mounted_here() {
        let on = |value: &str| {
            let hostname = "kubernetes.io/hostname".to_owned();
            Case {
                volume: Some(PersistentVolume {
                    affinity: Some(vec![Term {
                        labels: vec![Requirement {
                            key: hostname.clone(),
                            test: Test::In(vec!["n1".to_owned()]),
                        }],
                        fields: Vec::new(),
                    }]),
                    ..local()
                }),
                node: Some(NodeMarks {
                    labels: BTreeMap::from([(hostname, value.to_owned())]),
                    ..NodeMarks::default()
                }),
                ..bound()
            }
        };
        check(
            on("n1"),
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "ext4", options: [], group: None })
                None"#]],
        );
        check(
            on("n2"),
            expect![[r#"
                Missing { message: "MountVolume.NodeAffinity check failed for volume \"pv\" : no matching NodeSelectorTerms" }
                None"#]],
        );
        check(
            Case {
                node: None,
                ..on("n2")
            },
            expect![[r#"
                Local(LocalVolume { source: "/mnt/disk", global: "/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv", path: "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~local-volume/pv", access: ReadWrite, fs_type: "ext4", options: [], group: None })
                None"#]],
        );
    }
}
