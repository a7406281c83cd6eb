//! The control plane's machine is reset, and is as good as new.

use super::Cluster;
use super::host::{Agent, Host};
use super::init;
use crate::node::{LONG, is_ready};
use crate::objects::{IDLE, pod};

pub fn a_reset_leaves_nothing_and_another_cluster_can_be_made(cluster: &mut Cluster) {
    // A pod of the first cluster, which is not deleted: the second one must not see it.
    cluster
        .api
        .create("/api/v1/namespaces/default/pods", &pod("first", IDLE));
    cluster
        .api
        .wait("/api/v1/namespaces/default/pods/first", "running", LONG, is_ready);
    reset(&mut cluster.host);
    cluster.host.forget_flannel();

    init::again(cluster);
    let pods = cluster
        .api
        .list("/api/v1/namespaces/default/pods")
        .expect("it answers");
    assert!(pods.is_empty(), "{pods:?}");
    let containers = crate::runtime::containers().expect("containerd answers");
    assert!(
        containers.iter().all(|container| container.pod != "first"),
        "{containers:?}"
    );
    reset(&mut cluster.host);
    if Agent::asked_for() == Agent::Gantry {
        // What kubeadm does not know of.
        let gantry = crate::world::program("gantry").display().to_string();
        cluster.host.run(&[&gantry, "reset", "--yes"]);
        cluster.host.assert_as_new();
    }
}

#[track_caller]
fn reset(host: &mut Host) {
    host.stop_agent();
    host.kubeadm(&["reset", "--force", &Host::cri_socket()]);
    host.assert_reset();
}
