//! The sources of values for a pod's environment and volumes.

use super::object::certificate::CertificateRequest;
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
    /// `metadata.labels`, one per line; volumes only.
    Labels,
    /// `metadata.annotations`, one per line; volumes only.
    Annotations,
    /// `spec.nodeName`; this one and those below: the environment only.
    NodeName,
    /// `spec.serviceAccountName`
    ServiceAccount,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`, separated by commas.
    HostIps,
    /// `status.podIP`, known once the sandbox exists.
    PodIp,
    /// `status.podIPs`, separated by commas.
    PodIps,
}

/// Requests or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `limits`; without a limit, the node's allocatable amount.
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
    /// The container; `None`: the one that the variable belongs to.
    pub container: Option<String>,
    /// The side.
    pub bound: Bound,
    /// The resource.
    pub resource: Resource,
    /// The divisor: thousandths of a core, or bytes. At least 1.
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
        /// Whether the source may be missing; the variable is then omitted.
        optional: bool,
    },
    /// `fileKeyRef`
    File {
        /// The emptyDir.
        volume: String,
        /// The file, relative, without `..`.
        path: String,
        /// The key.
        key: String,
        /// Whether the file may lack the key; the variable is then omitted.
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

/// The volume type of projected files: it decides the directory, and whether the files may be on disk.
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
        /// Only these keys; empty: each key becomes a file of its name.
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
    /// A certificate of the pod's own, with its key.
    Certificate(CertificateFiles),
}

/// A certificate as files (`podCertificate`). Each is relative, without `..`; at least one is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// What is requested.
    pub request: CertificateRequest,
    /// The file of the key and the certificates.
    pub bundle: Option<String>,
    /// The file of the key.
    pub key: Option<String>,
    /// The file of the certificates.
    pub chain: Option<String>,
}

/// Trust anchors as a file (`clusterTrustBundle`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorsFile {
    /// Which.
    pub anchors: TrustAnchors,
    /// There may be none; the file is then empty.
    pub optional: bool,
    /// The file, relative, without `..`.
    pub path: String,
}

/// A token as a file (`serviceAccountToken`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// The audience; `None`: the API server.
    pub audience: Option<String>,
    /// The requested validity in seconds.
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
    /// Its permissions, if they differ from the volume's.
    pub mode: Option<u32>,
}

/// A value of the pod as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// The file, relative, without `..`.
    pub path: String,
    /// Its permissions, if they differ from the volume's.
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

/// The part of a volume to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    /// `subPath`
    Plain(String),
    /// `subPathExpr`, unexpanded.
    Expression(String),
}
