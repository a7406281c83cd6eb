//! A pod as this node understands it: validated, defaults applied, nothing optional that has a default.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::placement::Placement;
use super::resources::{Qos, Resources};

pub use super::container::{
    Container, Mount, OnResize, Propagation, PullPolicy, RecursiveReadOnly, ResizePolicy,
};
pub use super::desired::{Desired, Provenance, SourceSet};
pub use super::pod_name::{NameParts, PodName, PodUid};
pub use super::port::{Port, Protocol};
pub use super::problem::{Problem, ProblemKind};
pub use super::restart::RestartPolicy;
pub use super::security::{ContainerSecurity, PodSecurity, Profile, SeLinux};
pub use super::volume::{HostPathKind, Medium, Volume, VolumeSource};

/// The annotation that tells which source a pod is of, and its value for a static pod.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// See [`CONFIG_SOURCE`].
pub const OF_FILE: &str = "file";
/// The annotation of a static pod whose value is its UID.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// The annotation that tells when the node first saw a pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

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

/// A pod that this node shall run.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Namespace and name.
    pub name: PodName,
    /// The UID.
    pub uid: PodUid,
    /// Where it came from.
    pub source: Source,
    /// The object with defaults applied, metadata complete, `status` empty: what people and the API are shown.
    pub object: Arc<k8s_openapi::api::core::v1::Pod>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`, with `kubernetes.io/config.{hash,seen,source}` of a static pod included.
    pub annotations: BTreeMap<String, String>,
    /// When this node first saw it ([`CONFIG_SEEN`]).
    pub seen: Timestamp,
    /// How often its manifest was gone and came back with the same content since the agent started: each time the pod
    /// begins anew. 0 for a pod of the API server, whose UID never comes back.
    pub incarnation: u64,
    /// When its deletion was asked for, and the grace then given. `None`: it shall run.
    pub deletion: Option<Deletion>,
    /// `spec.hostname`, else the pod's name, cut to 63 characters.
    pub hostname: String,
    /// `spec.subdomain`
    pub subdomain: Option<String>,
    /// `spec.setHostnameAsFQDN`
    pub hostname_as_fqdn: bool,
    /// Which namespaces are the host's, and whether the containers share one PID namespace.
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
    /// `spec.priority`, resolved from the well-known class names where only those are given.
    pub priority: Option<i32>,
    /// Which nodes it may be on.
    pub placement: Placement,
    /// Why this node does not allow a kernel parameter that a pod of the API asks for
    /// (`spec.securityContext.sysctls`): then it is not run. A manifest that asks for one is refused as it is read.
    pub forbidden_sysctl: Option<String>,
    /// `spec.readinessGates`: types of conditions that others set and without which it is not ready.
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
    /// The class, decided once from the resources.
    pub qos: Qos,
    /// `spec.volumes`, in order.
    pub volumes: Vec<Volume>,
    /// `spec.initContainers`, in order; those with `restart: Always` are sidecars.
    pub init_containers: Vec<Container>,
    /// `spec.containers`, in order.
    pub containers: Vec<Container>,
    /// `spec.ephemeralContainers`, in order: added by people while it runs, and no part of what it is.
    pub ephemeral_containers: Vec<Container>,
}

impl Pod {
    /// All containers that may have an instance: its own, and those that were added to it.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.own_containers().chain(&self.ephemeral_containers)
    }

    /// Those that it was made with, in the order in which they start: init containers first.
    pub fn own_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// `spec.serviceAccountName`; empty for a static pod.
    pub fn service_account(&self) -> &str {
        let spec = self.object.spec.as_ref();
        spec.and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or_default()
    }

    /// The user as whom all containers run, where they say so and agree (`FsUserFrom` in `pkg/volume/util`).
    pub fn only_user(&self) -> Option<i64> {
        let mut users = self
            .all_containers()
            .map(|container| container.security.run_as_user);
        let first = users.next()??;
        users.all(|user| user == Some(first)).then_some(first)
    }
}

/// A deletion that has been asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp` less the grace: when it was asked for.
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
    /// The cluster's DNS; the host's with a host network, or where no cluster DNS is configured.
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
