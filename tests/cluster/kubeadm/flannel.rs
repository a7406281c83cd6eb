//! The cluster's network is flannel's: until its DaemonSet has put plugin and configuration on a node, the node is not
//! ready; then pods have addresses of the node's subnet and reach each other, across nodes too.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::Cluster;
use super::host::{Agent, Host};
use crate::node::{LONG, NODE_IP, SOON, http, ip, is_ready, wait_http};
use crate::objects::{IDLE, condition, pod, spec, web, workload};
use crate::process::run;
use crate::wait::wait_for;
use crate::world::repository;

const MANIFEST: &str = "tests/cluster/kubeadm/flannel.yaml";
/// What its pod writes on the node.
const CONFIGURATION: &str = "/etc/cni/net.d/10-flannel.conflist";
const SUBNET: &str = "/run/flannel/subnet.env";
/// What its plugin keeps of each pod that it has connected, and the addresses that they have of host-local.
const CONNECTED: &str = "/var/lib/cni/flannel";
const ADDRESSES: &str = "/var/lib/cni/networks/cbr0";
/// What the kubelet says of a node without a network.
const NO_NETWORK: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                          message:Network plugin returns error: cni plugin not initialized";
/// A server on port 8080 that answers `/cgi-bin/who` with its client's address.
const WHO: &str = "mkdir -p /srv/cgi-bin; cd /srv/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >who; \
                   chmod +x who; exec httpd -f -p 8080 -h /srv";
const PODS: &str = "/api/v1/namespaces/default/pods";

impl Cluster {
    /// Installs it where there is no network yet, as an administrator does after `kubeadm init`.
    #[track_caller]
    pub fn install_flannel(&self) {
        let early = self.waits_for_a_network();
        // flannel's daemon asks the API server by the Service's address, and else ends, to be started again after a while.
        self.wait_kube_proxy();
        let manifest = repository().join(MANIFEST).display().to_string();
        self.kubectl(&["apply", "--filename", &manifest]);
        self.wait_ready(self.host.name);
        assert!(
            self.host.path(CONFIGURATION).exists(),
            "ready without {CONFIGURATION}"
        );
        self.api.wait(&early, "running", LONG, is_ready);
        self.api.delete(&early);
        self.api.wait_gone(&early, LONG);
    }

    /// The node is not ready and says why, and so does a pod that no scheduler has kept away from it; returns its path.
    #[track_caller]
    fn waits_for_a_network(&self) -> String {
        let node = format!("/api/v1/nodes/{}", self.host.name);
        self.api.wait(&node, "without a network", SOON, |node| {
            let ready = condition(node, "Ready");
            ready["status"] == "False" && ready["message"] == NO_NETWORK
        });
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.api.wait(account, "there", SOON, |_| true);
        let mut early = pod("early", IDLE);
        early["spec"]["nodeName"] = json!(self.host.name);
        self.api.create(PODS, &early);
        let selector = "reason=NetworkNotReady,involvedObject.name=early";
        wait_for("an event of the pod that waits", SOON, || {
            let events = format!("/api/v1/namespaces/default/events?fieldSelector={selector}");
            let events = self.api.list(&events)?;
            let message = format!("network is not ready: {NO_NETWORK}");
            let is_told = events.iter().any(|event| event["message"] == message);
            is_told.then_some(()).ok_or_else(|| format!("{events:?}"))
        });
        format!("{PODS}/early")
    }

    /// Waits until the one of this node is there.
    #[track_caller]
    fn wait_kube_proxy(&self) {
        wait_for("kube-proxy to be ready", LONG, || {
            let pods = self
                .api
                .list("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app=kube-proxy")?;
            pods.iter()
                .any(is_ready)
                .then_some(())
                .ok_or_else(|| format!("{pods:?}"))
        });
    }

    /// Pods of two nodes reach each other in both directions, each known to the other by its own address.
    #[track_caller]
    pub fn pods_reach_each_other_across(&self, host: &Host) {
        let names = ["one", "other"].map(|name| format!("{name}-with-{}", host.name));
        let subnets = [&self.host, host].map(|host| self.subnet(host));
        for (name, host) in names.iter().zip([&self.host, host]) {
            let mut server = pod(name, WHO);
            server["spec"]["nodeName"] = json!(host.name);
            self.api.create(PODS, &server);
        }
        let servers = names.each_ref().map(|name| {
            let path = format!("{PODS}/{name}");
            self.api.wait(&path, "running", LONG, is_ready)
        });
        for ((server, subnet), asking) in servers.iter().zip(&subnets).zip([host, &self.host]) {
            let address = ip(server);
            assert!(is_of(subnet, &address), "{address} is not of {subnet}");
            self.is_known_by_its_address(&format!("from-{}", asking.name), asking, &[address]);
        }
        for name in &names {
            self.api.delete(&format!("{PODS}/{name}"));
        }
        for name in &names {
            self.api.wait_gone(&format!("{PODS}/{name}"), LONG);
        }
    }

    /// Runs a pod on a node that asks each of these servers by which address it knows him: it is its own.
    #[track_caller]
    fn is_known_by_its_address(&self, name: &str, host: &Host, servers: &[String]) {
        // A server is running before it listens.
        let script = format!(
            "for at in {}; do until timeout 3 wget -q -O - http://$at:8080/cgi-bin/who 2>/dev/null; \
             do sleep 0.1; done; done",
            servers.join(" ")
        );
        let mut asking = pod(name, &script);
        asking["spec"]["nodeName"] = json!(host.name);
        asking["spec"]["restartPolicy"] = json!("Never");
        self.api.create(PODS, &asking);
        let path = format!("{PODS}/{name}");
        let done = self.api.wait(&path, "answered", LONG, |pod| {
            pod["status"]["phase"] == "Succeeded"
        });
        let own = ip(&done);
        assert!(is_of(&self.subnet(host), &own), "{own} is not of {}", host.name);
        let said = self.kubectl(&["logs", name]);
        // The server listens for both families.
        let heard = said
            .lines()
            .map(|line| line.trim_start_matches("[::ffff:").trim_end_matches(']'));
        let heard: Vec<&str> = heard.collect();
        assert_eq!(
            heard,
            vec![own.as_str(); servers.len()],
            "{name} at {}",
            host.name
        );
        self.api.delete(&path);
        self.api.wait_gone(&path, LONG);
    }

    /// The subnet that the cluster gives a node.
    #[track_caller]
    pub(super) fn subnet(&self, host: &Host) -> String {
        let node = self
            .api
            .get(&format!("/api/v1/nodes/{}", host.name))
            .expect("it is a node");
        let subnet = node["spec"]["podCIDR"]
            .as_str()
            .expect("kubeadm was given a range for pods");
        subnet.to_owned()
    }
}

impl Host {
    /// What flannel's plugin has connected and not disconnected yet.
    pub fn connected(&self) -> BTreeSet<String> {
        let addresses = files(&self.path(ADDRESSES)).into_iter();
        // host-local keeps these beside the addresses: the last is the record that the next address takes.
        let is_address =
            |name: &String| !(name == "lock" || name.starts_with("last_reserved_ip") || name == ".new");
        let addresses = addresses.filter(is_address);
        addresses.chain(files(&self.path(CONNECTED))).collect()
    }

    /// Takes away what flannel leaves on a machine that is no node any more, which is the administrator's to do.
    #[track_caller]
    pub fn forget_flannel(&self) {
        self.run(&["rm", "-r", CONFIGURATION, "/run/flannel"]);
        for link in ["flannel.1", "cni0"] {
            self.run(&["ip", "link", "delete", link]);
        }
    }
}

pub fn a_node_has_its_subnet_and_flannel_tells_so(cluster: &mut Cluster) {
    let subnet = cluster.subnet(&cluster.host);
    let written = std::fs::read_to_string(SUBNET).expect("its pod writes it");
    let gateway = subnet.replace(".0/24", ".1/24");
    assert!(
        written.contains(&format!("FLANNEL_SUBNET={gateway}\n")),
        "{written}"
    );
    let links = cluster
        .host
        .run(&["ip", "-4", "-o", "address", "show", "flannel.1"]);
    assert!(links.contains(&subnet.replace(".0/24", ".0/32")), "{links}");

    // What flannel writes into the Node stays when others write it, too.
    let node = cluster
        .api
        .wait("/api/v1/nodes/node-1", "connected by flannel", SOON, |node| {
            let network = condition(node, "NetworkUnavailable");
            network["status"] == "False" && network["reason"] == "FlannelIsUp"
        });
    let annotations = &node["metadata"]["annotations"];
    assert_eq!(annotations["flannel.alpha.coreos.com/backend-type"], "vxlan");
    assert_eq!(annotations["flannel.alpha.coreos.com/public-ip"], NODE_IP);

    let flannel = cluster
        .api
        .list("/api/v1/namespaces/kube-flannel/pods")
        .expect("it answers");
    assert_eq!(flannel.len(), 1, "{flannel:?}");
    assert_eq!(flannel[0]["status"]["podIP"], NODE_IP);
    assert!(is_ready(&flannel[0]), "{}", flannel[0]["status"]);
    if Agent::asked_for() == Agent::Gantry {
        let links = cluster.host.run(&["ip", "-o", "link"]);
        assert!(
            !links.contains("gantry0"),
            "a network of ours beside flannel's: {links}"
        );
    }
}

pub fn pods_reach_each_other_by_the_clusters_plugin(cluster: &mut Cluster) {
    let subnet = cluster.subnet(&cluster.host);
    let before = cluster.host.connected();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = format!("{deployments}/who");
    cluster
        .api
        .create(deployments, &workload("who", spec(WHO), json!({"replicas": 3})));
    cluster.api.wait(&deployment, "available", LONG, |object| {
        object["status"]["availableReplicas"] == 3
    });
    let pods = cluster
        .api
        .list(&format!("{PODS}?labelSelector=app=who"))
        .expect("it answers");
    let servers: Vec<String> = pods.iter().map(ip).collect();
    let connected = cluster.host.connected();
    for server in &servers {
        assert!(is_of(&subnet, server), "{server} is not of {subnet}");
        assert!(connected.contains(server), "{server} is not among {connected:?}");
    }
    let bridged = cluster.host.run(&["ip", "-o", "link", "show", "master", "cni0"]);
    assert!(bridged.lines().count() >= servers.len(), "{bridged}");
    cluster.is_known_by_its_address("asking", &cluster.host, &servers);
    // The node comes from the bridge.
    let bridge = subnet.replace(".0/24", ".1");
    for server in &servers {
        wait_http(&format!("{server}:8080"), "/cgi-bin/who", &bridge);
    }
    // A restarted agent finds the network as it is.
    cluster.host.stop_agent();
    cluster.host.start_agent();
    cluster.wait_ready("node-1");
    cluster.api.delete(&deployment);
    wait_for("the plugin to have disconnected what was deleted", LONG, || {
        let now = cluster.host.connected();
        (now == before)
            .then_some(())
            .ok_or_else(|| format!("{now:?}, and before {before:?}"))
    });
}

/// The next plugin of flannel's list is ours, and is given the result of flannel's.
pub fn a_host_port_leads_to_a_pod_that_flannel_connects(cluster: &mut Cluster) {
    let mut published = pod("published", &web("through the port"));
    published["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 18080}]);
    cluster.api.create(PODS, &published);
    let path = format!("{PODS}/published");
    cluster.api.wait(&path, "running", LONG, is_ready);
    let address = format!("{NODE_IP}:18080");
    wait_http(&address, "/", "through the port");
    let url = format!("http://{address}/");
    let outside = [
        "ip", "netns", "exec", "outside", "busybox", "wget", "-q", "-O", "-",
    ];
    assert_eq!(run(&[&outside[..], &[&url]].concat()), "through the port\n");
    cluster.api.delete(&path);
    cluster.api.wait_gone(&path, LONG);
    assert!(http(&address, "/").is_err(), "the port still answers");
}

/// Whether an address is of a subnet of 256.
fn is_of(subnet: &str, address: &str) -> bool {
    let prefix = subnet
        .strip_suffix("0/24")
        .expect("the cluster gives each node 256 addresses");
    address.starts_with(prefix)
}

/// The names of a directory's files.
fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
