//! Persistent volumes: what is kept of a PersistentVolumeClaim that a pod names, and of the PersistentVolume that it is
//! bound to (documentation: *Persistent Volumes*).

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::csi::CsiSource;
use super::fc::FcSource;
use super::host_path::HostPathKind;
use super::iscsi::IscsiSource;
use super::nfs::NfsExport;
use super::placement::Term;

/// The key of a PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    /// The namespace: always that of the pod.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claim {
    /// `metadata.uid`
    pub uid: String,
    /// The UID of the object that controls it: of a generic ephemeral volume's claim, its pod's.
    pub owner: Option<String>,
    /// It is being deleted, and nothing protects it any more: no pod may start with it.
    pub is_leaving: bool,
    /// `status.phase` is `Bound`.
    pub is_bound: bool,
    /// `spec.volumeName`; empty: none.
    pub volume: String,
    /// Its volume was enlarged to this size, as it is written, and the node has to do its part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grows_to: Option<String>,
}

impl Claim {
    /// The name of the volume that it is bound to; or why there is none, as the kubelet says it (`getPVCExtractPV` in
    /// `pkg/kubelet/volumemanager/populator`).
    pub fn bound_to(&self) -> Result<&str, &'static str> {
        match self {
            Claim { is_leaving: true, .. } => Err("PVC is being deleted"),
            Claim { is_bound: false, .. } => Err("PVC is not bound"),
            Claim { volume, .. } if volume.is_empty() => Err("PVC has empty pvc.Spec.VolumeName"),
            Claim { volume, .. } => Ok(volume),
        }
    }
}

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistentVolume {
    /// `spec.claimRef.uid`: the claim that it belongs to.
    pub claim: Option<String>,
    /// `spec.volumeMode` is `Block`: a device instead of a file system.
    pub is_block: bool,
    /// The nodes that it can be used on: one of the terms must hold. `None`: not stated.
    pub affinity: Option<Vec<Term>>,
    /// `spec.capacity`, as it is written.
    #[serde(default)]
    pub capacity: String,
    /// `spec.accessModes`
    #[serde(default)]
    pub access: Vec<AccessMode>,
    /// The options that it is mounted with: `spec.mountOptions`, or the annotation that came before them, which drivers do
    /// not know.
    pub mount_options: Vec<String>,
    /// Where it is.
    pub source: PersistentSource,
}

/// Who may use a volume at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// `ReadWriteOnce`: the pods of one node.
    OneNode,
    /// `ReadOnlyMany`: the pods of many nodes, which only read.
    Readers,
    /// `ReadWriteMany`: the pods of many nodes.
    Many,
    /// `ReadWriteOncePod`: one pod.
    OnePod,
}

/// What backs a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PersistentSource {
    /// `hostPath`
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must exist, or is created.
        kind: HostPathKind,
    },
    /// `local`
    Local {
        /// A directory or a block device: absolute, without `..`.
        path: PathBuf,
        /// `fsType`, of a device: the name of a file system.
        #[serde(default)]
        fs_type: Option<String>,
    },
    /// `nfs`
    Nfs(NfsExport),
    /// `iscsi`
    Iscsi(Box<IscsiSource>),
    /// `fc`
    Fc(Box<FcSource>),
    /// `csi`
    Csi(Box<CsiSource>),
    /// A type that is not supported, by its name in `spec`.
    Unsupported(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_claim_that_is_bound_and_stays_has_a_volume() {
        let check = |is_leaving, is_bound, volume: &str, want: Result<&str, &str>| {
            let claim = Claim {
                is_leaving,
                is_bound,
                volume: volume.to_owned(),
                ..Claim::default()
            };
            assert_eq!(claim.bound_to(), want);
        };
        check(false, true, "pv", Ok("pv"));
        check(true, true, "pv", Err("PVC is being deleted"));
        check(false, false, "pv", Err("PVC is not bound"));
        check(false, true, "", Err("PVC has empty pvc.Spec.VolumeName"));
    }
}
