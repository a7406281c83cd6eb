//! `kubectl top` through a real metrics-server, which asks the node's port and is asked through the API server.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::{ADMIN, kubectl};
use crate::node::{LONG, here};
use crate::objects::pod;
use crate::process::{kill, logged, run};
use crate::wait::wait_for;
use crate::world::control_plane;

/// Where metrics-server listens.
const PORT: u16 = 4443;
/// How the API server offers what it knows.
const OFFERED: &str = "v1beta1.metrics.k8s.io";
/// What the pod holds in memory.
const HELD: f64 = 24.0 * 1024.0 * 1024.0;

/// What it may do, as in its own release: its two Kubernetes roles, and the numbers of nodes alone of all that a node
/// offers. The Service has no pods: metrics-server is a process of this machine.
const OBJECTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics-server, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:metrics-server}
rules:
- {apiGroups: [""], resources: [nodes/metrics], verbs: [get]}
- {apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:metrics-server}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:metrics-server}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: NAMESPACE}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics-server:system:auth-delegator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: NAMESPACE}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: metrics-server-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: NAMESPACE}]
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: NAMESPACE}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: NAMESPACE, port: 4443}
"#;

/// A metrics-server that runs, and what it needs. Without it the API server would offer what nobody answers, and
/// namespaces could not be deleted.
struct MetricsServer(Option<Child>);

impl MetricsServer {
    fn start(namespace: &str) -> MetricsServer {
        let objects = here("metrics-server.yaml");
        std::fs::write(&objects, OBJECTS.replace("NAMESPACE", namespace)).expect("a private directory");
        kubectl(&["apply", "--filename", &objects.display().to_string()]);
        let token = kubectl(&["create", "token", "metrics-server", "--namespace", namespace]);
        let kubeconfig = here("metrics-server.conf").display().to_string();
        std::fs::copy(ADMIN, &kubeconfig).expect("a private directory");
        let config = |words: &[&str]| {
            let program = control_plane("kubectl").display().to_string();
            run(&[
                &[program.as_str(), "config", "--kubeconfig", &kubeconfig][..],
                words,
            ]
            .concat());
        };
        config(&[
            "set-credentials",
            "metrics-server",
            &format!("--token={}", token.trim()),
        ]);
        config(&["set-context", "--current", "--user=metrics-server"]);
        let mut command = Command::new(control_plane("metrics-server"));
        command
            .args(
                ["", "authentication-", "authorization-"]
                    .map(|what| format!("--{what}kubeconfig={kubeconfig}")),
            )
            .arg(format!("--secure-port={PORT}"))
            .arg(format!("--cert-dir={}", here("metrics-server").display()))
            .args([
                "--metric-resolution=10s",
                "--kubelet-request-timeout=5s",
                "--kubelet-preferred-address-types=InternalIP",
            ])
            // The node's certificate is its own: nothing but its key vouches for it.
            .arg("--kubelet-insecure-tls");
        MetricsServer(Some(logged(&mut command, "metrics-server.log")))
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        let roles = ["metrics-server:system:auth-delegator", "system:metrics-server"];
        let reader = [
            "rolebinding/metrics-server-auth-reader",
            "--namespace=kube-system",
        ];
        for words in [
            &["apiservice", OFFERED][..],
            &["clusterrolebinding", roles[0], roles[1]],
            &["clusterrole", roles[1]],
            &reader,
        ] {
            let program = control_plane("kubectl");
            let mut command = Command::new(program);
            command.args(["--kubeconfig", ADMIN, "delete", "--ignore-not-found"]);
            // What is in the way of one must not keep the others.
            let _ = command.args(words).output();
        }
        kill(self.0.take());
    }
}

pub fn kubectl_top_shows_what_the_kernel_counts(cluster: &mut Cluster) {
    let script = "dd if=/dev/zero of=/dev/shm/held bs=1M count=24 2>/dev/null; while :; do :; done";
    let mut busy = pod("busy", script);
    busy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    cluster.create("pods", &busy);
    let container = container_of(&cluster.wait_running("busy"));
    let (begun, before) = (Instant::now(), CgroupUse::of(&container));
    let _server = MetricsServer::start(&cluster.namespace);

    let pods = [
        "top",
        "pod",
        "--namespace",
        &cluster.namespace,
        "--no-headers",
        "busy",
    ];
    let shown = wait_for("kubectl top to show the pod", LONG, || Row::of("busy", &pods));
    let after = CgroupUse::of(&container);
    let cores = (after.cpu - before.cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!(
        "kubectl top: {shown:?}; the cgroup: {:.0}m, {:.0} bytes",
        cores * 1000.0,
        after.memory
    );
    assert_near(shown.cpu_millis, cores * 1000.0, 0.4);
    assert_near(shown.memory, after.memory, 0.1);
    assert!(after.memory > HELD && shown.memory >= HELD, "{shown:?}");

    let node = wait_for("kubectl top to show the node", LONG, || {
        Row::of("node-1", &["top", "node", "--no-headers"])
    });
    assert!(
        node.cpu_millis >= shown.cpu_millis * 0.5,
        "{node:?} has less than its pod {shown:?}"
    );
    assert!(
        node.memory > shown.memory,
        "{node:?} has less than its pod {shown:?}"
    );
}

/// A line of `kubectl top`.
#[derive(Debug)]
struct Row {
    cpu_millis: f64,
    memory: f64,
}

impl Row {
    /// That of a name: `busy 199m 25Mi`, or `node-1 310m 15% 1200Mi 30%`.
    fn of(name: &str, arguments: &[&str]) -> Result<Row, String> {
        let output = Command::new(control_plane("kubectl"))
            .args(["--kubeconfig", ADMIN])
            .args(arguments)
            .output()
            .map_err(|error| error.to_string())?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let line = said
            .lines()
            .find(|line| line.starts_with(name))
            .ok_or_else(|| said.clone())?;
        let number = |unit: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_suffix(unit));
            found
                .and_then(|number| number.parse::<f64>().ok())
                .ok_or_else(|| said.clone())
        };
        Ok(Row {
            cpu_millis: number("m")?,
            memory: number("Mi")? * 1024.0 * 1024.0,
        })
    }
}

/// The ID of the pod's one container.
fn container_of(pod: &Value) -> String {
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap_or_default();
    id.trim_start_matches("containerd://").to_owned()
}

/// What the kernel counts for a container, read without anything of ours.
struct CgroupUse {
    cpu: Duration,
    memory: f64,
}

impl CgroupUse {
    fn of(container: &str) -> CgroupUse {
        let directories = run(&[
            "find",
            "/sys/fs/cgroup",
            "-type",
            "d",
            "-name",
            &format!("*{container}*"),
        ]);
        let directories: Vec<PathBuf> = directories.lines().map(PathBuf::from).collect();
        let read = |file: &str| {
            let mut texts = directories
                .iter()
                .map(|directory| std::fs::read_to_string(directory.join(file)));
            texts.find_map(Result::ok)
        };
        let field = |file: &str, name: &str| {
            let text = read(file)?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            line.trim().parse::<f64>().ok()
        };
        let number = |file: &str| read(file)?.trim().parse::<f64>().ok();
        let nanos = number("cpuacct.usage").or_else(|| Some(field("cpu.stat", "usage_usec")? * 1000.0));
        let used = number("memory.usage_in_bytes").or_else(|| number("memory.current"));
        let idle =
            field("memory.stat", "total_inactive_file").or_else(|| field("memory.stat", "inactive_file"));
        let (Some(nanos), Some(used), Some(idle)) = (nanos, used, idle) else {
            panic!("no numbers of {container} in {directories:?}");
        };
        CgroupUse {
            cpu: Duration::from_secs_f64(nanos / 1e9),
            memory: used - idle,
        }
    }
}

#[track_caller]
fn assert_near(shown: f64, counted: f64, share: f64) {
    assert!(
        (shown - counted).abs() <= counted * share,
        "{shown} is shown, {counted} was counted"
    );
}
