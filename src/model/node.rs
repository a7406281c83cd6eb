//! The node: its configuration, as used for decisions, and its measured state.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cpu_list::CpuList;
use super::eviction::EvictionPolicy;
use super::image_policy::ImagePolicy;
use super::measured::FsUsage;
use super::memory_rules::MemoryRules;
use super::pod::{DnsConfig, PodName, PodUid};
use super::pod_network::PodNetwork;
use super::reserved_cgroup::ReservedCgroup;
use super::resources::{Amounts, Bytes, MilliCpu};
use super::shutdown::ShutdownPeriods;
use super::threshold::Threshold;

/// How much the node has for pods.
#[derive(Debug, Clone, Default)]
pub struct NodeLimits {
    /// The resources that pods may use together.
    pub allocatable: Amounts,
    /// The machine's resources.
    pub capacity: Amounts,
    /// What is reserved for the system and the agent.
    pub reserved: Amounts,
    /// The machine's largest number of processes.
    pub pids_max: i64,
    /// The largest number of pods.
    pub max_pods: u32,
}

impl NodeLimits {
    /// Of a machine with this capacity and so many processes.
    pub fn new(capacity: Amounts, settings: &NodeSettings, pids_max: i64) -> NodeLimits {
        NodeLimits {
            allocatable: allocatable(&capacity, settings),
            capacity,
            reserved: settings.reserved.clone(),
            pids_max,
            max_pods: settings.max_pods,
        }
    }
}

/// The node's configuration as needed for decisions: built once at start, constant afterwards.
#[derive(Debug, Clone)]
pub struct NodePolicy {
    /// The node's name.
    pub name: String,
    /// The directory of the node's state (`/var/lib/kubelet`).
    pub root_dir: PathBuf,
    /// The directory of the pods' logs (`/var/log/pods`).
    pub pod_logs_dir: PathBuf,
    /// The directory of links that log shippers read (`/var/log/containers`).
    pub container_logs_dir: PathBuf,
    /// Where and how cgroups are made.
    pub cgroup: CgroupLayout,
    /// The host's resolver configuration (`resolvConf`), read at start.
    pub host_dns: DnsConfig,
    /// `clusterDNS`; empty without a cluster.
    pub cluster_dns: Vec<IpAddr>,
    /// `clusterDomain`, may be empty.
    pub cluster_domain: String,
    /// The addresses of the node, the primary first; empty while it has none.
    pub host_ips: Vec<IpAddr>,
    /// The node's memory, which `oom_score_adj` is computed from.
    pub memory: Bytes,
    /// `seccompDefault`
    pub seccomp_default: bool,
    /// The directory of localhost seccomp profiles (`<root>/seccomp`).
    pub seccomp_dir: PathBuf,
    /// `crashLoopBackOff.maxContainerRestartPeriod`, 5 min.
    pub max_restart_backoff: Duration,
    /// `memorySwap.swapBehavior: LimitedSwap`
    pub limited_swap: bool,
    /// Whether containers end by the signals that they state (the feature gate `ContainerStopSignals`).
    pub stop_signals: bool,
    /// Whether the resources of a whole pod change while it runs (the feature gate
    /// `InPlacePodLevelResourcesVerticalScaling`).
    pub pod_level_resize: bool,
    /// Whether the kernel enforces AppArmor profiles.
    pub apparmor: bool,
    /// Masked files of this machine, in addition to the paths that are always masked
    /// ([`MachineFacts::thermal_throttle`]).
    pub masked_paths: Vec<String>,
    /// How often volumes are published again whose drivers require it (`syncFrequency`), 1 min.
    pub republish: Duration,
    /// How much time pods get before the machine goes down.
    pub shutdown: ShutdownPeriods,
    /// When pods have to make room.
    pub eviction: EvictionPolicy,
    /// When unused images are removed.
    pub images: ImagePolicy,
}

impl NodePolicy {
    /// The same at these addresses, the primary first.
    pub fn at(&self, addresses: &[IpAddr]) -> NodePolicy {
        NodePolicy {
            host_ips: addresses.to_vec(),
            ..self.clone()
        }
    }

    /// The directory of one pod (`<root>/pods/<uid>`).
    pub fn pod_dir(&self, uid: &PodUid) -> PathBuf {
        self.root_dir.join("pods").join(&uid.0)
    }

    /// The directory of one pod's logs (`<logs>/<namespace>_<name>_<uid>`).
    pub fn pod_log_dir(&self, name: &PodName, uid: &PodUid) -> PathBuf {
        pod_log_dir(&self.pod_logs_dir, name, uid)
    }

    /// The directory of one volume (`<pod>/volumes/<plugin>/<name>`), the plugin's name escaped
    /// (`kubernetes.io~empty-dir`).
    pub fn volume_dir(&self, uid: &PodUid, plugin: &str, volume: &str) -> PathBuf {
        self.pod_dir(uid)
            .join("volumes")
            .join(plugin.replace('/', "~"))
            .join(volume)
    }
}

/// The directory of one pod's logs below that of all pods' logs.
pub fn pod_log_dir(logs: &Path, name: &PodName, uid: &PodUid) -> PathBuf {
    logs.join(format!("{}_{}_{}", name.namespace, name.name, uid))
}

/// Which cgroup hierarchy the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Which cgroup driver creates cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// cgroupfs: the agent creates directories.
    Cgroupfs,
    /// systemd: the agent creates slices over D-Bus.
    Systemd,
}

/// Where and how cgroups are made.
#[derive(Debug, Clone, PartialEq)]
pub struct CgroupLayout {
    /// The hierarchy.
    pub version: CgroupVersion,
    /// The driver.
    pub driver: CgroupDriver,
    /// `cgroupRoot` as components, usually empty: the `kubepods` tree is below it.
    pub root: Vec<String>,
    /// `cgroupsPerQOS`: without it the agent creates no pod cgroups and `cgroup_parent` is empty.
    pub per_qos: bool,
    /// `cpuCFSQuota`
    pub cfs_quota: bool,
    /// `cpuCFSQuotaPeriod`
    pub cfs_period: Duration,
    /// `podPidsLimit`; `None`: the agent sets no limit.
    pub pod_pids: Option<i64>,
    /// `enforceNodeAllocatable` contains `pods`: `kubepods` is limited to the allocatable amounts.
    pub enforce_pods: bool,
    /// The sizes of huge pages that the kernel offers.
    pub hugepage_sizes: Vec<Bytes>,
    /// The cores of the machine.
    pub cores: u32,
    /// The machine's swap, if the kernel can limit it per cgroup (`memory.memsw.*` on v1, `memory.swap.max` on v2);
    /// `None` if it cannot, and then swap is not configured at all.
    pub swap: Option<Bytes>,
    /// How memory is divided.
    pub memory: MemoryRules,
    /// The cgroups of the machine's own programs that are limited.
    pub reserved: Vec<ReservedCgroup>,
}

/// A cgroup's place in the tree, independent of the driver: `["kubepods", "burstable", "pod<uid>"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupName(pub Vec<String>);

impl CgroupName {
    /// The cgroup at a path as it is configured. With the systemd driver its last part is the name of a slice, which says
    /// where it is (`ParseSystemdToCgroupName` and `ParseCgroupfsToCgroupName` in
    /// `pkg/kubelet/cm/cgroup_manager_linux.go`).
    pub fn at(path: &str, driver: CgroupDriver) -> CgroupName {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        CgroupName(match driver {
            CgroupDriver::Cgroupfs => parts.map(str::to_owned).collect(),
            CgroupDriver::Systemd => {
                let last = parts.next_back().unwrap_or_default();
                let slice = last.strip_suffix(".slice").unwrap_or(last);
                slice.split('-').map(|part| part.replace('_', "-")).collect()
            }
        })
    }

    /// The name of its slice. systemd treats `-` as a separator of levels, so within a level it becomes `_`. The empty
    /// name is the root slice.
    pub fn slice(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|part| part.replace('-', "_")).collect();
        match parts.is_empty() {
            true => "-.slice".to_owned(),
            false => format!("{}.slice", parts.join("-")),
        }
    }
}

/// The facts about the machine, read from the kernel and the distribution, never hard-coded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MachineFacts {
    /// The host's name.
    pub hostname: String,
    /// `/etc/machine-id`
    pub machine_id: String,
    /// The DMI product UUID, else the machine id.
    pub system_uuid: String,
    /// `/proc/sys/kernel/random/boot_id`
    pub boot_id: String,
    /// `uname -r`
    pub kernel: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub os_image: String,
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// CPUs online.
    pub cpus: CpuList,
    /// How many those are.
    pub cores: u32,
    /// `MemTotal`
    pub memory: Bytes,
    /// The size of the kernel's pages in bytes.
    pub page_size: i64,
    /// Swap in use or offered, in bytes.
    pub swap: Bytes,
    /// Whether what pods have in memory as files (Secrets, emptyDirs) may be swapped out: there is swap, and the kernel's tmpfs
    /// cannot be kept out of it.
    pub swaps_tmpfs: bool,
    /// Huge pages set aside, bytes by page size.
    pub hugepages: BTreeMap<Bytes, Bytes>,
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// `/sys/devices/system/cpu/cpu<n>/thermal_throttle` of each CPU that has it: the number of thermal throttlings is
    /// a side channel between pods.
    pub thermal_throttle: Vec<String>,
}

impl MachineFacts {
    /// The machine's capacity (`status.capacity` without `pods`); `nodefs` is the file system of the node's root
    /// directory.
    pub fn capacity(&self, nodefs: &FsUsage) -> Amounts {
        Amounts {
            cpu: Some(MilliCpu(i64::from(self.cores) * 1000)),
            memory: Some(self.memory),
            ephemeral_storage: Some(nodefs.capacity),
            hugepages: self.hugepages.clone(),
            extended: BTreeMap::new(),
        }
    }
}

/// The configured part of what the node reports about itself.
#[derive(Debug, Clone, Default)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// The addresses of the node, the primary first.
    pub addresses: Vec<IpAddr>,
    /// The Kubernetes version that the node reports (`v1.36.2`).
    pub version: String,
    /// `maxPods`, limited by `podsPerCore`.
    pub max_pods: u32,
    /// `systemReserved` plus `kubeReserved`.
    pub reserved: Amounts,
    /// `evictionHard` by signal (`memory.available`).
    pub eviction_hard: BTreeMap<String, Threshold>,
    /// `nodeStatusMaxImages`, -1 for all.
    pub max_images: i32,
    /// The port of the node's API, 10250.
    pub port: u16,
    /// Labels to register with.
    pub labels: BTreeMap<String, String>,
    /// The declared features that feature gates enable (`status.declaredFeatures`).
    pub declared_features: Vec<&'static str>,
    /// The pod network, as far as gantry provides it.
    pub network: PodNetwork,
}

/// The allocatable amounts (`status.allocatable` without `pods`): capacity minus the reserved amounts, minus the hard
/// eviction thresholds of memory and disk, and for memory minus huge pages (`pkg/kubelet/nodestatus/setters.go`,
/// `pkg/kubelet/eviction/helpers.go`).
pub fn allocatable(capacity: &Amounts, settings: &NodeSettings) -> Amounts {
    let threshold = |signal: &str, of: Option<Bytes>| {
        let threshold = settings.eviction_hard.get(signal)?;
        Some(Bytes(threshold.of(of?.0)))
    };
    let mut reserved = settings.reserved.clone();
    reserved.add(&Amounts {
        memory: threshold("memory.available", capacity.memory),
        ephemeral_storage: threshold("nodefs.available", capacity.ephemeral_storage),
        ..Amounts::default()
    });
    let hugepages = capacity.hugepages.values().map(|bytes| bytes.0).sum();
    let mut allocatable = capacity.clone();
    allocatable.take_off(&reserved);
    allocatable.take_off(&Amounts {
        memory: Some(Bytes(hugepages)),
        ..Amounts::default()
    });
    allocatable
}

/// The name of the directory of a pod's container (`<pod>/containers/<name>`).
pub fn container_dir(pod_dir: &Path, container: &str) -> PathBuf {
    pod_dir.join("containers").join(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_reserved_than_there_is_leaves_nothing() {
        let amounts = |cpu, memory| Amounts {
            cpu: Some(MilliCpu(cpu)),
            memory: Some(Bytes(memory)),
            ..Amounts::default()
        };
        let settings = NodeSettings {
            reserved: amounts(3000, 10),
            eviction_hard: BTreeMap::from([("memory.available".to_owned(), Threshold::Quantity(80))]),
            ..NodeSettings::default()
        };
        assert_eq!(allocatable(&amounts(2000, 100), &settings), amounts(0, 10));
    }

    #[test]
    fn slices() {
        let check = |parts: &[&str], slice: &str| {
            let name = CgroupName(parts.iter().map(|&part| part.to_owned()).collect());
            assert_eq!(name.slice(), slice);
        };
        check(&[], "-.slice");
        check(&["kubepods"], "kubepods.slice");
        check(&["kubepods", "pod12-ab"], "kubepods-pod12_ab.slice");
    }

    #[test]
    fn a_path_names_a_cgroup_of_either_driver() {
        let check = |path: &str, cgroupfs: &[&str], slice: &str| {
            assert_eq!(CgroupName::at(path, CgroupDriver::Cgroupfs).0, cgroupfs);
            assert_eq!(CgroupName::at(path, CgroupDriver::Systemd).slice(), slice);
        };
        check("/system.slice", &["system.slice"], "system.slice");
        check("kube", &["kube"], "kube.slice");
        check(
            "/a.slice/a-b_c.slice/",
            &["a.slice", "a-b_c.slice"],
            "a-b_c.slice",
        );
    }
}
