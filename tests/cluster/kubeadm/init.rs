//! `kubeadm init`, and what it makes.

use std::time::Instant;

use serde_json::{Value, json};

use super::host::{Agent, Host};
use super::{Cluster, api};
use crate::node::{LONG, NODE_IP, SOON, here, is_ready};
use crate::objects::{holds, name};
use crate::process::run;
use crate::runtime;
use crate::wait::wait_for;

/// What the machine of the control plane needs; the last two are not kubeadm's.
pub const IMAGES: &[&str] = &[
    "control-plane/pause",
    "control-plane/etcd",
    "control-plane/kube-apiserver",
    "control-plane/kube-controller-manager",
    "control-plane/kube-scheduler",
    "control-plane/kube-proxy",
    "control-plane/coredns",
    "control-plane/flannel",
    "demo",
];

/// What `kubeadm init` is given. The node is the only one for most stories, so it takes every pod. Of the kernel's table
/// of connections a network namespace cannot change the size, nor the machine's cgroups their version; and how full its
/// disk is decides nothing.
const CONFIG: &str = r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: NODE_IP}
nodeRegistration:
  name: node-1
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: IfNotPresent
  taints: []
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.2
networking: {podSubnet: 10.244.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
evictionHard: {imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
"#;

/// The components that are static pods.
const CONTROL_PLANE: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// Makes the cluster, installs its network, and waits until all of kube-system is Ready.
pub fn cluster() -> Cluster {
    cluster_with(&[])
}

/// The same on a machine that has more images, each an archive of `target/images`.
pub fn cluster_with(more_images: &[&str]) -> Cluster {
    refuse_what_has_no_rules();
    let mut host = Host::here(&[IMAGES, more_images].concat());
    let begun = Instant::now();
    init(&mut host);
    let reported = begun.elapsed().as_secs_f64();
    let cluster = Cluster { host, api: api() };
    cluster.install_flannel();
    let ready = begun.elapsed().as_secs_f64();
    cluster.wait_system(7);
    println!(
        "kubeadm init has succeeded after {reported:.1} s, the node is Ready with flannel after {ready:.1} s, and all of \
         kube-system is after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    cluster
}

/// Where a Service has no rules yet, its address is the neighbour's affair, who refuses what it knows no way for. (Were the
/// packets lost, a CoreDNS that is a moment earlier than kube-proxy would wait for half a minute. The kernel takes no
/// milder answer than a prohibition for final.)
fn refuse_what_has_no_rules() {
    let settings = "cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 0 >icmp_ratelimit";
    run(&["ip", "netns", "exec", "outside", "sh", "-c", settings]);
    run(&["ip", "-n", "outside", "route", "add", "prohibit", "default"]);
}

/// Makes another cluster on the machine of one that was reset, without a plugin of the cluster's.
pub fn again(cluster: &mut Cluster) {
    cluster.host.connect_by_itself();
    init(&mut cluster.host);
    cluster.api = api();
    if Agent::asked_for() == Agent::Gantry {
        cluster.let_nodes_connect_pods();
    }
    cluster.wait_system(7);
}

fn init(host: &mut Host) {
    let config = here("kubeadm.yaml");
    std::fs::write(&config, CONFIG.replace("NODE_IP", NODE_IP)).expect("a private directory");
    let config = format!("--config={}", config.display());
    host.install(&[
        "kubeadm",
        "init",
        &config,
        "--ignore-preflight-errors=SystemVerification",
    ]);
}

impl Cluster {
    /// Waits until so many pods of kube-system are there, and each is Ready.
    #[track_caller]
    pub fn wait_system(&self, count: usize) -> Vec<Value> {
        wait_for("every pod of kube-system to be Ready", 2 * LONG, || {
            let pods = self.api.list("/api/v1/namespaces/kube-system/pods")?;
            if pods.len() == count && pods.iter().all(is_ready) {
                return Ok(pods);
            }
            let others = pods.iter().filter(|pod| !is_ready(pod));
            let shown = others.map(|pod| format!("{} {}", name(pod), pod["status"]));
            Err(format!(
                "of {}: {}",
                pods.len(),
                shown.collect::<Vec<_>>().join("\n")
            ))
        })
    }

    /// Waits until a node is Ready.
    #[track_caller]
    pub fn wait_ready(&self, node: &str) -> Value {
        let path = format!("/api/v1/nodes/{node}");
        self.api.wait(&path, "Ready", LONG, |node| holds(node, "Ready"))
    }
}

/// The containers of the control plane's pods, which nothing may have restarted.
fn control_plane() -> Vec<runtime::Container> {
    let containers = runtime::containers().expect("containerd answers");
    let of_it = |container: &runtime::Container| CONTROL_PLANE.contains(&container.name.as_str());
    containers.into_iter().filter(of_it).collect()
}

pub fn the_control_plane_is_pods_of_this_node(cluster: &mut Cluster) {
    let node = cluster.wait_ready("node-1");
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels["node-role.kubernetes.io/control-plane"], "");
    for component in CONTROL_PLANE {
        let path = format!("/api/v1/namespaces/kube-system/pods/{component}-node-1");
        let pod = cluster.api.get(&path).expect("kubeadm says that it is there");
        assert_eq!(
            pod["spec"]["priorityClassName"], "system-node-critical",
            "{component}"
        );
        assert_eq!(pod["spec"]["priority"], 2_000_001_000, "{component}");
        let annotations = &pod["metadata"]["annotations"];
        assert_eq!(annotations["kubernetes.io/config.source"], "file", "{component}");
        assert_eq!(
            annotations["kubernetes.io/config.hash"],
            annotations["kubernetes.io/config.mirror"]
        );
        assert_eq!(
            pod["metadata"]["ownerReferences"][0]["kind"], "Node",
            "{component}"
        );
        assert_eq!(
            pod["status"]["containerStatuses"][0]["restartCount"], 0,
            "{component}"
        );
    }
    // The certificate that renews itself, where kubeadm has put a copy of its own key at first.
    let kubeconfig = std::fs::read_to_string("/etc/kubernetes/kubelet.conf").expect("kubeadm writes it");
    assert!(
        kubeconfig.contains("/var/lib/kubelet/pki/kubelet-client-current.pem"),
        "kubelet.conf: {kubeconfig}"
    );
    // kubeadm restarts the agent at its end if systemd runs the machine.
    let before = control_plane();
    assert_eq!(before.len(), CONTROL_PLANE.len(), "{before:?}");
    cluster.host.stop_agent();
    cluster.host.start_agent();
    wait_for("the agent to be healthy", SOON, || {
        let answer = crate::node::http("127.0.0.1:10248", "/healthz")?;
        answer.ends_with("ok").then_some(()).ok_or(answer)
    });
    cluster.wait_system(7);
    assert_eq!(control_plane(), before, "after a start of the agent");
}

/// kubeadm moves the manifest in and waits until the mirror pod shows its hash.
pub fn an_upgrade_of_the_node_changes_a_static_pod(cluster: &mut Cluster) {
    let scheduler = "/api/v1/namespaces/kube-system/pods/kube-scheduler-node-1";
    let before = cluster.api.get(scheduler).expect("it runs");
    let patches = here("patches");
    std::fs::create_dir_all(&patches).expect("a private directory");
    let patch = json!({"metadata": {"labels": {"story": "upgraded"}}}).to_string();
    std::fs::write(patches.join("kube-scheduler+merge.json"), patch).expect("a private directory");
    let others = control_plane();
    cluster.host.kubeadm(&[
        "upgrade",
        "node",
        "--certificate-renewal=false",
        "--ignore-preflight-errors=SystemVerification,CreateJob",
        &format!("--patches={}", patches.display()),
    ]);
    let after = cluster.api.wait(scheduler, "the new one", SOON, |pod| {
        pod["metadata"]["labels"]["story"] == "upgraded" && is_ready(pod)
    });
    let hash = |pod: &Value| pod["metadata"]["annotations"]["kubernetes.io/config.hash"].clone();
    assert_ne!(hash(&before), hash(&after));
    // kubeadm has rewritten the agent's configuration and asks for a restart.
    cluster.host.stop_agent();
    cluster.host.start_agent();
    cluster.wait_ready("node-1");
    cluster.wait_system(7);
    let kept = |all: Vec<runtime::Container>| -> Vec<runtime::Container> {
        all.into_iter().filter(|c| c.name != "kube-scheduler").collect()
    };
    assert_eq!(kept(control_plane()), kept(others));
    if Agent::asked_for() == Agent::Gantry {
        assert!(
            cluster
                .host
                .path("/var/lib/kubelet/instance-config.yaml")
                .exists()
        );
    }
}
