//! From the merged layers to [`Config`]: typed, absolute, complete. Pure.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::json;

use super::checks::Checks;
use super::error::{ConfigError, Problem};
use super::layers::{Layer, Layers};
use super::limits::{cgroups, eviction};
use super::log::{Log, LogFormat, filter};
use super::own::GantryConfiguration;
use super::process::process;
use super::raw::{self, KubeletConfiguration};
use super::reach::{network, runtime, serve};
use super::surroundings::{ConfigContext, directory, span};
use super::traces::traces;
use super::validate::validate;
use super::verification::verification;
use super::version;
use super::{
    Addresses, Config, Images, Manifests, Node, Paths, Pods, Role, amounts, defaults, gates, supported,
};
use crate::model::resources::Bytes;
use crate::model::yaml::document;

/// The manifests directory of `gantry run`, the one that kubeadm uses too.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// How many user IDs a pod with a user namespace has (`DefaultKubeletUserNamespacesIDsPerPod`).
const IDS_PER_POD: u32 = 65_536;

/// Completes, validates and types the merged configuration.
pub fn resolve(mut layers: Layers, role: Role, context: &ConfigContext) -> Result<Config, ConfigError> {
    let stated_driver = layers.kubelet.is_stated("cgroupDriver");
    let stated_cgroup_v1 = layers.kubelet.is_stated("failCgroupV1");
    let kubelet = &mut layers.kubelet.value;
    if role == Role::Run {
        // A standalone machine has the usual manifests directory, and accepts cgroup v1.
        if kubelet["staticPodPath"].is_null() {
            kubelet["staticPodPath"] = json!(MANIFESTS);
        }
        if !stated_cgroup_v1 {
            kubelet["failCgroupV1"] = json!(false);
        }
    }
    kubelet["kind"] = json!(raw::KIND);
    kubelet["apiVersion"] = json!(raw::API_VERSION);
    defaults::complete(kubelet);
    let written: KubeletConfiguration = typed(&layers.kubelet)?;
    let own: GantryConfiguration = typed(&layers.own)?;

    let mut checks = Checks::new(&layers.kubelet);
    validate(&written, &mut checks);
    let mut own_checks = Checks::new(&layers.own);
    let paths = paths(&written, &own, context);
    let mut config = Config {
        role,
        node: node(&written, &own, context, &mut own_checks),
        manifests: Manifests {
            path: written
                .static_pod_path
                .as_ref()
                .map(|path| context.directory.join(path)),
            check: span(written.file_check_frequency),
        },
        runtime: runtime(&written, &mut checks),
        images: images(&written, &own, &paths, context, (&mut checks, &mut own_checks)),
        cgroups: cgroups(&written, stated_driver, &mut checks),
        eviction: eviction(&written, &mut checks),
        process: process(&written, &mut checks),
        pods: pods(&written, &mut checks),
        serve: serve(&written, &own, context, (&mut checks, &mut own_checks)),
        member: super::member::member(&written, &own, (&mut checks, &mut own_checks)),
        network: network(&written, &own, context, (&mut checks, &mut own_checks)),
        shutdown: super::shutdown::shutdown(&written),
        traces: traces(&written, &mut checks),
        log: log(&written, &own),
        warnings: warnings(&layers, role),
        flags: super::flagz::flagz(&layers.given_flags),
        written: layers.kubelet.value.clone(),
        paths,
    };
    config.warnings.extend(checks.warnings);
    let mut problems = checks.problems;
    problems.extend(own_checks.problems);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

/// Files were checked when they were read, so an error here comes from a flag.
fn typed<T: DeserializeOwned>(layer: &Layer) -> Result<T, ConfigError> {
    let value = if layer.value.is_null() {
        &json!({})
    } else {
        &layer.value
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path: Vec<String> = error.path().to_string().split('.').map(str::to_owned).collect();
        ConfigError::Invalid(vec![Problem {
            key: document::show(&path),
            origin: layer.origin(&path).cloned(),
            problem: error.inner().to_string(),
        }])
    })
}

fn positive(number: Option<i32>) -> Option<u32> {
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|&number| number > 0)
}

fn paths(written: &KubeletConfiguration, own: &GantryConfiguration, context: &ConfigContext) -> Paths {
    let resolv_conf = written.resolv_conf.as_ref().filter(|path| !path.is_empty());
    Paths {
        root: directory(own.root_dir.as_ref(), "/var/lib/kubelet", context),
        pod_logs: directory(written.pod_logs_dir.as_ref(), "/var/log/pods", context),
        container_logs: PathBuf::from("/var/log/containers"),
        state: directory(own.state_dir.as_ref(), "/var/lib/gantry", context),
        kubeconfig: None,
        bootstrap_kubeconfig: None,
        // As in the kubelet, it does not depend on the root directory.
        certificates: directory(own.cert_dir.as_ref(), "/var/lib/kubelet/pki", context),
        resolv_conf: resolv_conf.map(|path| context.directory.join(path)),
    }
}

fn node(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    context: &ConfigContext,
    checks: &mut Checks<'_>,
) -> Node {
    let stated = own.hostname_override.as_deref().filter(|name| !name.is_empty());
    let name = stated.unwrap_or(&context.hostname).trim().to_lowercase();
    if !is_subdomain(&name) {
        let problem = format!("{name:?} is not a valid node name: use lower-case letters, digits, - and .");
        checks.wrong("hostnameOverride", problem);
    }
    let labels = own.node_labels.clone().unwrap_or_default();
    for (key, value) in &labels {
        if let Err(problem) = super::node::check_label(key, value) {
            checks.wrong_entry("nodeLabels", key, problem);
        }
    }
    Node {
        name,
        addresses: addresses(own, checks),
        labels,
        reported_version: reported_version(own, context, checks),
        max_pods: positive(written.max_pods).unwrap_or(0),
        protect_kernel: written.protect_kernel_defaults == Some(true),
        project_quotas: gates::is_on_unless_disabled(written, gates::PROJECT_QUOTAS),
        volume_stats: Some(span(written.volume_stats_agg_period)).filter(|period| !period.is_zero()),
        volume_health: gates::is_on_if_enabled(written, gates::VOLUME_HEALTH),
        pods_per_core: positive(written.pods_per_core),
        status_update: span(written.node_status_update_frequency),
        status_report: span(written.node_status_report_frequency),
        max_images: written.node_status_max_images.unwrap_or(-1),
    }
}

/// How many user IDs a pod with a user namespace has; checked before. Zero means unstated, as in the kubelet.
fn ids_per_pod(written: &KubeletConfiguration) -> u32 {
    let namespaces = written.user_namespaces.as_ref();
    let stated = namespaces.and_then(|namespaces| u32::try_from(namespaces.ids_per_pod?).ok());
    stated.filter(|ids| *ids > 0).unwrap_or(IDS_PER_POD)
}

/// The configured version, or the one that this machine was set to when it joined, or the agent's own.
fn reported_version(own: &GantryConfiguration, context: &ConfigContext, checks: &mut Checks<'_>) -> String {
    let stated = own.kubernetes_version.as_deref().filter(|text| !text.is_empty());
    match version::reported(stated.unwrap_or(&context.version)) {
        Ok(version) => version,
        Err(problem) => {
            checks.wrong("kubernetesVersion", problem);
            String::new()
        }
    }
}

/// Whether a text may be the name of a node: RFC 1123, as Kubernetes checks it.
pub fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn addresses(own: &GantryConfiguration, checks: &mut Checks<'_>) -> Addresses {
    let text = own.node_ip.as_deref().unwrap_or_default();
    let mut given: Vec<IpAddr> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(address) => given.push(address),
            Err(_) => checks.wrong("nodeIP", format!("{part:?} is not an IP address")),
        }
    }
    match given[..] {
        [] => Addresses::PreferIpv4,
        [address] if address.is_unspecified() && address.is_ipv6() => Addresses::PreferIpv6,
        [address] if address.is_unspecified() => Addresses::PreferIpv4,
        [_] => Addresses::Given(given),
        [a, b] if a.is_ipv4() != b.is_ipv4() && !a.is_unspecified() && !b.is_unspecified() => {
            Addresses::Given(given)
        }
        _ => {
            checks.wrong(
                "nodeIP",
                format!("{text:?} must be one address, or one IPv4 and one IPv6 address"),
            );
            Addresses::PreferIpv4
        }
    }
}

fn images(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    paths: &Paths,
    context: &ConfigContext,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> Images {
    let percent = |percent: Option<i32>| {
        percent
            .and_then(|percent| u8::try_from(percent).ok())
            .unwrap_or(100)
    };
    let path = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| context.directory.join(text))
    };
    let (file, programs) = (
        path(&own.image_credential_provider_config),
        path(&own.image_credential_provider_bin_dir),
    );
    if file.is_some() != programs.is_some() {
        own_checks.wrong(
            "imageCredentialProviderConfig",
            "needs imageCredentialProviderBinDir and vice versa; set both or neither",
        );
    }
    let one_at_a_time = written.serialize_image_pulls == Some(true);
    Images {
        dir: own
            .images_dir
            .as_ref()
            .map_or_else(|| paths.state.join("images"), |dir| context.directory.join(dir)),
        pause: own.pause_image.clone().filter(|image| !image.is_empty()),
        credential_providers: file.zip(programs),
        verification: verification(written, checks),
        parallel_pulls: if one_at_a_time {
            Some(1)
        } else {
            positive(written.max_parallel_image_pulls)
        },
        pulls_per_second: positive(written.registry_pull_qps),
        pull_burst: positive(written.registry_burst).unwrap_or(0),
        gc_high_percent: percent(written.image_gc_high_threshold_percent),
        gc_low_percent: percent(written.image_gc_low_threshold_percent),
        gc_min_age: span(written.image_minimum_gc_age),
        gc_max_age: Some(span(written.image_maximum_gc_age)).filter(|age| !age.is_zero()),
    }
}

fn pods(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Pods {
    let mut cluster_dns = Vec::new();
    for text in written.cluster_dns.iter().flatten() {
        match text.parse() {
            Ok(address) => cluster_dns.push(address),
            Err(_) => checks.wrong("clusterDNS", format!("{text:?} is not an IP address")),
        }
    }
    let size = written.container_log_max_size.as_deref().unwrap_or_default();
    let log_max_size = amounts::whole(size).filter(|&size| size > 0).unwrap_or_else(|| {
        checks.wrong(
            "containerLogMaxSize",
            format!("{size:?} is not a quantity above 0 like 10Mi"),
        );
        0
    });
    let backoff = written
        .crash_loop_back_off
        .as_ref()
        .and_then(|backoff| backoff.max_container_restart_period);
    let swap = written
        .memory_swap
        .as_ref()
        .and_then(|swap| swap.swap_behavior.as_deref());
    Pods {
        cluster_dns,
        cluster_domain: written.cluster_domain.clone().unwrap_or_default(),
        log_max_size: Bytes(log_max_size),
        log_max_files: positive(written.container_log_max_files).unwrap_or(5),
        log_workers: positive(written.container_log_max_workers).unwrap_or(1),
        log_check: span(written.container_log_monitor_interval),
        seccomp_default: written.seccomp_default == Some(true),
        allowed_unsafe_sysctls: written.allowed_unsafe_sysctls.clone().unwrap_or_default(),
        max_restart_backoff: span(backoff),
        fail_swap_on: written.fail_swap_on != Some(false),
        limited_swap: swap == Some("LimitedSwap"),
        stop_signals: gates::is_on_if_enabled(written, gates::STOP_SIGNALS),
        pod_level_resize: gates::is_on_unless_disabled(written, gates::POD_LEVEL_RESIZE),
        restart_all: gates::is_on_unless_disabled(written, gates::RESTART_ALL),
        ids_per_pod: ids_per_pod(written),
    }
}

fn log(written: &KubeletConfiguration, own: &GantryConfiguration) -> Log {
    let logging = written.logging.clone().unwrap_or_default();
    let by_verbosity = filter(logging.verbosity.unwrap_or(0).into());
    let format = match logging.format.as_deref() {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let stated = own.log_level.clone().filter(|level| !level.is_empty());
    Log {
        format,
        filter: stated.unwrap_or_else(|| by_verbosity.to_owned()),
    }
}

fn warnings(layers: &Layers, role: Role) -> Vec<String> {
    let mut default = json!({ "kind": raw::KIND, "apiVersion": raw::API_VERSION });
    defaults::complete(&mut default);
    let mut warnings = Vec::new();
    let keys = supported::without_effect(&layers.kubelet.value, &default);
    if !keys.is_empty() {
        warnings.push(format!(
            "keys of KubeletConfiguration without effect in this version: {}",
            keys.join(", ")
        ));
    }
    if !layers.unused_flags.is_empty() {
        let flags: Vec<String> = layers
            .unused_flags
            .iter()
            .map(|flag| format!("--{flag}"))
            .collect();
        warnings.push(format!(
            "flags without effect in this version: {}",
            flags.join(", ")
        ));
    }
    let files = Path::new(layers.kubelet.value["staticPodPath"].as_str().unwrap_or_default());
    if role == Role::Kubelet && files.as_os_str().is_empty() {
        let remedy = "set staticPodPath or --pod-manifest-path";
        warnings.push(format!(
            "no manifests directory is configured, so no pod will run; {remedy}"
        ));
    }
    warnings
}
