//! Further machines become nodes, by kubeadm and by `gantry join`, and cease to be.

use serde_json::json;

use super::Cluster;
use super::host::Host;
use crate::node::{LONG, SOON, is_ready};
use crate::objects::{IDLE, name, pod};

pub(super) const IMAGES: &[&str] = &[
    "control-plane/pause",
    "control-plane/kube-proxy",
    "control-plane/flannel",
    "demo",
];
const IGNORED: &str = "--ignore-preflight-errors=SystemVerification";

pub fn a_second_node_joins_by_kubeadm_and_is_reset(cluster: &mut Cluster) {
    let mut host = cluster.joined(&[]);
    let pod = cluster.runs_a_pod_on(&host);
    cluster.pods_reach_each_other_across(&host);

    host.kubeadm(&["upgrade", "node", IGNORED]);
    host.stop_agent();
    host.start_agent();
    cluster.wait_ready("node-2");
    let after = cluster.api.wait(&pod, "as it was", SOON, is_ready);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);

    cluster.empty(&host, &pod);
    host.stop_agent();
    host.kubeadm(&["reset", "--force", &Host::cri_socket()]);
    host.assert_reset();
    cluster.be_alone();
}

pub fn a_second_node_joins_by_gantry_and_is_reset(cluster: &mut Cluster) {
    let line = cluster.join_line();
    let mut host = Host::beside("node-3", "192.0.2.30", IMAGES);
    let gantry = crate::world::program("gantry").display().to_string();
    let arguments = line
        .strip_prefix("kubeadm ")
        .expect("it says so")
        .split_whitespace();
    let words: Vec<&str> = [gantry.as_str()].into_iter().chain(arguments).collect();
    host.install(&words);
    let pod = cluster.runs_a_pod_on(&host);
    cluster.pods_reach_each_other_across(&host);
    cluster.empty(&host, &pod);
    host.stop_agent();
    let said = host.run(&[&gantry, "reset", "--yes"]);
    assert!(
        said.contains("left      /etc/cni/net.d/10-flannel.conflist"),
        "{said}"
    );
    host.assert_reset();
    host.forget_flannel();
    host.assert_as_new();
    let logs = std::fs::read_dir(host.path("/var/log/pods")).map(Iterator::count);
    assert_eq!(logs.unwrap_or_default(), 0, "directories of logs stay");
    cluster.be_alone();
}

impl Cluster {
    /// A second machine that has become a node by kubeadm, with more images, each an archive of `target/images`.
    #[track_caller]
    pub fn joined(&self, more_images: &[&str]) -> Host {
        let line = self.join_line();
        let mut host = Host::beside("node-2", "192.0.2.20", &[IMAGES, more_images].concat());
        let (socket, name) = (Host::cri_socket(), "--node-name=node-2");
        let words: Vec<&str> = line.split_whitespace().collect();
        host.install(&[&words[..], &[name, &socket, IGNORED]].concat());
        host
    }

    /// What `kubeadm` says is to be typed on another machine.
    pub(super) fn join_line(&self) -> String {
        self.host
            .kubeadm(&["token", "create", "--print-join-command"])
            .trim()
            .to_owned()
    }

    /// Waits until the node is Ready and its kube-proxy is, runs a pod there, and returns its path.
    #[track_caller]
    fn runs_a_pod_on(&self, host: &Host) -> String {
        let node = self.wait_ready(host.name);
        let addresses = node["status"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let own = json!({"type": "InternalIP", "address": host.address});
        assert!(addresses.contains(&own), "{addresses:?}");
        self.wait_system(8);
        let mut here = pod("here", &format!("echo \"on $(hostname)\"; {IDLE}"));
        here["spec"]["nodeName"] = json!(host.name);
        self.api.create("/api/v1/namespaces/default/pods", &here);
        let path = "/api/v1/namespaces/default/pods/here".to_owned();
        self.api.wait(&path, "running there", LONG, is_ready);
        assert_eq!(self.kubectl(&["logs", "here"]), "on here\n");
        path
    }

    /// Takes the pods of a node away, as an administrator does before its machine is reset.
    #[track_caller]
    fn empty(&self, host: &Host, pod: &str) {
        self.api.delete(pod);
        self.api.wait_gone(pod, LONG);
        self.kubectl(&["drain", host.name, "--ignore-daemonsets", "--timeout=60s"]);
    }

    /// Takes every node but the first away, and its pods, which the cluster would after a minute.
    #[track_caller]
    pub fn be_alone(&self) {
        for node in self.api.list("/api/v1/nodes").expect("the API server answers") {
            let node = name(&node);
            if node != self.host.name {
                self.kubectl(&["delete", "node", &node]);
                let its = format!("--field-selector=spec.nodeName={node}");
                self.kubectl(&["delete", "pods", "--all-namespaces", &its, "--force"]);
            }
        }
        self.wait_system(7);
    }
}
