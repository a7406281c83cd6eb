//! How a node gets its certificate, keeps it, and speaks with what it has.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry::identity::bootstrap::{BootstrapError, bootstrap};
use gantry::identity::clients::{Clients, Joined};
use gantry::identity::connection;
use gantry::identity::pace::Pace;
use gantry::identity::request::Purpose;
use gantry::identity::signing::{self, SigningError};
use gantry::identity::store::{SERVER, Store};
use gantry::identity::{Renewal, Settings, client, kubeconfig, renewal};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::fake_api::{FakeApi, REQUESTS};

/// Every condition becomes true long before this, or the test has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "abcdef.0123456789abcdef";
const USER: &str = "system:node:n";

/// A node's files, and the cluster that it is to be of.
pub(super) struct Joining {
    pub(super) directory: tempfile::TempDir,
    pub(super) api: FakeApi,
    pub(super) settings: Settings,
}

impl Joining {
    pub(super) async fn new() -> Joining {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let settings = Settings {
            kubeconfig: at("kubelet.conf"),
            bootstrap: Some(at("bootstrap-kubelet.conf")),
            directory: at("pki"),
            node: "n".to_owned(),
            renewal: Renewal::On,
            look: Duration::from_millis(10),
            patience: DEADLINE,
            pace: Arc::new(Pace::new(1000, 1000)),
            counters: Arc::default(),
        };
        let api = FakeApi::start_secure().await;
        api.content().accepted.push(TOKEN.to_owned());
        let joining = Joining {
            directory,
            api,
            settings,
        };
        let path = joining.settings.bootstrap.clone().unwrap();
        joining.write(&path, &json!({"token": TOKEN}));
        joining
    }

    /// A kubeconfig of the cluster for a user.
    pub(super) fn write(&self, path: &std::path::Path, user: &Value) {
        let authority = STANDARD.encode(&self.api.authority().pem);
        let cluster = json!({
            "server": format!("https://{}", self.api.address()),
            "certificate-authority-data": authority,
        });
        kubeconfig::write(path, &kubeconfig::document("c", &cluster, "u", user, "x")).unwrap();
    }

    /// The node's own kubeconfig, and a stored certificate of that authority.
    pub(super) fn enrolled(&self, authority: &Authority, life: (i64, i64)) {
        let (pem, key) = authority.issue(USER, &[], life);
        let store = self.settings.store();
        store.update(pem.as_bytes(), &key, Timestamp::now()).unwrap();
        let pair = store.current().display().to_string();
        self.write(
            &self.settings.kubeconfig,
            &json!({"client-certificate": pair, "client-key": pair}),
        );
    }

    /// The agent's two tasks.
    pub(super) fn start(&self) -> (JoinSet<()>, Joined) {
        let mut tasks = JoinSet::new();
        let (out, joined) = watch::channel(None);
        let end = CancellationToken::new;
        tasks.spawn(connection::run(self.settings.clone(), out, end()));
        tasks.spawn(renewal::run(self.settings.clone(), joined.clone(), end()));
        (tasks, joined)
    }

    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let waiting = async {
            let mut looks = tokio::time::interval(Duration::from_millis(2));
            while !holds() {
                looks.tick().await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, waiting).await;
        done.unwrap_or_else(|_| panic!("waited for {what}; asked: {:?}", self.api.content().requests));
    }

    async fn asked(&self) -> String {
        self.until("a request for a certificate", || !self.api.asked_for().is_empty())
            .await;
        let asked = self.api.asked_for();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }

    fn pending(&self) -> PathBuf {
        self.settings.directory.join("kubelet-client.key.tmp")
    }
}

pub(super) async fn first(joined: Joined) -> Clients {
    let cancel = CancellationToken::new();
    let clients = tokio::time::timeout(DEADLINE, connection::joined(joined, &cancel)).await;
    clients.expect("a client in time").expect("a client")
}

/// Asks something with the client of the moment.
pub(super) async fn ask(clients: &Clients) -> Result<(), kube::Error> {
    let client = clients.borrow().clone();
    kube::Api::<Node>::all(client).get_opt("n").await.map(|_| ())
}

#[tokio::test]
async fn a_node_asks_for_its_certificate_and_speaks_with_it() {
    let joining = Joining::new().await;
    let (_tasks, joined) = joining.start();
    let name = joining.asked().await;
    let request = joining.api.get(REQUESTS, &name).unwrap();
    assert_eq!(
        request["spec"]["signerName"],
        "kubernetes.io/kube-apiserver-client-kubelet"
    );
    assert_eq!(
        request["spec"]["usages"],
        json!(["digital signature", "client auth"])
    );
    assert!(joined.borrow().is_none());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&joining.pending()), 0o600);
    joining.api.sign(&name, (-300, 3600));
    let clients = first(joined).await;
    ask(&clients).await.unwrap();
    assert_eq!(joining.api.content().users.last().unwrap(), USER);
    assert_eq!(mode(&joining.settings.kubeconfig), 0o600);
    assert_eq!(mode(&joining.settings.store().current()), 0o600);
    assert!(!joining.pending().exists());
    let written = std::fs::read_to_string(&joining.settings.kubeconfig).unwrap();
    assert!(
        written.contains("pki/kubelet-client-current.pem") && !written.contains(TOKEN),
        "{written}"
    );
}

#[tokio::test]
async fn an_interrupted_bootstrap_finds_its_request_again() {
    let joining = Joining::new().await;
    let (mut tasks, _) = joining.start();
    let name = joining.asked().await;
    tasks.shutdown().await;
    joining.api.sign(&name, (-300, 3600));
    let (_tasks, joined) = joining.start();
    ask(&first(joined).await).await.unwrap();
    assert_eq!(joining.api.asked_for(), [name]);
}

#[tokio::test]
async fn a_denial_is_told_and_lasts_until_the_request_is_removed() {
    let joining = Joining::new().await;
    let (mut tasks, _) = joining.start();
    let name = joining.asked().await;
    joining.api.deny(&name);
    tasks.shutdown().await;
    let error = bootstrap(&joining.settings, "does not exist")
        .await
        .unwrap_err()
        .to_string();
    let expected = format!(
        "{name} was denied (KubectlDeny: not today); to request it again, run `kubectl delete \
     csr {name}`"
    );
    assert!(error.contains(&expected), "{error}");
    joining.api.remove(REQUESTS, &name);
    joining.api.content().signs = Some((-300, 3600));
    bootstrap(&joining.settings, "does not exist").await.unwrap();
    assert_eq!(joining.api.asked_for(), [name]);
}

#[tokio::test]
async fn nobody_approves() {
    let mut joining = Joining::new().await;
    joining.settings.patience = Duration::from_millis(200);
    let error = bootstrap(&joining.settings, "does not exist").await.unwrap_err();
    let BootstrapError::Signing(SigningError::Unanswered { name, .. }) = &error else {
        panic!("{error}")
    };
    assert!(
        error
            .to_string()
            .contains(&format!("kubectl certificate approve {name}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_that_has_expired_is_told() {
    let joining = Joining::new().await;
    joining.api.content().accepted.clear();
    let error = bootstrap(&joining.settings, "does not exist").await.unwrap_err();
    assert!(matches!(error, BootstrapError::Token { .. }), "{error}");
    assert!(error.to_string().contains("kubeadm token create"));
    std::fs::remove_file(joining.settings.bootstrap.as_ref().unwrap()).unwrap();
    let error = bootstrap(&joining.settings, "does not exist")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("gantry join"), "{error}");
}

#[tokio::test]
async fn what_another_cluster_left_is_not_used() {
    let joining = Joining::new().await;
    // Its certificate alone, which a kubelet would use for ever.
    joining.enrolled(&Authority::new("kubernetes"), (-300, 3600));
    std::fs::remove_file(&joining.settings.kubeconfig).unwrap();
    joining.api.content().signs = Some((-300, 3600));
    let (_tasks, joined) = joining.start();
    ask(&first(joined).await).await.unwrap();
    assert_eq!(joining.api.content().users.last().unwrap(), USER);
}

#[tokio::test]
async fn what_an_interrupted_bootstrap_stored_is_used() {
    let joining = Joining::new().await;
    joining.enrolled(joining.api.authority(), (-300, 3600));
    std::fs::remove_file(&joining.settings.kubeconfig).unwrap();
    let (_tasks, joined) = joining.start();
    ask(&first(joined).await).await.unwrap();
    assert!(joining.api.asked_for().is_empty());
}

#[tokio::test]
async fn a_node_that_is_not_known_any_more_begins_anew() {
    let joining = Joining::new().await;
    joining.enrolled(&Authority::new("kubernetes"), (-300, 3600));
    joining.api.content().signs = Some((-300, 3600));
    let (_tasks, joined) = joining.start();
    let mut clients = first(joined).await;
    tokio::time::timeout(DEADLINE, clients.changed())
        .await
        .unwrap()
        .unwrap();
    ask(&clients).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_asked_for_anew() {
    let joining = Joining::new().await;
    joining.enrolled(joining.api.authority(), (-7200, -60));
    joining.api.content().signs = Some((-300, 3600));
    let (_tasks, joined) = joining.start();
    ask(&first(joined).await).await.unwrap();
    assert_eq!(joining.api.asked_for().len(), 1);
}

#[tokio::test]
async fn a_renewal_interrupts_nothing() {
    let joining = Joining::new().await;
    // Nine tenths of its life are over.
    joining.enrolled(joining.api.authority(), (-3600, 60));
    joining.api.content().signs = Some((-300, 3600));
    let (mut tasks, joined) = joining.start();
    let clients = first(joined).await;
    let (end, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking = tokio::spawn({
        let (clients, end, asked) = (clients.clone(), end.clone(), asked.clone());
        async move {
            while !end.load(Ordering::Relaxed) {
                ask(&clients).await.unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    joining
        .until("two certificates are shown", || {
            joining.api.content().shown.len() == 2
        })
        .await;
    let after = asked.load(Ordering::Relaxed);
    joining
        .until("it is asked on", || asked.load(Ordering::Relaxed) > after + 10)
        .await;
    end.store(true, Ordering::Relaxed);
    asking.await.expect("no request fails");
    tasks.shutdown().await;
    assert_eq!(joining.api.asked_for().len(), 1);
    assert!(!joining.pending().exists());
}

#[tokio::test]
async fn an_embedded_certificate_moves_to_the_store() {
    let joining = Joining::new().await;
    let (pem, key) = joining.api.authority().issue(USER, &[], (-60, 3600));
    let user = json!({
        "client-certificate-data": STANDARD.encode(pem),
        "client-key-data": STANDARD.encode(key),
    });
    joining.write(&joining.settings.kubeconfig, &user);
    joining.api.content().signs = Some((-300, 3600));
    let (_tasks, joined) = joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    let current = joining.settings.store().current();
    joining
        .until("a certificate of its own", || {
            current.exists() && !joining.pending().exists()
        })
        .await;
    tokio::time::timeout(DEADLINE, clients.changed())
        .await
        .unwrap()
        .unwrap();
    ask(&clients).await.unwrap();
}

/// The credentials of a user, and whom the API server then sees.
async fn check_user(joining: &Joining, user: Value, expected: &str) {
    joining.write(&joining.settings.kubeconfig, &user);
    let client = client::connect(&joining.settings.kubeconfig).await.unwrap();
    kube::Api::<Node>::all(client).get_opt("n").await.unwrap();
    assert_eq!(joining.api.content().users.last().unwrap(), expected);
}

#[tokio::test]
async fn kubeconfigs_of_every_kind() {
    let joining = Joining::new().await;
    let at = |name: &str| joining.directory.path().join(name);
    let (pem, key) = joining.api.authority().issue(USER, &[], (-60, 3600));
    for token in ["by-file", "by-program"] {
        joining.api.content().accepted.push(token.to_owned());
    }
    check_user(&joining, json!({"token": TOKEN}), &format!("token:{TOKEN}")).await;
    let data =
        json!({"client-certificate-data": STANDARD.encode(&pem), "client-key-data": STANDARD.encode(&key)});
    check_user(&joining, data, USER).await;
    std::fs::write(at("token"), "by-file\n").unwrap();
    check_user(&joining, json!({"tokenFile": "token"}), "token:by-file").await;
    std::fs::write(at("crt"), &pem).unwrap();
    std::fs::write(at("key"), &key).unwrap();
    check_user(
        &joining,
        json!({"client-certificate": "crt", "client-key": "key"}),
        USER,
    )
    .await;
    let answer = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": "by-program"}});
    std::fs::write(at("answer"), answer.to_string()).unwrap();
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "cat",
        "args": [at("answer")], "interactiveMode": "Never"}});
    check_user(&joining, exec, "token:by-program").await;
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let joining = Joining::new().await;
    joining.api.content().accepted.push("second".to_owned());
    joining.write(&joining.settings.kubeconfig, &json!({"token": TOKEN}));
    let (_tasks, joined) = joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    // Half a file: the former credentials stay.
    std::fs::write(&joining.settings.kubeconfig, "kind: [").unwrap();
    ask(&clients).await.unwrap();
    joining.write(&joining.settings.kubeconfig, &json!({"token": "second"}));
    tokio::time::timeout(DEADLINE, clients.changed())
        .await
        .unwrap()
        .unwrap();
    ask(&clients).await.unwrap();
    assert_eq!(joining.api.content().users.last().unwrap(), "token:second");
}

#[tokio::test]
async fn a_certificate_to_serve_with_is_had_the_same_way() {
    let joining = Joining::new().await;
    joining.enrolled(joining.api.authority(), (-300, 3600));
    joining.api.content().signs = Some((-300, 3600));
    let client = connection::current(&joining.settings).await.unwrap();
    let store = Store::new(&joining.settings.directory, SERVER);
    let purpose = Purpose::Serving {
        names: vec!["n".to_owned()],
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    let obtained = signing::obtain(&client, &store, "n", &purpose, DEADLINE)
        .await
        .unwrap();
    assert_eq!(store.read().unwrap().unwrap(), obtained);
    let name = joining.asked().await;
    let request = joining.api.get(REQUESTS, &name).unwrap();
    assert_eq!(request["spec"]["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(
        request["spec"]["usages"],
        json!(["digital signature", "server auth"])
    );
}
