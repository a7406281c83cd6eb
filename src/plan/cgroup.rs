//! The node's cgroup tree and the values in it, computed as in the kubelet. Pure: decides the values, never writes
//! them.
//!
//! `kubepods` holds what pods get in total; below it are `burstable` and `besteffort`, and a cgroup for each pod:
//! `kubepods/pod<uid>` for guaranteed pods, `kubepods/burstable/pod<uid>`, `kubepods/besteffort/pod<uid>`. The runtime
//! manages the containers' own cgroups; their values are part of the CRI request.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_cri::v1::{HugepageLimit, LinuxContainerResources};

use super::qos_memory::{self, LevelMemory, QosRequests};
use crate::model::amounts::{self, Limited, Overhead};
use crate::model::node::{CgroupDriver, CgroupLayout, CgroupName, CgroupVersion, NodePolicy};
use crate::model::pod::{Container, Pod, PodUid, Source};
use crate::model::request::CgroupSetting;
use crate::model::resources::{Amounts, Bytes, Qos};

/// The kernel's bounds of `cpu.shares` (`kernel/sched/sched.h`).
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
/// The least CFS quota that the kernel accepts, in microseconds (`kernel/sched/core.c`).
const MIN_QUOTA: i64 = 1000;
/// "No limit" for huge pages, as the kubelet writes it: divisible by every page size.
const HUGEPAGES_UNLIMITED: i64 = 1 << 62;

/// `pkg/kubelet/qos/policy.go`
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

/// The lowest priority of a critical pod (`pkg/apis/scheduling/types.go`).
const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// The parent cgroup of all pods.
pub fn kubepods(layout: &CgroupLayout) -> CgroupName {
    let mut parts = layout.root.clone();
    parts.push("kubepods".to_owned());
    CgroupName(parts)
}

/// The parent cgroup of the pods of one QoS class.
pub fn qos_cgroup(qos: Qos, layout: &CgroupLayout) -> CgroupName {
    let CgroupName(mut parts) = kubepods(layout);
    match qos {
        Qos::Guaranteed => {}
        Qos::Burstable => parts.push("burstable".to_owned()),
        Qos::BestEffort => parts.push("besteffort".to_owned()),
    }
    CgroupName(parts)
}

/// The cgroup of one pod.
pub fn pod_cgroup_name(uid: &PodUid, qos: Qos, layout: &CgroupLayout) -> CgroupName {
    let CgroupName(mut parts) = qos_cgroup(qos, layout);
    parts.push(format!("pod{uid}"));
    CgroupName(parts)
}

/// The cgroup in the form passed to the runtime (`PodSandboxConfig.linux.cgroup_parent`): a path below the hierarchy's
/// mount point, or the name of a slice. Empty if the agent makes no cgroups for pods.
pub fn cgroup_parent(name: &CgroupName, layout: &CgroupLayout) -> String {
    match layout.driver {
        _ if !layout.per_qos => String::new(),
        CgroupDriver::Cgroupfs => format!("/{}", name.0.join("/")),
        CgroupDriver::Systemd => name.slice(),
    }
}

/// The CPU shares for a request in millicores (`MilliCPUToShares`).
pub fn cpu_shares(milli: i64) -> u64 {
    let shares = u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0);
    shares.clamp(MIN_SHARES, MAX_SHARES)
}

/// The CFS quota for a limit in millicores (`MilliCPUToQuota`): microseconds per period, 0 for none.
pub fn cpu_quota(milli: i64, period: Duration) -> i64 {
    if milli == 0 {
        return 0;
    }
    (milli.saturating_mul(micros(period)) / 1000).max(MIN_QUOTA)
}

/// The pod's cgroup and its values (`ResourceConfigForPod` in `pkg/kubelet/cm/helpers_linux.go`).
pub fn pod_cgroup(pod: &Pod, layout: &CgroupLayout) -> CgroupSetting {
    let requests = amounts::pod_requests(pod, Overhead::With);
    let limits = amounts::pod_limits(pod, Overhead::With);
    let limited = match pod.qos {
        Qos::Guaranteed => Limited {
            cpu: true,
            memory: true,
        },
        Qos::Burstable => Limited::of(pod),
        Qos::BestEffort => Limited {
            cpu: false,
            memory: false,
        },
    };
    let quota = match layout.cfs_quota {
        true => cpu_quota(limits.cpu_or_zero(), layout.cfs_period),
        false => -1,
    };
    let period = u64::try_from(micros(layout.cfs_period)).unwrap_or(0);
    let shares = match pod.qos {
        Qos::BestEffort => MIN_SHARES,
        Qos::Guaranteed | Qos::Burstable => cpu_shares(requests.cpu_or_zero()),
    };
    CgroupSetting {
        name: pod_cgroup_name(&pod.uid, pod.qos, layout),
        cpu_shares: Some(shares),
        cpu_quota: Some((quota, period)).filter(|_| limited.cpu && quota != 0),
        memory_limit: limits
            .memory
            .map(|bytes| bytes.0)
            .filter(|&bytes| limited.memory && bytes != 0),
        memory_protection: qos_memory::of_pod(pod, &requests, layout),
        // Also set without a limit: the removal of an earlier attempt may have set it to 0.
        pids_max: Some(layout.pod_pids.filter(|&pids| pids > 0).unwrap_or(-1)),
        hugepages: hugepages(&requests, layout),
    }
}

/// A limit for every huge page size that the kernel offers; 0 for those that are not requested.
fn hugepages(amounts: &Amounts, layout: &CgroupLayout) -> Vec<(Bytes, i64)> {
    let mut limits: BTreeMap<Bytes, i64> = layout.hugepage_sizes.iter().map(|&size| (size, 0)).collect();
    limits.extend(amounts.hugepages.iter().map(|(&size, bytes)| (size, bytes.0)));
    limits.into_iter().collect()
}

/// The cgroups above the pods, parents first: `kubepods` with the total for pods (the whole machine unless
/// `enforceNodeAllocatable` contains `pods`), the burstable cgroup weighted by its pods' requests, the best-effort
/// cgroup with the minimum (`pkg/kubelet/cm/{node,qos}_container_manager_linux.go`).
///
/// `pods` are those that have not ended; `pids_max` is the maximum number of processes of the machine, and `reserved`
/// may set `pid` among its extended resources. Eviction thresholds are not subtracted here.
pub fn node_levels<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    layout: &CgroupLayout,
    capacity: &Amounts,
    pids_max: i64,
    reserved: &Amounts,
) -> Vec<CgroupSetting> {
    if !layout.per_qos {
        return Vec::new();
    }
    let mut available = capacity.clone();
    available.extended.insert("pid".to_owned(), pids_max);
    if layout.enforce_pods {
        available.take_off(reserved);
    }
    let requests = QosRequests::of(pods);
    let memory = qos_memory::of_levels(&requests, layout, capacity, reserved);
    let level = |qos, shares, memory: LevelMemory| CgroupSetting {
        cpu_shares: Some(shares),
        memory_limit: memory.limit,
        memory_protection: memory.protection,
        hugepages: layout
            .hugepage_sizes
            .iter()
            .map(|&size| (size, HUGEPAGES_UNLIMITED))
            .collect(),
        ..CgroupSetting::untouched(qos_cgroup(qos, layout))
    };
    let kubepods = CgroupSetting {
        memory_limit: available.memory.map(|bytes| bytes.0),
        pids_max: available.extended.get("pid").copied().filter(|&pids| pids > 0),
        ..level(
            Qos::Guaranteed,
            cpu_shares(available.cpu_or_zero()),
            memory.guaranteed,
        )
    };
    vec![
        kubepods,
        level(
            Qos::Burstable,
            cpu_shares(requests.burstable_cpu),
            memory.burstable,
        ),
        level(Qos::BestEffort, MIN_SHARES, memory.best_effort),
    ]
}

/// The resources of a container in the CRI request (`generateLinuxContainerResources` in
/// `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`).
pub fn container_resources(pod: &Pod, container: &Container, policy: &NodePolicy) -> LinuxContainerResources {
    let layout = &policy.cgroup;
    let none = Amounts::default();
    let own = pod.resources.as_ref().map_or(&none, |own| &own.limits);
    let limits = &container.resources.limits;
    // If the container sets no limit, the pod's own limit applies to it, too.
    let or_own = |amount: i64, own: i64| if amount == 0 { own } else { amount };
    let cpu_limit = or_own(limits.cpu_or_zero(), own.cpu_or_zero());
    let memory_limit = or_own(limits.memory_or_zero(), own.memory_or_zero());
    let request = container.resources.requests.cpu.map(|cpu| cpu.0);

    let mut wanted = own.hugepages.clone();
    wanted.extend(&limits.hugepages);
    let mut resources = runtime_resources(request, cpu_limit, memory_limit, layout);
    resources.oom_score_adj = oom_score_adj(pod, container, policy.memory);
    resources.hugepage_limits = layout
        .hugepage_sizes
        .iter()
        .map(|size| HugepageLimit {
            page_size: size.page_size(),
            limit: wanted
                .get(size)
                .map_or(0, |bytes| u64::try_from(bytes.0).unwrap_or(0)),
        })
        .collect();
    limit_swap(&mut resources, pod, container, policy);
    resources
        .unified
        .extend(qos_memory::of_container(pod, container, layout));
    resources
}

/// The resources of the pod in the sandbox request (`calculateSandboxResources`).
pub fn sandbox_resources(pod: &Pod, layout: &CgroupLayout) -> LinuxContainerResources {
    let requests = amounts::pod_requests(pod, Overhead::Without);
    let limits = amounts::pod_limits(pod, Overhead::Without);
    runtime_resources(
        requests.cpu.map(|cpu| cpu.0),
        limits.cpu_or_zero(),
        limits.memory_or_zero(),
        layout,
    )
}

/// The pod's overhead in the sandbox request; empty if there is none.
pub fn sandbox_overhead(pod: &Pod, layout: &CgroupLayout) -> LinuxContainerResources {
    if pod.overhead == Amounts::default() {
        return LinuxContainerResources::default();
    }
    let cpu = pod.overhead.cpu_or_zero();
    runtime_resources(Some(cpu), cpu, pod.overhead.memory_or_zero(), layout)
}

/// `calculateLinuxResources`: CPU in millicores, memory in bytes; a limit of 0 means none.
fn runtime_resources(
    cpu_request: Option<i64>,
    cpu_limit: i64,
    memory_limit: i64,
    layout: &CgroupLayout,
) -> LinuxContainerResources {
    let shares = cpu_shares(cpu_request.unwrap_or(cpu_limit));
    let mut resources = LinuxContainerResources {
        cpu_shares: i64::try_from(shares).expect("shares are clamped to 262144"),
        memory_limit_in_bytes: memory_limit,
        ..LinuxContainerResources::default()
    };
    if layout.cfs_quota {
        resources.cpu_quota = cpu_quota(cpu_limit, layout.cfs_period);
        resources.cpu_period = micros(layout.cfs_period);
    }
    if layout.version == CgroupVersion::V2 && !layout.memory.single_process_oom_kill {
        // If one process runs out of memory, the whole container ends: half a container is of no use. v1 does not
        // support it.
        resources
            .unified
            .insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    resources
}

/// `configureContainerSwapResources`: no swap, unless `LimitedSwap` gives a burstable container the share of the swap
/// that its request is of the memory.
fn limit_swap(
    resources: &mut LinuxContainerResources,
    pod: &Pod,
    container: &Container,
    policy: &NodePolicy,
) {
    let Some(swap) = policy.cgroup.swap else { return };
    if policy.cgroup.version == CgroupVersion::V1 {
        // Memory and swap together; 0 (no memory limit) is ignored by the runtime.
        resources.memory_swap_limit_in_bytes = resources.memory_limit_in_bytes;
        return;
    }
    let request = container.resources.requests.memory_or_zero();
    let limit = container.resources.limits.memory_or_zero();
    let allowed = match may_swap(pod, policy) && request != limit && request <= policy.memory.0 {
        true => part(request, policy.memory.0, swap.0),
        false => 0,
    };
    resources
        .unified
        .insert("memory.swap.max".to_owned(), allowed.to_string());
}

/// Whether the containers of a pod may be given swap (`GetContainerSwapBehavior`).
pub fn may_swap(pod: &Pod, policy: &NodePolicy) -> bool {
    let limits_swap = policy.cgroup.swap.is_some() && policy.cgroup.version == CgroupVersion::V2;
    limits_swap && policy.limited_swap && !is_critical(pod) && pod.qos == Qos::Burstable
}

/// `calcSwapForBurstablePods`: in floating point and truncated, as in the kubelet.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the kubelet's arithmetic, to the bit"
)]
fn part(request: i64, memory: i64, swap: i64) -> i64 {
    match memory > 0 {
        true => (request as f64 / memory as f64 * swap as f64) as i64,
        false => 0,
    }
}

/// The container's OOM score adjustment: -1000 to 1000 (`GetContainerOOMScoreAdjust` in `pkg/kubelet/qos/policy.go`).
/// `memory` is the machine's.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory: Bytes) -> i64 {
    match pod.qos {
        _ if is_node_critical(pod) => return OOM_GUARANTEED,
        Qos::Guaranteed => return OOM_GUARANTEED,
        Qos::BestEffort => return OOM_BEST_EFFORT,
        Qos::Burstable => {}
    }
    let shared = unshared_request(pod);
    let adjust = |request: i64| 1000 - request.saturating_add(shared).saturating_mul(1000) / memory.0.max(1);
    let mut score = adjust(container.resources.requests.memory_or_zero());
    if container.sidecar {
        // A sidecar is not killed before the containers that it serves.
        let least = pod
            .containers
            .iter()
            .map(|regular| regular.resources.requests.memory_or_zero())
            .min()
            .unwrap_or(0);
        score = score.min(adjust(least));
    }
    // Worse than any guaranteed container, better than any best-effort one.
    match score {
        _ if score < 1000 + OOM_GUARANTEED => 1000 + OOM_GUARANTEED,
        OOM_BEST_EFFORT => OOM_BEST_EFFORT - 1,
        _ => score,
    }
}

/// The memory that the pod itself requests beyond its containers, in equal parts.
fn unshared_request(pod: &Pod) -> i64 {
    let own = pod
        .resources
        .as_ref()
        .map_or(0, |own| own.requests.memory_or_zero());
    let count = i64::try_from(pod.own_containers().count()).unwrap_or(i64::MAX);
    if own == 0 || count == 0 {
        return 0;
    }
    (own - amounts::container_requests(pod).memory_or_zero()) / count
}

/// Static pods and those of the two system priorities (`IsCriticalPod` in `pkg/kubelet/types/pod_update.go`).
pub fn is_critical(pod: &Pod) -> bool {
    matches!(pod.source, Source::File { .. })
        || pod
            .priority
            .is_some_and(|priority| priority >= SYSTEM_CRITICAL_PRIORITY)
}

fn is_node_critical(pod: &Pod) -> bool {
    let spec = pod.object.spec.as_ref();
    let class = spec.and_then(|spec| spec.priority_class_name.as_deref());
    is_critical(pod) && class == Some("system-node-critical")
}

/// In microseconds, as the kernel counts periods.
fn micros(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::model::memory_rules::{MemoryProtection, MemoryQos, MemoryReservation, MemoryRules};
    use crate::model::pod::*;
    use crate::model::resources::{MilliCpu, Resources, qos_class};

    const MI: i64 = 1 << 20;
    /// The memory of the machine on which the kubelet was recorded.
    const MEMORY: Bytes = Bytes(24_684_092 * 1024);

    fn amounts(cpu: i64, memory: i64) -> Amounts {
        Amounts {
            cpu: Some(MilliCpu(cpu)).filter(|cpu| cpu.0 != 0),
            memory: Some(Bytes(memory)).filter(|memory| memory.0 != 0),
            ..Amounts::default()
        }
    }

    /// Request and limit of CPU, request and limit of memory; 0 means not set.
    fn resources(cpu: (i64, i64), memory: (i64, i64)) -> Resources {
        Resources {
            requests: amounts(cpu.0, memory.0),
            limits: amounts(cpu.1, memory.1),
        }
    }

    fn container(name: &str, resources: Resources) -> Container {
        Container {
            name: name.to_owned(),
            image: "busybox".to_owned(),
            pull: PullPolicy::IfNotPresent,
            command: Vec::new(),
            args: Vec::new(),
            env_from: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            ports: Vec::new(),
            resources,
            resize: Default::default(),
            mounts: Vec::new(),
            devices: Vec::new(),
            security: ContainerSecurity::default(),
            termination_path: "/dev/termination-log".to_owned(),
            termination_from_logs: false,
            stdin: false,
            stdin_once: false,
            tty: false,
            restart: RestartPolicy::Always,
            restart_rules: Vec::new(),
            sidecar: false,
            target: None,
            probes: Default::default(),
            lifecycle: Default::default(),
            hash: 0,
        }
    }

    fn sidecar(name: &str, resources: Resources) -> Container {
        Container {
            sidecar: true,
            ..container(name, resources)
        }
    }

    fn pod(init_containers: Vec<Container>, containers: Vec<Container>) -> Pod {
        let all = init_containers.iter().chain(&containers);
        Pod {
            name: PodName::new("ns", "p"),
            uid: PodUid("0a1b-2c".to_owned()),
            source: Source::Api,
            object: Arc::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            seen: Timestamp::UNIX_EPOCH,
            incarnation: 0,
            past_grace: None,
            deletion: None,
            hostname: "p".to_owned(),
            subdomain: None,
            hostname_as_fqdn: false,
            namespaces: Namespaces::default(),
            dns_policy: DnsPolicy::default(),
            dns_config: DnsConfig::default(),
            host_aliases: Vec::new(),
            restart_policy: RestartPolicy::Always,
            grace: Duration::from_secs(30),
            active_deadline: None,
            priority: None,
            placement: Default::default(),
            forbidden_sysctl: None,
            readiness_gates: Vec::new(),
            runtime_class: None,
            pull_secrets: Vec::new(),
            service_links: true,
            security: PodSecurity::default(),
            resources: None,
            overhead: Amounts::default(),
            qos: qos_class(None, all.map(|container| &container.resources)),
            volumes: Vec::new(),
            init_containers,
            containers,
            ephemeral_containers: Vec::new(),
        }
    }

    fn layout() -> CgroupLayout {
        CgroupLayout {
            version: CgroupVersion::V1,
            driver: CgroupDriver::Cgroupfs,
            root: Vec::new(),
            per_qos: true,
            cfs_quota: true,
            cfs_period: Duration::from_millis(100),
            pod_pids: None,
            enforce_pods: true,
            hugepage_sizes: vec![Bytes(2 * MI), Bytes(1024 * MI)],
            cores: 2,
            swap: Some(Bytes(0)),
            memory: Default::default(),
            reserved: Vec::new(),
        }
    }

    fn policy(cgroup: CgroupLayout) -> NodePolicy {
        NodePolicy {
            name: "node".to_owned(),
            root_dir: PathBuf::new(),
            pod_logs_dir: PathBuf::new(),
            container_logs_dir: PathBuf::new(),
            cgroup,
            host_dns: DnsConfig::default(),
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            host_ips: Vec::new(),
            memory: MEMORY,
            seccomp_default: false,
            seccomp_dir: PathBuf::new(),
            max_restart_backoff: Duration::from_secs(300),
            limited_swap: false,
            stop_signals: false,
            pod_level_resize: true,
            apparmor: true,
            masked_paths: Vec::new(),
            republish: Duration::from_secs(60),
            shutdown: Default::default(),
            eviction: Default::default(),
            images: Default::default(),
        }
    }

    fn show(setting: &CgroupSetting) -> String {
        format!(
            "{} shares={:?} quota={:?} memory={:?} pids={:?} hugepages={:?}{}",
            setting.name.0.join("/"),
            setting.cpu_shares,
            setting.cpu_quota,
            setting.memory_limit,
            setting.pids_max,
            setting
                .hugepages
                .iter()
                .map(|(size, limit)| (size.page_size(), *limit))
                .collect::<Vec<_>>(),
            show_protection(setting.memory_protection),
        )
    }

    fn show_protection(MemoryProtection { min, low }: MemoryProtection) -> String {
        let show = |name: &str, value: Option<i64>| value.map(|value| format!(" {name}={value}"));
        [show("min", min), show("low", low)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn show_runtime(resources: &LinuxContainerResources) -> String {
        format!(
            "shares={} quota={}/{} memory={} memory+swap={} oom={} hugepages={:?} unified={:?}",
            resources.cpu_shares,
            resources.cpu_quota,
            resources.cpu_period,
            resources.memory_limit_in_bytes,
            resources.memory_swap_limit_in_bytes,
            resources.oom_score_adj,
            resources
                .hugepage_limits
                .iter()
                .map(|limit| (limit.page_size.as_str(), limit.limit))
                .collect::<Vec<_>>(),
            std::collections::BTreeMap::from_iter(&resources.unified),
        )
    }

    /// The pod's cgroup, and what the sandbox and container requests contain.
    fn check(pod: &Pod, policy: &NodePolicy, expect: Expect) {
        let mut text = show(&pod_cgroup(pod, &policy.cgroup)) + "\n";
        text += &format!(
            "sandbox {}\n",
            show_runtime(&sandbox_resources(pod, &policy.cgroup))
        );
        for container in pod.all_containers() {
            let resources = container_resources(pod, container, policy);
            text += &format!("{} {}\n", container.name, show_runtime(&resources));
        }
        expect.assert_eq(&text);
    }

    // The following five cases were recorded from the kubelet v1.36.2 with the same pods.

    #[test]
    fn best_effort_pod() {
        check(
            &pod(vec![], vec![container("a", Resources::default())]),
            &policy(layout()),
            expect![[r#"
                kubepods/besteffort/pod0a1b-2c shares=Some(2) quota=None memory=None pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=2 quota=0/100000 memory=0 memory+swap=0 oom=0 hugepages=[] unified={}
                a shares=2 quota=0/100000 memory=0 memory+swap=0 oom=1000 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn guaranteed_pod_of_two_containers() {
        let a = container("a", resources((500, 500), (64 * MI, 64 * MI)));
        let b = container("b", resources((250, 250), (32 * MI, 32 * MI)));
        check(
            &pod(vec![], vec![a, b]),
            &policy(layout()),
            expect![[r#"
                kubepods/pod0a1b-2c shares=Some(768) quota=Some((75000, 100000)) memory=Some(100663296) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=768 quota=75000/100000 memory=100663296 memory+swap=0 oom=0 hugepages=[] unified={}
                a shares=512 quota=50000/100000 memory=67108864 memory+swap=67108864 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
                b shares=256 quota=25000/100000 memory=33554432 memory+swap=33554432 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn guaranteed_pod_with_rounded_shares() {
        let c = container("c", resources((200, 200), (32 * MI, 32 * MI)));
        check(
            &pod(vec![], vec![c]),
            &policy(layout()),
            expect![[r#"
                kubepods/pod0a1b-2c shares=Some(204) quota=Some((20000, 100000)) memory=Some(33554432) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=204 quota=20000/100000 memory=33554432 memory+swap=0 oom=0 hugepages=[] unified={}
                c shares=204 quota=20000/100000 memory=33554432 memory+swap=33554432 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn burstable_pod_with_a_memory_limit_alone() {
        let c = container("c", resources((0, 0), (16 * MI, 16 * MI)));
        check(
            &pod(vec![], vec![c]),
            &policy(layout()),
            expect![[r#"
                kubepods/burstable/pod0a1b-2c shares=Some(2) quota=None memory=Some(16777216) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=2 quota=0/100000 memory=16777216 memory+swap=0 oom=0 hugepages=[] unified={}
                c shares=2 quota=0/100000 memory=16777216 memory+swap=16777216 oom=999 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn burstable_pod_with_unequal_memory() {
        let c = container("c", resources((0, 0), (8 * MI, 64 * MI)));
        check(
            &pod(vec![], vec![c]),
            &policy(layout()),
            expect![[r#"
                kubepods/burstable/pod0a1b-2c shares=Some(2) quota=None memory=Some(67108864) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=2 quota=0/100000 memory=67108864 memory+swap=0 oom=0 hugepages=[] unified={}
                c shares=2 quota=0/100000 memory=67108864 memory+swap=67108864 oom=999 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn a_limit_of_one_container_alone_does_not_limit_the_pod() {
        let a = container("a", resources((100, 500), (MI, 64 * MI)));
        let b = container("b", resources((100, 0), (MI, 0)));
        let pod = pod(vec![], vec![a, b]);
        let setting = pod_cgroup(&pod, &layout());
        assert_eq!((setting.cpu_quota, setting.memory_limit), (None, None));
        assert_eq!(setting.cpu_shares, Some(204));
    }

    #[test]
    fn init_containers_and_sidecars() {
        let init = vec![
            container("first", resources((900, 900), (300 * MI, 300 * MI))),
            sidecar("side", resources((100, 100), (100 * MI, 100 * MI))),
            container("second", resources((850, 850), (50 * MI, 50 * MI))),
        ];
        let main = vec![container("main", resources((300, 300), (100 * MI, 100 * MI)))];
        // CPU: the second init container with the sidecar; memory: the first one alone.
        check(
            &pod(init, main),
            &policy(layout()),
            expect![[r#"
                kubepods/pod0a1b-2c shares=Some(972) quota=Some((95000, 100000)) memory=Some(314572800) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=972 quota=95000/100000 memory=314572800 memory+swap=0 oom=0 hugepages=[] unified={}
                first shares=921 quota=90000/100000 memory=314572800 memory+swap=314572800 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
                side shares=102 quota=10000/100000 memory=104857600 memory+swap=104857600 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
                second shares=870 quota=85000/100000 memory=52428800 memory+swap=52428800 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
                main shares=307 quota=30000/100000 memory=104857600 memory+swap=104857600 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn pod_level_resources_overhead_hugepages_and_pids_on_v2() {
        let mut big = container("big", resources((100, 0), (100 * MI, 200 * MI)));
        big.resources.requests.hugepages = BTreeMap::from([(Bytes(2 * MI), Bytes(4 * MI))]);
        big.resources.limits.hugepages = big.resources.requests.hugepages.clone();
        let mut pod = pod(vec![], vec![big, container("small", Resources::default())]);
        pod.resources = Some(resources((1000, 2000), (300 * MI, 400 * MI)));
        pod.overhead = amounts(250, 20 * MI);
        let layout = CgroupLayout {
            version: CgroupVersion::V2,
            pod_pids: Some(1024),
            ..layout()
        };
        check(
            &pod,
            &policy(layout),
            expect![[r#"
                kubepods/burstable/pod0a1b-2c shares=Some(1280) quota=Some((225000, 100000)) memory=Some(440401920) pids=Some(1024) hugepages=[("2MB", 4194304), ("1GB", 0)]
                sandbox shares=1024 quota=200000/100000 memory=419430400 memory+swap=0 oom=0 hugepages=[] unified={"memory.oom.group": "1"}
                big shares=102 quota=200000/100000 memory=209715200 memory+swap=0 oom=992 hugepages=[("2MB", 4194304), ("1GB", 0)] unified={"memory.oom.group": "1", "memory.swap.max": "0"}
                small shares=2048 quota=200000/100000 memory=419430400 memory+swap=0 oom=996 hugepages=[("2MB", 0), ("1GB", 0)] unified={"memory.oom.group": "1", "memory.swap.max": "0"}
            "#]],
        );
    }

    #[test]
    fn no_quota_is_written_where_quotas_are_switched_off() {
        let layout = CgroupLayout {
            cfs_quota: false,
            swap: None,
            ..layout()
        };
        let c = container("c", resources((500, 500), (64 * MI, 64 * MI)));
        check(
            &pod(vec![], vec![c]),
            &policy(layout),
            expect![[r#"
                kubepods/pod0a1b-2c shares=Some(512) quota=Some((-1, 100000)) memory=Some(67108864) pids=Some(-1) hugepages=[("2MB", 0), ("1GB", 0)]
                sandbox shares=512 quota=0/0 memory=67108864 memory+swap=0 oom=0 hugepages=[] unified={}
                c shares=512 quota=0/0 memory=67108864 memory+swap=0 oom=-997 hugepages=[("2MB", 0), ("1GB", 0)] unified={}
            "#]],
        );
    }

    #[test]
    fn limited_swap_is_the_same_part_of_swap_as_of_memory() {
        let layout = CgroupLayout {
            version: CgroupVersion::V2,
            swap: Some(Bytes(MEMORY.0 / 2)),
            ..layout()
        };
        let policy = NodePolicy {
            limited_swap: true,
            ..policy(layout)
        };
        let swap = |pod: &Pod| {
            container_resources(pod, &pod.containers[0], &policy).unified["memory.swap.max"].clone()
        };
        let burstable = pod(vec![], vec![container("c", resources((0, 0), (64 * MI, 0)))]);
        // One byte less than half: the kubelet computes in floating point and truncates.
        assert_eq!(swap(&burstable), (32 * MI - 1).to_string());
        let of_a_file = Pod {
            source: Source::File {
                path: PathBuf::from("/p.yaml"),
                document: 1,
            },
            ..burstable
        };
        assert_eq!(swap(&of_a_file), "0");
        let equal = pod(
            vec![],
            vec![container("c", resources((0, 0), (64 * MI, 64 * MI)))],
        );
        assert_eq!(swap(&equal), "0");
    }

    #[test]
    fn swap_is_limited_as_the_kubelet_limits_it() {
        // The machine has 4 times as much memory as swap.
        let quarter = MEMORY.0 / 4;
        let check = |version, limited_swap, swap, pod: &Pod, expected: (i64, Option<&str>)| {
            let layout = CgroupLayout {
                version,
                swap,
                ..layout()
            };
            let policy = NodePolicy {
                limited_swap,
                ..policy(layout)
            };
            let resources = container_resources(pod, &pod.containers[0], &policy);
            let of_swap = resources.unified.get("memory.swap.max").map(String::as_str);
            assert_eq!(
                (resources.memory_swap_limit_in_bytes, of_swap),
                expected,
                "{version:?}, LimitedSwap: {limited_swap}, {swap:?}, {:?}",
                pod.containers[0].resources
            );
        };
        let with = |request, limit| pod(vec![], vec![container("c", resources((0, 0), (request, limit)))]);
        let burstable = with(64 * MI, 128 * MI);
        let critical = Pod {
            priority: Some(2_000_000_000),
            ..burstable.clone()
        };
        let of_cpu = pod(vec![], vec![container("c", resources((100, 200), (0, 0)))]);
        let huge = with(MEMORY.0 * 2, 0);
        let (v1, v2) = (CgroupVersion::V1, CgroupVersion::V2);
        let there_is = Some(Bytes(quarter));
        let share = (16 * MI - 1).to_string();
        // (version, LimitedSwap, swap, pod) -> (memory and swap together on v1, memory.swap.max)
        check(v2, true, there_is, &burstable, (0, Some(&share)));
        check(v2, false, there_is, &burstable, (0, Some("0")));
        check(v2, true, None, &burstable, (0, None));
        check(v2, true, Some(Bytes(0)), &burstable, (0, Some("0")));
        check(v2, true, there_is, &critical, (0, Some("0")));
        check(v2, true, there_is, &with(64 * MI, 64 * MI), (0, Some("0")));
        check(v2, true, there_is, &of_cpu, (0, Some("0")));
        check(v2, true, there_is, &with(0, 0), (0, Some("0")));
        check(v2, true, there_is, &huge, (0, Some("0")));
        check(v1, false, there_is, &burstable, (128 * MI, None));
        check(v1, true, there_is, &burstable, (128 * MI, None));
        check(v1, false, there_is, &with(64 * MI, 0), (0, None));
        check(v1, false, None, &burstable, (0, None));
    }

    /// The values of the container's cgroup beside its limits.
    fn unified(pod: &Pod, layout: &CgroupLayout) -> String {
        let resources = container_resources(pod, &pod.containers[0], &policy(layout.clone()));
        let sorted = BTreeMap::from_iter(resources.unified).into_iter();
        let shown = sorted.map(|(name, value)| format!("{name}={value}"));
        shown.collect::<Vec<_>>().join(" ")
    }

    fn on_v2(memory: MemoryRules) -> CgroupLayout {
        CgroupLayout {
            version: CgroupVersion::V2,
            swap: None,
            memory,
            ..layout()
        }
    }

    #[test]
    fn one_process_is_killed_alone_where_that_is_configured() {
        let pod = pod(vec![], vec![container("c", Resources::default())]);
        let rules = |single_process_oom_kill| MemoryRules {
            single_process_oom_kill,
            ..MemoryRules::default()
        };
        assert_eq!(unified(&pod, &on_v2(rules(false))), "memory.oom.group=1");
        assert_eq!(unified(&pod, &on_v2(rules(true))), "");
        assert_eq!(unified(&pod, &layout()), "");
    }

    #[test]
    fn memory_is_throttled_and_protected_by_class_on_v2() {
        let layout = |reservation| {
            on_v2(MemoryRules {
                single_process_oom_kill: true,
                qos: Some(MemoryQos {
                    throttling: 0.9,
                    reservation,
                    allocatable: Bytes(1000 * MI),
                    page_size: 4096,
                }),
                ..MemoryRules::default()
            })
        };
        let of = |memory| pod(vec![], vec![container("c", resources((100, 100), memory))]);
        let check = |pod: &Pod, reservation, of_pod: &str, of_container: &str| {
            let layout = layout(reservation);
            let protection = pod_cgroup(pod, &layout).memory_protection;
            let shown = (show_protection(protection), unified(pod, &layout));
            assert_eq!(shown, (of_pod.to_owned(), of_container.to_owned()));
        };
        use MemoryReservation::{None, Tiered};
        let guaranteed = of((64 * MI, 64 * MI));
        check(&guaranteed, None, "", "memory.low=0 memory.min=0");
        check(&guaranteed, Tiered, " min=67108864", "memory.min=67108864");
        // 64Mi + 0.9 * (128Mi - 64Mi), and of the node's memory where there is no limit, in whole pages.
        let burstable = of((64 * MI, 128 * MI));
        let throttled = "memory.high=127504384 memory.low=0 memory.min=0";
        check(&burstable, None, "", throttled);
        let protected = "memory.high=127504384 memory.low=67108864";
        check(&burstable, Tiered, " low=67108864", protected);
        let unlimited = of((64 * MI, 0));
        let throttled = "memory.high=950427648 memory.low=0 memory.min=0";
        check(&unlimited, None, "", throttled);
        // v1 has none of this.
        let v1 = CgroupLayout {
            version: CgroupVersion::V1,
            ..layout(Tiered)
        };
        assert_eq!(unified(&burstable, &v1), "");
        assert_eq!(
            pod_cgroup(&burstable, &v1).memory_protection,
            MemoryProtection::default()
        );
        // The cgroups above cover what is protected in them.
        let levels = |reservation| {
            let pods = [&guaranteed, &burstable];
            let capacity = amounts(2000, 1000 * MI);
            let layout = layout(reservation);
            let levels = node_levels(pods.into_iter(), &layout, &capacity, 100, &Amounts::default());
            levels
                .iter()
                .map(|level| show_protection(level.memory_protection))
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(Tiered), [" min=134217728", " low=67108864", ""]);
        assert_eq!(levels(None), [" min=0", " low=0", ""]);
    }

    #[test]
    fn memory_is_kept_from_the_classes_below() {
        let of = |memory| pod(vec![], vec![container("c", resources((100, 100), memory))]);
        let (guaranteed, burstable) = (of((100 * MI, 100 * MI)), of((200 * MI, 0)));
        let check = |percent, expected: [Option<i64>; 2]| {
            let mut layout = layout();
            layout.memory.reserved_percent = percent;
            let (capacity, reserved) = (amounts(2000, 1100 * MI), amounts(0, 100 * MI));
            let pods = [&guaranteed, &burstable, &guaranteed];
            let levels = node_levels(pods.into_iter(), &layout, &capacity, 100, &reserved);
            let limits = [levels[1].memory_limit, levels[2].memory_limit];
            assert_eq!(limits, expected.map(|limit| limit.map(|limit| limit * MI)));
            assert_eq!(levels[0].memory_limit, Some(1000 * MI));
        };
        check(None, [None, None]);
        check(Some(0), [Some(1000), Some(1000)]);
        check(Some(50), [Some(900), Some(800)]);
        check(Some(100), [Some(800), Some(600)]);
    }

    #[test]
    fn oom_score() {
        let memory = Bytes(1000 * MI);
        let score = |pod: &Pod, container: &Container| oom_score_adj(pod, container, memory);
        let tenth = pod(vec![], vec![container("c", resources((0, 0), (100 * MI, 0)))]);
        assert_eq!(score(&tenth, &tenth.containers[0]), 900);
        let all = pod(vec![], vec![container("c", resources((0, 0), (1000 * MI, 0)))]);
        assert_eq!(score(&all, &all.containers[0]), 3);
        let nothing = pod(vec![], vec![container("c", resources((10, 0), (0, 0)))]);
        assert_eq!(score(&nothing, &nothing.containers[0]), 999);
        let served = pod(
            vec![sidecar("s", resources((0, 0), (10 * MI, 0)))],
            vec![container("c", resources((0, 0), (200 * MI, 0)))],
        );
        assert_eq!(score(&served, &served.init_containers[0]), 800);
        let mut object = k8s_openapi::api::core::v1::Pod::default();
        object.spec.get_or_insert_default().priority_class_name = Some("system-node-critical".to_owned());
        let mut critical = Pod {
            object: Arc::new(object),
            ..nothing
        };
        assert_eq!(score(&critical, &critical.containers[0]), 999);
        critical.priority = Some(2_000_001_000);
        assert_eq!(score(&critical, &critical.containers[0]), -997);
    }

    #[test]
    fn names() {
        let check = |qos, root: &[&str], cgroupfs: &str, systemd: &str| {
            let fs = CgroupLayout {
                root: root.iter().map(|&part| part.to_owned()).collect(),
                ..layout()
            };
            let uid = PodUid("12-ab".to_owned());
            let name = pod_cgroup_name(&uid, qos, &fs);
            assert_eq!(cgroup_parent(&name, &fs), cgroupfs);
            let sd = CgroupLayout {
                driver: CgroupDriver::Systemd,
                ..fs
            };
            assert_eq!(cgroup_parent(&name, &sd), systemd);
        };
        check(
            Qos::Guaranteed,
            &[],
            "/kubepods/pod12-ab",
            "kubepods-pod12_ab.slice",
        );
        check(
            Qos::Burstable,
            &[],
            "/kubepods/burstable/pod12-ab",
            "kubepods-burstable-pod12_ab.slice",
        );
        check(
            Qos::BestEffort,
            &["my-node"],
            "/my-node/kubepods/besteffort/pod12-ab",
            "my_node-kubepods-besteffort-pod12_ab.slice",
        );
        let without = CgroupLayout {
            per_qos: false,
            ..layout()
        };
        assert_eq!(cgroup_parent(&kubepods(&without), &without), "");
        assert_eq!(CgroupName(Vec::new()).slice(), "-.slice");
    }

    #[test]
    fn levels_of_the_node() {
        let burstable = pod(vec![], vec![container("c", resources((700, 0), (0, 0)))]);
        let guaranteed = pod(vec![], vec![container("c", resources((500, 500), (MI, MI)))]);
        let mut reserved = amounts(500, 100 * MI);
        reserved.extended.insert("pid".to_owned(), 1000);
        let capacity = amounts(2000, MEMORY.0);
        let check = |layout: &CgroupLayout, expect: Expect| {
            let pods = [&burstable, &guaranteed, &burstable];
            let qos_cgroups = node_levels(pods.into_iter(), layout, &capacity, 32768, &reserved);
            expect.assert_eq(
                &qos_cgroups
                    .iter()
                    .map(|level| show(level) + "\n")
                    .collect::<String>(),
            );
        };
        check(
            &layout(),
            expect![[r#"
                kubepods shares=Some(1536) quota=None memory=Some(25171652608) pids=Some(31768) hugepages=[("2MB", 4611686018427387904), ("1GB", 4611686018427387904)]
                kubepods/burstable shares=Some(1433) quota=None memory=None pids=None hugepages=[("2MB", 4611686018427387904), ("1GB", 4611686018427387904)]
                kubepods/besteffort shares=Some(2) quota=None memory=None pids=None hugepages=[("2MB", 4611686018427387904), ("1GB", 4611686018427387904)]
            "#]],
        );
        check(
            &CgroupLayout {
                enforce_pods: false,
                hugepage_sizes: Vec::new(),
                ..layout()
            },
            expect![[r#"
                kubepods shares=Some(2048) quota=None memory=Some(25276510208) pids=Some(32768) hugepages=[]
                kubepods/burstable shares=Some(1433) quota=None memory=None pids=None hugepages=[]
                kubepods/besteffort shares=Some(2) quota=None memory=None pids=None hugepages=[]
            "#]],
        );
        check(
            &CgroupLayout {
                per_qos: false,
                ..layout()
            },
            expect![[""]],
        );
    }

    fn weight_of(shares: u64) -> u64 {
        let setting = CgroupSetting {
            cpu_shares: Some(shares),
            ..pod_cgroup(&pod(vec![], vec![]), &layout())
        };
        setting.cpu_weight().unwrap()
    }

    #[test]
    fn weights() {
        for (shares, weight) in [
            (2, 1),
            (204, 8),
            (1024, 39),
            (2048, 79),
            (262_144, 10_000),
            (0, 1),
        ] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
    }

    fn any_resources() -> impl Strategy<Value = Resources> {
        let cpu = (0..4000i64, 0..4000i64);
        let memory = (0..4096i64, 0..4096i64);
        (cpu, memory).prop_map(|(cpu, memory)| {
            let at_most = |(a, b): (i64, i64)| if b == 0 { (a, 0) } else { (a.min(b), b) };
            let (cpu, memory) = (at_most(cpu), at_most(memory));
            resources(cpu, (memory.0 * MI, memory.1 * MI))
        })
    }

    fn any_pod() -> impl Strategy<Value = Pod> {
        let init = proptest::collection::vec((any_resources(), any::<bool>()), 0..4);
        let main = proptest::collection::vec(any_resources(), 1..4);
        (init, main).prop_map(|(init, main)| {
            let init = init.into_iter().map(|(resources, sidecar)| Container {
                sidecar,
                ..container("i", resources)
            });
            let main = main.into_iter().map(|resources| container("m", resources));
            pod(init.collect(), main.collect())
        })
    }

    proptest! {
        #[test]
        fn shares_and_weight_stay_in_the_kernels_bounds_and_in_order(a in 0..i64::MAX, b in 0..i64::MAX) {
            let (low, high) = (cpu_shares(a.min(b)), cpu_shares(a.max(b)));
            prop_assert!(low <= high);
            prop_assert!((MIN_SHARES..=MAX_SHARES).contains(&low));
            prop_assert!(weight_of(low) <= weight_of(high));
            prop_assert!((1..=10_000).contains(&weight_of(high)));
        }

        #[test]
        fn a_quota_is_never_below_the_kernels_least(milli in 1..1_000_000i64, period in 1..=1_000_000u64) {
            let quota = cpu_quota(milli, Duration::from_micros(period));
            prop_assert!(quota >= MIN_QUOTA);
            prop_assert!(quota == MIN_QUOTA || quota == milli * i64::try_from(period).unwrap() / 1000);
        }

        #[test]
        fn a_pod_has_room_for_each_of_its_containers(pod in any_pod()) {
            let layout = layout();
            let cgroup = pod_cgroup(&pod, &layout);
            for container in pod.all_containers() {
                let own = container_resources(&pod, container, &policy(layout.clone()));
                prop_assert!(u64::try_from(own.cpu_shares).unwrap() <= cgroup.cpu_shares.unwrap()
                    || container.resources.requests.cpu.is_none());
                if let Some((quota, _)) = cgroup.cpu_quota {
                    prop_assert!(own.cpu_quota <= quota);
                }
                if let Some(limit) = cgroup.memory_limit {
                    prop_assert!(own.memory_limit_in_bytes <= limit);
                }
                let (low, high) = match pod.qos {
                    Qos::Guaranteed => (-997, -997),
                    Qos::Burstable => (3, 999),
                    Qos::BestEffort => (1000, 1000),
                };
                prop_assert!((low..=high).contains(&own.oom_score_adj));
            }
        }
    }
}
