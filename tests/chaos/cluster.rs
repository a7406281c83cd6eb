//! A node of a cluster: its pods are those of the manifests directory and of the API server, which has to say of all of
//! them what the agent says.

use std::path::Path;

use serde_json::{Value, json};

use crate::api::Api;
use crate::control_plane::{
    ADMIN, ControlPlane, NODE, let_nodes_connect_pods, let_server_ask_nodes, wait_node_ready,
};
use crate::fault_proxy::FaultProxy;
use crate::node::{Node, SOON, USUAL, here};
use crate::plane_faults;
use crate::storm::faults::Fault;
use crate::storm::pods::{From, Wanted, config_map};
use crate::storm::{World, disk};
use crate::wait::wait_for;

/// As whom the API server comes to the node's port; and how full the machine is does not matter.
const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
evictionHard: {imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
";

/// The control plane, the node, and what is between them.
pub struct Cluster {
    pub plane: ControlPlane,
    pub api: Api,
    pub node: Node,
    proxy: Option<FaultProxy>,
}

/// Starts everything, the node on a disk of its own, and waits until the node is Ready.
pub fn start() -> Cluster {
    disk::make();
    let mut node = Node::new(USUAL);
    let plane = ControlPlane::start();
    let api = Api::new(Path::new(ADMIN));
    node.flag(&format!("--kubeconfig={NODE}"));
    // No other plugin is installed here.
    node.flag("--pod-network=own");
    std::fs::write(here("kubelet.yaml"), CONFIG).expect("a private directory");
    node.flag(&format!("--config={}", here("kubelet.yaml").display()));
    let_server_ask_nodes();
    let_nodes_connect_pods();
    node.start_agent();
    wait_node_ready(&api);
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    api.wait(account, "there", SOON, |_| true);
    api.create("/api/v1/namespaces/default/configmaps", &config_map());
    let mut cluster = Cluster {
        plane,
        api,
        node,
        proxy: None,
    };
    cluster.proxy = Some(FaultProxy::build(&mut cluster));
    cluster
}

impl Cluster {
    /// What is between the agent and the API server.
    pub fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().expect("it is built at the start")
    }

    /// Asks the API server for something until it answers: it may be away for a moment.
    fn ask(&self, method: &str, path: &str, body: &Value, done: &str) {
        wait_for(&format!("{method} {path}"), SOON, || {
            match self.api.ask(method, path, Some(body)) {
                // One that was lost on its way back was carried out.
                Err(error) if error.starts_with(done) => Ok(()),
                other => other.map(|_| ()),
            }
        });
    }
}

impl World for Cluster {
    fn node(&self) -> &Node {
        &self.node
    }

    fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    fn add(&mut self, pod: &Wanted) {
        match pod.from {
            From::File => self.node.manifest(&pod.file(), &pod.object().to_string()),
            From::Api => {
                let path = format!("{PODS}/{}", pod.name);
                // A pod of the name may still be on its way out.
                self.api.wait_gone(&path, SOON);
                let mut object = pod.object();
                object["spec"]["nodeName"] = json!("node-1");
                self.ask("POST", PODS, &object, "409 ");
            }
        }
    }

    fn remove(&mut self, pod: &Wanted) {
        match pod.from {
            From::File => self.node.remove(&pod.file()),
            From::Api => {
                let options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
                self.ask("DELETE", &format!("{PODS}/{}", pod.name), &options, "404 ");
            }
        }
    }

    fn draws(&self, number: usize) -> From {
        match self.can_change(From::Api) && !number.is_multiple_of(3) {
            true => From::Api,
            false => From::File,
        }
    }

    fn can_change(&self, from: From) -> bool {
        from == From::File || self.plane.is_running()
    }

    /// The API server has the same pods, with the same states of the same containers.
    fn agrees(&self, reported: &[Value]) -> Result<(), String> {
        let of_server = self.api.list(PODS)?;
        let say = |pods: &[Value]| -> Vec<String> {
            let mut said: Vec<String> = pods.iter().map(essence).collect();
            said.sort();
            said
        };
        let (agent, server) = (say(reported), say(&of_server));
        match agent == server {
            true => Ok(()),
            false => Err(format!(
                "the agent reports {agent:#?}, the API server has {server:#?}"
            )),
        }
    }

    fn own_faults() -> Vec<Fault<Cluster>> {
        plane_faults::all()
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What both have to say of a pod.
fn essence(pod: &Value) -> String {
    let status = &pod["status"];
    let containers = status["containerStatuses"].as_array().into_iter().flatten();
    let containers = containers.map(|own| format!("{} {}", own["containerID"], own["restartCount"]));
    format!(
        "{} {} {} {:?}",
        pod["metadata"]["name"],
        status["phase"],
        status["podIP"],
        containers.collect::<Vec<_>>()
    )
}
