//! A pod in gantry's form: validated, with defaults applied; nothing with a default is optional.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::difference::differing;
use super::object::Objects;
use super::placement::Placement;
use super::probe::{Lifecycle, Probes};
use super::resources::{Bytes, Qos, Resources};
use super::restart::RestartRule;
use super::runtime::ObservedName;
use super::value::{EnvFrom, EnvValue, FileSource, Projection, SubPath};

/// The annotation that names a pod's source, and its value for a static pod.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// See [`CONFIG_SOURCE`].
pub const OF_FILE: &str = "file";
/// The annotation of a static pod that holds its UID.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// The annotation that records when the node first saw a pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// Namespace and name: the node's key for a pod. Two pods of one name never run at the same time: the old UID is gone
/// before the new one starts.
///
/// It is the key of every map that modules exchange: clones share the text, and shared texts compare by pointer.
#[derive(Clone)]
pub struct PodName(Arc<NameParts>);

/// The parts of a [`PodName`]; the order of fields defines the order of names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameParts {
    /// The namespace; `default` if the manifest states none.
    pub namespace: String,
    /// The name; a static pod's ends in `-<node name>`.
    pub name: String,
}

impl PodName {
    /// Creates the name from namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> PodName {
        PodName(Arc::new(NameParts {
            namespace: namespace.into(),
            name: name.into(),
        }))
    }

    /// The name of an object; missing parts are empty.
    pub fn of(metadata: &ObjectMeta) -> PodName {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        PodName::new(text(&metadata.namespace), text(&metadata.name))
    }
}

impl Deref for PodName {
    type Target = NameParts;

    fn deref(&self) -> &NameParts {
        &self.0
    }
}

impl PartialEq for PodName {
    fn eq(&self, other: &PodName) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for PodName {}

impl Ord for PodName {
    fn cmp(&self, other: &PodName) -> Ordering {
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for PodName {
    fn partial_cmp(&self, other: &PodName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PodName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The pod's UID: from the API server, or for a static pod a hash of content, node name and file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a pod came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A document of a file in the manifests directory.
    File {
        /// The file, absolute.
        path: PathBuf,
        /// Its document within the file, from 1.
        document: usize,
    },
    /// The API server.
    Api,
}

impl Source {
    /// The value of the annotation `kubernetes.io/config.source`.
    pub fn annotation(&self) -> &'static str {
        match self {
            Source::File { .. } => OF_FILE,
            Source::Api => "api",
        }
    }
}

/// A pod that is desired on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub name: PodName,
    /// The UID.
    pub uid: PodUid,
    /// Where it came from.
    pub source: Source,
    /// The object with defaults applied, complete metadata and empty `status`, as published and displayed.
    pub object: Arc<k8s_openapi::api::core::v1::Pod>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, with `kubernetes.io/config.{hash,seen,source}` of a static pod included.
    pub annotations: BTreeMap<String, String>,
    /// When this node first saw it ([`CONFIG_SEEN`]).
    pub seen: Timestamp,
    /// How often its manifest disappeared and came back with the same content since the agent started; each time the
    /// pod starts afresh. 0 for an API pod, whose UID never comes back.
    pub incarnation: u64,
    /// When its deletion was requested, and the grace period. `None`: it is not being deleted.
    pub deletion: Option<Deletion>,
    /// `spec.hostname`, else the pod's name, cut to 63 characters.
    pub hostname: String,
    /// `spec.subdomain`
    pub subdomain: Option<String>,
    /// `spec.setHostnameAsFQDN`
    pub hostname_as_fqdn: bool,
    /// Which namespaces are the host's, and whether the containers share a PID namespace.
    pub namespaces: Namespaces,
    /// `spec.dnsPolicy`
    pub dns_policy: DnsPolicy,
    /// `spec.dnsConfig`
    pub dns_config: DnsConfig,
    /// `spec.hostAliases`, in order.
    pub host_aliases: Vec<HostAlias>,
    /// `spec.restartPolicy`
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`, 30 s by default.
    pub grace: Duration,
    /// `spec.activeDeadlineSeconds`
    pub active_deadline: Option<Duration>,
    /// `spec.priority`, resolved from the well-known class names if only the class is given.
    pub priority: Option<i32>,
    /// Which nodes it may be on.
    pub placement: Placement,
    /// Why this node does not allow a sysctl of an API pod (`spec.securityContext.sysctls`); the pod is then not run. A
    /// manifest with such a sysctl is rejected when it is read.
    pub forbidden_sysctl: Option<String>,
    /// `spec.readinessGates`: types of conditions that other controllers set and that the pod needs to be ready.
    pub readiness_gates: Vec<String>,
    /// `spec.runtimeClassName`; `None`: the runtime's default handler.
    pub runtime_class: Option<String>,
    /// `spec.imagePullSecrets`, in order.
    pub pull_secrets: Vec<String>,
    /// `spec.enableServiceLinks`
    pub service_links: bool,
    /// The pod's security context.
    pub security: PodSecurity,
    /// Pod-level resources (`spec.resources`), where stated.
    pub resources: Option<Resources>,
    /// `spec.overhead`
    pub overhead: super::resources::Amounts,
    /// The QoS class, computed once from the resources.
    pub qos: Qos,
    /// `spec.volumes`, in order.
    pub volumes: Vec<Volume>,
    /// `spec.initContainers`, in order; those with `restart: Always` are sidecars.
    pub init_containers: Vec<Container>,
    /// `spec.containers`, in order.
    pub containers: Vec<Container>,
    /// `spec.ephemeralContainers`, in order: added by users while the pod runs, and not part of its definition.
    pub ephemeral_containers: Vec<Container>,
}

impl Pod {
    /// All containers that may have an instance, including ephemeral ones.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.own_containers().chain(&self.ephemeral_containers)
    }

    /// The containers of its definition, in the order in which they start: init containers first.
    pub fn own_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// `spec.serviceAccountName`; empty for a static pod.
    pub fn service_account(&self) -> &str {
        let spec = self.object.spec.as_ref();
        spec.and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or_default()
    }

    /// The user that all containers run as, if all state the same one (`FsUserFrom` in `pkg/volume/util`).
    pub fn only_user(&self) -> Option<i64> {
        let mut users = self
            .all_containers()
            .map(|container| container.security.run_as_user);
        let first = users.next()??;
        users.all(|user| user == Some(first)).then_some(first)
    }
}

/// A requested deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp` minus the grace period: when deletion was requested.
    pub asked: Timestamp,
    /// `metadata.deletionGracePeriodSeconds`
    pub grace: Duration,
}

/// Namespace sharing of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `spec.hostPID`
    pub host_pid: bool,
    /// `spec.hostIPC`
    pub host_ipc: bool,
    /// `spec.shareProcessNamespace`
    pub share_pid: bool,
}

/// `spec.dnsPolicy` (Kubernetes: *DNS for Services and Pods*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsPolicy {
    /// The cluster's DNS; the host's with a host network, or if no cluster DNS is configured.
    #[default]
    ClusterFirst,
    /// The cluster's DNS also with a host network.
    ClusterFirstWithHostNet,
    /// The host's.
    Default,
    /// Nothing but `dnsConfig`.
    None,
}

/// `spec.dnsConfig`, or a `resolv.conf` read from the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// Name servers, in order.
    pub servers: Vec<String>,
    /// Search domains, in order.
    pub searches: Vec<String>,
    /// Options as written in resolv.conf: `ndots:5`, `edns0`.
    pub options: Vec<String>,
}

/// One entry of `spec.hostAliases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// `spec.restartPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it exits with a code other than 0.
    OnFailure,
    /// Never.
    Never,
}

/// Seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Profile {
    /// Not stated: the pod's, else the node's default.
    #[default]
    Unstated,
    /// The runtime's default profile.
    RuntimeDefault,
    /// None at all.
    Unconfined,
    /// A profile of this name (seccomp: a file below the node's seccomp directory).
    Localhost(String),
}

/// SELinux labels; empty strings where unstated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeLinux {
    /// `user`
    pub user: String,
    /// `role`
    pub role: String,
    /// `type`
    pub kind: String,
    /// `level`
    pub level: String,
}

/// `spec.securityContext`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodSecurity {
    /// `runAsUser`
    pub run_as_user: Option<i64>,
    /// `runAsGroup`
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`
    pub run_as_non_root: Option<bool>,
    /// `supplementalGroups`
    pub supplemental_groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`
    pub supplemental_groups_strict: bool,
    /// `fsGroup`
    pub fs_group: Option<i64>,
    /// `sysctls`, in order.
    pub sysctls: Vec<(String, String)>,
    /// `seccompProfile`
    pub seccomp: Profile,
    /// `appArmorProfile`
    pub apparmor: Profile,
    /// `seLinuxOptions`
    pub selinux: Option<SeLinux>,
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What backs a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory that lives as long as the pod.
    EmptyDir {
        /// On disk, or a tmpfs.
        medium: Medium,
        /// `sizeLimit`; for a tmpfs its size.
        size_limit: Option<Bytes>,
    },
    /// A path of the host.
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must exist, or is created.
        kind: HostPathKind,
    },
    /// Files generated from objects and from the pod itself.
    Projected {
        /// The volume type in the manifest.
        kind: Projection,
        /// The permissions of files without their own (`defaultMode`).
        mode: u32,
        /// The sources of the files; of two files at one path the later one wins.
        sources: Vec<FileSource>,
    },
}

/// `emptyDir.medium`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Medium {
    /// The node's disk.
    #[default]
    Disk,
    /// A tmpfs.
    Memory,
}

/// `hostPath.type` (Kubernetes: *Volumes, hostPath*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPathKind {
    /// Nothing is checked.
    #[default]
    Unchecked,
    /// A directory, created (0755) if missing.
    DirectoryOrCreate,
    /// A directory must exist.
    Directory,
    /// A file, created (0644) if missing.
    FileOrCreate,
    /// A file must be there.
    File,
    /// A UNIX socket must exist.
    Socket,
    /// A character device must exist.
    CharDevice,
    /// A block device must exist.
    BlockDevice,
}

/// A container of the pod, an init container, or an ephemeral one.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The image as the manifest writes it.
    pub image: String,
    /// When to pull; derived from the tag if the manifest does not say.
    pub pull: PullPolicy,
    /// `command`, unexpanded.
    pub command: Vec<String>,
    /// `args`, unexpanded.
    pub args: Vec<String>,
    /// `envFrom`, in order.
    pub env_from: Vec<EnvFrom>,
    /// `env`, in order, unexpanded.
    pub env: Vec<(String, EnvValue)>,
    /// `workingDir`
    pub working_dir: Option<String>,
    /// `ports`, in order.
    pub ports: Vec<Port>,
    /// Requests and limits.
    pub resources: Resources,
    /// What a resize does to it while it runs.
    pub resize: ResizePolicy,
    /// `volumeMounts`, in order.
    pub mounts: Vec<Mount>,
    /// The container's security context merged over the pod's.
    pub security: ContainerSecurity,
    /// `terminationMessagePath`
    pub termination_path: String,
    /// `terminationMessagePolicy: FallbackToLogsOnError`
    pub termination_from_logs: bool,
    /// `stdin`
    pub stdin: bool,
    /// `stdinOnce`
    pub stdin_once: bool,
    /// `tty`
    pub tty: bool,
    /// Its restart policy: its own if stated, else the pod's.
    pub restart: RestartPolicy,
    /// `restartPolicyRules`: exit codes after which it is restarted regardless of the policy.
    pub restart_rules: Vec<RestartRule>,
    /// An init container with `restartPolicy: Always`.
    pub sidecar: bool,
    /// The container whose PID namespace an ephemeral container joins (`targetContainerName`).
    pub target: Option<String>,
    /// Its probes.
    pub probes: Probes,
    /// Its lifecycle hooks.
    pub lifecycle: Lifecycle,
    /// The kubelet's hash of the fields that force a restart when they change
    /// (`io.kubernetes.container.hash`, hexadecimal).
    pub hash: u32,
}

/// `resizePolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResizePolicy {
    /// `cpu`
    pub cpu: OnResize,
    /// `memory`
    pub memory: OnResize,
}

/// What happens to a running container when its resources change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnResize {
    /// It keeps running with the new amounts.
    #[default]
    NotRequired,
    /// It is restarted with them.
    RestartContainer,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where it is missing.
    #[default]
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The name as it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `name`, empty where unstated.
    pub name: String,
    /// `containerPort`
    pub container: u16,
    /// `hostPort`
    pub host: Option<u16>,
    /// `hostIP`
    pub host_ip: Option<IpAddr>,
    /// `protocol`
    pub protocol: Protocol,
}

/// One entry of `volumeMounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// The part of the volume; `None`: all of it.
    pub sub_path: Option<SubPath>,
    /// Where in the container.
    pub path: String,
    /// `readOnly`
    pub read_only: bool,
    /// `recursiveReadOnly`
    pub recursive_read_only: RecursiveReadOnly,
    /// `mountPropagation`
    pub propagation: Propagation,
}

impl Mount {
    /// Whether mounts below it are read-only too, given whether the runtime supports that; or why it cannot be mounted
    /// at all (`resolveRecursiveReadOnly` in `pkg/kubelet/kubelet_pods.go`).
    pub fn is_recursively_read_only(&self, is_supported: bool) -> Result<bool, String> {
        let volume = &self.volume;
        let wants = "requested recursive read-only mode, but it is not";
        match self.recursive_read_only {
            RecursiveReadOnly::Disabled => Ok(false),
            _ if !self.read_only => Err(format!("volume {volume:?} {wants} read-only")),
            _ if self.propagation != Propagation::None => {
                let propagation = self.propagation.as_str();
                Err(format!(
                    "volume {volume:?} {wants} compatible with propagation {propagation:?}"
                ))
            }
            RecursiveReadOnly::Enabled if !is_supported => {
                Err(format!("volume {volume:?} {wants} supported by the runtime"))
            }
            RecursiveReadOnly::IfPossible | RecursiveReadOnly::Enabled => Ok(is_supported),
        }
    }
}

/// `recursiveReadOnly`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecursiveReadOnly {
    /// Mounts below it are unchanged.
    #[default]
    Disabled,
    /// Read-only too, if the runtime supports it.
    IfPossible,
    /// Read-only too, else not mounted at all.
    Enabled,
}

/// `mountPropagation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// None.
    #[default]
    None,
    /// Mounts of the host appear in the container.
    HostToContainer,
    /// Both ways; privileged containers only.
    Bidirectional,
}

impl Propagation {
    /// As a manifest has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::None => "None",
            Propagation::HostToContainer => "HostToContainer",
            Propagation::Bidirectional => "Bidirectional",
        }
    }
}

/// `securityContext` of a container, with the pod's values where the container states none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSecurity {
    /// `privileged`
    pub privileged: bool,
    /// `runAsUser`
    pub run_as_user: Option<i64>,
    /// `runAsGroup`
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`
    pub run_as_non_root: bool,
    /// `readOnlyRootFilesystem`
    pub read_only_root: bool,
    /// `allowPrivilegeEscalation: false`
    pub no_new_privileges: bool,
    /// `capabilities.add`
    pub capabilities_add: Vec<String>,
    /// `capabilities.drop`
    pub capabilities_drop: Vec<String>,
    /// `procMount: Unmasked`
    pub unmasked_proc: bool,
    /// `seccompProfile`
    pub seccomp: Profile,
    /// `appArmorProfile`
    pub apparmor: Profile,
    /// `seLinuxOptions`
    pub selinux: Option<SeLinux>,
}

/// The kind of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ProblemKind {
    /// Kubernetes rejects it, or it is not a manifest at all.
    #[default]
    Invalid,
    /// Kubernetes accepts it, but this version of gantry does not support it, or not in a static pod.
    Unsupported,
    /// It exceeds a size limit.
    Bound,
    /// It runs, but is probably not what was meant.
    Dubious,
}

/// A finding about a document of the manifests directory or an API object: why it is not run, or what is dubious about
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, absolute.
    pub path: PathBuf,
    /// The document within the file, from 1; 0 if the problem is the file as a whole.
    pub document: usize,
    /// The line within the file, from 1, if known.
    pub line: Option<usize>,
    /// The field in Kubernetes notation (`spec.containers[0].ports[1].hostPort`); empty if no single field is at fault.
    pub field: String,
    /// What is wrong and how to fix it, without the above.
    pub message: String,
    /// The name of the pod, if it could be read.
    pub pod: Option<PodName>,
    /// What kind of finding it is.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.document > 1 {
            write!(f, " (document {})", self.document)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Where a set comes from, and so how far it can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provenance {
    /// The source itself: the set is complete.
    #[default]
    Live,
    /// A checkpoint, while the source does not answer: what is missing from it may be wanted nevertheless.
    Checkpoint,
}

/// The complete set of pods that one source wants, with what it rejected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceSet {
    /// The pods, by name.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// The objects that its pods may refer to.
    pub objects: Objects,
    /// The rejected documents. If a rejected document has a last good version, that version is in `pods`.
    pub problems: Vec<Problem>,
    /// Warnings about what was accepted.
    pub warnings: Vec<Problem>,
    /// Pods that are desired but not supported here: another agent may have started them, so their running containers
    /// are left alone.
    pub unsupported: BTreeMap<PodName, PodUid>,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl SourceSet {
    /// Whether both hold the same values, without comparing their contents: unchanged sets must not wake anything.
    pub fn is_same(&self, other: &SourceSet) -> bool {
        self.pods.len() == other.pods.len()
            && self
                .pods
                .iter()
                .zip(&other.pods)
                .all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
            && self.objects.is_same(&other.objects)
            && self.problems == other.problems
            && self.warnings == other.warnings
            && self.unsupported == other.unsupported
            && self.provenance == other.provenance
    }
}

/// What all sources want. `None`: that source has not delivered its complete set yet, so none of its pods is removed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// The manifests directory.
    pub files: Option<Arc<SourceSet>>,
    /// The API server's pods. `api_expected` distinguishes "not delivered yet" from "no API server configured".
    pub api: Option<Arc<SourceSet>>,
    /// Whether an API server is configured at all.
    pub api_expected: bool,
}

impl Desired {
    /// Whether every configured source has delivered its complete set; only then may an unknown pod be removed.
    pub fn complete(&self) -> bool {
        let has_told = |set: &Arc<SourceSet>| set.provenance == Provenance::Live;
        self.files.is_some() && (self.api.as_ref().is_some_and(has_told) || !self.api_expected)
    }

    /// Whether every source that an observed pod may come from has delivered its complete set. A static pod is
    /// recognized by its sandbox, so it does not wait for the API server.
    pub fn complete_for(&self, observed: &ObservedName) -> bool {
        self.complete() || (self.files.is_some() && observed.is_static())
    }

    /// The pod of that name; a static pod takes precedence over an API pod.
    pub fn get(&self, name: &PodName) -> Option<&Arc<Pod>> {
        [&self.files, &self.api]
            .into_iter()
            .flatten()
            .find_map(|set| set.pods.get(name))
    }

    /// The UID of the unsupported pod with this name. Its running containers are neither stopped nor added to, unless
    /// another pod with this name is desired.
    pub fn unsupported(&self, name: &PodName) -> Option<&PodUid> {
        let unsupported = || [&self.files, &self.api].into_iter().flatten();
        let uid = unsupported().find_map(|set| set.unsupported.get(name));
        uid.filter(|_| self.get(name).is_none())
    }

    /// The unsupported pods, by name.
    pub fn all_held(&self) -> impl Iterator<Item = (&PodName, &PodUid)> {
        let sets = [&self.files, &self.api].into_iter().flatten();
        let names = sets.flat_map(|set| set.unsupported.keys());
        names.filter_map(|name| Some((name, self.unsupported(name)?)))
    }

    /// The objects that a pod from this source may refer to: only those of its own source, so that neither source can
    /// put values into the other's pods. `None`: the source has not delivered them yet.
    pub fn objects(&self, source: &Source) -> Option<&Objects> {
        let set = match source {
            Source::File { .. } => &self.files,
            Source::Api => &self.api,
        };
        set.as_ref().map(|set| &set.objects)
    }

    /// The names whose desired pod differs from `old`, or is gone.
    pub fn changed_since(&self, old: &Desired) -> BTreeSet<PodName> {
        let nothing = SourceSet::default();
        let sets = [(&old.files, &self.files), (&old.api, &self.api)];
        let changed = sets.into_iter().flat_map(|(old, new)| {
            let [old, new] = [old, new].map(|set| &set.as_deref().unwrap_or(&nothing).pods);
            differing(old, new)
        });
        let is_another = |name: &&PodName| match (old.get(name), self.get(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() || new.is_some(),
        };
        changed.filter(is_another).cloned().collect()
    }

    /// Every pod, files first; a name that both sources have is listed once.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let files = self.files.iter().flat_map(|set| set.pods.values());
        let api = self.api.iter().flat_map(|set| set.pods.values());
        files.chain(api.filter(|pod| {
            self.files
                .as_ref()
                .is_none_or(|f| !f.pods.contains_key(&pod.name))
        }))
    }
}
