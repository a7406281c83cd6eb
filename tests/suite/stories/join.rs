//! A machine without systemd becomes a node of a cluster that kubeadm made, and none again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gantry::command::join::files::Places;
use gantry::command::join::service::Systemctl;
use gantry::command::join::{self, Asked, JoinError, Machine};
use gantry::command::reset;
use gantry::config::files::here;
use gantry::config::surroundings::ConfigContext;
use gantry::identity::ca_pin::CaPin;
use gantry::identity::certificate::certificates;
use gantry::identity::pace::Pace;
use gantry::identity::{Renewal, Settings, connection, kubeconfig};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::fake_api::FakeApi;

const TOKEN: &str = "abcdef.0123456789abcdef";
const KUBELET: &str =
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS:\n- 10.96.0.10\n";

/// A cluster, and a machine that wants to be its node.
struct Wish {
    api: FakeApi,
    directory: tempfile::TempDir,
    asked: Asked,
    machine: Machine,
}

/// As the control plane signs for the holder of the token.
fn signature(content: &str, token: &str) -> String {
    let (id, secret) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mac = ring::hmac::sign(
        &key,
        format!("{header}.{}", URL_SAFE_NO_PAD.encode(content)).as_bytes(),
    );
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac))
}

impl Wish {
    async fn new() -> Wish {
        let api = FakeApi::start_secure().await;
        let directory = tempfile::tempdir().unwrap();
        let pem = api.authority().pem.clone();
        let pin = CaPin::of(&certificates(pem.as_bytes()).unwrap()[0]);
        let asked = Asked {
            endpoint: Some(api.address()),
            token: Some(TOKEN.to_owned()),
            pins: vec![pin.to_string()],
            node_name: Some("n".to_owned()),
            ..Asked::default()
        };
        let machine = Machine {
            places: Places {
                root: directory.path().to_owned(),
            },
            context: ConfigContext {
                hostname: "host\n".to_owned(),
                version: String::new(),
                ..here().unwrap()
            },
            program: PathBuf::from("/usr/bin/gantry"),
            systemctl: Systemctl::at(directory.path().join("run/systemctl")),
            patience: Duration::from_millis(100),
        };
        let wish = Wish {
            api,
            directory,
            asked,
            machine,
        };
        wish.tell(&pem, TOKEN);
        wish.api.content().accepted.push(TOKEN.to_owned());
        wish.put("kube-system", "kubelet-config", &json!({"kubelet": KUBELET}));
        wish.version("v1.34.2");
        wish
    }

    fn put(&self, namespace: &str, name: &str, data: &Value) {
        self.api.put(
            "configmaps",
            namespace,
            name,
            json!({"metadata": {}, "data": data}),
        );
    }

    fn version(&self, version: &str) {
        let text = format!("kind: ClusterConfiguration\nkubernetesVersion: {version}\n");
        self.put(
            "kube-system",
            "kubeadm-config",
            &json!({"ClusterConfiguration": text}),
        );
    }

    /// cluster-info with this authority, signed with this token.
    fn tell(&self, authority: &str, token: &str) {
        let kubeconfig = json!({"kind": "Config", "apiVersion": "v1", "clusters": [{"name": "", "cluster": {
            "server": format!("https://{}", self.api.address()),
            "certificate-authority-data": STANDARD.encode(authority),
        }}]});
        let said = kubeconfig.to_string();
        let mut data = BTreeMap::from([("kubeconfig", said.clone())]);
        let key = format!("jws-kubeconfig-{}", token.split('.').next().unwrap());
        data.insert(&key, signature(&said, token));
        self.put("kube-public", "cluster-info", &json!(data));
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// systemd runs the machine: as much of it as joining needs. Its calls are kept in a file, and what a service
    /// does when it is started is a line of shell.
    fn has_systemd(&self, start: &str) {
        std::fs::create_dir_all(self.at("run/systemd/system")).unwrap();
        let root = self.directory.path().display();
        let script = format!(
            "#!/bin/sh\nroot={root}\necho \"$*\" >>$root/run/calls\ncase \"$1 $2\" in\n\
             'cat gantry.service') test -e $root/etc/systemd/system/gantry.service;;\n\
             'is-active gantry.service') test -e $root/run/active && echo active;;\n\
             'is-active kubelet.service') test -e $root/run/kubelet && echo active;;\n\
             'restart gantry.service') {start};;\n\
             'disable --now') rm -f $root/run/active;;\n\
             esac\n"
        );
        // Made by a shell, for no other thread may hold it open for writing when it is run.
        let source = self.at("run/systemctl.sh");
        std::fs::write(&source, script).unwrap();
        let made = std::process::Command::new("cp")
            .args([&source, &self.at("run/systemctl")])
            .status()
            .unwrap();
        assert!(made.success());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.at("run/systemctl"), executable).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.at("run/calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// The agent's credentials, as the agent has them.
    fn settings(&self) -> Settings {
        let places = &self.machine.places;
        Settings {
            kubeconfig: places.kubeconfig(),
            bootstrap: Some(places.bootstrap()),
            directory: places.certificates(),
            node: "n".to_owned(),
            renewal: Renewal::On,
            look: Duration::from_millis(10),
            patience: Duration::from_secs(20),
            pace: Arc::new(Pace::new(1000, 1000)),
            counters: Arc::default(),
        }
    }

    /// Every file below the root, but for what stands for systemd.
    fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.directory.path().to_owned()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(self.directory.path()).unwrap();
                    if name.starts_with("run") {
                        continue;
                    }
                    found.insert(
                        name.display().to_string(),
                        std::fs::read_to_string(&path).unwrap(),
                    );
                }
            }
        }
        found
    }

    async fn join(&self) -> Result<String, JoinError> {
        let mut out = Vec::new();
        let joined = join::run(&self.asked, &self.machine, &mut out).await;
        joined.map(|()| String::from_utf8(out).unwrap())
    }

    /// It must fail so, and leave nothing behind.
    async fn fails(&self, expected: &str) {
        let before = self.files();
        let error = self.join().await.expect_err(expected);
        let text = gantry::model::error_chain::chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("0123456789abcdef"), "a secret is told: {text}");
        assert_eq!(self.files(), before);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn joining_writes_what_kubeadm_writes_and_resetting_removes_it() {
    let wish = Wish::new().await;
    let out = wish.join().await.unwrap();
    let files = wish.files();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "etc/gantry/kubernetes-version",
            "etc/kubernetes/bootstrap-kubelet.conf",
            "etc/kubernetes/pki/ca.crt",
            "var/lib/kubelet/config.yaml",
            "var/lib/kubelet/kubeadm-flags.env",
        ]
    );
    assert_eq!(files["etc/gantry/kubernetes-version"], "v1.34.2\n");
    assert_eq!(files["etc/kubernetes/pki/ca.crt"], wish.api.authority().pem);
    assert_eq!(files["var/lib/kubelet/config.yaml"], KUBELET);
    assert_eq!(
        files["var/lib/kubelet/kubeadm-flags.env"],
        "KUBELET_KUBEADM_ARGS=\"--hostname-override=n\"\n"
    );
    assert_eq!(mode(&wish.at("etc/kubernetes/bootstrap-kubelet.conf")), 0o600);
    assert!(
        out.contains("kubelet --bootstrap-kubeconfig=") && out.contains("--hostname-override=n"),
        "{out}"
    );
    assert!(!out.contains("0123456789abcdef"), "{out}");

    // The agent begins with these files.
    let places = &wish.machine.places;
    wish.api.content().signs = Some((-300, 3600));
    let (out, joined) = watch::channel(None);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(connection::run(wish.settings(), out, cancel.clone()));
    connection::joined(joined, &cancel).await.expect("a client");
    let condition = |status: &str| {
        json!({"status": {"conditions": [
            {"type": "Ready", "status": status, "message": "no network yet"}
        ]}})
    };
    wish.api.put("nodes", "", "n", condition("False"));
    let waited = join::wait_until_ready(places, "n", Duration::from_millis(300)).await;
    assert!(waited.unwrap_err().to_string().contains("(no network yet)"));
    wish.api.put("nodes", "", "n", condition("True"));
    join::wait_until_ready(places, "n", Duration::from_secs(20))
        .await
        .unwrap();
    cancel.cancel();
    task.await.unwrap();

    wish.fails("this machine is a node already").await;
    let mut out = Vec::new();
    reset::clear(places, &mut out).unwrap();
    assert_eq!(wish.files(), BTreeMap::new());
    assert!(String::from_utf8(out).unwrap().contains("kubelet.conf"));
}

#[tokio::test]
async fn what_was_given_is_checked_first() {
    let mut wish = Wish::new().await;
    let right = wish.asked.clone();
    wish.asked.token = Some("abcdef.0123456789ABCDEF".to_owned());
    wish.fails("the token must be 6 characters").await;
    wish.asked = right.clone();
    wish.asked.token = None;
    wish.fails("--token is missing").await;
    wish.asked = right.clone();
    wish.asked.pins = vec!["sha256:12".to_owned()];
    wish.fails("\"sha256:12\" is not a valid CA pin").await;
    wish.asked.pins.clear();
    wish.fails("--discovery-token-ca-cert-hash is missing").await;
    wish.asked = right.clone();
    wish.asked.endpoint = Some("192.0.2.1".to_owned());
    wish.fails("use host:port").await;
    wish.asked = right.clone();
    wish.asked.endpoint = None;
    wish.fails("the API server's address is missing").await;
    wish.asked = right.clone();
    wish.asked.node_name = Some("A_b".to_owned());
    wish.fails("\"a_b\" is not a valid node name").await;
    assert_eq!(wish.api.content().requests.len(), 0);
}

#[tokio::test]
async fn clusters_that_are_not_trusted() {
    let mut wish = Wish::new().await;
    let right = wish.asked.clone();
    wish.asked.pins = vec![format!("sha256:{}", "0".repeat(64))];
    wish.fails("is not the pinned one but sha256:").await;
    wish.asked = right.clone();
    wish.asked.token = Some("abcdef.fedcba9876543210".to_owned());
    wish.fails("its signature was not made with this token").await;
    wish.asked.token = Some("zzzzzz.0123456789abcdef".to_owned());
    wish.fails("the cluster does not know the token zzzzzz.…").await;
    // Somebody in between passes on what the cluster says, but has not its certificate.
    wish.asked = right.clone();
    let other = Authority::new("kubernetes");
    wish.tell(&other.pem, TOKEN);
    let pin = CaPin::of(&certificates(other.pem.as_bytes()).unwrap()[0]);
    wish.asked.pins = vec![pin.to_string()];
    wish.fails("is not signed by its cluster's CA").await;
    wish.put("kube-public", "cluster-info", &json!({}));
    wish.fails("kubeadm init phase bootstrap-token").await;
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    wish.asked.endpoint = Some(listener.local_addr().unwrap().to_string());
    drop(listener);
    wish.fails("no API server answers at 127.0.0.1:").await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told() {
    let wish = Wish::new().await;
    wish.api.content().date = Some("Wed, 01 Jan 2020 00:00:00 GMT".to_owned());
    wish.fails("seconds ahead of the control plane's; set it with `timedatectl")
        .await;
}

#[tokio::test]
async fn clusters_that_do_not_take_the_machine() {
    let wish = Wish::new().await;
    wish.api.put(
        "nodes",
        "",
        "n",
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    wish.fails("a node named n that is Ready").await;
    // One that is dead may have been this machine.
    wish.api.put(
        "nodes",
        "",
        "n",
        json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
    );
    wish.version("v1.32.1");
    wish.fails("the control plane runs v1.32.1").await;
    wish.version("v1.36.0");
    wish.put(
        "kube-system",
        "kubelet-config",
        &json!({"kubelet": format!("{KUBELET}cpuManagerPolicy: static\n")}),
    );
    wish.fails("cpuManagerPolicy: static is not supported yet").await;
    wish.put("kube-system", "kubelet-config", &json!({}));
    wish.fails("kubectl -n kube-system get configmap kubelet-config")
        .await;
    wish.put("kube-system", "kubelet-config", &json!({"kubelet": KUBELET}));
    wish.api.content().accepted.clear();
    wish.fails("the API server does not accept the token").await;
}

#[tokio::test]
async fn what_another_cluster_left_is_not_written_over() {
    let wish = Wish::new().await;
    std::fs::create_dir_all(wish.at("etc/kubernetes/pki")).unwrap();
    std::fs::write(wish.at("etc/kubernetes/pki/ca.crt"), Authority::new("other").pem).unwrap();
    wish.fails("is the CA of another cluster").await;
    std::fs::remove_file(wish.at("etc/kubernetes/pki/ca.crt")).unwrap();
    // What an interrupted join left is.
    std::fs::write(wish.at("etc/kubernetes/bootstrap-kubelet.conf"), "half").unwrap();
    wish.join().await.unwrap();
}

#[tokio::test]
async fn the_token_alone_where_a_person_says_so() {
    let mut wish = Wish::new().await;
    wish.asked.pins.clear();
    wish.asked.unsafe_skip = true;
    wish.join().await.unwrap();
}

#[tokio::test]
async fn a_file_may_say_where_the_cluster_is() {
    let mut wish = Wish::new().await;
    let path = wish.at("cluster.conf");
    let cluster = json!({
        "server": format!("https://{}", wish.api.address()),
        "certificate-authority-data": STANDARD.encode(&wish.api.authority().pem),
    });
    let write = |user: Value| {
        kubeconfig::write(&path, &kubeconfig::document("c", &cluster, "u", &user, "x")).unwrap();
    };
    write(json!({}));
    wish.asked = Asked {
        discovery_file: Some(path.clone()),
        node_name: Some("n".to_owned()),
        ..Asked::default()
    };
    wish.fails("the discovery file has no credentials").await;
    write(json!({"token": TOKEN}));
    wish.join().await.unwrap();
    assert!(wish.files()["etc/kubernetes/bootstrap-kubelet.conf"].contains(TOKEN));
    wish.asked.discovery_file = Some("http://example.org/c.conf".into());
    wish.fails("is not secure").await;
}

#[tokio::test]
async fn a_file_may_have_a_certificate_to_join_with() {
    let mut wish = Wish::new().await;
    let path = wish.at("cluster.conf");
    let cluster = json!({
        "server": format!("https://{}", wish.api.address()),
        "certificate-authority-data": STANDARD.encode(&wish.api.authority().pem),
    });
    let (pem, key) = wish.api.authority().issue("joiner", &[], (-60, 3600));
    std::fs::write(wish.at("crt"), pem).unwrap();
    std::fs::write(wish.at("key"), &key).unwrap();
    let user = json!({"client-certificate": "crt", "client-key": "key"});
    kubeconfig::write(&path, &kubeconfig::document("c", &cluster, "u", &user, "x")).unwrap();
    wish.asked = Asked {
        discovery_file: Some(path),
        node_name: Some("n".to_owned()),
        ..Asked::default()
    };
    wish.join().await.unwrap();
    assert_eq!(wish.api.content().users.last().unwrap(), "joiner");
    // The files that it names may be gone when the agent reads what was written.
    let written = &wish.files()["etc/kubernetes/bootstrap-kubelet.conf"];
    assert!(written.contains(&STANDARD.encode(key)), "{written}");
}

/// Runs a story once more in a process of its own that trusts the authorities of a file. True within it: the file is
/// to be written before any server is trusted.
fn with_trust_of_its_own(story: &str) -> bool {
    const MARK: &str = "GANTRY_STORY_HAS_ITS_OWN_TRUST";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", story, "--nocapture"])
        .env(MARK, "1")
        .env("SSL_CERT_FILE", directory.path().join("authorities.pem"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // A name that no story has would be a success, too.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{story} failed in a process of its own: {said}"
    );
    false
}

#[tokio::test]
async fn the_file_may_lie_behind_an_address_that_the_machine_trusts() {
    let story = "stories::join::the_file_may_lie_behind_an_address_that_the_machine_trusts";
    if !with_trust_of_its_own(story) {
        return;
    }
    let mut wish = Wish::new().await;
    let trusted = std::env::var_os("SSL_CERT_FILE").unwrap();
    std::fs::write(&trusted, &wish.api.authority().pem).unwrap();
    let server = format!("https://{}", wish.api.address());
    let cluster = json!({
        "server": server,
        "certificate-authority-data": STANDARD.encode(&wish.api.authority().pem),
    });
    let tell = |wish: &Wish, user: Value| {
        let text = kubeconfig::text(&kubeconfig::document("c", &cluster, "u", &user, "x"));
        let mut content = wish.api.content();
        content.texts.insert("/cluster.conf".to_owned(), text);
    };
    wish.asked = Asked {
        discovery_file: Some(format!("{server}/cluster.conf").into()),
        token: Some(TOKEN.to_owned()),
        node_name: Some("n".to_owned()),
        ..Asked::default()
    };
    wish.fails("it answers 403").await;
    // What comes from elsewhere says nothing of this machine's files, and runs nothing.
    tell(&wish, json!({"tokenFile": "/etc/shadow"}));
    wish.fails("it refers to files or programs").await;
    tell(
        &wish,
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["/x"]}}),
    );
    wish.fails("it refers to files or programs").await;
    tell(&wish, json!({}));
    wish.join().await.unwrap();
    assert!(wish.files()["etc/kubernetes/bootstrap-kubelet.conf"].contains(TOKEN));
    // Nobody else is trusted.
    let other = FakeApi::start_secure().await;
    let mut wish = Wish::new().await;
    wish.asked = Asked {
        discovery_file: Some(format!("https://{}/cluster.conf", other.address()).into()),
        token: Some(TOKEN.to_owned()),
        node_name: Some("n".to_owned()),
        ..Asked::default()
    };
    wish.fails("invalid peer certificate").await;
}

#[tokio::test]
async fn with_systemd_the_service_is_started_and_waited_for() {
    let wish = Wish::new().await;
    wish.has_systemd("touch $root/run/active");
    wish.api.content().signs = Some((-300, 3600));
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    // The agent: it begins when its files are there.
    let (settings, cancel) = (wish.settings(), CancellationToken::new());
    let agent = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        while !wish.at("run/active").exists() {
            looks.tick().await;
        }
        wish.api.put("nodes", "", "n", ready);
        connection::run(settings, watch::channel(None).0, cancel.clone()).await;
    };
    let joining = async {
        let out = wish.join().await;
        cancel.cancel();
        out
    };
    let (out, ()) = tokio::join!(joining, agent);
    let out = out.unwrap();
    assert!(out.ends_with("ready     this machine is node n\n"), "{out}");
    let mut calls = wish.calls();
    calls.dedup();
    assert_eq!(
        calls,
        [
            "is-active kubelet.service",
            "is-active gantry.service",
            "cat gantry.service",
            "daemon-reload",
            "enable gantry.service",
            "restart gantry.service",
            "is-active gantry.service",
        ]
    );
    let files = wish.files();
    assert!(
        !files.contains_key("etc/kubernetes/bootstrap-kubelet.conf"),
        "the token stays"
    );
    let unit = &files["etc/systemd/system/gantry.service"];
    assert!(unit.contains("ExecStart=/usr/bin/gantry run"), "{unit}");
    let drop_in = &files["etc/systemd/system/gantry.service.d/10-join.conf"];
    assert!(
        drop_in.contains("ExecStart=/usr/bin/gantry kubelet --bootstrap-kubeconfig="),
        "{drop_in}"
    );
    let places = &wish.machine.places;
    reset::remove_service(places, &wish.machine.systemctl)
        .await
        .unwrap();
    reset::clear(places, &mut Vec::new()).unwrap();
    assert_eq!(wish.files(), BTreeMap::new());
}

#[tokio::test]
async fn with_systemd_what_fails_is_taken_back() {
    let wish = Wish::new().await;
    wish.has_systemd("echo no such program; exit 1");
    wish.fails("`systemctl restart gantry.service` failed: no such program")
        .await;
    let calls = wish.calls();
    assert_eq!(
        calls[calls.len() - 2..],
        ["disable --now gantry.service", "daemon-reload"]
    );
    // It starts, and has stopped again.
    wish.has_systemd("true");
    wish.fails("the agent stopped; see `journalctl -u gantry` for the reason")
        .await;
    std::fs::write(wish.at("run/kubelet"), "").unwrap();
    wish.fails("systemctl disable --now kubelet").await;
}
