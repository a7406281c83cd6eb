//! The request for a pod's sandbox (`pkg/kubelet/kuberuntime/kuberuntime_sandbox.go`).

use std::collections::{BTreeSet, HashMap};

use k8s_cri::v1::{self as cri, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping};

use super::content::Origin;
use super::{cgroup, dns, security};
use crate::model::labels;
use crate::model::node::NodePolicy;
use crate::model::object::lookup::Lookup;
use crate::model::pod::{Container, Pod, Port, Protocol};
use crate::model::request::SandboxRequest;
use crate::model::runtime::RuntimeHandler;

/// The longest node name of the kernel (`__NEW_UTS_LEN`).
const MAX_FQDN: usize = 64;

/// The configuration of the sandbox with that attempt number.
pub(super) fn config(pod: &Pod, attempt: u32, policy: &NodePolicy) -> PodSandboxConfig {
    let dns = dns::config(pod, policy);
    let mut labels: HashMap<_, _> = pod.labels.clone().into_iter().collect();
    labels.extend(labels::of_sandbox(&pod.name, &pod.uid));
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name.name.clone(),
            uid: pod.uid.0.clone(),
            namespace: pod.name.namespace.clone(),
            attempt,
        }),
        hostname: match pod.namespaces.host_network {
            true => String::new(),
            false => kernel_hostname(pod, policy),
        },
        log_directory: policy
            .pod_log_dir(&pod.name, &pod.uid)
            .to_string_lossy()
            .into_owned(),
        dns_config: Some(cri::DnsConfig {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        port_mappings: pod.containers.iter().flat_map(port_mappings).collect(),
        labels,
        annotations: pod.annotations.clone().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(pod, policy),
            security_context: Some(security::of_sandbox(pod)),
            sysctls: pod
                .security
                .sysctls
                .iter()
                .map(|(name, value)| (dotted(name), value.clone()))
                .collect(),
            overhead: Some(cgroup::sandbox_overhead(pod, &policy.cgroup)),
            resources: Some(cgroup::sandbox_resources(pod, &policy.cgroup)),
        }),
        windows: None,
    }
}

/// The sandbox with that attempt number, and the runtime handler. `handlers` are those that the runtime has.
pub(super) fn request(origin: Origin<'_>, handlers: &[RuntimeHandler], attempt: u32) -> SandboxRequest {
    let handler = fits_the_kernel(origin).and_then(|()| handler(origin));
    let usable = |handler: String| security::users_refusal(origin.pod, handlers, &handler).map(|()| handler);
    SandboxRequest {
        config: config(origin.pod, attempt, origin.policy),
        handler: handler.and_then(usable),
    }
}

/// Whether the kernel accepts the host name; a full one is not truncated (`GetNodenameForKernel` in
/// `pkg/kubelet/util`).
fn fits_the_kernel(origin: Origin<'_>) -> Result<(), String> {
    let Origin { pod, policy, .. } = origin;
    let name = kernel_hostname(pod, policy);
    if name == pod.hostname || name.len() <= MAX_FQDN {
        return Ok(());
    }
    Err(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long ({MAX_FQDN} \
         characters is the max, {} characters requested)",
        name.len()
    ))
}

/// The handler of the pod's RuntimeClass (`LookupRuntimeHandler` in `pkg/kubelet/runtimeclass`).
pub(super) fn handler(origin: Origin<'_>) -> Result<String, String> {
    let Some(name) = &origin.pod.runtime_class else {
        return Ok(String::new());
    };
    match origin.objects.runtime_class(name) {
        Lookup::Found(class) => Ok(class.handler.clone()),
        Lookup::Unread(why) => Err(format!("failed to lookup RuntimeClass {name}: {why}")),
        // Nothing is started before there is an answer.
        Lookup::Asked => Err(format!(
            "failed to lookup RuntimeClass {name}: no answer from the API server yet"
        )),
        Lookup::Missing => Err(format!("runtimeclass.node.k8s.io {name:?} not found")),
    }
}

/// The pod's domain, if it has one.
pub(super) fn domain(pod: &Pod, policy: &NodePolicy) -> Option<String> {
    let subdomain = pod.subdomain.as_ref()?;
    Some(format!(
        "{subdomain}.{}.svc.{}",
        pod.name.namespace, policy.cluster_domain
    ))
}

fn kernel_hostname(pod: &Pod, policy: &NodePolicy) -> String {
    match domain(pod, policy) {
        Some(domain) if pod.hostname_as_fqdn => format!("{}.{domain}", pod.hostname),
        _ => pod.hostname.clone(),
    }
}

fn cgroup_parent(pod: &Pod, policy: &NodePolicy) -> String {
    let layout = &policy.cgroup;
    cgroup::cgroup_parent(&cgroup::pod_cgroup_name(&pod.uid, pod.qos, layout), layout)
}

/// Every port of a container once, even without a host port: the runtime skips those.
fn port_mappings(container: &Container) -> Vec<PortMapping> {
    let mut seen = BTreeSet::new();
    let once = |port: &&Port| {
        let key = match port.name.is_empty() {
            false => port.name.clone(),
            true => format!(
                "{:?}-{:?}:{}:{:?}",
                port.protocol, port.host_ip, port.container, port.host
            ),
        };
        seen.insert(key)
    };
    let mapping = |port: &Port| PortMapping {
        protocol: match port.protocol {
            Protocol::Tcp => cri::Protocol::Tcp.into(),
            Protocol::Udp => cri::Protocol::Udp.into(),
            Protocol::Sctp => cri::Protocol::Sctp.into(),
        },
        container_port: port.container.into(),
        host_port: port.host.unwrap_or(0).into(),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    };
    container.ports.iter().filter(once).map(mapping).collect()
}

/// The name with dots between its parts. In a name with slashes, a dot is part of a component and is swapped with them
/// (`pkg/kubelet/sysctl`, the rule of sysctl(8)): `net/ipv4/conf/eth0.1/rp_filter`.
fn dotted(sysctl: &str) -> String {
    match sysctl.find(['.', '/']) {
        Some(first) if sysctl[first..].starts_with('/') => sysctl
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => sysctl.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample;

    #[test]
    fn sysctls_are_told_with_dots() {
        assert_eq!(dotted("kernel.shm_rmid_forced"), "kernel.shm_rmid_forced");
        assert_eq!(dotted("kernel/shm_rmid_forced"), "kernel.shm_rmid_forced");
        assert_eq!(
            dotted("net/ipv4/conf/eth0.1/rp_filter"),
            "net.ipv4.conf.eth0/1.rp_filter"
        );
        assert_eq!(
            dotted("net.ipv4.conf.eth0/1.rp_filter"),
            "net.ipv4.conf.eth0/1.rp_filter"
        );
    }

    #[test]
    fn the_host_name_is_the_full_one_where_asked_for() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let policy = sample::policy();
        let hostname = |pod: &Pod| config(pod, 0, &policy).hostname;
        assert_eq!(hostname(&pod), "p");
        pod.subdomain = Some("sub".to_owned());
        assert_eq!(hostname(&pod), "p");
        pod.hostname_as_fqdn = true;
        assert_eq!(hostname(&pod), "p.sub.ns.svc.cluster.local");
        pod.namespaces.host_network = true;
        assert_eq!(hostname(&pod), "");
    }

    #[test]
    fn a_full_host_name_that_the_kernel_does_not_take_is_refused() {
        let check = |hostname: usize, as_fqdn: bool, expected: Result<(), &str>| {
            let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
            pod.hostname = "h".repeat(hostname);
            pod.subdomain = Some("sub".to_owned());
            pod.hostname_as_fqdn = as_fqdn;
            let origin = Origin::sample(&pod);
            let made = request(origin, &[], 0).handler.map(drop);
            assert_eq!(
                made.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e)
            );
        };
        // `.sub.ns.svc.cluster.local` has 25 characters.
        check(39, true, Ok(()));
        check(63, false, Ok(()));
        check(
            40,
            true,
            Err(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN \
                 hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh.sub.ns.svc.cluster.local is too long \
                 (64 characters is the max, 65 characters requested)",
            ),
        );
    }

    #[test]
    fn the_runtime_class_names_the_handler() {
        use crate::model::object::kinds::RuntimeClass;
        use crate::model::object::{Known, Object, Reference};
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.runtime_class = Some("sandboxed".to_owned());
        let mut check = |class: Option<&str>, known: Option<Known>, expected: Result<&str, &str>| {
            pod.runtime_class = class.map(str::to_owned);
            let key = Reference::RuntimeClass("sandboxed".to_owned());
            let objects = known.map(|known| (key, known)).into_iter().collect();
            let origin = Origin {
                objects: &objects,
                ..Origin::sample(&pod)
            };
            let found = request(origin, &[], 0).handler;
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        };
        let class = RuntimeClass {
            handler: "runsc".to_owned(),
        };
        let there = Some(Known::Found(Object::RuntimeClass(class).into()));
        check(None, None, Ok(""));
        check(Some("sandboxed"), there, Ok("runsc"));
        let absent = "runtimeclass.node.k8s.io \"sandboxed\" not found";
        check(Some("sandboxed"), None, Err(absent));
        let unread = Some(Known::Unread("forbidden".into()));
        check(
            Some("sandboxed"),
            unread,
            Err("failed to lookup RuntimeClass sandboxed: forbidden"),
        );
    }

    #[test]
    fn a_port_given_twice_is_mapped_once() {
        let port = |name: &str, container, host| Port {
            name: name.to_owned(),
            container,
            host,
            host_ip: None,
            protocol: Protocol::Tcp,
        };
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.containers[0].ports = vec![
            port("", 80, Some(8080)),
            port("", 80, Some(8080)),
            port("web", 80, None),
        ];
        let mapped: Vec<_> = config(&pod, 0, &sample::policy())
            .port_mappings
            .iter()
            .map(|mapping| (mapping.container_port, mapping.host_port))
            .collect();
        assert_eq!(mapped, [(80, 8080), (80, 0)]);
    }
}
