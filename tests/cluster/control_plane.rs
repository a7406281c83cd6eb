//! A real control plane: etcd, the API server, the controller manager and the scheduler, as kubeadm would have them.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::node::{NODE_IP, SOON, here};
use crate::process::{kill, logged, run, stop};
use crate::wait::wait_for;
use crate::world::{control_plane, repository};

/// How an administrator reaches it.
pub const ADMIN: &str = "/etc/kubernetes/super-admin.conf";
/// How the node does: its certificate says `system:node:node-1`.
pub const NODE: &str = "/etc/kubernetes/kubelet.conf";
/// The port of the API server.
pub const PORT: u16 = 6443;

const ETCD: &str = "http://127.0.0.1:2379";
const PKI: &str = "/etc/kubernetes/pki";

/// How long the whole may take to be there, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Below the story's directory: what kubeadm was given.
pub const KUBEADM_CONFIG: &str = "kubeadm.yaml";

/// What runs of it. It dies with the process namespace that it was started in.
pub struct ControlPlane {
    /// Where the API server is reached.
    address: String,
    /// What the API server is started with beside what it needs.
    flags: Vec<String>,
    /// Never stopped.
    _etcd: Child,
    server: Option<Child>,
    /// The controller manager and the scheduler.
    others: Vec<Child>,
}

impl ControlPlane {
    /// Makes certificates, starts everything beside the node, and waits until the API server is ready.
    pub fn start() -> ControlPlane {
        ControlPlane::start_as(NODE_IP, Vec::new())
    }

    /// The same at another address of this machine.
    pub fn start_at(address: &str) -> ControlPlane {
        ControlPlane::start_as(address, Vec::new())
    }

    /// The same with more flags for the API server.
    pub fn start_with(flags: Vec<String>) -> ControlPlane {
        ControlPlane::start_as(NODE_IP, flags)
    }

    fn start_as(address: &str, flags: Vec<String>) -> ControlPlane {
        make_identities(address);
        let mut etcd = Command::new(control_plane("etcd"));
        etcd.arg("--data-dir").arg(here("etcd")).args([
            &format!("--listen-client-urls={ETCD}"),
            &format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            // What a power failure would lose is thrown away after the test anyhow.
            "--unsafe-no-fsync",
        ]);
        let mut plane = ControlPlane {
            address: address.to_owned(),
            flags,
            _etcd: logged(&mut etcd, "etcd.log"),
            server: None,
            others: Vec::new(),
        };
        plane.start_server();
        plane
    }

    /// Starts the API server, and waits until it is ready. The controller manager and the scheduler begin with it: after
    /// a second outage within minutes they wait longer than a story, and a story is not about them.
    pub fn start_server(&mut self) {
        for other in self.others.drain(..) {
            kill(Some(other));
        }
        self.server = Some(logged(server(&self.address).args(&self.flags), "apiserver.log"));
        let api = Api::new(Path::new(ADMIN));
        wait_for("the API server to be ready", START, || match api.get("/readyz") {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        });
        self.others = vec![
            logged(&mut controllers(), "controllers.log"),
            logged(&mut scheduler(), "scheduler.log"),
        ];
    }

    /// Has etcd forget all that was before now, as the API server asks of it every five minutes.
    pub fn compact(&self) {
        let ask = |path: &str, question: Value| -> Value {
            let url = format!("{ETCD}{path}");
            let body = question.to_string();
            let said = run(&["curl", "--silent", "--fail-with-body", "--data", &body, &url]);
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{url}: {error}: {said}"))
        };
        let any = ask(
            "/v3/kv/range",
            json!({"key": "AA==", "limit": 1, "keys_only": true}),
        );
        let now = any["header"]["revision"].clone();
        ask("/v3/kv/compaction", json!({"revision": now, "physical": true}));
    }

    /// Whether no story has stopped the API server.
    pub fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Asks the API server to end, and waits until it has.
    pub fn stop_server(&mut self) {
        let server = self.server.take().expect("the API server runs");
        stop(server, nix::sys::signal::Signal::SIGTERM);
    }

    /// Ends the API server as a crash would.
    pub fn kill_server(&mut self) {
        kill(self.server.take());
    }
}

/// The certificates and kubeconfigs, by kubeadm.
fn make_identities(address: &str) {
    let config = here(KUBEADM_CONFIG);
    let kubeadm = control_plane("kubeadm").display().to_string();
    let version = run(&[&kubeadm, "version", "--output=short"]);
    // From another network namespace its loopback address is out of reach.
    let endpoint = if address == NODE_IP { "127.0.0.1" } else { address };
    let version = version.trim();
    let text = format!(
        r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}, bindPort: {PORT}}}
nodeRegistration: {{name: node-1, criSocket: "unix:///run/containerd/containerd.sock"}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
controlPlaneEndpoint: {endpoint}:{PORT}
apiServer: {{certSANs: [127.0.0.1, localhost]}}
networking: {{serviceSubnet: 10.96.0.0/12, podSubnet: 10.244.0.0/16}}
"#
    );
    std::fs::write(&config, text).expect("a private directory");
    let config = format!("--config={}", config.display());
    for phase in ["certs", "kubeconfig"] {
        run(&[&kubeadm, "init", "phase", phase, "all", &config]);
    }
}

fn server(address: &str) -> Command {
    let mut command = Command::new(control_plane("kube-apiserver"));
    command.args([
        &format!("--etcd-servers={ETCD}"),
        &format!("--advertise-address={address}"),
        &format!("--secure-port={PORT}"),
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth=true",
        "--allow-privileged=true",
        "--service-cluster-ip-range=10.96.0.0/12",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        &format!("--service-account-key-file={PKI}/sa.pub"),
        &format!("--service-account-signing-key-file={PKI}/sa.key"),
        &format!("--tls-cert-file={PKI}/apiserver.crt"),
        &format!("--tls-private-key-file={PKI}/apiserver.key"),
        &format!("--client-ca-file={PKI}/ca.crt"),
        "--kubelet-preferred-address-types=InternalIP",
        &format!("--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt"),
        &format!("--kubelet-client-key={PKI}/apiserver-kubelet-client.key"),
        &format!("--requestheader-client-ca-file={PKI}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        &format!("--proxy-client-cert-file={PKI}/front-proxy-client.crt"),
        &format!("--proxy-client-key-file={PKI}/front-proxy-client.key"),
        // A story stops it and waits for no client.
        "--shutdown-delay-duration=0s",
    ]);
    command
}

fn controllers() -> Command {
    let kubeconfig = "/etc/kubernetes/controller-manager.conf";
    let mut command = Command::new(control_plane("kube-controller-manager"));
    command.args([
        &format!("--kubeconfig={kubeconfig}"),
        &format!("--authentication-kubeconfig={kubeconfig}"),
        &format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
        "--allocate-node-cidrs=true",
        "--cluster-cidr=10.244.0.0/16",
        "--service-cluster-ip-range=10.96.0.0/12",
        &format!("--root-ca-file={PKI}/ca.crt"),
        &format!("--client-ca-file={PKI}/ca.crt"),
        &format!("--requestheader-client-ca-file={PKI}/front-proxy-ca.crt"),
        &format!("--service-account-private-key-file={PKI}/sa.key"),
        &format!("--cluster-signing-cert-file={PKI}/ca.crt"),
        &format!("--cluster-signing-key-file={PKI}/ca.key"),
    ]);
    command
}

fn scheduler() -> Command {
    let kubeconfig = "/etc/kubernetes/scheduler.conf";
    let mut command = Command::new(control_plane("kube-scheduler"));
    command.args([
        &format!("--kubeconfig={kubeconfig}"),
        &format!("--authentication-kubeconfig={kubeconfig}"),
        &format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]);
    command
}

/// Runs kubectl as an administrator, for what it prints.
#[track_caller]
pub fn kubectl(arguments: &[&str]) -> String {
    let program = control_plane("kubectl").display().to_string();
    let mut command = vec![program.as_str(), "--kubeconfig", ADMIN];
    command.extend(arguments);
    run(&command)
}

/// Gives the API server's own user what `kubeadm init` gives it: it may ask nodes for logs, streams and numbers.
pub fn let_server_ask_nodes() {
    let role = "--clusterrole=system:kubelet-api-admin";
    let user = "--user=kube-apiserver-kubelet-client";
    kubectl(&["create", "clusterrolebinding", "kubelet-api", role, user]);
}

/// Gives nodes what an administrator gives them where gantry connects the pods.
pub fn let_nodes_connect_pods() {
    let manifest = repository().join("packaging/pod-network.yaml");
    kubectl(&["apply", "--filename", &manifest.display().to_string()]);
}

/// Waits until the node is Ready and may be scheduled to.
pub fn wait_node_ready(api: &Api) {
    api.wait("/api/v1/nodes/node-1", "Ready", SOON, |node| {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready =
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        is_ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    });
}
