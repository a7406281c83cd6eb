//! Tests the node API's port from the outside: over TLS, with an API server that accepts one token and permits one
//! user.

mod callers;
mod cve_2020_8551;
mod cve_2022_41723;
mod cve_2025_0426;
mod debugging;
mod exec_by_websocket;
mod read_only;
mod system_logs;
mod zpages;

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::model::api::StreamVerb;
use crate::model::tls::{CipherSuite, TlsOffer, TlsVersion};
use crate::serve::{Offered, SystemLogs, fixture};

#[path = "../../../tests/support/reviewer.rs"]
mod reviewer;
use reviewer::{Asked, Reviewer};

const REVIEWER: Reviewer = Reviewer {
    of_token: |token| {
        let user = json!({"username": "prometheus", "groups": ["monitoring"]});
        json!({"authenticated": token == "right", "user": user})
    },
    permits: |spec| {
        let subresource = &spec["resourceAttributes"]["subresource"];
        let verb = &spec["resourceAttributes"]["verb"];
        spec["user"] == "admin"
            || (spec["user"] == "prometheus" && subresource == "metrics")
            || (spec["user"] == "reader" && verb == "get")
            || (spec["user"] == "monitor"
                && verb == "get"
                && ["metrics", "stats", "proxy"]
                    .iter()
                    .any(|granted| subresource == granted))
            || (spec["user"] == "runner" && verb == "create")
    },
};

/// A CA, and users of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct User {
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn user(&self, name: &str) -> User {
        self.user_until(name, jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1))
    }

    /// A user whose certificate expires then.
    fn user_until(&self, name: &str, until: jiff::Timestamp) -> User {
        let mut params = CertificateParams::default();
        params.not_after = std::time::SystemTime::from(until).into();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        User {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

struct Node {
    directory: tempfile::TempDir,
    address: SocketAddr,
    authority: Authority,
    asked: Asked,
    end: CancellationToken,
    changing: fixture::Changing,
}

/// A keep-alive connection.
struct Connection(hyper::client::conn::http1::SendRequest<axum::body::Body>);

impl Connection {
    async fn get(&mut self, path: &str, token: Option<&str>) -> hyper::Result<(u16, String)> {
        self.ask("GET", path, token).await
    }

    /// The status code and the text of the response; an error if the connection has ended.
    async fn ask(&mut self, method: &str, path: &str, token: Option<&str>) -> hyper::Result<(u16, String)> {
        let token = token.map(|token| ("authorization", format!("Bearer {token}")));
        let token = token.as_ref().map(|(name, value)| (*name, value.as_str()));
        let (code, _, body) = self.send(method, path, token.as_slice()).await?;
        Ok((code, body))
    }

    /// The same with any headers, and those of the response.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<(u16, hyper::HeaderMap, String)> {
        self.0.ready().await?;
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "vm");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = self.0.send_request(request).await?;
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((code, headers, String::from_utf8(body.to_vec()).unwrap()))
    }
}

/// How the port differs from the default.
struct Port {
    anonymous: bool,
    debugging: bool,
    offer: TlsOffer,
    streams: StreamVerb,
    system_logs: Option<SystemLogs>,
}

impl Default for Port {
    fn default() -> Port {
        Port {
            anonymous: false,
            debugging: true,
            offer: TlsOffer::default(),
            streams: StreamVerb::default(),
            system_logs: None,
        }
    }
}

impl Node {
    async fn start(anonymous: bool) -> Node {
        Node::serving(Port {
            anonymous,
            ..Port::default()
        })
        .await
    }

    async fn serving(port: Port) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let ca = directory.path().join("ca.crt");
        std::fs::write(&ca, authority.0.pem()).unwrap();
        let own = rcgen::generate_simple_self_signed(["vm".to_owned()]).unwrap();
        let (certificate, key) = (
            directory.path().join("kubelet.crt"),
            directory.path().join("kubelet.key"),
        );
        std::fs::write(&certificate, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let files = Files {
            serving_certificate: ServingCertificate::Files(certificate, key),
            client_ca: Some(ca),
            offer: port.offer,
        };
        let asked = Asked::default();
        let (_, clients) = watch::channel(REVIEWER.start(Some(asked.clone())).await);
        let long = std::time::Duration::from_secs(60);
        let rules = Rules {
            node: "vm".into(),
            anonymous: port.anonymous,
            tokens: Some(long),
            permissions: Some((long, long)),
            debugging: port.debugging,
            stream_verb: port.streams,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let ended = end.clone();
        let changing = fixture::changing();
        let mut world = changing.world.clone();
        if let Some(system_logs) = port.system_logs {
            world.offered = Arc::new(Offered {
                system_logs,
                ..Offered::default()
            });
        }
        tokio::spawn(async move {
            let ended = async move { ended.cancelled().await };
            run(listener, files, (rules, clients), world, ended)
                .await
                .unwrap();
        });
        Node {
            directory,
            address,
            authority,
            asked,
            end,
            changing,
        }
    }

    /// What a client needs to trust the node, and its own certificate.
    fn trust(&self, user: Option<User>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.directory.path().join("kubelet.crt")).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        roots.add(pem.contents.into()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        match user {
            Some(user) => config.with_client_auth_cert(user.chain, user.key).unwrap(),
            None => config.with_no_client_auth(),
        }
    }

    /// TLS as the client configures it. A rejection by the node shows up on the first read.
    async fn tls(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("vm").unwrap();
        TlsConnector::from(config).connect(name, stream).await
    }

    async fn connect(&self, user: Option<User>) -> Connection {
        let stream = self.tls(Arc::new(self.trust(user))).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    /// Sends a request over a new connection; returns the status code and the text of the response.
    async fn get(&self, path: &str, user: Option<User>, token: Option<&str>) -> (u16, String) {
        self.ask("GET", path, user, token).await
    }

    /// The same with any method.
    async fn ask(&self, method: &str, path: &str, user: Option<User>, token: Option<&str>) -> (u16, String) {
        self.connect(user).await.ask(method, path, token).await.unwrap()
    }

    /// What a client with these TLS versions and cipher suites negotiates; `None`: nothing.
    async fn agrees(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        suites: &[rustls::SupportedCipherSuite],
    ) -> Option<rustls::CipherSuite> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !suites.is_empty() {
            provider.cipher_suites = suites.to_vec();
        }
        let pem = std::fs::read(self.directory.path().join("kubelet.crt")).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem.contents.into()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("vm").unwrap();
        let agreed = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let agreed = agreed.ok()?;
        Some(agreed.get_ref().1.negotiated_cipher_suite().unwrap().suite())
    }

    fn count(&self, kind: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|review| review["kind"] == kind).count()
    }
}

#[tokio::test]
async fn only_what_the_configuration_offers_is_agreed_on() {
    use rustls::CipherSuite as Name;
    use rustls::crypto::ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as OTHER;
    use rustls::version::{TLS12, TLS13};
    let usual = Node::serving(Port::default()).await;
    assert!(usual.agrees(&[&TLS12], &[OTHER]).await.is_some());
    let newest = Node::serving(Port {
        offer: TlsOffer {
            minimum: TlsVersion::Tls13,
            ..TlsOffer::default()
        },
        ..Port::default()
    })
    .await;
    assert_eq!(newest.agrees(&[&TLS12], &[]).await, None);
    assert!(newest.agrees(&[&TLS13], &[]).await.is_some());
    let one = Node::serving(Port {
        offer: TlsOffer {
            suites: Some(vec![CipherSuite::EcdheEcdsaAes256Gcm]),
            ..TlsOffer::default()
        },
        ..Port::default()
    })
    .await;
    let agreed = Some(Name::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    assert_eq!(one.agrees(&[&TLS12], &[]).await, agreed);
    assert_eq!(one.agrees(&[&TLS12], &[OTHER]).await, None);
}

#[tokio::test]
async fn without_debugging_nobody_gets_logs_and_callers_are_asked_who_they_are_first() {
    let node = Node::serving(Port {
        debugging: false,
        ..Port::default()
    })
    .await;
    let admin = || Some(node.authority.user("admin"));
    let disabled = (405, "Debug endpoints are disabled.\n".to_owned());
    for path in [
        "/containerLogs/ns/web-vm/c",
        "/exec/ns/web-vm/c",
        "/debug/pprof/profile",
        "/runningpods/",
        "/runningpods",
        "/logs/default_web-vm_u1/",
        "/logs",
    ] {
        assert_eq!(node.get(path, admin(), None).await, disabled, "{path}");
        assert_eq!(node.get(path, None, None).await.0, 401, "{path}");
    }
    assert_eq!(node.get("/configz", admin(), None).await.0, 404);
    assert_eq!(node.get("/debug/flags/v", admin(), None).await.0, 404);
    assert_eq!(node.get("/pods", admin(), None).await.0, 200);
    let with = Node::start(false).await;
    let logs = with.get(
        "/containerLogs/ns/web-vm/c",
        Some(with.authority.user("admin")),
        None,
    );
    assert_ne!(logs.await.0, 405);
}

#[tokio::test]
async fn who_shows_a_certificate_of_the_cas_is_asked_about_and_let_in() {
    let node = Node::start(false).await;
    let (code, pods) = node.get("/pods", Some(node.authority.user("admin")), None).await;
    assert_eq!(code, 200, "{pods}");
    let pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!(pods["items"][0]["metadata"]["name"], "web-vm");
    assert_eq!(pods["kind"], "PodList");
    assert_eq!(pods["items"][0]["status"]["phase"], "Running");
    // No item of a list has them.
    assert_eq!(pods["items"][0].get("kind"), None);
    let asked = node.asked.lock().unwrap().clone();
    let wanted =
        json!({"verb": "get", "version": "v1", "resource": "nodes", "subresource": "pods", "name": "vm"});
    assert_eq!(asked[0]["spec"]["resourceAttributes"], wanted);
    assert_eq!(asked[0]["spec"]["groups"], json!(["system:authenticated"]));
    node.end.cancel();
}

#[tokio::test]
async fn who_may_not_and_who_is_not_known_is_told_so_in_the_kubelets_words() {
    let node = Node::start(false).await;
    let (code, text) = node.get("/pods", Some(node.authority.user("eve")), None).await;
    let refusal = "Forbidden (user=eve, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!((code, text.as_str()), (403, refusal));
    let unknown = (401, "Unauthorized".to_owned());
    assert_eq!(node.get("/pods", None, None).await, unknown);
    assert_eq!(node.get("/healthz", None, None).await, unknown);
    assert_eq!(node.get("/nothing", None, None).await, unknown);
    // A certificate of another CA is ignored; its owner may still have a token.
    let other = Authority::new();
    assert_eq!(
        node.get("/metrics", Some(other.user("admin")), None).await,
        unknown
    );
    let (code, _) = node
        .get("/metrics", Some(other.user("admin")), Some("right"))
        .await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_token_is_reviewed_once_and_opens_what_its_owner_may() {
    let node = Node::start(false).await;
    for _ in 0..3 {
        let (code, text) = node.get("/metrics", None, Some("right")).await;
        assert_eq!(code, 200, "{text}");
    }
    assert_eq!(
        (node.count("TokenReview"), node.count("SubjectAccessReview")),
        (1, 1)
    );
    let (code, _) = node.get("/configz", None, Some("right")).await;
    assert_eq!(code, 403);
    let (code, _) = node.get("/metrics", None, Some("wrong")).await;
    assert_eq!(code, 401);
}

#[tokio::test]
async fn strangers_are_asked_about_where_the_configuration_lets_them() {
    let node = Node::start(true).await;
    let (code, text) = node.get("/metrics", None, None).await;
    assert_eq!(code, 403);
    assert!(text.starts_with("Forbidden (user=system:anonymous,"), "{text}");
    // A caller with an invalid token is not anonymous.
    let (code, _) = node.get("/metrics", None, Some("wrong")).await;
    assert_eq!(code, 401);
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let node = Node::start(false).await;
    let get = async |path: &str| node.get(path, Some(node.authority.user("admin")), None).await;
    let (code, text) = get("/cri/exec/token").await;
    assert_eq!(
        (code, text.as_str()),
        (501, "gantry does not serve /cri/exec/token yet\n")
    );
    assert_eq!(get("/executions").await.0, 404);
    assert_eq!(get("/healthz").await, (200, "ok".to_owned()));
    let (code, text) = get("/containerLogs/default/nobody/web?follow=true&stream=All").await;
    assert_eq!((code, text.as_str()), (404, "pod \"nobody\" does not exist\n"));
}

#[tokio::test]
async fn what_the_runtime_runs_is_listed_only_while_that_is_known() {
    let node = Node::start(false).await;
    let get = async |path: &str| node.get(path, Some(node.authority.user("admin")), None).await;
    let (code, list) = get("/runningpods/").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, &list["items"][0]["metadata"]["uid"]), (200, &json!("u1")));
    assert_eq!(get("/runningpods").await.0, 307);
    let snapshot = |change: fn(&mut crate::model::runtime::Snapshot)| {
        node.changing
            .snapshot
            .send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    };
    snapshot(|snapshot| snapshot.runtime.reachable = Some(Err("no answer".to_owned())));
    assert_eq!(get("/runningpods/").await, (500, "no answer".to_owned()));
    snapshot(|snapshot| *snapshot = Default::default());
    let (code, why) = get("/runningpods/").await;
    assert_eq!(
        (code, why.as_str()),
        (500, "the container runtime has not been listed yet")
    );
}

#[tokio::test]
async fn a_log_is_read_for_who_may() {
    let node = Node::start(false).await;
    let log = node
        .changing
        .world
        .pod_logs_dir
        .join("default_web-vm_u1/web/0.log");
    let lines = "2026-11-21T01:00:00.5Z stdout F one\n2026-11-21T01:00:00.6Z stderr F two\n";
    std::fs::write(log, lines).unwrap();
    let get = async |query: &str| {
        let path = format!("/containerLogs/default/web-vm/web{query}");
        node.get(&path, Some(node.authority.user("admin")), None).await
    };
    assert_eq!(get("").await, (200, "one\ntwo\n".to_owned()));
    assert_eq!(
        get("?tailLines=1&stream=All&another=1").await,
        (200, "two\n".to_owned())
    );
    assert_eq!(get("?stream=Stdout").await, (200, "one\n".to_owned()));
    let (code, text) = get("?previous=true").await;
    assert_eq!(code, 400, "{text}");
    assert!(text.starts_with("previous terminated container"), "{text}");
}

#[tokio::test]
async fn certificates_that_change_on_disk_are_read_again() {
    let node = Node::start(false).await;
    let other = Authority::new();
    let user = || other.user("admin");
    assert_eq!(node.get("/healthz", Some(user()), None).await.0, 401);
    let both = format!("{}{}", node.authority.0.pem(), other.0.pem());
    std::fs::write(node.directory.path().join("ca.crt"), both).unwrap();
    assert_eq!(node.get("/healthz", Some(user()), None).await.0, 200);
    // If a file cannot be read, the earlier content remains in use.
    std::fs::write(node.directory.path().join("ca.crt"), "nothing").unwrap();
    assert_eq!(node.get("/healthz", Some(user()), None).await.0, 200);
    std::fs::write(
        node.directory.path().join("ca.crt"),
        format!("{}{}", node.authority.0.pem(), other.0.pem()),
    )
    .unwrap();
    // The node's own certificate: the client trusts only the new one.
    let next = rcgen::generate_simple_self_signed(["vm".to_owned()]).unwrap();
    let at = |name: &str| node.directory.path().join(name);
    std::fs::write(at("kubelet.key"), next.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("kubelet.crt"), next.cert.pem()).unwrap();
    assert_eq!(node.get("/healthz", Some(user()), None).await.0, 200);
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_notices_other_cas() {
    let node = Node::start(false).await;
    let other = Authority::new();
    let write = |pem: &str| std::fs::write(node.directory.path().join("ca.crt"), pem).unwrap();
    let mut kept = node.connect(Some(node.authority.user("admin"))).await;
    assert_eq!(kept.get("/healthz", None).await.unwrap().0, 200);
    write(&format!("{}{}", other.0.pem(), node.authority.0.pem()));
    assert_eq!(kept.get("/healthz", None).await.unwrap().0, 200);
    write(&other.0.pem());
    assert_eq!(kept.get("/healthz", None).await.unwrap().0, 401);
    assert!(
        kept.get("/healthz", None).await.is_err(),
        "the connection is closed"
    );
    // A caller that has a token, too, is authenticated by that.
    let mut kept = node.connect(Some(node.authority.user("admin"))).await;
    assert_eq!(kept.get("/metrics", Some("right")).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_does_not_outlive_its_certificate() {
    let node = Node::start(false).await;
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let mut kept = node
        .connect(Some(node.authority.user_until("admin", until)))
        .await;
    let asking = async {
        loop {
            match kept.get("/healthz", None).await.unwrap().0 {
                200 => tokio::task::yield_now().await,
                code => return code,
            }
        }
    };
    let code = tokio::time::timeout(std::time::Duration::from_secs(20), asking).await;
    assert_eq!(code.expect("it ends"), 401);
    assert!(jiff::Timestamp::now() >= until);
}

#[tokio::test]
async fn who_is_known_keeps_its_connection_among_strangers_of_the_same_address() {
    let node = Node::start(false).await;
    let mut by_certificate = node.connect(Some(node.authority.user("admin"))).await;
    let mut by_token = node.connect(None).await;
    for kept in [&mut by_certificate, &mut by_token] {
        assert_eq!(kept.get("/metrics", Some("right")).await.unwrap().0, 200);
    }
    let mut unknown = node.connect(None).await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(node.address).await.unwrap());
    }
    // The oldest of the unauthenticated connections, closed by now or soon.
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(20), unknown.0.ready())
            .await
            .is_ok()
    );
    for kept in [&mut by_certificate, &mut by_token] {
        assert_eq!(kept.get("/metrics", Some("right")).await.unwrap().0, 200);
    }
    let admin = Some(node.authority.user("admin"));
    assert_eq!(node.get("/healthz", admin, None).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_the_handshake_has_ten_seconds() {
    let node = Node::start(false).await;
    let start = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(start.elapsed(), std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn nothing_is_kept_of_a_session_and_no_chain_without_end() {
    let node = Node::start(false).await;
    let mut many = node.authority.user("admin");
    let one = many.chain[0].clone();
    let fill = 16 * 1024 / one.len();
    many.chain.extend(vec![one.clone(); fill]);
    let mut refused = node.tls(Arc::new(node.trust(Some(many)))).await.unwrap();
    let error = refused.read(&mut [0]).await.unwrap_err().to_string();
    assert!(error.contains("received fatal alert"), "{error}");

    let config = Arc::new(node.trust(Some(node.authority.user("admin"))));
    for _ in 0..2 {
        let mut stream = node.tls(config.clone()).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        // Session tickets would come before a response.
        use tokio::io::AsyncWriteExt as _;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: vm\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        assert!(text.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
}
