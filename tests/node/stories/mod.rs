//! The stories, by subject.

mod addresses;
mod collections;
mod copies;
mod cut_streams;
mod cve_2021_25741;
mod debugging;
mod endings;
mod events;
mod exec;
mod faults;
mod huge_pages;
mod image_volumes;
mod image_work;
mod images;
mod kubectl;
mod kubectl_writes;
mod limits;
mod logs;
mod machine;
mod network;
mod pods;
mod prometheus;
mod registry;
mod reserved;
mod runtimes;
mod streams;
mod takeover;
mod timeline;
mod top;
mod user_namespaces;

use crate::node::{Node, USUAL, World};
use crate::runner::Company;

/// One story: what it is called, what its node is made of, what may run beside it, and how it goes.
pub struct Story {
    pub name: &'static str,
    pub world: World,
    pub company: Company,
    pub tell: fn(&mut Node),
}

impl Story {
    /// The same story, with nothing beside it.
    fn alone(self) -> Story {
        Story {
            company: Company::None,
            ..self
        }
    }
}

/// Names a story after its function.
macro_rules! story {
    ($module:ident :: $name:ident) => {
        story!($module::$name, USUAL)
    };
    ($module:ident :: $name:ident, $world:expr) => {
        Story {
            name: concat!(stringify!($module), "::", stringify!($name)),
            world: $world,
            company: Company::Any,
            tell: $module::$name,
        }
    };
}

/// Every story, in the order in which they run.
pub fn all() -> Vec<Story> {
    vec![
        story!(pods::every_shipped_manifest_runs_and_answers),
        story!(pods::init_containers_run_in_order_before_the_others),
        story!(pods::a_variable_of_a_file_is_what_an_init_container_wrote),
        story!(pods::an_edit_replaces_the_pod_and_the_old_one_is_gone_first),
        story!(pods::a_deleted_manifest_leaves_nothing),
        story!(pods::a_pod_whose_network_record_was_cut_short_still_ends),
        story!(pods::a_crashing_container_restarts_with_growing_back_off),
        story!(pods::restart_policies_are_kept),
        story!(pods::termination_gives_the_grace_period),
        story!(pods::a_broken_edit_leaves_the_last_good_version_running),
        story!(cve_2021_25741::cve_2021_25741_containers_see_their_volume_or_are_not_made),
        story!(endings::sidecars_end_last_and_their_hooks_come_first),
        story!(endings::a_container_that_was_removed_by_hand_is_counted_on),
        story!(endings::a_manifest_that_is_made_again_restarts_its_pod),
        // It measures how much of a processor a container gets.
        story!(limits::a_cpu_limit_holds).alone(),
        story!(limits::over_its_memory_limit_a_container_is_oom_killed),
        story!(limits::a_fork_bomb_stops_at_the_pid_limit),
        story!(reserved::the_machines_own_programs_are_kept_within_what_is_reserved),
        story!(addresses::the_nodes_address_comes_late_and_changes),
        story!(network::pods_reach_each_other_the_node_and_the_outside),
        story!(network::a_host_port_leads_to_the_pod_and_goes_with_it),
        story!(network::a_pod_is_as_fast_as_its_annotations_allow),
        story!(network::a_machine_with_an_entry_in_the_file_of_peers_is_one_of_the_network),
        story!(network::another_networks_configuration_is_respected),
        story!(network::a_pod_has_an_address_of_each_ip_family),
        story!(network::a_pod_may_have_an_ipv6_address_alone),
        story!(network::a_machine_of_both_ip_families_is_one_of_the_network_in_both),
        story!(network::the_loopback_s_guard_stands_whoever_flushes_rules),
        story!(network::a_bridge_that_another_program_takes_is_made_again),
        story!(prometheus::prometheus_reads_every_page_in_every_format),
        story!(logs::an_agent_whose_own_log_cannot_be_written_lives),
        story!(logs::logs_lie_where_shippers_look_and_are_rotated),
        story!(logs::previous_and_following_logs_are_printed),
        story!(exec::commands_have_their_streams_and_exit_codes),
        story!(exec::commands_that_cannot_start_say_why),
        story!(exec::a_command_has_a_terminal_of_the_right_size),
        story!(exec::a_command_ends_when_its_caller_leaves),
        story!(exec::a_command_that_does_not_read_ends_when_its_caller_leaves),
        story!(exec::many_commands_run_at_once),
        story!(exec::the_command_line_runs_commands_in_pods),
        story!(exec::a_terminal_is_passed_on_and_given_back),
        story!(timeline::the_steps_of_a_start_and_an_end_are_drawn),
        story!(top::the_live_view_shows_pods_and_gives_the_terminal_back),
        story!(streams::ports_of_a_pod_are_forwarded),
        story!(streams::forwarding_goes_on_after_descriptors_were_short),
        story!(streams::a_process_is_attached_to),
        story!(streams::a_process_is_attached_to_over_tls, streams::ENCRYPTED),
        story!(streams::a_command_goes_on_while_containerd_restarts),
        story!(streams::an_agent_that_is_killed_leaves_no_command),
        story!(copies::files_are_copied_both_ways),
        story!(debugging::a_container_is_added_to_a_static_pod),
        story!(events::events_are_shown_as_they_happen),
        story!(cut_streams::streams_that_are_cut_leave_nothing),
        story!(kubectl::the_release_of_debian_12),
        story!(kubectl::the_release_of_debian_13),
        story!(kubectl::the_release_of_this_kubelet),
        story!(kubectl_writes::the_release_of_debian_12),
        story!(kubectl_writes::the_release_of_debian_13),
        story!(kubectl_writes::the_release_of_this_kubelet),
        story!(kubectl::the_kubeconfig_is_for_root_and_its_group_alone),
        story!(images::an_archive_is_imported_when_it_appears),
        story!(images::never_pulled_and_not_there_says_so),
        story!(collections::unused_images_are_removed_and_a_pods_stay),
        story!(image_work::archives_are_imported_as_they_are_sent),
        story!(image_work::an_image_is_pulled_and_the_pull_canceled),
        story!(registry::credentials_of_secrets_and_of_the_node_open_a_registry),
        story!(faults::an_agent_that_ends_leaves_pods_and_adopts_them_again),
        story!(faults::the_agent_is_killed_twenty_times_during_a_rollout),
        story!(faults::containerd_is_killed_twenty_times_during_a_rollout),
        story!(faults::broken_manifests_disturb_no_other_pod),
        story!(faults::a_pod_that_ends_before_it_has_a_sandbox_leaves_nothing),
        story!(takeover::static_pods_go_from_the_kubelet_to_gantry_and_back),
        story!(machine::run_and_clean_node_leave_the_machine_as_it_was),
        story!(machine::install_and_uninstall_leave_the_machine_as_it_was),
        story!(huge_pages::a_volume_consists_of_them).alone(),
        story!(image_volumes::a_runtime_without_them_says_so),
        story!(
            image_volumes::the_files_of_an_image_are_read_only,
            runtimes::CONTAINERD_2
        ),
        story!(user_namespaces::a_runtime_without_them_says_so),
        story!(runtimes::crun, runtimes::CRUN),
        story!(runtimes::containerd_1_7, runtimes::CONTAINERD_1_7),
        story!(runtimes::containerd_2, runtimes::CONTAINERD_2),
    ]
}
