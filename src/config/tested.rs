//! Which test shows that a supported key is acted on. A table; the suite looks for the tests.

/// Keys, and the names of the tests.
pub(super) const TESTED: &[(&str, &str)] = &[
    ("kind", "the_head_of_a_document_is_checked"),
    ("apiVersion", "the_head_of_a_document_is_checked"),
    ("enableServer", "a_stated_value_reaches_its_place"),
    (
        "staticPodPath",
        "a_manifest_is_renamed_into_place_replaced_and_removed",
    ),
    ("podLogsDir", "a_stated_value_reaches_its_place"),
    ("syncFrequency", "a_stated_value_reaches_its_place"),
    ("fileCheckFrequency", "a_stated_value_reaches_its_place"),
    (
        "address",
        "what_the_nodes_port_offers_and_the_kernels_settings_are_acted_on",
    ),
    ("port", "a_stated_value_reaches_its_place"),
    ("readOnlyPort", "only_what_needs_no_permission_is_answered"),
    ("tlsCertFile", "certificates_that_change_on_disk_are_read_again"),
    (
        "tlsPrivateKeyFile",
        "certificates_that_change_on_disk_are_read_again",
    ),
    (
        "tlsCipherSuites",
        "only_what_the_configuration_offers_is_agreed_on",
    ),
    (
        "tlsCurvePreferences",
        "only_what_the_configuration_offers_is_agreed_on",
    ),
    ("tlsMinVersion", "only_what_the_configuration_offers_is_agreed_on"),
    ("rotateCertificates", "a_renewal_interrupts_nothing"),
    (
        "serverTLSBootstrap",
        "it_is_renewed_before_it_ends_and_no_connection_fails",
    ),
    (
        "authentication",
        "strangers_are_asked_about_where_the_configuration_lets_them",
    ),
    (
        "authorization",
        "a_token_is_reviewed_once_and_opens_what_its_owner_may",
    ),
    (
        "imagePullCredentialsVerificationPolicy",
        "each_policy_for_preloaded_pulled_and_listed_images",
    ),
    (
        "preloadedImagesVerificationAllowlist",
        "each_policy_for_preloaded_pulled_and_listed_images",
    ),
    ("eventRecordQPS", "a_stated_value_reaches_its_place"),
    ("eventBurst", "a_stated_value_reaches_its_place"),
    (
        "enableDebuggingHandlers",
        "without_debugging_nobody_gets_logs_and_callers_are_asked_who_they_are_first",
    ),
    (
        "healthzPort",
        "cve_2019_11248_the_health_port_answers_nothing_but_health",
    ),
    ("healthzBindAddress", "a_stated_value_reaches_its_place"),
    (
        "oomScoreAdj",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    ("clusterDomain", "each_policy"),
    ("clusterDNS", "each_policy"),
    (
        "streamingConnectionIdleTimeout",
        "a_stream_on_which_nothing_passes_is_cut",
    ),
    ("nodeStatusUpdateFrequency", "a_stated_value_reaches_its_place"),
    (
        "nodeStatusReportFrequency",
        "heartbeats_alone_are_told_only_when_due",
    ),
    ("nodeLeaseDurationSeconds", "it_registers_and_renews_its_lease"),
    (
        "volumeStatsAggPeriod",
        "a_volume_is_measured_once_in_a_period_and_never_twice_at_once",
    ),
    (
        "kubeletCgroups",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    (
        "cgroupRoot",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    ("cgroupsPerQOS", "levels_of_the_node"),
    ("cgroupDriver", "who_makes_cgroups"),
    (
        "singleProcessOOMKill",
        "one_process_is_killed_alone_where_that_is_configured",
    ),
    ("qosReserved", "memory_is_kept_from_the_classes_below"),
    ("runtimeRequestTimeout", "a_stated_value_reaches_its_place"),
    ("maxPods", "the_nodes_settings"),
    ("podCIDR", "the_first_free_subnet_is_taken"),
    ("podPidsLimit", "a_fork_bomb_stops_at_the_pid_limit"),
    ("resolvConf", "relative_paths_start_at_their_file"),
    ("cpuCFSQuota", "no_quota_is_written_where_quotas_are_switched_off"),
    ("cpuCFSQuotaPeriod", "a_quota_is_never_below_the_kernels_least"),
    ("nodeStatusMaxImages", "as_the_kubelet_tells_it"),
    (
        "maxOpenFiles",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    (
        "kubeAPIQPS",
        "after_a_burst_requests_go_at_their_pace_and_heartbeats_at_once",
    ),
    (
        "kubeAPIBurst",
        "after_a_burst_requests_go_at_their_pace_and_heartbeats_at_once",
    ),
    ("serializeImagePulls", "a_stated_value_reaches_its_place"),
    ("maxParallelImagePulls", "a_stated_value_reaches_its_place"),
    ("evictionHard", "each_signal_has_its_condition"),
    (
        "evictionPressureTransitionPeriod",
        "pressure_comes_at_once_and_goes_after_the_period",
    ),
    ("mergeDefaultEvictionSettings", "defaults_that_follow_another_key"),
    ("podsPerCore", "the_nodes_settings"),
    (
        "protectKernelDefaults",
        "what_the_nodes_port_offers_and_the_kernels_settings_are_acted_on",
    ),
    (
        "makeIPTablesUtilChains",
        "the_loopback_s_guard_stands_whoever_flushes_rules",
    ),
    ("failSwapOn", "what_the_machine_must_be"),
    ("memorySwap", "limited_swap_is_the_same_part_of_swap_as_of_memory"),
    (
        "containerLogMaxSize",
        "logs_lie_where_shippers_look_and_are_rotated",
    ),
    ("containerLogMaxFiles", "five_files_remain_the_newest_two_plain"),
    (
        "containerLogMaxWorkers",
        "as_many_logs_are_rotated_at_once_as_there_are_workers",
    ),
    (
        "containerLogMonitorInterval",
        "logs_lie_where_shippers_look_and_are_rotated",
    ),
    (
        "systemReserved",
        "reserved_amounts_and_huge_pages_are_not_allocatable",
    ),
    (
        "kubeReserved",
        "reserved_amounts_and_huge_pages_are_not_allocatable",
    ),
    (
        "reservedSystemCPUs",
        "cpus_reserved_by_number_are_all_that_is_reserved",
    ),
    (
        "systemReservedCgroup",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    (
        "kubeReservedCgroup",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    (
        "enforceNodeAllocatable",
        "the_machines_own_programs_are_kept_within_what_is_reserved",
    ),
    ("allowedUnsafeSysctls", "a_kernel_parameter_that_the_node_forbids"),
    ("providerID", "a_stated_value_reaches_its_place"),
    ("logging.format", "a_stated_value_reaches_its_place"),
    ("logging.verbosity", "the_verbosity_is_set_in_the_kubelets_words"),
    ("enableSystemLogHandler", "what_is_disabled_is_not_served"),
    (
        "enableSystemLogQuery",
        "a_query_is_answered_by_the_journal_or_from_a_file",
    ),
    (
        "shutdownGracePeriod",
        "pods_have_their_time_before_the_machine_reboots_and_static_pods_run_again",
    ),
    (
        "shutdownGracePeriodCriticalPods",
        "pods_have_their_time_before_the_machine_reboots_and_static_pods_run_again",
    ),
    (
        "shutdownGracePeriodByPodPriority",
        "normal_pods_end_first_and_then_critical_ones_each_within_its_grace_period_or_the_groups",
    ),
    (
        "crashLoopBackOff",
        "delays_double_up_to_the_largest_and_begin_again_after_a_long_run",
    ),
    (
        "enableProfilingHandler",
        "what_the_configuration_disables_says_so",
    ),
    (
        "enableDebugFlagsHandler",
        "what_the_configuration_disables_says_so",
    ),
    ("seccompDefault", "a_stated_value_reaches_its_place"),
    (
        "memoryThrottlingFactor",
        "memory_is_throttled_and_protected_by_class_on_v2",
    ),
    (
        "memoryReservationPolicy",
        "memory_is_throttled_and_protected_by_class_on_v2",
    ),
    ("registerWithTaints", "taints_of_the_flag"),
    ("registerNode", "a_stated_value_reaches_its_place"),
    ("tracing", "where_traces_go_and_how_many"),
    ("containerRuntimeEndpoint", "endpoints_of_the_configuration"),
    ("imageServiceEndpoint", "a_stated_value_reaches_its_place"),
    ("failCgroupV1", "what_the_machine_must_be"),
    ("userNamespaces", "no_two_pods_ever_have_one_range"),
    (
        "evictionSoft",
        "a_soft_threshold_waits_and_leaves_pods_their_time",
    ),
    (
        "evictionSoftGracePeriod",
        "a_soft_threshold_waits_and_leaves_pods_their_time",
    ),
    (
        "evictionMaxPodGracePeriod",
        "a_soft_threshold_waits_and_leaves_pods_their_time",
    ),
    (
        "evictionMinimumReclaim",
        "a_threshold_is_met_when_its_grace_is_over_until_enough_is_free",
    ),
    (
        "localStorageCapacityIsolation",
        "a_pod_that_exceeds_its_limit_of_the_disk_goes",
    ),
    ("imageMinimumGCAge", "what_has_come_a_moment_ago_stays"),
    (
        "imageMaximumGCAge",
        "old_images_go_once_the_agent_has_run_for_that_long",
    ),
    (
        "imageGCHighThresholdPercent",
        "where_the_disk_is_nearly_full_unused_images_go_until_there_is_room",
    ),
    (
        "imageGCLowThresholdPercent",
        "where_the_disk_is_nearly_full_unused_images_go_until_there_is_room",
    ),
    (
        "registryPullQPS",
        "pulls_beyond_the_registrys_limit_are_refused_in_the_kubelets_words",
    ),
    (
        "registryBurst",
        "pulls_beyond_the_registrys_limit_are_refused_in_the_kubelets_words",
    ),
];
