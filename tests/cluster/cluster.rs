//! The cluster that all stories share: its control plane, its one node, and what is cleared away between two stories.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::control_plane::{
    ADMIN, ControlPlane, NODE, let_nodes_connect_pods, let_server_ask_nodes, wait_node_ready,
};
use crate::node::{LONG, MANIFESTS, Node, SOON, USUAL, here, is_ready};
use crate::runtime;
use crate::stories::Story;
use crate::wait::wait_for;
use crate::world::log_ends;

/// As whom the API server comes to the node's port; and how full the machine is does not matter.
const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
evictionHard: {imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
";

/// The world of a story.
pub struct Cluster {
    pub plane: ControlPlane,
    pub api: Api,
    pub node: Node,
    /// The Kubernetes namespace of the story.
    pub namespace: String,
}

impl Cluster {
    /// Starts everything, and waits until the node is Ready.
    pub fn start() -> Cluster {
        Cluster::start_configured("")
    }

    /// The same with more lines in the agent's configuration file.
    pub fn start_configured(more: &str) -> Cluster {
        let mut node = Node::new(USUAL);
        let plane = ControlPlane::start();
        let api = Api::new(Path::new(ADMIN));
        node.flag(&format!("--kubeconfig={NODE}"));
        // No other plugin is installed here.
        node.flag("--pod-network=own");
        std::fs::write(here("kubelet.yaml"), format!("{CONFIG}{more}")).expect("a private directory");
        node.flag(&format!("--config={}", here("kubelet.yaml").display()));
        let_server_ask_nodes();
        let_nodes_connect_pods();
        node.start_agent();
        wait_node_ready(&api);
        Cluster {
            plane,
            api,
            node,
            namespace: String::new(),
        }
    }

    /// Tells one story in a namespace of its own. `Err` holds the ends of the logs.
    pub fn tell(&mut self, story: &Story) -> Result<(), String> {
        let reported = catch_unwind(AssertUnwindSafe(|| {
            self.enter(story.name);
            (story.tell)(self);
        }));
        let reported = reported.map_err(|_| {
            let logs = [
                "kubelet.log",
                "agent.log",
                "apiserver.log",
                "controllers.log",
                "scheduler.log",
                "containerd.log",
                "metrics-server.log",
            ];
            format!("it failed, as told above{}", log_ends(&here(""), &logs))
        });
        let cleared = catch_unwind(AssertUnwindSafe(|| self.clear()));
        reported.and(cleared.map_err(|_| "what it left could not be cleared away".to_owned()))
    }

    fn enter(&mut self, story: &str) {
        self.namespace = story.split("::").last().unwrap_or(story).replace('_', "-");
        self.namespace.truncate(63);
        let object = json!({"metadata": {"name": self.namespace}});
        self.api.create("/api/v1/namespaces", &object);
        let account = self.at("serviceaccounts", "default");
        self.api.wait(&account, "there", SOON, |_| true);
    }

    /// Whatever state a story ends in: the API server and the agent run again, and no pod is left.
    fn clear(&mut self) {
        if !self.plane.is_running() {
            self.plane.start_server();
        }
        if !self.node.gantry(&["get", "node"]).status.success() {
            self.node.start_agent();
        }
        for file in std::fs::read_dir(MANIFESTS)
            .expect("a private directory")
            .flatten()
        {
            std::fs::remove_file(file.path()).expect("our own file");
        }
        let node = json!({"spec": {"unschedulable": null, "taints": null}});
        self.api.patch("/api/v1/nodes/node-1", &node);
        // Where a story has deleted it already, that is as good. What else was in it need not be gone: no pod can be
        // made of it any more.
        let _ = self
            .api
            .ask("DELETE", &format!("/api/v1/namespaces/{}", self.namespace), None);
        // The namespace's own controller takes seconds to begin with them.
        let _ = self.api.ask("DELETE", &self.all("pods"), None);
        wait_for("nothing of the story's pods to be left", LONG, || {
            let (containers, sandboxes) = (runtime::containers()?, runtime::sandboxes()?);
            let reported = self.api.list("/api/v1/pods")?;
            if containers.is_empty() && sandboxes.is_empty() && reported.is_empty() {
                Ok(())
            } else {
                Err(format!("{sandboxes:?} {containers:?} {reported:?}"))
            }
        });
        wait_node_ready(&self.api);
    }

    /// The path of an object in the story's namespace.
    pub fn at(&self, kind: &str, name: &str) -> String {
        format!("{}/{name}", self.all(kind))
    }

    /// The path of all objects of a kind in the story's namespace: `pods`, `apps/v1/deployments`.
    pub fn all(&self, kind: &str) -> String {
        match kind.rsplit_once('/') {
            Some((group, kind)) => format!("/apis/{group}/namespaces/{}/{kind}", self.namespace),
            None => format!("/api/v1/namespaces/{}/{kind}", self.namespace),
        }
    }

    /// Makes an object in the story's namespace.
    #[track_caller]
    pub fn create(&self, kind: &str, object: &Value) -> Value {
        self.api.create(&self.all(kind), object)
    }

    /// Waits until an object is as asked.
    #[track_caller]
    pub fn wait(&self, kind: &str, name: &str, what: &str, asked: impl Fn(&Value) -> bool) -> Value {
        self.api.wait(&self.at(kind, name), what, LONG, asked)
    }

    /// Waits until a pod runs with every container ready.
    #[track_caller]
    pub fn wait_running(&self, name: &str) -> Value {
        self.wait("pods", name, "running and ready", is_ready)
    }

    /// The pods of the story, as the API server has them.
    pub fn pods(&self) -> Result<Vec<Value>, String> {
        self.api.list(&self.all("pods"))
    }

    /// Waits until the pods of the story are as asked, and returns them.
    #[track_caller]
    pub fn wait_pods(&self, what: &str, within: Duration, asked: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        wait_for(&format!("the pods to be {what}"), within, || {
            let pods = self.pods()?;
            if asked(&pods) {
                Ok(pods)
            } else {
                let shown = pods
                    .iter()
                    .map(|pod| format!("{} {}", pod["metadata"]["name"], pod["status"]));
                Err(shown.collect::<Vec<_>>().join("\n"))
            }
        })
    }

    /// Waits until so many pods are there, and all of them run and are ready.
    #[track_caller]
    pub fn wait_all_running(&self, count: usize) -> Vec<Value> {
        self.wait_pods(&format!("{count} that run"), LONG, |pods| {
            pods.len() == count && pods.iter().all(is_ready)
        })
    }
}
