//! Validates a pod with its defaults as the API server does (`pkg/apis/core/validation/validation.go`): here the pod as
//! a whole, in the other modules its parts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodSpec, Toleration};

use super::{container, metadata, placement, probe, resources, security, volume};
use crate::manifest::context::ManifestContext;
use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::manifest::pod_resources;

/// The longest grace period, and the longest deadline, in seconds.
const MOST_SECONDS: i64 = i32::MAX as i64;

/// Notes everything that is wrong with the pod.
pub(crate) fn pod(pod: &Pod, context: &ManifestContext, faults: &mut Faults) {
    let top = FieldPath::default();
    metadata::metadata(&pod.metadata, &top.field("metadata"), faults);
    let at = top.field("spec");
    let Some(spec) = &pod.spec else {
        faults.add(&at, "is missing: a pod has at least one container");
        return;
    };
    containers(spec, context, &at, faults);
    probe::readiness_gates(spec, &at, faults);
    volume::volumes(spec, &at.field("volumes"), faults);
    security::pod(spec, context, &at.field("securityContext"), faults);
    security::annotations(pod, &top.field("metadata").field("annotations"), faults);
    pod_resources::check(spec, &at, faults);
    policies(spec, &at, faults);
    placement::placement(spec, &at, faults);
    host_names(spec, &at, faults);
    dns(spec, &at, faults);
    host_aliases(
        spec.host_aliases.as_deref().unwrap_or(&[]),
        &at.field("hostAliases"),
        faults,
    );
    tolerations(
        spec.tolerations.as_deref().unwrap_or(&[]),
        &at.field("tolerations"),
        faults,
    );
}

fn containers(spec: &PodSpec, context: &ManifestContext, at: &FieldPath, faults: &mut Faults) {
    let (containers_at, init_at) = (at.field("containers"), at.field("initContainers"));
    if spec.containers.is_empty() {
        faults.add(&containers_at, "is missing: a pod has at least one container");
    }
    let mut names = BTreeSet::new();
    let init = spec.init_containers.iter().flatten().enumerate();
    let all = spec
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| (containers_at.index(index), container, false))
        .chain(init.map(|(index, container)| (init_at.index(index), container, true)));
    for (at, container, init) in all {
        container::container(container, spec, context, init, &at, faults);
        if !container.name.is_empty() && !names.insert(container.name.as_str()) {
            let message = format!(
                "another container is already named {:?}: names must differ",
                container.name
            );
            faults.add(&at.field("name"), message);
        }
    }
    // Init containers run one by one, so their ports cannot conflict.
    let mut taken = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        container::host_ports(container, &mut taken, &containers_at.index(index), faults);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let mut taken = BTreeSet::new();
        container::host_ports(container, &mut taken, &init_at.index(index), faults);
    }
}

fn policies(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let restart = spec.restart_policy.as_deref().unwrap_or("");
    faults.one_of(
        &at.field("restartPolicy"),
        restart,
        &["Always", "OnFailure", "Never"],
    );
    let dns = spec.dns_policy.as_deref().unwrap_or("");
    faults.one_of(
        &at.field("dnsPolicy"),
        dns,
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    if let Some(policy) = &spec.preemption_policy {
        faults.one_of(
            &at.field("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
    periods(spec, at, faults);
    priority_class(spec, at, faults);
    if let Some(class) = &spec.runtime_class_name {
        faults.complain(&at.field("runtimeClassName"), class, names::dns_subdomain(class));
    }
    resources::overhead(spec.overhead.as_ref(), &at.field("overhead"), faults);
    if let Some(os) = &spec.os {
        let at = at.field("os").field("name");
        match os.name.as_str() {
            "windows" => faults.unsupported(&at, "is windows, but this node runs Linux"),
            name => faults.one_of(&at, name, &["linux"]),
        }
    }
}

fn periods(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    if let Some(seconds) = spec.termination_grace_period_seconds {
        let field = at.field("terminationGracePeriodSeconds");
        let message =
            format!("{seconds} seconds is not a valid grace period: it must be from 0 to {MOST_SECONDS}");
        match seconds {
            ..0 => faults.add(&field, message),
            0..=MOST_SECONDS => {}
            _ => faults.bound(&field, message),
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=MOST_SECONDS).contains(&seconds)
    {
        let message =
            format!("{seconds} seconds is not a valid deadline: it must be from 1 to {MOST_SECONDS}");
        faults.add(&at.field("activeDeadlineSeconds"), message);
    }
}

fn priority_class(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    if let Some(class) = spec
        .priority_class_name
        .as_ref()
        .filter(|class| !class.is_empty())
    {
        let at = at.field("priorityClassName");
        faults.complain(&at, class, names::dns_subdomain(class));
        if class.starts_with("system-")
            && !matches!(class.as_str(), "system-node-critical" | "system-cluster-critical")
        {
            faults.add(
                &at,
                "is not one of system-node-critical, system-cluster-critical: no other class name starts with system-",
            );
        }
    }
}

fn host_names(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            faults.complain(&at.field(field), name, names::dns_label(name));
        }
    }
    let Some(name) = &spec.hostname_override else {
        return;
    };
    let at = at.field("hostnameOverride");
    faults.complain(&at, name, names::dns_subdomain(name));
    if name.len() > 64 {
        faults.add(
            &at,
            "has more than 64 characters, the kernel's limit for a host name",
        );
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        faults.add(
            &at,
            "cannot be set together with setHostnameAsFQDN: remove one of the two",
        );
    }
    if spec.host_network == Some(true) {
        faults.add(
            &at,
            "cannot be set together with hostNetwork: the host keeps its name",
        );
    }
}

fn dns(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let at = at.field("dnsConfig");
    let servers = spec
        .dns_config
        .as_ref()
        .and_then(|c| c.nameservers.as_deref())
        .unwrap_or(&[]);
    if spec.dns_policy.as_deref() == Some("None") && servers.is_empty() {
        let message = "needs at least one name server because dnsPolicy is None";
        faults.add(&at.field("nameservers"), message);
    }
    let Some(config) = &spec.dns_config else {
        return;
    };
    if servers.len() > 3 {
        faults.add(
            &at.field("nameservers"),
            "has more than 3 name servers, the resolver's limit",
        );
    }
    for (index, server) in servers.iter().enumerate() {
        ip(server, &at.field("nameservers").index(index), faults);
    }
    let searches = config.searches.as_deref().unwrap_or(&[]);
    if searches.len() > 32 {
        faults.add(&at.field("searches"), "has more than 32 search domains");
    }
    if searches.join(" ").len() > 2048 {
        faults.add(&at.field("searches"), "has more than 2048 characters in total");
    }
    for (index, domain) in searches.iter().enumerate().filter(|(_, domain)| *domain != ".") {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        faults.complain(
            &at.field("searches").index(index),
            domain,
            names::search_domain(domain),
        );
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        let at = at.field("options").index(index);
        let name = option.name.as_deref().unwrap_or("");
        let value = option.value.as_deref().unwrap_or("");
        if name.is_empty() {
            faults.add(&at.field("name"), "is missing: an option has a name (ndots)");
        }
        for (field, text) in [("name", name), ("value", value)] {
            if text.contains(char::is_whitespace) {
                faults.warn(
                    &at.field(field),
                    "contains white space and would become several options",
                );
            }
        }
    }
}

/// Notes invalid host names.
pub(crate) fn host_aliases(aliases: &[HostAlias], at: &FieldPath, faults: &mut Faults) {
    for (index, alias) in aliases.iter().enumerate() {
        let at = at.index(index);
        ip(&alias.ip, &at.field("ip"), faults);
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            faults.complain(
                &at.field("hostnames").index(index),
                name,
                names::dns_subdomain(name),
            );
        }
    }
}

/// Notes an invalid address.
pub(crate) fn ip(text: &str, at: &FieldPath, faults: &mut Faults) {
    if text.parse::<IpAddr>().is_err() {
        faults.add(at, format!("{text:?} is not an IP address (10.0.0.1, fd00::1)"));
    }
}

fn tolerations(tolerations: &[Toleration], at: &FieldPath, faults: &mut Faults) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = at.index(index);
        let key = toleration.key.as_deref().unwrap_or("");
        let operator = toleration.operator.as_deref().unwrap_or("");
        let value = toleration.value.as_deref().unwrap_or("");
        let effect = toleration.effect.as_deref().unwrap_or("");
        faults.one_of(
            &at.field("operator"),
            operator,
            &["", "Equal", "Exists", "Lt", "Gt"],
        );
        faults.one_of(
            &at.field("effect"),
            effect,
            &["", "NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
        if !key.is_empty() {
            faults.complain(&at.field("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            faults.add(&at.field("operator"), "must be Exists when the key is empty");
        }
        match operator {
            "Exists" if !value.is_empty() => {
                faults.add(&at.field("value"), "must be empty with the operator Exists")
            }
            "" | "Equal" => faults.complain(&at.field("value"), value, names::label_value(value)),
            "Lt" | "Gt" if value.parse::<i64>().is_err() => {
                faults.add(
                    &at.field("value"),
                    format!("{value:?} is not an integer, which {operator} needs"),
                );
            }
            _ => {}
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            faults.add(
                &at.field("effect"),
                "must be NoExecute when tolerationSeconds is set",
            );
        }
    }
}
