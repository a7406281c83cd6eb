//! Volumes of CSI drivers: what PersistentVolumes, pods and the CSIDriver object say of them (documentation: *Volumes*,
//! `csi`; *CSIDriver*, *VolumeAttachment* in the API reference).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The name of the volume plugin, in names of volumes; in paths its slash is a tilde.
pub const PLUGIN: &str = "kubernetes.io/csi";

/// `spec.csi` of a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CsiSource {
    /// The name of the driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
    /// `fsType`; empty: the driver's choice.
    pub fs_type: String,
    /// `volumeAttributes`
    pub attributes: BTreeMap<String, String>,
    /// `nodeStageSecretRef`
    pub stage_secret: Option<SecretName>,
    /// `nodePublishSecretRef`
    pub publish_secret: Option<SecretName>,
    /// `nodeExpandSecretRef`
    pub expand_secret: Option<SecretName>,
}

/// Where a Secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `csi` of a pod's volume: one that lives as long as the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InlineCsi {
    /// The name of the driver.
    pub driver: String,
    /// `readOnly`
    pub read_only: bool,
    /// `fsType`; empty: the driver's choice.
    pub fs_type: String,
    /// `volumeAttributes`
    pub attributes: BTreeMap<String, String>,
    /// `nodePublishSecretRef.name`, in the pod's namespace.
    pub publish_secret: Option<String>,
}

/// The CSIDriver object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsiDriver {
    /// `attachRequired`
    pub attaches: bool,
    /// `podInfoOnMount`
    pub tells_of_pods: bool,
    /// `fsGroupPolicy`
    pub group_policy: GroupPolicy,
    /// `volumeLifecycleModes`
    pub lifecycles: Vec<Lifecycle>,
    /// `tokenRequests`
    pub tokens: Vec<TokenRequest>,
    /// `serviceAccountTokenInSecrets`: tokens are secrets for the driver instead of attributes of the volume.
    pub tokens_are_secrets: bool,
    /// `requiresRepublish`: volumes are published again and again.
    pub republishes: bool,
    /// `nodeAllocatableUpdatePeriodSeconds` is stated: how many volumes a node can have may change, and a pod whose volume
    /// finds no room is rejected.
    #[serde(default)]
    pub recounts: bool,
}

/// What the kubelet takes a driver for that has no CSIDriver object.
impl Default for CsiDriver {
    fn default() -> CsiDriver {
        CsiDriver {
            attaches: true,
            tells_of_pods: false,
            group_policy: GroupPolicy::OfOneNode,
            lifecycles: vec![Lifecycle::Persistent],
            tokens: Vec::new(),
            tokens_are_secrets: false,
            republishes: false,
            recounts: false,
        }
    }
}

/// `fsGroupPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupPolicy {
    /// `ReadWriteOnceWithFSType`: files are given to the group where the volume is of one node and its file system is
    /// stated.
    OfOneNode,
    /// `File`: always.
    Always,
    /// `None`: never.
    Never,
}

/// How long a volume lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// Longer than its pods.
    Persistent,
    /// As long as its pod.
    Ephemeral,
}

impl Lifecycle {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Lifecycle::Persistent => "Persistent",
            Lifecycle::Ephemeral => "Ephemeral",
        }
    }
}

/// One of `tokenRequests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The audience; empty: the API server.
    pub audience: String,
    /// The requested validity in seconds.
    pub seconds: i64,
}

/// The key of a VolumeAttachment, and of the volume on this node; or of a volume that the attach/detach controller attaches
/// by itself, without such an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The name of the driver; without one that of the plugin, in which there is a slash.
    pub driver: String,
    /// What the driver, or the plugin, calls the volume.
    pub handle: String,
    /// The name of the node.
    pub node: String,
}

impl AttachmentKey {
    /// The name of the VolumeAttachment (`getAttachmentName` in `pkg/volume/csi`).
    pub fn name(&self) -> String {
        let AttachmentKey { driver, handle, node } = self;
        format!("csi-{}", sha256(&[handle, driver, node]))
    }

    /// The volume's name in the Node's status.
    pub fn volume(&self) -> String {
        reported_name(&self.driver, &self.handle)
    }

    /// Whether there is a VolumeAttachment.
    pub fn has_object(&self) -> bool {
        !is_plugin(&self.driver)
    }
}

/// A volume's name in the Node's status (`GetUniqueVolumeName` in `pkg/volume/util`).
pub fn reported_name(driver: &str, handle: &str) -> String {
    match is_plugin(driver) {
        true => format!("{driver}/{handle}"),
        false => format!("{PLUGIN}/{driver}^{handle}"),
    }
}

/// No driver has a name with a slash.
fn is_plugin(driver: &str) -> bool {
    driver.contains('/')
}

/// What came of a VolumeAttachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// The volume is attached.
    Attached(AttachedVolume),
    /// The node has no room for it (gRPC's `ResourceExhausted`), also after some time; in words why.
    Exhausted(String),
}

/// A volume that is attached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttachedVolume {
    /// `status.attachmentMetadata`: for the driver.
    pub metadata: BTreeMap<String, String>,
}

/// What a driver calls a volume that lives as long as the pod (`makeVolumeHandle`).
pub fn inline_handle(pod: &str, volume: &str) -> String {
    format!("csi-{}", sha256(&[pod, volume]))
}

/// The SHA-256 sum of the parts together, in hexadecimal.
pub fn sha256(parts: &[&str]) -> String {
    let sum = parts
        .iter()
        .fold(Sha256::new(), |sum, part| sum.chain_update(part.as_bytes()));
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a recording of the kubelet.
    #[test]
    fn names_are_the_kubelets() {
        let key = AttachmentKey {
            driver: "csi.gantry.local".to_owned(),
            handle: "fs1".to_owned(),
            node: "node-1".to_owned(),
        };
        assert_eq!(
            key.name(),
            "csi-16bbe2737ed658c6d43bd2895f452060c29428c809372e4e05cad3b75625c28e"
        );
        assert_eq!(key.volume(), "kubernetes.io/csi/csi.gantry.local^fs1");
        assert!(key.has_object());
        let key = AttachmentKey {
            driver: "kubernetes.io/iscsi".to_owned(),
            handle: "192.0.2.7:iqn.2001-04.com.example:a:0".to_owned(),
            node: "node-1".to_owned(),
        };
        assert_eq!(
            key.volume(),
            "kubernetes.io/iscsi/192.0.2.7:iqn.2001-04.com.example:a:0"
        );
        assert!(!key.has_object());
        assert_eq!(
            inline_handle("c8ec7a71-9eb1-4484-a8d8-87216b400104", "inline"),
            "csi-e0f07b6c91d80a613585cc4835b3d1f1351a831e91e9626347d4e47966404830"
        );
    }
}
