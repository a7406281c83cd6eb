//! The certificate of the node's port, where the cluster signs it: from the request on to the connection.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry::cri::{self, Runtime};
use gantry::identity::certificate::{Certificate, certificates};
use gantry::identity::serving;
use gantry::model::api::ApiNode;
use gantry::model::tls::TlsOffer;
use gantry::serve::node_api::{self, Files, Rules, ServingCertificate};
use gantry::source;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::identity::{DEADLINE, Joining};
use crate::fake_api::REQUESTS;
use crate::served;

/// A node that serves its port with what the cluster signs.
struct Serving {
    joining: Joining,
    address: std::net::SocketAddr,
    _tasks: JoinSet<()>,
}

impl Serving {
    async fn start() -> Serving {
        let joining = Joining::new().await;
        joining.enrolled(joining.api.authority(), (-300, 36000));
        let (mut tasks, joined) = joining.start();
        let clients = super::identity::first(joined.clone()).await;
        let end = CancellationToken::new;
        let (node_in, node) = watch::channel(ApiNode::Unknown);
        let read = source::api::node::run(clients.clone(), "n".to_owned(), node_in, end());
        tasks.spawn(read);
        tasks.spawn(serving::run(joining.settings.clone(), None, joined, node, end()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let files = Files {
            serving_certificate: ServingCertificate::Signed {
                current: joining.settings.serving_store().current(),
                before: None,
            },
            client_ca: None,
            offer: TlsOffer::default(),
        };
        let rules = Rules {
            node: "n".to_owned(),
            anonymous: true,
            tokens: None,
            permissions: None,
            debugging: true,
            stream_verb: Default::default(),
        };
        let containerd = joining.settings.directory.join("containerd.sock");
        let runtime = Runtime::new(&cri::Settings::at(containerd, DEADLINE));
        let world = served::world(&joining.settings.directory, runtime);
        tasks.spawn(async move {
            let ended = std::future::pending();
            node_api::run(listener, files, (rules, clients), world, ended)
                .await
                .unwrap();
        });
        Serving {
            joining,
            address,
            _tasks: tasks,
        }
    }

    /// The addresses that the API server has of the node.
    fn set_addresses(&self, addresses: &[&str]) {
        let mut reported = vec![json!({"type": "Hostname", "address": "n"})];
        reported.extend(
            addresses
                .iter()
                .map(|address| json!({"type": "InternalIP", "address": address})),
        );
        let node = json!({"metadata": {"uid": "u"}, "status": {"addresses": reported}});
        self.joining.api.put("nodes", "", "n", node);
    }

    /// Waits for a request that was not there before.
    async fn next_request(&self, before: &BTreeSet<String>) -> String {
        let asked = || BTreeSet::from_iter(self.joining.api.asked_for());
        self.joining
            .until("another request", || asked().len() > before.len())
            .await;
        asked().difference(before).next().unwrap().clone()
    }

    /// The certificate in force on disk.
    fn stored(&self) -> Option<Certificate> {
        let pem = fs::read(self.joining.settings.serving_store().current()).ok()?;
        certificates(&pem).ok()?.into_iter().next()
    }

    /// A connection under one of the node's names, which trusts the cluster alone; and what the node showed.
    async fn connect(&self, name: &str) -> Result<(Connection, Vec<u8>), std::io::Error> {
        let mut roots = RootCertStore::empty();
        let pem = self.joining.api.authority().pem.as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let serving_certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Ok((Connection(sender), serving_certificate))
    }
}

struct Connection(SendRequest<Empty<&'static [u8]>>);

impl Connection {
    /// Asks the health check.
    async fn ask(&mut self) {
        let request = hyper::Request::get("/healthz").header("host", "n");
        let answer = self.0.send_request(request.body(Empty::new()).unwrap()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_answered_before_it_is_signed_and_other_addresses_have_another_one() {
    let serving = Serving::start().await;
    let api = &serving.joining.api;
    // Without an address nothing is asked for: that the node was read is seen by the watch.
    serving.set_addresses(&[]);
    let watch = "/api/v1/nodes metadata.name=n";
    serving
        .joining
        .until("the node is watched", || api.watches(watch) > 0)
        .await;
    assert_eq!(api.asked_for(), [""; 0]);
    serving.set_addresses(&["127.0.0.1"]);
    let first = serving.next_request(&BTreeSet::new()).await;
    let request = api.get(REQUESTS, &first).unwrap();
    assert_eq!(request["spec"]["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(
        request["spec"]["usages"],
        json!(["digital signature", "server auth"])
    );
    assert!(serving.connect("127.0.0.1").await.is_err());

    // Not answered yet, and the node has another address: what is asked for is for both.
    serving.set_addresses(&["127.0.0.1", "127.0.0.2"]);
    let second = serving.next_request(&[first.clone()].into()).await;
    api.sign(&second, (-300, 3600));
    serving
        .joining
        .until("a certificate", || serving.stored().is_some())
        .await;
    let (mut old, serving_certificate) = serving.connect("127.0.0.2").await.unwrap();
    old.ask().await;
    assert_eq!(serving_certificate, serving.stored().unwrap().der());
    serving.connect("n").await.unwrap();
    let current = serving.joining.settings.serving_store().current();
    let target = fs::read_link(&current).unwrap();
    let name = target.file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        name.starts_with("kubelet-server-2") && name.ends_with(".pem"),
        "{name}"
    );
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Another address, and another certificate; open connections stay open.
    serving.set_addresses(&["127.0.0.1", "127.0.0.3"]);
    let third = serving.next_request(&[first, second].into()).await;
    assert!(serving.connect("127.0.0.3").await.is_err());
    api.sign(&third, (-300, 3600));
    serving
        .joining
        .until("the other certificate", || {
            serving
                .stored()
                .is_some_and(|own| own.der() != serving_certificate)
        })
        .await;
    serving.connect("127.0.0.3").await.unwrap().0.ask().await;
    old.ask().await;
}

#[tokio::test]
async fn it_is_renewed_before_it_ends_and_no_connection_fails() {
    let serving = Serving::start().await;
    let api = &serving.joining.api;
    serving.set_addresses(&["127.0.0.1"]);
    let first = serving.next_request(&BTreeSet::new()).await;
    // The next one is signed at once. Of this one's life nine tenths are over.
    api.content().signs = Some((-300, 3600));
    api.sign(&first, (-3600, 60));
    serving
        .joining
        .until("a certificate", || serving.stored().is_some())
        .await;
    let pem = api.get(REQUESTS, &first).unwrap()["status"]["certificate"].clone();
    let pem = STANDARD.decode(pem.as_str().unwrap()).unwrap();
    let first_shown = certificates(&pem).unwrap()[0].der().to_vec();
    // On a machine that is busy it may be the next one's already.
    let (mut old, _) = serving.connect("n").await.unwrap();
    let (end, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let connecting = async {
        let mut last = Vec::new();
        while !end.load(Ordering::Relaxed) {
            let (mut connection, serving_certificate) =
                serving.connect("n").await.expect("every connection is made");
            connection.ask().await;
            last = serving_certificate;
            made.fetch_add(1, Ordering::Relaxed);
        }
        last
    };
    let renewing = async {
        serving
            .joining
            .until("the next certificate", || {
                serving.stored().is_some_and(|own| own.der() != first_shown)
            })
            .await;
        let after = made.load(Ordering::Relaxed);
        serving
            .joining
            .until("two more connections", || {
                made.load(Ordering::Relaxed) >= after + 2
            })
            .await;
        end.store(true, Ordering::Relaxed);
    };
    let both = tokio::time::timeout(DEADLINE + Duration::from_secs(20), async {
        tokio::join!(connecting, renewing)
    });
    let (last, ()) = both.await.expect("in time");
    assert_eq!(last, serving.stored().unwrap().der());
    old.ask().await;
    assert_eq!(api.asked_for().len(), 2);
}
