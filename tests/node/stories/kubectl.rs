//! kubectl itself, on a machine without a cluster: three releases ask the agent what they would ask an API server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::node::{Node, SOON, here};
use crate::process::{run, text};
use crate::wait::wait_for;
use crate::world::repository;

const KUBECONFIG: &str = "/run/gantry/kubeconfig";

const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: gantry.local/busybox:1
    command: [sh, -c, "mkdir -p /srv; echo hello >/srv/index.html; echo started; exec httpd -f -p 8080 -h /srv"]
---
apiVersion: v1
kind: Pod
metadata:
  name: talk
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: gantry.local/busybox:1
    stdin: true
    command: [sh, -c, "while read line; do echo got $line; done"]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}, annotations: {note: by hand}}
data: {color: blue, size: large}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: hunter2}
"#;

pub fn the_release_of_debian_12(node: &mut Node) {
    asks_everything(node, &Kubectl::new("debian-12"));
}

pub fn the_release_of_debian_13(node: &mut Node) {
    let kubectl = Kubectl::new("debian-13");
    asks_everything(node, &kubectl);
    kubectl.prints(&["events"], &["Started", "Pod/web-node-1"]);
}

pub fn the_release_of_this_kubelet(node: &mut Node) {
    let kubectl = Kubectl::new("own");
    asks_everything(node, &kubectl);
    kubectl.prints(&["events", "--for", "pod/web-node-1"], &["Started"]);
    a_restart_of_the_agent(node, &kubectl);
}

/// One release, with a home directory of its own for what it remembers.
pub(super) struct Kubectl {
    program: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    pub(super) fn new(release: &str) -> Kubectl {
        let program = repository().join("target/kubectl").join(release);
        assert!(
            program.exists(),
            "tests/setup/kubectl.sh makes {}",
            program.display()
        );
        Kubectl {
            program,
            home: here(&format!("home-{release}")),
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--kubeconfig", KUBECONFIG]).args(arguments);
        command.env("HOME", &self.home).stdin(Stdio::null());
        command
    }

    pub(super) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kubectl starts")
    }

    /// Runs a command that succeeds and prints all of these.
    #[track_caller]
    pub(super) fn prints(&self, arguments: &[&str], expected: &[&str]) -> String {
        let output = self.output(arguments);
        let seen = text(&output);
        assert!(output.status.success(), "kubectl {}: {seen}", arguments.join(" "));
        for part in expected {
            assert!(
                seen.contains(part),
                "kubectl {} has no {part:?}: {seen}",
                arguments.join(" ")
            );
        }
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that fails and says this.
    #[track_caller]
    pub(super) fn refuses(&self, arguments: &[&str], expected: &[&str]) {
        let output = self.output(arguments);
        let seen = text(&output);
        assert!(
            !output.status.success(),
            "kubectl {}: {seen}",
            arguments.join(" ")
        );
        for part in expected {
            assert!(
                seen.contains(part),
                "kubectl {} has no {part:?}: {seen}",
                arguments.join(" ")
            );
        }
    }

    /// Starts a command whose output is read while it runs.
    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Running { child, output }
    }
}

/// A command that runs until it is dropped.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The first line with this in it.
    #[track_caller]
    fn line(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        for line in self.output.by_ref().lines() {
            let line = line.expect("text");
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("it ended without {part:?}: {seen:?}");
    }

    /// Gives it this input, which goes on.
    fn write(&mut self, text: &str) -> ChildStdin {
        let mut stdin = self.child.stdin.take().expect("it is piped");
        stdin.write_all(text.as_bytes()).expect("it is read");
        stdin
    }
}

fn asks_everything(node: &mut Node, kubectl: &Kubectl) {
    node.start_agent();
    node.manifest("all.yaml", PODS);
    node.wait_running("web");
    node.wait_running("talk");
    about_the_server(kubectl);
    lists(kubectl);
    descriptions(kubectl);
    streams(kubectl);
    copies(kubectl);
    forwards(kubectl);
    numbers(kubectl);
    watches(node, kubectl);
    refusals(kubectl);
}

fn about_the_server(kubectl: &Kubectl) {
    kubectl.prints(&["version"], &["Server Version", "v1.36.2"]);
    kubectl.prints(&["api-resources"], &["pods", "po ", "configmaps", "NAMESPACED"]);
    kubectl.prints(&["api-versions"], &["v1", "metrics.k8s.io/v1beta1"]);
    kubectl.prints(&["cluster-info"], &["running at", "https://127.0.0.1:10247"]);
    kubectl.prints(&["get", "--raw", "/healthz"], &["ok"]);
    kubectl.prints(&["get", "--raw", "/readyz"], &["ok"]);
    kubectl.prints(&["auth", "can-i", "get", "pods"], &["yes"]);
    kubectl.prints(&["auth", "can-i", "delete", "pods"], &["yes"]);
    kubectl.refuses(&["auth", "can-i", "delete", "nodes"], &["no"]);
}

fn lists(kubectl: &Kubectl) {
    let all = kubectl.prints(&["get", "pods", "-A"], &["NAMESPACE", "READY", "RESTARTS", "AGE"]);
    let is_row =
        |line: &str| line.starts_with("default") && line.contains("web-node-1") && line.contains("1/1");
    assert!(all.lines().any(is_row), "{all}");
    kubectl.prints(
        &["get", "pods", "-o", "wide"],
        &["NOMINATED NODE", "READINESS GATES", "node-1"],
    );
    kubectl.prints(
        &["get", "pod", "web-node-1", "-o", "yaml"],
        &["kind: Pod", "resourceVersion: ", "podIP: "],
    );
    kubectl.prints(
        &["get", "pods", "-o", "yaml"],
        &["kind: List", "name: talk-node-1"],
    );
    kubectl.prints(&["get", "pods", "-o", "name"], &["pod/web-node-1"]);
    let labelled = kubectl.prints(
        &["get", "pods", "-l", "app in (web)", "--show-labels"],
        &["app=web"],
    );
    assert!(!labelled.contains("talk"), "{labelled}");
    let sorted = kubectl.prints(&["get", "po", "--sort-by=.metadata.name", "--no-headers"], &[]);
    assert!(sorted.starts_with("talk-node-1"), "{sorted}");
    kubectl.prints(
        &[
            "get",
            "pods",
            "--field-selector",
            "status.phase=Running,spec.nodeName=node-1",
        ],
        &["web-node-1"],
    );
    kubectl.prints(
        &["get", "pods", "--field-selector", "status.phase!=Running"],
        &["No resources found"],
    );
    kubectl.prints(&["get", "pods", "--chunk-size=1"], &["web-node-1", "talk-node-1"]);
    kubectl.refuses(
        &["get", "pods", "--field-selector", "spec.x=y"],
        &["field label not supported: spec.x"],
    );
    kubectl.refuses(&["get", "pods", "-l", "a=b=c"], &["unable to parse requirement"]);
    kubectl.refuses(&["get", "pod", "web"], &["(NotFound)", "pods \"web\" not found"]);
    kubectl.refuses(
        &["get", "deployments"],
        &["the server doesn't have a resource type"],
    );
    kubectl.prints(
        &["get", "nodes", "-o", "wide"],
        &["node-1", "Ready", "v1.36.2", "containerd://", "192.0.2.10"],
    );
    kubectl.prints(&["get", "ns"], &["default", "kube-system", "Active"]);
    kubectl.prints(&["get", "events"], &["LAST SEEN", "Started", "pod/web-node-1"]);
    kubectl.prints(
        &["get", "cm", "settings", "-o", "jsonpath={.data.color}"],
        &["blue"],
    );
    kubectl.prints(&["get", "cm"], &["settings", "2"]);
    kubectl.prints(&["get", "secrets"], &["password", "Opaque", "1"]);
    let ages = kubectl.prints(
        &["get", "cm,secret,ns,nodes,pods"],
        &["AGE", "settings", "password"],
    );
    assert!(!ages.contains("<unknown>"), "{ages}");
    kubectl.prints(
        &["get", "cm", "-l", "app=web", "--show-labels"],
        &["settings", "app=web"],
    );
    kubectl.prints(&["get", "secret", "-l", "app=web"], &["No resources found"]);
    kubectl.prints(
        &["get", "cm", "settings", "-o", "yaml"],
        &["note: by hand", "creationTimestamp: "],
    );
    let secret = kubectl.prints(&["get", "secret", "password", "-o", "yaml"], &["word: \"\""]);
    assert!(
        !secret.contains("hunter2") && !secret.contains("aHVudGVyMg"),
        "{secret}"
    );
    kubectl.prints(&["get", "all"], &["pod/web-node-1"]);
    kubectl.prints(
        &["get", "pods,cm,nodes"],
        &["pod/web-node-1", "configmap/settings", "node/node-1"],
    );
}

fn descriptions(kubectl: &Kubectl) {
    let pod = [
        "Node:",
        "node-1/192.0.2.10",
        "Started",
        "Ready",
        "gantry.local/busybox:1",
    ];
    kubectl.prints(&["describe", "pod", "web-node-1"], &pod);
    let node = [
        "Non-terminated Pods",
        "web-node-1",
        "Allocatable",
        "MemoryPressure",
        "Starting kubelet.",
        "NodeHasSufficientMemory",
        "NodeReady",
    ];
    let node = kubectl.prints(&["describe", "node", "node-1"], &node);
    let started = node.matches("Starting kubelet.").count();
    assert_eq!(started, 1, "each event once: {node}");
    assert!(!node.contains("<unknown>"), "{node}");
    let of_node = ["get", "events", "--field-selector", "involvedObject.kind=Node"];
    kubectl.prints(&of_node, &["node/node-1", "Starting", "NodeHasSufficientPID"]);
    kubectl.prints(&["describe", "ns", "default"], &["Active"]);
    kubectl.prints(&["describe", "cm", "settings"], &["color", "blue"]);
    kubectl.prints(
        &["describe", "secret", "password"],
        &["word:", "0 bytes", "gantry.dev/values"],
    );
}

fn streams(kubectl: &Kubectl) {
    assert_eq!(kubectl.prints(&["logs", "web-node-1"], &[]), "started\n");
    assert_eq!(
        kubectl.prints(&["logs", "web-node-1", "-c", "main", "--tail=1"], &[]),
        "started\n"
    );
    kubectl.prints(&["logs", "-l", "app=web", "--timestamps"], &["Z started"]);
    kubectl.refuses(
        &["logs", "web-node-1", "--previous"],
        &["previous terminated container"],
    );
    assert!(kubectl.start(&["logs", "-f", "web-node-1"]).line("started") == "started");

    let output = kubectl.output(&[
        "exec",
        "web-node-1",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    // kubectl 1.32 may read the first message, which is empty, before it has made its streams, and logs that it discards it
    // (`readDemuxLoop` of its remotecommand/websocket.go; later releases wait for the streams).
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut errors = errors.lines().filter(|line| !line.contains("Unknown stream id"));
    assert_eq!(errors.next(), Some("err"), "{}", text(&output));
    let mut cat = kubectl.start(&["exec", "-i", "web-node-1", "-c", "main", "--", "cat"]);
    drop(cat.write("typed\n"));
    let mut answer = String::new();
    cat.output.read_to_string(&mut answer).expect("text");
    assert_eq!(answer, "typed\n");
    assert!(cat.child.wait().expect("it ends").success());
    kubectl.refuses(&["exec", "web-node-1", "-c", "other", "--", "id"], &["other"]);

    let mut attached = kubectl.start(&["attach", "-i", "talk-node-1"]);
    let _stdin = attached.write("hello\n");
    assert_eq!(attached.line("got"), "got hello");
}

fn copies(kubectl: &Kubectl) {
    let (there, back) = (here("there"), here("back"));
    std::fs::write(&there, "copied\n").expect("a private directory");
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    kubectl.prints(&["cp", &path(&there), "web-node-1:/tmp/copy"], &[]);
    kubectl.prints(&["cp", "web-node-1:/tmp/copy", &path(&back)], &[]);
    assert_eq!(std::fs::read_to_string(&back).expect("it is there"), "copied\n");
}

fn forwards(kubectl: &Kubectl) {
    let mut forward = kubectl.start(&["port-forward", "pod/web-node-1", ":8080"]);
    let line = forward.line("Forwarding from 127.0.0.1:");
    let port = line
        .split([':', ' '])
        .find_map(|word| word.parse::<u16>().ok())
        .expect(&line);
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("kubectl listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream
            .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
            .expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.ends_with("hello\n"), "{answer}");
    }
}

fn numbers(kubectl: &Kubectl) {
    kubectl.prints(&["top", "node"], &["node-1", "m", "Mi"]);
    // A container that has just been started has no rate yet.
    wait_for("the pods to have numbers", SOON, || {
        let output = kubectl.output(&["top", "pods"]);
        let seen = text(&output);
        match seen.contains("web-node-1") && seen.contains("talk-node-1") {
            true => Ok(()),
            false => Err(seen),
        }
    });
    kubectl.prints(&["top", "pod", "web-node-1", "--containers"], &["main"]);
}

fn watches(node: &mut Node, kubectl: &Kubectl) {
    let wait = ["wait", "--for=condition=Ready", "pod/web-node-1", "--timeout=20s"];
    kubectl.prints(&wait, &["condition met"]);
    let mut watch = kubectl.start(&["get", "pods", "-w"]);
    watch.line("web-node-1");
    node.manifest("late.yaml", &crate::manifest::idle("late"));
    let new = watch.line("late-node-1");
    assert!(new.contains("0/1") || new.contains("1/1"), "{new}");
    node.wait_running("late");
    let mut gone = kubectl.start(&["get", "pod", "late-node-1", "-w", "--output-watch-events"]);
    gone.line("ADDED");
    node.remove("late.yaml");
    gone.line("DELETED");
    node.wait_gone("late");
}

fn refusals(kubectl: &Kubectl) {
    let refused = "(MethodNotAllowed)";
    kubectl.refuses(
        &["create", "namespace", "x"],
        &[refused, "while a manifest names it"],
    );
    kubectl.refuses(
        &["label", "node", "node-1", "a=b"],
        &[refused, "gantry's configuration"],
    );
    kubectl.prints(&["get", "pod", "web-node-1"], &["Running"]);
    kubectl.refuses(&["--token=wrong", "get", "pods"], &["Unauthorized"]);
}

/// What there was before is as old as it was, and the same.
fn a_restart_of_the_agent(node: &mut Node, kubectl: &Kubectl) {
    let of = |path: &str| {
        let output = format!("jsonpath={{.metadata.{path}}}");
        kubectl.prints(&["get", "cm", "settings", "-o", &output], &[])
    };
    let known = || (of("creationTimestamp"), of("uid"));
    let (before, version) = (known(), of("resourceVersion"));
    assert!(before.0.ends_with('Z') && before.1.len() == 36, "{before:?}");
    let list = "jsonpath={.items[?(@.metadata.name==\"settings\")].metadata.resourceVersion}";
    assert_eq!(kubectl.prints(&["get", "cm", "-o", list], &[]), version);
    node.manifest("all.yaml", &PODS.replace("color: blue", "color: red"));
    wait_for("the new content", SOON, || {
        let shown = kubectl.prints(&["get", "cm", "settings", "-o", "jsonpath={.data.color}"], &[]);
        if shown == "red" { Ok(()) } else { Err(shown) }
    });
    assert_eq!(known(), before, "an edited object is no new one");
    assert_ne!(of("resourceVersion"), version);
    node.stop_agent();
    node.start_agent();
    wait_for("the object after a restart", SOON, || {
        let output = kubectl.output(&["get", "cm", "settings"]);
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output))
        }
    });
    assert_eq!(known(), before);
}

/// What is printed of it once it is there: the agent answers before it has written it.
fn kubeconfig(node: &Node) -> String {
    wait_for("the kubeconfig", SOON, || {
        let output = node.gantry(&["kubeconfig"]);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(text(&output)),
        }
    })
}

pub fn the_kubeconfig_is_for_root_and_its_group_alone(node: &mut Node) {
    node.start_agent();
    let printed = kubeconfig(node);
    assert!(printed.contains("https://127.0.0.1:10247"), "no server in it");
    assert!(!may_read(&["65534"]), "it is root's");
    assert!(
        !node.agent_log().contains(&token(&printed)),
        "the token is in the log"
    );
    node.stop_agent();
    assert!(!Path::new(KUBECONFIG).exists(), "it goes with the agent");
    let output = node.gantry(&["kubeconfig"]);
    assert!(text(&output).contains("start the agent"), "{}", text(&output));

    node.flag("--kubectl-group=adm");
    node.start_agent();
    assert_eq!(token(&kubeconfig(node)), token(&printed), "a copy stays valid");
    assert!(!may_read(&["65534"]), "it is the group's");
    let adm = run(&["getent", "group", "adm"]);
    let adm = adm.split(':').nth(2).expect("the third field is the number");
    assert!(may_read(&[adm]), "a member of the group may read it");
    let socket = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--groups",
            adm,
            "curl",
            "--silent",
            "--unix-socket",
        ])
        .args(["/run/gantry/gantry.sock", "http://agent/pods"])
        .output()
        .expect("setpriv starts");
    assert!(
        !socket.status.success(),
        "the socket is root's: {}",
        text(&socket)
    );
}

/// Whether a user who is nobody, with these groups, reads the kubeconfig.
fn may_read(groups: &[&str]) -> bool {
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--groups",
            &groups.join(","),
            "cat",
            KUBECONFIG,
        ])
        .output();
    output.expect("setpriv starts").status.success()
}

fn token(kubeconfig: &str) -> String {
    let config: serde_json::Value = serde_json::from_str(kubeconfig).expect("JSON");
    let token = config["users"][0]["user"]["token"].as_str();
    token.expect("a token").to_owned()
}
