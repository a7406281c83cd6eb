//! A node whose pods gantry connects is one of flannel's network: flannel's daemon runs on the first node and not here, and
//! neither knows the difference.

use std::path::Path;

use serde_json::{Value, json};

use super::Cluster;
use super::host::Host;
use super::joining::IMAGES;
use crate::node::{LONG, NODE_IP, SOON, is_ready};
use crate::objects::condition;
use crate::wait::wait_for;
use crate::world::repository;

/// Keeps flannel's pod away; `flannel.yaml` names it.
const LABEL: &str = "--node-labels=example.org/pod-network=own";
const NODE: &str = "/api/v1/nodes/node-4";
const ADDRESS: &str = "192.0.2.40";
/// Where a node's part of flannel's network is written on the machine.
const ENVIRONMENT: &str = "/run/flannel/subnet.env";

pub fn a_node_without_flannel_is_one_of_its_network(cluster: &mut Cluster) {
    let mut host = cluster.joined_by_itself();
    // It may not read the other nodes, and says what to do.
    cluster
        .api
        .wait(NODE, "without a way to other nodes", LONG, |node| {
            let network = condition(node, "NetworkUnavailable");
            let message = network["message"].as_str().unwrap_or_default();
            network["status"] == "True"
                && message.contains("forbidden")
                && message.contains("kubectl apply -f packaging/pod-network.yaml")
        });
    cluster.let_nodes_connect_pods();
    let node = cluster.api.wait(NODE, "connected by gantry", LONG, |node| {
        let network = condition(node, "NetworkUnavailable");
        network["status"] == "False" && network["reason"] == "GantryIsUp"
    });
    cluster.wait_ready(host.name);
    cluster.wait_system(8);
    is_described_as_flannel_does(&node);
    let flannel = "/api/v1/namespaces/kube-flannel/pods";
    let pods = cluster.api.list(flannel).expect("it answers");
    assert_eq!(pods.len(), 1, "flannel runs on both nodes: {pods:?}");
    let subnet = node["spec"]["podCIDR"].as_str().expect("it has one");
    let written = std::fs::read_to_string(host.path(ENVIRONMENT)).expect("gantry writes it");
    let gateway = subnet.replace(".0/24", ".1/24");
    assert!(
        written.contains(&format!("FLANNEL_SUBNET={gateway}\n")),
        "{written}"
    );
    cluster.pods_reach_each_other_across(&host);

    // A node comes and goes; that there is no machine behind it does not matter.
    cluster.follows_another_node(&host);
    cluster.changes_to_routes(&mut host);
    cluster.forgets(host);
    cluster.configure("vxlan");
}

/// What flannel's daemon would have written into the Node.
fn is_described_as_flannel_does(node: &Value) {
    let annotations = &node["metadata"]["annotations"];
    let of = |name: &str| {
        annotations[format!("flannel.alpha.coreos.com/{name}")]
            .as_str()
            .unwrap_or_default()
    };
    assert_eq!(
        [of("backend-type"), of("kube-subnet-manager"), of("public-ip")],
        ["vxlan", "true", ADDRESS],
        "{annotations}"
    );
    let data: Value = serde_json::from_str(of("backend-data")).expect("it is JSON");
    assert_eq!(data["VNI"], 1);
    assert!(data["VtepMAC"].is_string(), "{data}");
}

impl Cluster {
    /// Gives nodes what an administrator gives them where gantry connects the pods.
    #[track_caller]
    pub fn let_nodes_connect_pods(&self) {
        let manifest = repository().join("packaging/pod-network.yaml");
        self.kubectl(&["apply", "--filename", &manifest.display().to_string()]);
    }

    /// Another machine that has become a node, whose pods gantry connects.
    #[track_caller]
    fn joined_by_itself(&self) -> Host {
        let line = self.join_line();
        let mut host = Host::beside("node-4", ADDRESS, IMAGES);
        host.set_flags(&format!(" --pod-network=own {LABEL}"));
        let gantry = crate::world::program("gantry").display().to_string();
        let arguments = line.strip_prefix("kubeadm ").expect("it says so");
        let words: Vec<&str> = [gantry.as_str()]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        host.install(&words);
        host
    }

    /// The ways of this host's packets follow a Node of the API server.
    #[track_caller]
    fn follows_another_node(&self, host: &Host) {
        let annotations = json!({
            "flannel.alpha.coreos.com/kube-subnet-manager": "true",
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/backend-data": r#"{"VNI":1,"VtepMAC":"1a:2b:3c:04:5e:6f"}"#,
            "flannel.alpha.coreos.com/public-ip": "192.0.2.99",
        });
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node-9", "annotations": annotations},
            "spec": {"podCIDR": "10.244.99.0/24", "podCIDRs": ["10.244.99.0/24"]},
        });
        self.api.create("/api/v1/nodes", &node);
        let way = "10.244.99.0/24 via 10.244.99.0 dev flannel.1";
        for host in [host, &self.host] {
            let shows = |expected: bool| {
                wait_for("the ways to follow", SOON, || {
                    let routes = host.run(&["ip", "route"]);
                    (routes.contains(way) == expected).then_some(()).ok_or(routes)
                });
            };
            shows(true);
        }
        self.kubectl(&["delete", "node", "node-9"]);
        wait_for("the way to go", SOON, || {
            let routes = host.run(&["ip", "route"]);
            let entries = host.run(&["bridge", "fdb", "show", "dev", "flannel.1"]);
            let is_gone = !routes.contains(way) && !entries.contains("192.0.2.99");
            is_gone.then_some(()).ok_or(routes + &entries)
        });
    }

    /// The administrator gives the network another back end, and starts flannel's daemon again.
    #[track_caller]
    fn configure(&self, back_end: &str) {
        let network = json!({"Network": "10.244.0.0/16", "Backend": {"Type": back_end}}).to_string();
        let patch = json!({"data": {"net-conf.json": network}}).to_string();
        self.kubectl(&[
            "--namespace=kube-flannel",
            "patch",
            "configmap",
            "kube-flannel-cfg",
            "--patch",
            &patch,
        ]);
        self.kubectl(&["--namespace=kube-flannel", "delete", "pods", "--all"]);
        let node = "/api/v1/nodes/node-1";
        self.api.wait(node, "connected by flannel so", LONG, |node| {
            node["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-type"] == back_end
        });
        let pods = "/api/v1/namespaces/kube-flannel/pods";
        wait_for("flannel to be ready", LONG, || {
            let pods = self.api.list(pods)?;
            let is_there = pods.len() == 1 && pods.iter().all(is_ready);
            is_there.then_some(()).ok_or_else(|| format!("{pods:?}"))
        });
    }

    /// Packets travel by routes from now on, and pods reach each other.
    #[track_caller]
    fn changes_to_routes(&self, host: &mut Host) {
        self.configure("host-gw");
        host.stop_agent();
        host.start_agent();
        self.api.wait(NODE, "reached by routes", LONG, |node| {
            node["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-type"] == "host-gw"
        });
        let subnet = self.subnet(&self.host);
        wait_for("a way by the first node itself", SOON, || {
            let routes = host.run(&["ip", "route", "show", &subnet]);
            let links = host.run(&["ip", "-o", "link"]);
            let is_there = routes.contains(&format!("via {NODE_IP}")) && !links.contains("flannel.1");
            is_there.then_some(()).ok_or(routes + &links)
        });
        self.pods_reach_each_other_across(host);
    }

    /// The machine is no node any more: nothing of the network stays on it, and flannel forgets it.
    #[track_caller]
    fn forgets(&self, mut host: Host) {
        let subnet = self.subnet(&host);
        host.stop_agent();
        let gantry = crate::world::program("gantry").display().to_string();
        host.run(&[&gantry, "reset", "--yes"]);
        host.assert_reset();
        host.assert_as_new();
        let links = host.run(&["ip", "-o", "link"]);
        assert!(!links.contains("flannel"), "{links}");
        assert!(!host.path(ENVIRONMENT).exists(), "{ENVIRONMENT} stays");
        self.be_alone();
        wait_for("flannel to forget the machine", SOON, || {
            let routes = self.host.run(&["ip", "route"]);
            (!routes.contains(&subnet)).then_some(()).ok_or(routes)
        });
        assert!(Path::new(ENVIRONMENT).exists(), "flannel's own is gone");
    }
}
