//! The volumes of a pod that do not lie in its own directory alone: which PersistentVolume is behind which of them, and what
//! the kubelet calls their type in its numbers. Pure.

use super::csi::PLUGIN;
use super::object::Objects;
use super::object::lookup::Lookup;
use super::persistent::{ClaimKey, PersistentSource};
use super::pod::{Pod, Volume, VolumeSource};
use super::reference;
use super::{fc, iscsi, local_volume};

/// The kubelet's name of volumes of NFS servers.
const NFS: &str = "kubernetes.io/nfs";

/// Such a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed<'a> {
    /// Its name in the pod.
    pub volume: &'a str,
    /// The claim; `None`: it lives as long as the pod.
    pub claim: Option<ClaimKey>,
    /// The name of its directory: the PersistentVolume's, or its own.
    pub directory: &'a str,
    /// The kubelet's name of its type, with the driver's name (`GetFullQualifiedPluginNameForVolume` in `pkg/volume/util`).
    pub plugin: String,
}

/// All of a pod, as far as the objects are known.
pub fn claimed<'a>(pod: &'a Pod, objects: &'a Objects) -> Vec<Claimed<'a>> {
    let volumes = pod.volumes.iter();
    volumes
        .filter_map(|volume| match &volume.source {
            VolumeSource::Csi(source) => Some(Claimed {
                volume: &volume.name,
                claim: None,
                directory: &volume.name,
                plugin: of_driver(&source.driver),
            }),
            VolumeSource::Nfs { .. } => Some(own(volume, NFS)),
            VolumeSource::Iscsi { .. } => Some(own(volume, iscsi::PLUGIN)),
            VolumeSource::Fc { .. } => Some(own(volume, fc::PLUGIN)),
            VolumeSource::Claim { claim, .. } => {
                let key = reference::claim(pod, claim);
                let Lookup::Found(found) = objects.claim(key.clone()) else {
                    return None;
                };
                let directory = found.bound_to().ok()?;
                let Lookup::Found(persistent) = objects.persistent_volume(directory) else {
                    return None;
                };
                let plugin = match &persistent.source {
                    PersistentSource::HostPath { .. } => "kubernetes.io/host-path".to_owned(),
                    PersistentSource::Nfs(_) => NFS.to_owned(),
                    PersistentSource::Local { .. } => local_volume::PLUGIN.to_owned(),
                    PersistentSource::Iscsi(_) => iscsi::PLUGIN.to_owned(),
                    PersistentSource::Fc(_) => fc::PLUGIN.to_owned(),
                    PersistentSource::Csi(source) => of_driver(&source.driver),
                    PersistentSource::Unsupported(_) => return None,
                };
                Some(Claimed {
                    volume: &volume.name,
                    claim: Some(key),
                    directory,
                    plugin,
                })
            }
            VolumeSource::EmptyDir { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Image { .. }
            | VolumeSource::Projected { .. } => None,
        })
        .collect()
}

/// One without a claim.
fn own<'a>(volume: &'a Volume, plugin: &str) -> Claimed<'a> {
    Claimed {
        volume: &volume.name,
        claim: None,
        directory: &volume.name,
        plugin: plugin.to_owned(),
    }
}

fn of_driver(driver: &str) -> String {
    format!("{PLUGIN}:{driver}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn a_volume_is_named_by_what_its_claim_is_bound_to() {
        let (pod, objects) = sample::claims::pod();
        let want = [
            Claimed {
                volume: "v",
                claim: Some(reference::claim(&pod, "data")),
                directory: "pv",
                plugin: "kubernetes.io/csi:d1".to_owned(),
            },
            Claimed {
                volume: "i",
                claim: None,
                directory: "i",
                plugin: "kubernetes.io/csi:d2".to_owned(),
            },
        ];
        assert_eq!(claimed(&pod, &objects), want);
    }
}
