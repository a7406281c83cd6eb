//! What a pod's environment and volumes take their values from.

use super::object::{ObjectKind, TrustAnchors};
use super::resources::Bytes;

/// A field of the pod or of its status (Kubernetes: *Downward API*).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels['key']`
    Label(String),
    /// `metadata.annotations['key']`
    Annotation(String),
    /// `metadata.labels`, one a line; volumes only.
    Labels,
    /// `metadata.annotations`, one a line; volumes only.
    Annotations,
    /// `spec.nodeName`; this one and those below: the environment only.
    NodeName,
    /// `spec.serviceAccountName`
    ServiceAccount,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`, with commas between them.
    HostIps,
    /// `status.podIP`, known when the sandbox is there.
    PodIp,
    /// `status.podIPs`, with commas between them.
    PodIps,
}

/// Which side of a container's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `limits`; of what is not limited, what the node can give.
    Limits,
    /// `requests`
    Requests,
}

/// Which resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
    /// `hugepages-<size>`
    HugePages(Bytes),
}

/// An amount of a container's resources, divided and rounded up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceField {
    /// The container; `None`: the one whose environment it is.
    pub container: Option<String>,
    /// The side.
    pub bound: Bound,
    /// The resource.
    pub resource: Resource,
    /// What it is divided by: thousandths of a core, or bytes. At least 1.
    pub divisor: i64,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Written down, unexpanded.
    Text(String),
    /// `fieldRef`
    Field(Field),
    /// `resourceFieldRef`
    Resource(ResourceField),
    /// `configMapKeyRef`, `secretKeyRef`
    Key {
        /// The kind of the object.
        kind: ObjectKind,
        /// Its name, in the pod's namespace.
        name: String,
        /// The key.
        key: String,
        /// Without it the variable is left out.
        optional: bool,
    },
}

/// An entry of `envFrom`: every key of an object is a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFrom {
    /// Comes before each key.
    pub prefix: String,
    /// The kind of the object.
    pub kind: ObjectKind,
    /// Its name, in the pod's namespace.
    pub name: String,
    /// It may be missing.
    pub optional: bool,
}

/// Which kind of volume projected files are: it tells the directory, and whether they may lie on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// `configMap`
    ConfigMap,
    /// `secret`
    Secret,
    /// `downwardAPI`
    DownwardApi,
    /// `projected`
    Projected,
}

/// Where files of a volume come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A ConfigMap or a Secret.
    Object {
        /// The kind.
        kind: ObjectKind,
        /// The name, in the pod's namespace.
        name: String,
        /// These keys only; empty: each is a file of its name.
        items: Vec<KeyFile>,
        /// The object, or a key of it, may be missing.
        optional: bool,
    },
    /// Values of the pod itself.
    Downward(Vec<DownwardFile>),
    /// A token of the pod's service account.
    Token(TokenFile),
    /// Trust anchors of the cluster.
    Anchors(AnchorsFile),
}

/// Trust anchors as a file (`clusterTrustBundle`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorsFile {
    /// Which.
    pub anchors: TrustAnchors,
    /// There may be none: the file is empty then.
    pub optional: bool,
    /// The file, relative, without `..`.
    pub path: String,
}

/// A token as a file (`serviceAccountToken`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// Who will be shown it; `None`: the API server.
    pub audience: Option<String>,
    /// How long it shall be valid.
    pub seconds: i64,
    /// The file, relative, without `..`.
    pub path: String,
}

/// A key as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The key.
    pub key: String,
    /// The file, relative, without `..`.
    pub path: String,
    /// Its permissions, where not the volume's.
    pub mode: Option<u32>,
}

/// A value of the pod as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// The file, relative, without `..`.
    pub path: String,
    /// Its permissions, where not the volume's.
    pub mode: Option<u32>,
    /// The value.
    pub value: DownwardValue,
}

/// A value of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownwardValue {
    /// `fieldRef`
    Field(Field),
    /// `resourceFieldRef`
    Resource(ResourceField),
}

/// The part of a volume that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    /// `subPath`
    Plain(String),
    /// `subPathExpr`, unexpanded.
    Expression(String),
}
