//! A pod in gantry's form: validated, with defaults applied; nothing with a default is optional.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::placement::Placement;
use super::resources::{Qos, Resources};

pub use super::container::{
    Container, Mount, OnResize, Propagation, PullPolicy, RecursiveReadOnly, ResizePolicy, VolumeDevice,
};
pub use super::desired::{Desired, Provenance, SourceSet};
pub use super::host_path::HostPathKind;
pub use super::pod_name::{NameParts, PodName, PodUid};
pub use super::port::{Port, Protocol};
pub use super::problem::{Problem, ProblemKind};
use super::restart::RestartAction;
pub use super::restart::RestartPolicy;
pub use super::security::{ContainerSecurity, GroupChange, PodSecurity, Profile, SeLinux};
pub use super::volume::{ClaimOrigin, ImageVolume, Medium, Volume, VolumeSource};

/// What annotates a static pod's source.
pub const OF_FILE: &str = "file";
/// What annotates the source of the API server's pods.
pub const OF_API: &str = "api";

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
            Source::Api => OF_API,
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
    /// When this node first saw it (`kubernetes.io/config.seen`).
    pub seen: Timestamp,
    /// How often its manifest disappeared and came back with the same content since the agent started; each time the
    /// pod starts afresh. 0 for an API pod, whose UID never comes back.
    pub incarnation: u64,
    /// The grace period in which the incarnation before has to end, if people asked for another one than `grace`.
    pub past_grace: Option<Duration>,
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

    /// The init container or container of this name.
    pub fn own_container(&self, name: &str) -> Option<&Container> {
        self.own_containers().find(|container| container.name == name)
    }

    /// Whether the end of one of its containers may restart all of them (`AllContainersCouldRestart` in
    /// `pkg/api/v1/pod/util.go`).
    pub fn may_restart_all(&self) -> bool {
        let mut rules = self
            .own_containers()
            .flat_map(|container| &container.restart_rules);
        rules.any(|rule| rule.action == RestartAction::RestartAllContainers)
    }

    /// The volumes that are images, by name.
    pub fn image_volumes(&self) -> BTreeMap<&str, ImageVolume<'_>> {
        let images = self.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::Image { reference, pull } => {
                let pull = *pull;
                Some((volume.name.as_str(), ImageVolume { reference, pull }))
            }
            _ => None,
        });
        images.collect()
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
    /// `spec.hostUsers: false`
    pub own_users: bool,
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
