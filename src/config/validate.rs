//! Validates a complete KubeletConfiguration (`pkg/kubelet/apis/config/validation` of Kubernetes v1.36, with gantry's
//! messages). Pure. Each problem names the key, its origin, and the remedy.

use std::net::IpAddr;

use super::checks::{Checks, LONGEST};
use super::enforce::node_allocatable;
use super::raw::KubeletConfiguration;
use super::supported::not_there_yet;
use crate::model::duration::Span;

/// Validates everything that needs no access to the machine or to files.
pub fn validate(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    ranges(config, checks);
    choices(config, checks);
    durations(config, checks);
    relations(config, checks);
    node_allocatable(config, checks);
    not_there_yet(config, checks);
}

fn ranges(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let wide = |value: Option<i32>| value.map(i64::from);
    let any = i64::MAX;
    checks.within(
        "nodeLeaseDurationSeconds",
        wide(config.node_lease_duration_seconds),
        1..=any,
    );
    checks.within("eventBurst", wide(config.event_burst), 0..=any);
    checks.within("eventRecordQPS", wide(config.event_record_qps), 0..=any);
    checks.within("healthzPort", wide(config.healthz_port), 0..=65_535);
    checks.within("port", wide(config.port), 1..=65_535);
    checks.within("readOnlyPort", wide(config.read_only_port), 0..=65_535);
    checks.within(
        "imageGCHighThresholdPercent",
        wide(config.image_gc_high_threshold_percent),
        0..=100,
    );
    checks.within(
        "imageGCLowThresholdPercent",
        wide(config.image_gc_low_threshold_percent),
        0..=100,
    );
    checks.within("iptablesDropBit", wide(config.iptables_drop_bit), 0..=31);
    checks.within(
        "iptablesMasqueradeBit",
        wide(config.iptables_masquerade_bit),
        0..=31,
    );
    counts(config, checks);
    if let Some(factor) = config.memory_throttling_factor
        && !(factor > 0.0 && factor <= 1.0)
    {
        checks.wrong(
            "memoryThrottlingFactor",
            format!("{factor} must be above 0 and at most 1"),
        );
    }
    let ids = config
        .user_namespaces
        .as_ref()
        .and_then(|namespaces| namespaces.ids_per_pod);
    if let Some(ids) = ids
        && (!(65_536..=i64::from(u32::MAX)).contains(&ids) || ids % 65_536 != 0)
    {
        let problem = format!("{ids} must be a multiple of 65536, up to {}", u32::MAX);
        checks.wrong("userNamespaces.idsPerPod", problem);
    }
}

fn counts(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let wide = |value: Option<i32>| value.map(i64::from);
    let any = i64::MAX;
    checks.within("kubeAPIBurst", wide(config.kube_api_burst), 0..=any);
    checks.within("kubeAPIQPS", wide(config.kube_api_qps), 0..=any);
    checks.within(
        "nodeStatusMaxImages",
        wide(config.node_status_max_images),
        -1..=any,
    );
    checks.within("maxOpenFiles", config.max_open_files, 0..=any);
    checks.within("maxPods", wide(config.max_pods), 0..=any);
    checks.within("podsPerCore", wide(config.pods_per_core), 0..=any);
    checks.within("oomScoreAdj", wide(config.oom_score_adj), -1_000..=1_000);
    checks.within("registryBurst", wide(config.registry_burst), 0..=any);
    checks.within("registryPullQPS", wide(config.registry_pull_qps), 0..=any);
    checks.within(
        "maxParallelImagePulls",
        wide(config.max_parallel_image_pulls),
        1..=any,
    );
    checks.within(
        "containerLogMaxWorkers",
        wide(config.container_log_max_workers),
        1..=any,
    );
    checks.within(
        "containerLogMaxFiles",
        wide(config.container_log_max_files),
        2..=any,
    );
}

fn choices(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let authorization = config
        .authorization
        .as_ref()
        .and_then(|authorization| authorization.mode.as_ref());
    let swap = config
        .memory_swap
        .as_ref()
        .and_then(|swap| swap.swap_behavior.as_ref());
    let format = config
        .logging
        .as_ref()
        .and_then(|logging| logging.format.as_ref());
    let changes = config.config_map_and_secret_change_detection_strategy.as_ref();
    checks.one_of(
        "cgroupDriver",
        config.cgroup_driver.as_ref(),
        &["cgroupfs", "systemd"],
    );
    managers(config, checks);
    checks.one_of(
        "memoryReservationPolicy",
        config.memory_reservation_policy.as_ref(),
        &["None", "TieredReservation"],
    );
    checks.one_of(
        "hairpinMode",
        config.hairpin_mode.as_ref(),
        &["promiscuous-bridge", "hairpin-veth", "none"],
    );
    // Only what was hidden in this version's predecessor can be shown.
    checks.one_of(
        "showHiddenMetricsForVersion",
        config.show_hidden_metrics_for_version.as_ref(),
        &["", "1.35"],
    );
    checks.one_of("authorization.mode", authorization, &["AlwaysAllow", "Webhook"]);
    checks.one_of("memorySwap.swapBehavior", swap, &["NoSwap", "LimitedSwap"]);
    checks.one_of("logging.format", format, &["text", "json"]);
    checks.one_of(
        "configMapAndSecretChangeDetectionStrategy",
        changes,
        &["Get", "Cache", "Watch"],
    );
}

/// The policies of the managers that give containers CPUs and memory of their own.
fn managers(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let numa = ["none", "best-effort", "restricted", "single-numa-node"];
    checks.one_of(
        "topologyManagerPolicy",
        config.topology_manager_policy.as_ref(),
        &numa,
    );
    checks.one_of(
        "topologyManagerScope",
        config.topology_manager_scope.as_ref(),
        &["container", "pod"],
    );
    checks.one_of(
        "cpuManagerPolicy",
        config.cpu_manager_policy.as_ref(),
        &["none", "static"],
    );
    checks.one_of(
        "memoryManagerPolicy",
        config.memory_manager_policy.as_ref(),
        &["None", "Static"],
    );
}

fn durations(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let second = Span::seconds(1);
    let restart = config
        .crash_loop_back_off
        .as_ref()
        .and_then(|backoff| backoff.max_container_restart_period);
    checks.lasts("syncFrequency", config.sync_frequency, second..=LONGEST);
    checks.lasts(
        "fileCheckFrequency",
        config.file_check_frequency,
        second..=LONGEST,
    );
    checks.lasts(
        "runtimeRequestTimeout",
        config.runtime_request_timeout,
        second..=LONGEST,
    );
    checks.lasts(
        "nodeStatusUpdateFrequency",
        config.node_status_update_frequency,
        second..=LONGEST,
    );
    checks.lasts(
        "nodeStatusReportFrequency",
        config.node_status_report_frequency,
        second..=LONGEST,
    );
    checks.lasts(
        "evictionPressureTransitionPeriod",
        config.eviction_pressure_transition_period,
        Span(0)..=LONGEST,
    );
    checks.lasts(
        "imageMinimumGCAge",
        config.image_minimum_gc_age,
        Span(0)..=LONGEST,
    );
    checks.lasts(
        "imageMaximumGCAge",
        config.image_maximum_gc_age,
        Span(0)..=LONGEST,
    );
    checks.lasts(
        "cpuCFSQuotaPeriod",
        config.cpu_cfs_quota_period,
        Span::milliseconds(1)..=second,
    );
    checks.lasts(
        "containerLogMonitorInterval",
        config.container_log_monitor_interval,
        Span::seconds(3)..=LONGEST,
    );
    checks.lasts(
        "crashLoopBackOff.maxContainerRestartPeriod",
        restart,
        second..=Span::seconds(300),
    );
}

fn relations(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    image_collection(config, checks);
    super::shutdown::check(config, checks);
    if config.serialize_image_pulls == Some(true) && config.max_parallel_image_pulls > Some(1) {
        checks.wrong(
            "maxParallelImagePulls",
            "needs `serializeImagePulls: false` to be above 1",
        );
    }
    if config.system_cgroups.is_some() && config.cgroup_root.is_none() {
        checks.wrong("systemCgroups", "needs cgroupRoot to be set");
    }
    if config.enable_system_log_query == Some(true) && config.enable_system_log_handler != Some(true) {
        checks.wrong("enableSystemLogQuery", "needs `enableSystemLogHandler: true`");
    }
    if let Some(path) = &config.pod_logs_dir
        && (!path.starts_with('/') || path.split('/').any(|part| part == "..") || !path.is_ascii())
    {
        let problem = format!("{path:?} must be an absolute path without `..`, in ASCII");
        checks.wrong("podLogsDir", problem);
    }
    for (key, address) in [
        ("address", &config.address),
        ("healthzBindAddress", &config.healthz_bind_address),
    ] {
        if let Some(address) = address
            .as_ref()
            .filter(|address| address.parse::<IpAddr>().is_err())
        {
            checks.wrong(
                key,
                format!("{address:?} is not an IP address; 0.0.0.0 or :: means all addresses"),
            );
        }
    }
}

/// Lower bounds of image garbage collection stay below their upper ones.
fn image_collection(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let (high, low) = (
        config.image_gc_high_threshold_percent,
        config.image_gc_low_threshold_percent,
    );
    if let (Some(high), Some(low)) = (high, low)
        && low >= high
    {
        let problem = format!("{low} must be less than imageGCHighThresholdPercent, which is {high}");
        checks.wrong("imageGCLowThresholdPercent", problem);
    }
    let (maximum, minimum) = (config.image_maximum_gc_age, config.image_minimum_gc_age);
    if let (Some(maximum), Some(minimum)) = (maximum, minimum)
        && maximum > Span(0)
        && maximum <= minimum
    {
        let problem = format!("{maximum} must be longer than imageMinimumGCAge, which is {minimum}");
        checks.wrong("imageMaximumGCAge", problem);
    }
}
