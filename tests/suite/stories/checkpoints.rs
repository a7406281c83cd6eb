//! Checkpoints of containers through the node's port: what the runtime makes, and how many it is asked for.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry::cri::Runtime;
use gantry::model::pod::PodName;
use gantry::model::report::PodsReport;
use gantry::model::tls::TlsOffer;
use gantry::serve::node_api::{self, Files, Rules, ServingCertificate};
use gantry::serve::{self, Checkpoints, Offered};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};

use crate::authority::Authority;
use crate::fake_cri::FakeCri;
use crate::served;

const DEADLINE: Duration = Duration::from_secs(20);

/// A pod of which `a`, `b` and `c` run and `d` does not.
fn pod() -> Pod {
    let containers: Vec<Value> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| json!({"name": name, "image": "demo:1"}))
        .collect();
    let statuses: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            json!({
                "name": name, "image": "demo:1", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://id-of-{name}"), "state": {"running": {}},
            })
        })
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"containers": containers}, "status": {"containerStatuses": statuses},
    });
    serde_json::from_value(pod).unwrap()
}

/// A node's port over a fake runtime. Everybody may do everything: who may is another test's.
struct Node {
    fake: FakeCri,
    directory: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
}

impl Node {
    async fn start() -> Node {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let fake = FakeCri::start(directory.path());
        fake.world().makes_checkpoints = true;
        let authority = Authority::new("cluster");
        let (certificate, key) = authority.issue("n", &["n"], (-300, 3600));
        fs::write(at("kubelet.crt"), certificate).unwrap();
        fs::write(at("kubelet.key"), key).unwrap();
        let files = Files {
            serving_certificate: ServingCertificate::Files(at("kubelet.crt"), at("kubelet.key")),
            client_ca: None,
            offer: TlsOffer::default(),
        };
        let rules = Rules {
            node: "n".to_owned(),
            anonymous: true,
            tokens: None,
            permissions: None,
            stream_verb: Default::default(),
            debugging: true,
        };
        let report = PodsReport {
            pods: [(PodName::new("ns", "web"), Arc::new(pod()))].into(),
            ..PodsReport::default()
        };
        let world = serve::World {
            pods: watch::channel(Arc::new(report)).1,
            offered: Arc::new(Offered {
                checkpoints: Some(Checkpoints::new(at("checkpoints"))),
                ..Offered::default()
            }),
            ..served::world(directory.path(), Runtime::new(&fake.settings()))
        };
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clients = watch::channel(kube::Client::try_from(nowhere).unwrap()).1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let ended = std::future::pending();
            node_api::run(listener, files, (rules, clients), world, ended)
                .await
                .unwrap();
        });
        Node {
            fake,
            directory,
            authority,
            address,
        }
    }

    fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.pem.as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }

    /// Asks for a checkpoint: the code and the text of the answer.
    async fn checkpoint(&self, path: &str) -> (u16, String) {
        ask(self.address, self.trust(), format!("/checkpoint/{path}")).await
    }

    /// The same in a task of its own.
    fn begin(&self, path: &str) -> tokio::task::JoinHandle<(u16, String)> {
        tokio::spawn(ask(self.address, self.trust(), format!("/checkpoint/{path}")))
    }

    fn kept(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.path().join("checkpoints")) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("checkpoints").join(name)
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            let calls = self.fake.calls();
            assert!(
                began.elapsed() < DEADLINE,
                "not within {DEADLINE:?}: {what}; calls {calls:?}, kept {:?}",
                self.kept()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn ask(address: SocketAddr, trust: Arc<ClientConfig>, path: String) -> (u16, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("n").unwrap();
    let stream = TlsConnector::from(trust).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    // The connection goes with the caller.
    let _closes = AbortOnDrop(connection.abort_handle());
    let request = hyper::Request::post(path).header("host", "n");
    let request = request.body(Empty::<&'static [u8]>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn a_checkpoint_is_made_and_its_path_is_the_answer() {
    let node = Node::start().await;
    let (code, text) = node.checkpoint("ns/web/a?timeout=1&timeout=600").await;
    let kept = node.kept();
    let expected = json!({"items": [node.file(&kept[0]).display().to_string()]});
    assert_eq!(
        (code, serde_json::from_str(&text).ok()),
        (200, Some(expected)),
        "{text}"
    );
    assert!(
        kept[0].starts_with("checkpoint-web_ns-a-2") && kept[0].ends_with("Z.tar"),
        "{kept:?}"
    );
    // Shorter than for all calls is lengthened; as in the kubelet, which has a default of two minutes.
    assert_eq!(node.checkpoint("ns/web/b?timeout=1").await.0, 200);
    let abouts: Vec<_> = node.fake.calls().into_iter().map(|call| call.about).collect();
    assert_eq!(abouts, ["id-of-a within 600 s", "id-of-b within 20 s"]);
}

#[tokio::test]
async fn what_cannot_be_checkpointed_is_answered_as_by_the_kubelet() {
    let node = Node::start().await;
    let check = async |path: &str, expected: (u16, &str)| {
        let (code, text) = node.checkpoint(path).await;
        assert_eq!((code, text.as_str()), expected, "{path}");
    };
    check("ns/nobody/a", (404, "pod does not exist")).await;
    check("ns/web/nobody", (404, "container nobody does not exist")).await;
    check(
        "ns/web/a?timeout=x",
        (404, "cannot parse value of timeout parameter"),
    )
    .await;
    let ended = "checkpointing of ns/web/d failed (container d not found)";
    check("ns/web/d", (500, ended)).await;
    let negative =
        "checkpointing of ns/web/a failed (CheckpointContainer requires the timeout value to be > 0)";
    check("ns/web/a?timeout=-1", (500, negative)).await;
    assert_eq!(node.fake.calls(), []);
    // containerd before 2.0 knows no such call.
    node.fake.world().makes_checkpoints = false;
    let unknown = "checkpointing of ns/web/a failed (rpc error: code = Unimplemented desc = unknown method \
                   CheckpointContainer)";
    check("ns/web/a", (500, unknown)).await;
    // What a runtime wrote before it failed is removed.
    node.fake.world().makes_checkpoints = true;
    let full = Status::new(Code::Unknown, "no space left on device");
    node.fake.fail("CheckpointContainer", 1, full);
    let failed =
        "checkpointing of ns/web/a failed (rpc error: code = Unknown desc = no space left on device)";
    check("ns/web/a", (500, failed)).await;
    assert_eq!(node.kept(), [""; 0]);
}

#[tokio::test]
async fn a_few_are_made_at_once_also_for_callers_that_do_not_wait() {
    let node = Node::start().await;
    let calls = |count: usize| move |node: &Node| node.fake.count("CheckpointContainer") == count;
    node.fake.hold("CheckpointContainer");
    let first = node.begin("ns/web/a");
    let second = node.begin("ns/web/b");
    node.until("two are being made", || calls(2)(&node)).await;
    let busy = "checkpointing of ns/web/c failed (2 checkpoints are being made; try again later)";
    assert_eq!(node.checkpoint("ns/web/c").await, (429, busy.to_owned()));
    let same = "checkpointing of ns/web/a failed (a checkpoint of this container is being made or was made this \
                second; try again later)";
    assert_eq!(node.checkpoint("ns/web/a").await, (429, same.to_owned()));
    // Who goes away has its place all the same: it goes on in the runtime.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(node.checkpoint("ns/web/c").await, (429, busy.to_owned()));
    node.fake.release("CheckpointContainer");
    assert_eq!(second.await.unwrap().0, 200);
    node.until("both are kept", || node.kept().len() == 2).await;
    let began = Instant::now();
    loop {
        let (code, text) = node.checkpoint("ns/web/c").await;
        if code == 200 {
            break;
        }
        assert!(code == 429 && began.elapsed() < DEADLINE, "{code} {text}");
    }
    assert_eq!(node.fake.count("CheckpointContainer"), 3);
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_container_and_in_all() {
    let node = Node::start().await;
    fs::create_dir(node.directory.path().join("checkpoints")).unwrap();
    let write = |name: String| fs::write(node.file(&name), "").unwrap();
    for second in 10..20 {
        write(format!("checkpoint-web_ns-a-2026-11-28T20:51:{second}Z.tar"));
    }
    let directory = node.directory.path().join("checkpoints");
    let directory = directory.display();
    let expected = format!(
        "checkpointing of ns/web/a failed (10 checkpoints of this container are kept in {directory}; remove some)"
    );
    assert_eq!(node.checkpoint("ns/web/a").await, (507, expected));
    assert_eq!(node.checkpoint("ns/web/b").await.0, 200);
    for number in 0..89 {
        write(format!("checkpoint-other_ns-{number}"));
    }
    let expected =
        format!("checkpointing of ns/web/c failed (100 checkpoints are kept in {directory}; remove some)");
    assert_eq!(node.checkpoint("ns/web/c").await, (507, expected));
    assert_eq!(
        (node.kept().len(), node.fake.count("CheckpointContainer")),
        (100, 1)
    );
}
