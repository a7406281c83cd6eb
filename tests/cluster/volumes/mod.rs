//! Stories of volumes: CSI drivers with Kubernetes' own external controllers, claims, and what is on the node's disk.
//!
//! One cluster serves them all. Most of them run beside each other, each with a namespace and often a driver of its own;
//! those that end the agent run alone. `make test-volumes` tells them; `AGENT=kubelet` tells them of the kubelet, by which
//! they are proven.

mod attachment;
mod disk;
mod driver;
mod hung;
mod kills;
mod local;
mod mounting;
mod numbers;
mod objects;
mod permissions;
mod place;
mod provisioning;
mod refusals;
mod registration;
mod restarts;
mod sanity;
mod takeover;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use driver::detach_loop_devices;

use crate::node::here;
use crate::runner::{self, Choice, Company};
use crate::world::log_ends;
use place::{Place, Volumes};

/// The longest that all stories may take together.
pub const LIMIT: Duration = Duration::from_secs(900);
/// How many run beside each other. They wait for most of their time.
const PLACES: usize = 6;

/// One story: what it is called, whether it may run beside others, and how it goes.
pub struct Story {
    pub name: &'static str,
    company: Company,
    tell: fn(&mut Place),
}

/// Names a story after its function.
macro_rules! story {
    ($module:ident :: $name:ident) => {
        story!($module::$name, Any)
    };
    ($module:ident :: $name:ident, $company:ident) => {
        Story {
            name: concat!("volumes::", stringify!($module), "::", stringify!($name)),
            company: Company::$company,
            tell: $module::$name,
        }
    };
}

/// All of them; those that take longest begin first.
pub fn all() -> Vec<Story> {
    vec![
        story!(provisioning::a_volume_grows_while_it_is_mounted),
        story!(attachment::a_volume_is_staged_when_it_is_attached_and_detached_when_it_is_not_in_use),
        story!(attachment::how_many_volumes_the_node_can_have_is_asked_again),
        story!(provisioning::a_claim_is_provisioned_shared_by_pods_and_deleted),
        story!(provisioning::a_generic_ephemeral_volume_is_gone_with_its_pod),
        story!(refusals::a_volume_for_one_pod_is_refused_to_a_second),
        story!(refusals::what_a_volume_lacks_is_reported_in_events),
        story!(refusals::volumes_of_a_node_stay_on_it),
        story!(local::a_device_gets_a_file_system_once_and_is_shared_by_pods),
        story!(local::a_local_device_is_a_device_in_the_container),
        story!(local::a_device_or_its_options_may_be_refused),
        story!(local::a_directory_is_mounted_with_the_options_of_its_volume),
        story!(mounting::a_volume_is_staged_once_and_published_for_each_pod),
        story!(mounting::a_block_volume_is_a_device_in_the_container),
        story!(mounting::an_inline_volume_is_gone_with_its_pod),
        story!(mounting::a_driver_knows_the_pod_by_its_tokens_alone_if_it_asks_for_them),
        story!(mounting::a_volume_is_published_again_for_a_driver_that_requires_it),
        story!(permissions::a_claim_is_read_only_for_a_pod_that_says_so),
        story!(permissions::a_sub_path_is_a_directory_of_the_volume),
        story!(permissions::a_volume_is_the_fs_groups_as_its_driver_says),
        story!(registration::a_driver_is_on_the_node_as_long_as_its_socket),
        story!(restarts::a_driver_that_is_killed_serves_on),
        story!(numbers::volumes_are_measured),
        story!(sanity::the_driver_of_the_stories_keeps_to_the_specification),
        story!(hung::a_pod_whose_volume_hangs_can_be_deleted),
        story!(hung::a_call_that_hangs_holds_its_pod_alone, None),
        story!(restarts::volumes_outlive_a_killed_agent, None),
        story!(restarts::an_end_outlives_a_killed_agent, None),
        story!(kills::two_hundred_kills_lose_nothing, None),
        story!(takeover::volumes_go_to_another_agent_and_back, None),
    ]
}

/// Inside the namespaces: starts the cluster and tells the chosen stories.
pub fn inside(chosen: &[&str]) -> ExitCode {
    let choice = Choice::from_args(chosen.iter().map(|&word| word.to_owned()));
    let begun = Instant::now();
    let world = Volumes::start();
    println!(
        "the cluster is ready after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    runner::run_beside(
        &choice,
        &all(),
        PLACES,
        |story| story.name,
        |story| story.company,
        |story| tell(&world, story),
    )
}

/// Tells one story in a namespace of its own. Whatever comes of it, nothing of it stays.
fn tell(world: &Volumes, story: &Story) -> Result<(), String> {
    let mut place = Place::enter(world, story.name);
    let reported = catch_unwind(AssertUnwindSafe(|| (story.tell)(&mut place)));
    let cleared = catch_unwind(AssertUnwindSafe(|| place.clear()));
    if reported.is_ok() && cleared.is_ok() {
        return Ok(());
    }
    let drivers = place.drivers[1..]
        .iter()
        .map(|driver| format!("{}.log", driver.name));
    let mut logs: Vec<String> = drivers.collect();
    logs.extend(["kubelet.log", "agent.log"].map(str::to_owned));
    let logs: Vec<&str> = logs.iter().map(String::as_str).collect();
    let what = match reported {
        Ok(()) => "what it left could not be cleared away",
        Err(_) => "it failed, as told above",
    };
    Err(format!("{what}{}", log_ends(&here(""), &logs)))
}
