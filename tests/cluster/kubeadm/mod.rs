//! kubeadm as it is, with gantry in the kubelet's place: the control plane is pods on our node, and further machines
//! join it.
//!
//! These stories have a set of namespaces of their own, and share the cluster that `kubeadm init` makes in it before the
//! first of them, whose network is flannel's; the last takes it down. `AGENT=kubelet make test-cluster ONLY=kubeadm`
//! runs them for the kubelet.

pub mod conformance;
mod flannel;
mod host;
mod init;
mod joining;
mod own_network;
mod remains;
mod reset;
mod services;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use host::Host;

pub use host::Agent;

use crate::api::Api;
use crate::node::here;
use crate::runner;
use crate::world::log_ends;

/// How an administrator reaches the cluster.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// The cluster that kubeadm has made.
pub struct Cluster {
    /// The machine of the control plane, which is this process's own.
    pub host: Host,
    pub api: Api,
}

/// One story: what it is called, and how it goes.
pub struct Story {
    pub name: &'static str,
    tell: fn(&mut Cluster),
}

/// Names a story after its function.
macro_rules! story {
    ($module:ident :: $name:ident) => {
        Story {
            name: concat!("kubeadm::", stringify!($module), "::", stringify!($name)),
            tell: $module::$name,
        }
    };
}

/// Every story, in the order in which they run.
pub fn all() -> Vec<Story> {
    let mut all = vec![
        story!(init::the_control_plane_is_pods_of_this_node),
        story!(flannel::a_node_has_its_subnet_and_flannel_tells_so),
        story!(flannel::pods_reach_each_other_by_the_clusters_plugin),
        story!(flannel::a_host_port_leads_to_a_pod_that_flannel_connects),
        story!(services::a_service_answers_by_name),
        story!(init::an_upgrade_of_the_node_changes_a_static_pod),
        story!(joining::a_second_node_joins_by_kubeadm_and_is_reset),
    ];
    if Agent::asked_for() == Agent::Gantry {
        all.push(story!(joining::a_second_node_joins_by_gantry_and_is_reset));
        all.push(story!(own_network::a_node_without_flannel_is_one_of_its_network));
    }
    all.push(story!(
        reset::a_reset_leaves_nothing_and_another_cluster_can_be_made
    ));
    all
}

/// Makes the cluster and runs the chosen stories, one after the other.
pub fn inside(chosen: &[&str]) -> ExitCode {
    let choice = runner::Choice::from_args(chosen.iter().map(|&word| word.to_owned()));
    let Ok(mut cluster) = catch_unwind(AssertUnwindSafe(init::cluster)) else {
        println!("kubeadm init failed, as told above{}", logs());
        return ExitCode::FAILURE;
    };
    runner::run(
        &choice,
        &all(),
        |story| story.name,
        |story| {
            let reported = catch_unwind(AssertUnwindSafe(|| {
                // A story that has failed may have left a node whose machine is gone.
                cluster.be_alone();
                (story.tell)(&mut cluster);
            }));
            reported.map_err(|_| format!("it failed, as told above{}", logs()))
        },
    )
}

/// The ends of what the programs of the machines have said.
fn logs() -> String {
    let logs = ["node-1", "node-2", "node-3", "node-4"]
        .map(|host| ["install", "containerd", "agent"].map(|of| format!("{host}-{of}.log")));
    let logs: Vec<&str> = logs.iter().flatten().map(String::as_str).collect();
    log_ends(&here(""), &logs)
}

impl Cluster {
    /// Runs kubectl as an administrator, for what it prints.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let program = crate::world::control_plane("kubectl").display().to_string();
        crate::process::run(&[&[program.as_str(), "--kubeconfig", ADMIN], arguments].concat())
    }
}

/// The API of the cluster.
fn api() -> Api {
    Api::new(Path::new(ADMIN))
}
