//! An object of Kubernetes to the pod as this node understands it. Static pods and pods of the API server come
//! the same way: the object has its defaults and has been validated, by [`super::super::validate`] or by the API server.
//! What is still wrong then is reported and not guessed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as k8s, PodSpec};

use super::container::Role;
use super::resources::{amounts, resources};
use super::{container, ephemeral, placement, security, volume};
use crate::manifest::path::{Faults, FieldPath};
use crate::model::pod::{
    Container, Deletion, DnsConfig, DnsPolicy, HostAlias, Medium, Namespaces, Pod, PodName, PodSecurity,
    PodUid, RestartPolicy, Source, Volume, VolumeSource,
};
use crate::model::quantity;
use crate::model::resources::{Amounts, Bytes, Qos, Resources};

/// The longest host name, one less than the kernel's buffer.
const MOST_HOST_NAME_BYTES: usize = 63;

/// Converts a complete object.
pub(crate) fn pod(object: k8s::Pod, source: Source, seen: Timestamp, faults: &mut Faults) -> Pod {
    let metadata = &object.metadata;
    let name = PodName::of(metadata);
    let default = PodSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let at = FieldPath::default().field("spec");
    let restart_policy = container::restart_policy(spec.restart_policy.as_deref().unwrap_or_default());
    let security = security::pod(spec, &at.field("securityContext"), faults);
    let common = Common {
        annotations: metadata.annotations.as_ref(),
        restart_policy,
        security: &security,
        at: &at,
    };
    let (init_containers, containers, ephemeral_containers) = all_containers(spec, &common, faults);
    let own = spec.resources.as_ref();
    let resources = own.map(|own| resources(own, &at.field("resources"), faults));
    let hostname_override = hostname_override(spec);
    Pod {
        uid: PodUid(metadata.uid.clone().unwrap_or_default()),
        source,
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        seen,
        incarnation: 0,
        past_grace: None,
        deletion: deletion(&object),
        hostname: hostname(hostname_override.or(spec.hostname.as_deref()), &name.name),
        subdomain: text(spec.subdomain.as_ref()).filter(|_| hostname_override.is_none()),
        hostname_as_fqdn: spec.set_hostname_as_fqdn.unwrap_or(false),
        namespaces: namespaces(spec),
        dns_policy: dns_policy(spec.dns_policy.as_deref()),
        dns_config: dns_config(spec.dns_config.as_ref()),
        host_aliases: host_aliases(spec.host_aliases.as_deref().unwrap_or(&[]), &at, faults),
        restart_policy,
        grace: seconds(spec.termination_grace_period_seconds.unwrap_or(30)),
        active_deadline: spec.active_deadline_seconds.map(seconds),
        priority: spec.priority,
        placement: placement::placement(spec),
        forbidden_sysctl: None,
        readiness_gates: readiness_gates(spec),
        runtime_class: text(spec.runtime_class_name.as_ref()),
        pull_secrets: pull_secrets(spec),
        service_links: spec.enable_service_links.unwrap_or(true),
        overhead: amounts(spec.overhead.as_ref(), &at.field("overhead"), faults),
        qos: qos(
            resources.as_ref(),
            containers.iter().chain(&init_containers).map(|c| &c.resources),
        ),
        resources,
        volumes: volumes(spec, &name.name, &at.field("volumes"), faults),
        security,
        init_containers,
        containers,
        ephemeral_containers,
        name,
        object: Arc::new(object),
    }
}

/// The init containers, the regular and the ephemeral ones.
fn all_containers(
    spec: &PodSpec,
    common: &Common<'_>,
    faults: &mut Faults,
) -> (Vec<Container>, Vec<Container>, Vec<Container>) {
    let init = spec.init_containers.as_deref().unwrap_or(&[]);
    let init = containers(init, Role::Init, common, faults);
    let ephemeral = spec.ephemeral_containers.as_deref().unwrap_or(&[]);
    let ephemeral = ephemeral::convert(ephemeral, |list| {
        containers(list, Role::Ephemeral, common, faults)
    });
    let regular = containers(&spec.containers, Role::Regular, common, faults);
    (init, regular, ephemeral)
}

fn hostname_override(spec: &PodSpec) -> Option<&str> {
    spec.hostname_override
        .as_deref()
        .filter(|_| spec.host_network != Some(true))
}

/// What the containers of a pod take from it.
struct Common<'a> {
    annotations: Option<&'a BTreeMap<String, String>>,
    restart_policy: RestartPolicy,
    security: &'a PodSecurity,
    at: &'a FieldPath,
}

fn containers(
    list: &[k8s::Container],
    role: Role,
    common: &Common<'_>,
    faults: &mut Faults,
) -> Vec<Container> {
    let none = BTreeMap::new();
    let annotations = common.annotations.unwrap_or(&none);
    let at = common.at.field(role.field());
    let convert = |(index, container): (usize, &k8s::Container)| {
        let at = at.index(index);
        let security = security::container(
            container.security_context.as_ref(),
            security::annotated(annotations, &container.name),
            common.security,
            &at.field("securityContext"),
            faults,
        );
        container::container(container, role, common.restart_policy, security, &at, faults)
    };
    list.iter().enumerate().map(convert).collect()
}

fn namespaces(spec: &PodSpec) -> Namespaces {
    Namespaces {
        host_network: spec.host_network.unwrap_or(false),
        host_pid: spec.host_pid.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        share_pid: spec.share_process_namespace.unwrap_or(false),
        own_users: has_own_users(spec),
    }
}

/// Whether the pod has a user namespace (KEP-127).
pub(crate) fn has_own_users(spec: &PodSpec) -> bool {
    spec.host_users == Some(false)
}

fn readiness_gates(spec: &PodSpec) -> Vec<String> {
    let gates = spec.readiness_gates.iter().flatten();
    gates.map(|gate| gate.condition_type.clone()).collect()
}

/// The API server allows empty names.
fn pull_secrets(spec: &PodSpec) -> Vec<String> {
    let secrets = spec.image_pull_secrets.iter().flatten();
    let names = secrets.map(|secret| secret.name.clone());
    names.filter(|name| !name.is_empty()).collect()
}

/// A number of seconds; a negative one counts as 0.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A text that is not empty.
fn text(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn deletion(object: &k8s::Pod) -> Option<Deletion> {
    let until = object.metadata.deletion_timestamp.as_ref()?.0;
    let grace = seconds(object.metadata.deletion_grace_period_seconds.unwrap_or(0));
    Some(Deletion {
        asked: until.checked_sub(grace).unwrap_or(until),
        grace,
    })
}

/// `truncatePodHostnameIfNeeded` of `pkg/kubelet/kubelet_pods.go`.
fn hostname(stated: Option<&str>, name: &str) -> String {
    let full = stated.filter(|name| !name.is_empty()).unwrap_or(name);
    let ends = full.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends
        .take_while(|end| *end <= MOST_HOST_NAME_BYTES)
        .last()
        .unwrap_or(0);
    if end == full.len() {
        full.to_owned()
    } else {
        full[..end].trim_end_matches(['-', '.']).to_owned()
    }
}

fn dns_policy(policy: Option<&str>) -> DnsPolicy {
    match policy {
        Some("ClusterFirstWithHostNet") => DnsPolicy::ClusterFirstWithHostNet,
        Some("Default") => DnsPolicy::Default,
        Some("None") => DnsPolicy::None,
        _ => DnsPolicy::ClusterFirst,
    }
}

fn dns_config(config: Option<&k8s::PodDNSConfig>) -> DnsConfig {
    let Some(config) = config else {
        return DnsConfig::default();
    };
    let option = |option: &k8s::PodDNSConfigOption| {
        let name = option.name.clone().unwrap_or_default();
        match text(option.value.as_ref()) {
            Some(value) => format!("{name}:{value}"),
            None => name,
        }
    };
    DnsConfig {
        servers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: config.options.iter().flatten().map(option).collect(),
    }
}

fn host_aliases(aliases: &[k8s::HostAlias], at: &FieldPath, faults: &mut Faults) -> Vec<HostAlias> {
    let at = at.field("hostAliases");
    let convert = |(index, alias): (usize, &k8s::HostAlias)| match alias.ip.parse() {
        Ok(ip) => Some(HostAlias {
            ip,
            hostnames: alias.hostnames.clone().unwrap_or_default(),
        }),
        Err(_) => {
            faults.add(
                &at.index(index).field("ip"),
                format!("{:?} is not an IP address", alias.ip),
            );
            None
        }
    };
    aliases.iter().enumerate().filter_map(convert).collect()
}

/// The QoS class of the pod (`ComputePodQOS` of `pkg/apis/core/v1/helper/qos`): only CPU and memory count, and an
/// amount of zero counts as absent. If the pod has its own resources, only those decide.
fn qos<'a>(own: Option<&'a Resources>, containers: impl Iterator<Item = &'a Resources>) -> Qos {
    let stated: Vec<&Resources> = match own {
        Some(own) => vec![own],
        None => containers.collect(),
    };
    let pair = |amounts: &Amounts| {
        let cpu = amounts.cpu.map_or(0, |cpu| cpu.0);
        let memory = amounts.memory.map_or(0, |memory| memory.0);
        (cpu, memory)
    };
    let sum = |which: fn(&Resources) -> &Amounts| {
        stated
            .iter()
            .map(|r| pair(which(r)))
            .fold((0_i64, 0_i64), |sum, (cpu, memory)| {
                (sum.0.saturating_add(cpu), sum.1.saturating_add(memory))
            })
    };
    let (requests, limits) = (sum(|r| &r.requests), sum(|r| &r.limits));
    let limited = stated.iter().all(|r| {
        let (cpu, memory) = pair(&r.limits);
        cpu > 0 && memory > 0
    });
    if requests == (0, 0) && limits == (0, 0) {
        Qos::BestEffort
    } else if limited && requests == limits {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

fn volumes(spec: &PodSpec, pod: &str, at: &FieldPath, faults: &mut Faults) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let at = at.index(index);
        let projected = volume::projected(volume, &at, faults);
        let other = projected
            .or_else(|| volume::stored(volume, pod))
            .or_else(|| volume.image.as_ref().map(image));
        let source = match (other, &volume.empty_dir, &volume.host_path) {
            (Some(other), _, _) => other,
            (None, Some(empty), _) => empty_dir(empty, &at.field("emptyDir"), faults),
            (None, None, Some(path)) => VolumeSource::HostPath {
                path: path.path.clone().into(),
                kind: volume::host_path_kind(path.type_.as_deref()),
            },
            (None, None, None) => {
                faults.add(
                    &at,
                    "is a type of volume that is not supported by this version of gantry yet",
                );
                continue;
            }
        };
        volumes.push(Volume {
            name: volume.name.clone(),
            source,
        });
    }
    volumes
}

fn image(image: &k8s::ImageVolumeSource) -> VolumeSource {
    VolumeSource::Image {
        reference: image.reference.clone().unwrap_or_default(),
        pull: container::pull_policy(image.pull_policy.as_deref()),
    }
}

fn empty_dir(empty: &k8s::EmptyDirVolumeSource, at: &FieldPath, faults: &mut Faults) -> VolumeSource {
    let limit = empty.size_limit.as_ref().and_then(|limit| {
        let bytes = quantity::parse(&limit.0).ok().and_then(quantity::Quantity::units);
        if bytes.is_none() {
            faults.add(
                &at.field("sizeLimit"),
                format!("{:?} is not a quantity that can be represented", limit.0),
            );
        }
        bytes
    });
    let medium = empty.medium.as_deref().unwrap_or("");
    let medium = volume::medium(medium).unwrap_or_else(|| {
        faults.add(&at.field("medium"), format!("{medium:?} is not a medium"));
        Medium::Disk
    });
    VolumeSource::EmptyDir {
        medium,
        // Zero means no limit, as in the kubelet.
        size_limit: limit.filter(|bytes| *bytes > 0).map(Bytes),
    }
}
