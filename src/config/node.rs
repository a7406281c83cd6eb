//! Applies the configuration to this machine: the values that planning and reporting use, and whether the configuration
//! can run here. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::error::ConfigError;
use super::{Config, Enforce, Eviction, gates};
use crate::model::eviction::{EvictionPolicy, EvictionThreshold, Signal};
use crate::model::image_policy::ImagePolicy;
use crate::model::memory_rules::{MemoryQos, MemoryRules};
use crate::model::node::{CgroupDriver, CgroupLayout, CgroupVersion, MachineFacts, NodePolicy, NodeSettings};
use crate::model::pod::DnsConfig;
use crate::model::pod_network::PodNetwork;
use crate::model::reserved_cgroup::{Enforced, ReservedCgroup, ReservedFor};
use crate::model::resources::{Amounts, Bytes, MilliCpu};
use crate::model::threshold::Threshold;

/// Labels in Kubernetes' own domains that a node may set on itself
/// (`staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go`).
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Validates a label that the node registers with.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let (domain, name) = key.split_once('/').unwrap_or(("", key));
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    let reserved = within("kubernetes.io") || within("k8s.io");
    let allowed = within("node.kubernetes.io") || within("kubelet.kubernetes.io");
    if reserved && !allowed && !OWN_LABELS.contains(&key) {
        return Err("is reserved by Kubernetes; use node.kubernetes.io/ or a domain of your own".to_owned());
    }
    if name.is_empty() || !is_label_word(name) {
        return Err(
            "is not a valid label name: use up to 63 letters, digits, -, _ and ., with a letter or digit at both ends"
                .to_owned(),
        );
    }
    if !is_label_word(value) {
        return Err(format!(
            "{value:?} is not a valid label value: use up to 63 letters, digits, -, _ and ."
        ));
    }
    Ok(())
}

fn is_label_word(text: &str) -> bool {
    let ends = text.chars().next().into_iter().chain(text.chars().last());
    text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && ends.into_iter().all(|end| end.is_ascii_alphanumeric())
}

/// The init system of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd runs the machine (`sd_booted(3)`: /run/systemd/system exists).
    Systemd,
    /// Something else does.
    Other,
}

impl Config {
    /// Checks whether the configuration can run on this machine.
    pub fn check_machine(&self, facts: &MachineFacts, version: CgroupVersion) -> Result<(), ConfigError> {
        let refuse = |message: &str| Err(ConfigError::Machine(message.to_owned()));
        if self.pods.fail_swap_on && facts.swap > Bytes(0) {
            return refuse(
                "swap is on: turn it off with `swapoff -a` (and in /etc/fstab), or allow it with --fail-swap-on=false",
            );
        }
        match version {
            CgroupVersion::V1 if self.cgroups.refuse_v1 => refuse(
                "this machine uses cgroup v1: boot with systemd.unified_cgroup_hierarchy=1, or allow it with \
                 `failCgroupV1: false`",
            ),
            CgroupVersion::V1 if self.pods.limited_swap => refuse(
                "memorySwap.swapBehavior LimitedSwap needs cgroup v2: boot with systemd.unified_cgroup_hierarchy=1, \
                 or use NoSwap",
            ),
            CgroupVersion::V1 if self.cgroups.single_process_oom_kill == Some(false) => refuse(
                "singleProcessOOMKill must not be explicitly set to false when using cgroup v1: omit it, or boot with \
                 systemd.unified_cgroup_hierarchy=1",
            ),
            _ if !self.eviction.reserved_cpus.is_subset(&facts.cpus) => {
                let (reserved, online) = (&self.eviction.reserved_cpus, &facts.cpus);
                refuse(&format!(
                    "reservedSystemCPUs: {reserved} is not a subset of the online CPUs {online}: reserve CPUs of this \
                     machine"
                ))
            }
            _ => Ok(()),
        }
    }

    /// What has no effect on this machine.
    pub fn machine_warnings(&self, version: CgroupVersion) -> Option<&'static str> {
        let is_void = version == CgroupVersion::V1 && self.cgroups.memory_qos.is_some();
        is_void.then_some(
            "the feature gate MemoryQoS has no effect: it needs cgroup v2, and this machine uses cgroup v1",
        )
    }

    /// How memory is divided.
    fn memory_rules(&self, facts: &MachineFacts, version: CgroupVersion) -> MemoryRules {
        let reserved = sum(&self.eviction.system_reserved, &self.eviction.kube_reserved);
        let qos = self.cgroups.memory_qos.filter(|_| version == CgroupVersion::V2);
        MemoryRules {
            single_process_oom_kill: self
                .cgroups
                .single_process_oom_kill
                .unwrap_or(version == CgroupVersion::V1),
            reserved_percent: self.cgroups.qos_reserved,
            qos: qos.map(|(throttling, reservation)| MemoryQos {
                throttling,
                reservation,
                allocatable: Bytes(facts.memory.0.saturating_sub(reserved.memory_or_zero())),
                page_size: facts.page_size,
            }),
        }
    }

    /// The cgroups of the machine's own programs that are limited.
    fn reserved_cgroups(&self) -> Vec<ReservedCgroup> {
        let (cgroups, eviction) = (&self.cgroups, &self.eviction);
        let limited = |(owner, path, amounts): (ReservedFor, &Option<String>, &Amounts), enforced| {
            Some(ReservedCgroup {
                owner,
                path: path.clone()?,
                enforced,
                amounts: amounts.clone(),
            })
        };
        let system = (
            ReservedFor::System,
            &cgroups.system_reserved,
            &eviction.system_reserved,
        );
        let kube = (ReservedFor::Kube, &cgroups.kube_reserved, &eviction.kube_reserved);
        let entries = cgroups.enforce.iter().filter_map(|entry| match entry {
            Enforce::Pods => None,
            Enforce::SystemReserved => limited(system, Enforced::All),
            Enforce::SystemReservedCompressible => limited(system, Enforced::Compressible),
            Enforce::KubeReserved => limited(kube, Enforced::All),
            Enforce::KubeReservedCompressible => limited(kube, Enforced::Compressible),
        });
        entries.collect()
    }

    /// Selects the cgroup driver. What the runtime reports (CRI `RuntimeConfig`, KEP-4033) takes precedence, then the
    /// configuration, then what the runtime's own configuration says, then what suits the machine: systemd on a systemd
    /// machine with the unified hierarchy, else cgroupfs.
    pub fn cgroup_driver(
        &self,
        reported: Option<CgroupDriver>,
        configured: Option<CgroupDriver>,
        init: Init,
        version: CgroupVersion,
    ) -> CgroupDriver {
        let suitable = match (init, version) {
            (Init::Systemd, CgroupVersion::V2) => CgroupDriver::Systemd,
            _ => CgroupDriver::Cgroupfs,
        };
        // The kubelet considers neither the runtime's configuration nor the machine.
        let found = match self.role {
            super::Role::Run => configured.unwrap_or(suitable),
            super::Role::Kubelet => CgroupDriver::Cgroupfs,
        };
        reported.or(self.cgroups.driver).unwrap_or(found)
    }

    /// Where and how cgroups are created. `limits_swap` says whether the kernel can limit swap per cgroup.
    pub fn cgroup_layout(
        &self,
        facts: &MachineFacts,
        version: CgroupVersion,
        driver: CgroupDriver,
        limits_swap: bool,
    ) -> CgroupLayout {
        CgroupLayout {
            version,
            driver,
            root: self.cgroups.root.clone(),
            per_qos: self.cgroups.per_qos,
            cfs_quota: self.cgroups.cfs_quota,
            cfs_period: self.cgroups.cfs_period,
            pod_pids: self.cgroups.pod_pids,
            enforce_pods: self.cgroups.enforce.contains(&Enforce::Pods),
            hugepage_sizes: facts.hugepages.keys().copied().collect(),
            cores: facts.cores,
            swap: limits_swap.then_some(facts.swap),
            memory: self.memory_rules(facts, version),
            reserved: self.reserved_cgroups(),
        }
    }

    /// The configuration as used by `plan`. `host_dns` is the content of `paths.resolv_conf`.
    pub fn node_policy(
        &self,
        facts: &MachineFacts,
        cgroup: CgroupLayout,
        host_ips: Vec<IpAddr>,
        host_dns: DnsConfig,
    ) -> NodePolicy {
        NodePolicy {
            name: self.node.name.clone(),
            root_dir: self.paths.root.clone(),
            pod_logs_dir: self.paths.pod_logs.clone(),
            container_logs_dir: self.paths.container_logs.clone(),
            cgroup,
            host_dns,
            cluster_dns: self.pods.cluster_dns.clone(),
            cluster_domain: self.pods.cluster_domain.clone(),
            host_ips,
            memory: facts.memory,
            seccomp_default: self.pods.seccomp_default,
            seccomp_dir: self.paths.root.join("seccomp"),
            max_restart_backoff: self.pods.max_restart_backoff,
            limited_swap: self.pods.limited_swap,
            stop_signals: self.pods.stop_signals,
            pod_level_resize: self.pods.pod_level_resize,
            apparmor: facts.apparmor,
            masked_paths: facts.thermal_throttle.clone(),
            republish: self.member.refresh,
            shutdown: self.shutdown.clone(),
            images: ImagePolicy {
                high_percent: self.images.gc_high_percent,
                low_percent: self.images.gc_low_percent,
                min_age: self.images.gc_min_age,
                max_age: self.images.gc_max_age,
            },
            eviction: self.eviction_policy(),
        }
    }

    /// When pods have to make room. What all pods together may use has the threshold of the machine's memory, if it is
    /// limited; the file system of containers has those of the node's (`ParseThresholdConfig` and
    /// `UpdateContainerFsThresholds` in `pkg/kubelet/eviction/helpers.go`).
    pub fn eviction_policy(&self) -> EvictionPolicy {
        let Eviction {
            hard,
            soft,
            minimum_reclaim,
            ..
        } = &self.eviction;
        let is_limited = self.cgroups.enforce.contains(&Enforce::Pods);
        let origin = |signal: Signal| signal.follows().unwrap_or(signal);
        let threshold = |signal: Signal, value: Threshold, grace: Duration| EvictionThreshold {
            signal,
            value,
            grace,
            reclaim: minimum_reclaim.get(origin(signal).as_str()).copied(),
        };
        let hard = Signal::ALL.into_iter().filter_map(|signal| {
            let value = hard.get(origin(signal).as_str())?;
            let counts = signal != Signal::AllocatableMemory || is_limited;
            counts.then(|| threshold(signal, *value, Duration::ZERO))
        });
        let soft = Signal::ALL.into_iter().filter_map(|signal| {
            let (value, grace) = soft.get(origin(signal).as_str())?;
            (signal != Signal::AllocatableMemory).then(|| threshold(signal, *value, *grace))
        });
        EvictionPolicy {
            thresholds: hard.chain(soft).collect(),
            max_pod_grace: self.eviction.max_pod_grace,
            transition: self.eviction.pressure_transition,
            limits_storage: self.eviction.limits_storage,
        }
    }

    /// The declared features whose gates are on: by them the scheduler finds a node for a pod that needs one
    /// (`component-helpers/nodedeclaredfeatures`).
    fn declared_features(&self) -> Vec<&'static str> {
        let all = [
            (gates::POD_LEVEL_RESIZE, self.pods.pod_level_resize),
            (gates::RESTART_ALL, self.pods.restart_all),
        ];
        let on = all.into_iter().filter(|(_, is_on)| *is_on);
        on.map(|(name, _)| name).collect()
    }

    /// What the node reports about itself. The network module sets the pod CIDR later.
    pub fn node_settings(&self, facts: &MachineFacts, addresses: Vec<IpAddr>) -> NodeSettings {
        let by_cores = self
            .node
            .pods_per_core
            .map(|pods| pods.saturating_mul(facts.cores));
        NodeSettings {
            name: self.node.name.clone(),
            addresses,
            version: self.node.reported_version.clone(),
            max_pods: by_cores.map_or(self.node.max_pods, |pods| pods.min(self.node.max_pods)),
            reserved: sum(&self.eviction.system_reserved, &self.eviction.kube_reserved),
            eviction_hard: self.eviction.hard.clone(),
            max_images: self.node.max_images,
            port: self.serve.api_port,
            labels: self.node.labels.clone(),
            declared_features: self.declared_features(),
            network: PodNetwork::default(),
        }
    }
}

/// `systemReserved` plus `kubeReserved`; neither can name huge pages.
fn sum(a: &Amounts, b: &Amounts) -> Amounts {
    let add = |a: Option<i64>, b: Option<i64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    };
    let bytes = |amount: Option<Bytes>| amount.map(|bytes| bytes.0);
    let mut extended = a.extended.clone();
    for (name, amount) in &b.extended {
        let entry = extended.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
    Amounts {
        cpu: add(a.cpu.map(|cpu| cpu.0), b.cpu.map(|cpu| cpu.0)).map(MilliCpu),
        memory: add(bytes(a.memory), bytes(b.memory)).map(Bytes),
        ephemeral_storage: add(bytes(a.ephemeral_storage), bytes(b.ephemeral_storage)).map(Bytes),
        hugepages: BTreeMap::new(),
        extended,
    }
}
