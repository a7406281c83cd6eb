//! A registry with a password, over TLS: Debian's, on the story's own loopback.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::manifest;
use crate::node::{Node, SOON, container, here};
use crate::process::{logged, run, text};
use crate::wait::wait_for;

/// The registry's name, which the story's own /etc/hosts has, and its port.
pub(super) const REGISTRY: &str = "registry.gantry.test:5443";
pub(super) const HOSTS_DIR: &str = "/etc/containerd/certs.d";
/// `ann` with the password `right`, as bcrypt.
const USERS: &str = "ann:$2y$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC\n";

/// Starts the registry with a certificate that only containerd is configured to trust, and puts the demo image into it.
pub(super) fn start_registry(node: &Node) {
    let host = REGISTRY.split(':').next().expect("a name before the port");
    let own = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let write = |file: &str, content: &str| {
        let path = here(file);
        std::fs::write(&path, content).expect("a private directory");
        path.display().to_string()
    };
    let certificate = write("registry.pem", &own.cert.pem());
    let key = write("registry.key", &own.signing_key.serialize_pem());
    let users = write("registry.users", USERS);
    let data = here("registry").display().to_string();
    let config = write(
        "registry.yml",
        &json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": data}},
            "http": {"addr": "127.0.0.1:5443", "tls": {"certificate": certificate, "key": key}},
            "auth": {"htpasswd": {"realm": "gantry", "path": users}},
        })
        .to_string(),
    );
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    std::fs::write("/etc/hosts", format!("{hosts}127.0.0.1 {host}\n")).expect("a private /etc");
    trust(REGISTRY);
    // It ends with the story's processes, and is waited for by the first of them.
    #[allow(clippy::zombie_processes)]
    logged(
        Command::new("docker-registry").args(["serve", &config]),
        "registry.log",
    );
    let image = "gantry.local/busybox:1";
    wait_for("the demo image to be imported", SOON, || {
        let reported = node.node()?["status"]["images"].to_string();
        if reported.contains(image) {
            Ok(())
        } else {
            Err(reported)
        }
    });
    push(image, "team/app:1");
}

/// Has containerd trust the registry's certificate at this address.
pub(super) fn trust(registry: &str) {
    let certificate = here("registry.pem");
    let trusted = Path::new(HOSTS_DIR).join(registry);
    std::fs::create_dir_all(&trusted).expect("a private /etc");
    let server = format!(
        "server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  ca = \"{}\"\n",
        certificate.display()
    );
    std::fs::write(trusted.join("hosts.toml"), server).expect("a private /etc");
}

/// Puts an image into the registry.
pub(super) fn push(image: &str, name: &str) {
    let remote = format!("{REGISTRY}/{name}");
    wait_for("the registry to take an image", SOON, || {
        let mut push = Command::new("ctr");
        push.args(["--namespace", "k8s.io", "images", "push", "--user", "ann:right"]);
        let output = push.args(["--hosts-dir", HOSTS_DIR, &remote, image]).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output))
        }
    });
}

/// A pod whose image is asked of the registry at each start.
fn pod(name: &str, secret: Option<&str>) -> String {
    pulling(name, secret, "Always")
}

fn pulling(name: &str, secret: Option<&str>, pull: &str) -> String {
    let pull = format!("    imagePullPolicy: {pull}\n");
    let manifest = manifest::with(name, "exec sleep 1000000", &pull);
    let manifest = manifest.replace("gantry.local/busybox:1", &format!("{REGISTRY}/team/app:1"));
    let secret = secret.map(|secret| format!("spec:\n  imagePullSecrets: [{{name: {secret}}}]\n"));
    match secret {
        Some(spec) => manifest.replace("spec:\n", &spec),
        None => manifest,
    }
}

fn secret(name: &str, of_type: &str, key: &str, config: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "type": of_type, "stringData": {key: config.to_string()},
    })
    .to_string()
}

/// Waits until the pod is refused its image, and says so.
fn refused(node: &Node, name: &str) {
    node.wait_pod(name, "refused its image", |pod| {
        let waiting = &container(pod, "main")["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        let message = waiting["message"].as_str().unwrap_or_default();
        ["ErrImagePull", "ImagePullBackOff"].contains(&reason)
            && (message.contains("401 Unauthorized") || message.contains("authorization failed"))
    });
}

/// The image is on the node: one pod has what opened the registry, one has not, and a restart forgets nothing.
fn another_pods_image_is_not_had_without_credentials(node: &mut Node) {
    let records = |directory: &str| {
        let path = Path::new("/var/lib/kubelet/image_manager").join(directory);
        std::fs::read_dir(path).map_or(0, Iterator::count)
    };
    assert_eq!([records("pulling"), records("pulled")], [0, 1]);
    node.manifest("with.yaml", &pulling("with", Some("right"), "Never"));
    node.wait_running("with");
    node.manifest("without.yaml", &pulling("without", None, "IfNotPresent"));
    refused(node, "without");
    node.kill_agent();
    node.start_agent();
    node.manifest("never.yaml", &pulling("never", None, "Never"));
    node.wait_pod("never", "refused the image that is there", |pod| {
        let waiting = &container(pod, "main")["state"]["waiting"];
        waiting["reason"] == "ErrImageNeverPull"
    });
    node.manifest("again.yaml", &pulling("again", Some("right"), "IfNotPresent"));
    node.wait_running("again");
}

pub fn credentials_of_secrets_and_of_the_node_open_a_registry(node: &mut Node) {
    node.start_agent();
    start_registry(node);
    node.manifest("none.yaml", &pod("none", None));
    refused(node, "none");
    let auths = |password: &str| json!({"*.gantry.test:5443": {"username": "ann", "password": password}});
    let newer = |name: &str, password: &str| {
        let config = json!({"auths": auths(password)});
        secret(
            name,
            "kubernetes.io/dockerconfigjson",
            ".dockerconfigjson",
            &config,
        )
    };
    node.manifest("wrong-secret.json", &newer("wrong", "wrong"));
    node.manifest("wrong.yaml", &pod("wrong", Some("wrong")));
    refused(node, "wrong");
    node.manifest("right-secret.json", &newer("right", "right"));
    node.manifest("right.yaml", &pod("right", Some("right")));
    node.wait_running("right");
    let older = secret("older", "kubernetes.io/dockercfg", ".dockercfg", &auths("right"));
    node.manifest("older-secret.json", &older);
    node.manifest("older.yaml", &pod("older", Some("older")));
    node.wait_running("older");
    another_pods_image_is_not_had_without_credentials(node);
    // The Secret is put right, and its pod does not wait for its back-off.
    node.manifest("wrong-secret.json", &newer("wrong", "right"));
    node.wait_running("wrong");
    // Nobody's secret but the node's, and it counts at once.
    let config = json!({"auths": {REGISTRY: {"auth": "YW5uOnJpZ2h0"}}}).to_string();
    std::fs::write("/var/lib/kubelet/config.json", config).expect("a private directory");
    node.manifest("node.yaml", &pod("node", None));
    node.wait_running("node");
    for word in ["right\"", "YW5uOnJpZ2h0"] {
        assert!(!node.agent_log().contains(word), "a password is in the log");
    }
    // What was pulled is the image that was pushed.
    assert!(run(&["ctr", "--namespace", "k8s.io", "images", "list"]).contains(REGISTRY));
}
