//! The stories, by subject.

mod calls;
mod churn;
mod claims;
mod content;
mod cut_off;
mod debugging;
mod endpoints;
mod evictions;
mod faults;
mod node;
mod numbers;
mod parity;
mod pods;
mod removal;
mod resize;
mod statics;
mod streams;
mod takeover;
mod top;
mod workloads;

use crate::cluster::Cluster;

/// One story: what it is called, and how it goes.
pub struct Story {
    pub name: &'static str,
    pub tell: fn(&mut Cluster),
}

/// Names a story after its function.
macro_rules! story {
    ($module:ident :: $name:ident) => {
        Story {
            name: concat!(stringify!($module), "::", stringify!($name)),
            tell: $module::$name,
        }
    };
}

/// Those of a cluster without faults, in the order in which they run.
pub fn undisturbed() -> Vec<Story> {
    vec![
        story!(node::it_registers_and_renews_its_lease),
        story!(node::it_registers_again_when_it_was_deleted),
        story!(pods::a_pod_runs_and_its_status_is_told),
        story!(pods::ends_and_restarts_are_told),
        story!(pods::readiness_gates_are_followed_as_often_as_somebody_sets_them),
        story!(pods::containers_follow_the_policies_that_they_state),
        story!(debugging::a_container_is_added_to_a_pod_that_runs),
        story!(streams::commands_have_their_streams_through_the_api_server),
        story!(streams::a_client_that_leaves_ends_its_command),
        story!(streams::a_process_is_attached_to),
        story!(streams::ports_are_forwarded),
        story!(streams::ports_are_forwarded_over_channels),
        story!(streams::files_are_copied_in_and_out),
        story!(pods::a_rule_restarts_all_containers_in_the_same_sandbox),
        story!(resize::a_running_pod_gets_other_resources),
        story!(resize::a_running_pod_gets_other_resources_as_a_whole),
        story!(content::config_maps_and_secrets_reach_a_pod_and_follow_their_changes),
        story!(content::a_token_is_the_pods_and_the_api_server_knows_it),
        story!(content::what_a_pod_lacks_holds_it_until_it_is_there),
        story!(claims::data_outlives_the_pods_that_use_it),
        story!(claims::a_pod_waits_for_its_claim),
        story!(node::logs_are_read_through_the_api_server_and_by_nobody_else),
        story!(node::what_a_node_shows_is_read_through_the_api_server),
        story!(node::what_happens_is_told_as_events),
        story!(node::pods_are_on_the_subnet_that_the_cluster_gives),
        story!(statics::a_static_pod_has_one_mirror),
        story!(statics::a_mirror_that_is_denied_disturbs_nobody),
        story!(removal::a_pod_is_there_until_its_containers_are_gone),
        story!(removal::a_forced_deletion_leaves_nothing_running),
        story!(removal::a_namespace_goes_with_its_pods),
        story!(removal::a_drained_node_is_empty_and_takes_pods_again),
        story!(removal::a_drain_evicts_whom_a_budget_allows_and_waits_for_the_others),
        story!(removal::a_critical_pod_takes_the_room_of_another_one),
        story!(removal::a_taint_drives_out_who_does_not_tolerate_it),
        story!(workloads::a_deployment_rolls_out_and_back),
        story!(workloads::a_job_runs_in_parallel_and_retries),
        story!(workloads::a_cron_job_runs_when_its_time_has_come),
        story!(workloads::a_daemon_set_has_its_pod),
        story!(workloads::a_stateful_set_keeps_its_names),
        story!(parity::pods_are_carried_as_the_kubelet_carries_them),
    ]
}

/// Those in which a part of the cluster fails, is slow or is away, in the order in which they run.
pub fn disturbed() -> Vec<Story> {
    vec![
        story!(numbers::pods_and_node_are_measured_as_by_the_kubelet),
        story!(top::kubectl_top_shows_what_the_kernel_counts),
        story!(evictions::who_uses_most_beyond_its_request_makes_room),
        story!(evictions::a_pod_that_exceeds_its_limit_of_the_disk_goes),
        story!(evictions::a_fast_writer_is_stopped_before_the_disk_is_full),
        story!(takeover::pods_of_the_api_go_from_the_kubelet_to_gantry_and_back),
        story!(faults::the_agent_is_killed_during_a_rollout),
        story!(cut_off::a_runtime_class_names_the_handler),
        story!(cut_off::pods_start_with_the_machine_and_without_the_api_server),
        story!(churn::the_agent_is_killed_at_random_moments),
        story!(calls::slow_and_failing_calls_undo_nothing),
        story!(calls::watches_that_are_too_old_lose_nothing),
        story!(faults::the_api_server_is_away_for_a_minute_of_churn),
        story!(faults::connections_that_have_gone_dead_are_noticed),
    ]
}
