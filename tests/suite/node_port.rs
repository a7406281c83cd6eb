//! The node's port in a process of its own, so that its memory and its descriptors are what callers make of them; and
//! those callers.

#![allow(clippy::print_stdout)] // how the test learns the address

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gantry::cri::{self, Runtime};
use gantry::model::tls::TlsOffer;
use gantry::serve;
use gantry::serve::node_api::{self, Files, Rules, ServingCertificate};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Authority;
use crate::reviewer::Reviewer;
use crate::served;

/// Where the other process finds its files. It runs the same test, and this variable says which of the two it is.
const DIRECTORY: &str = "NODE_PORT_DIRECTORY";
/// How many descriptors it may have.
const DESCRIPTORS: &str = "NODE_PORT_DESCRIPTORS";
/// What it says before its address.
const LISTENS: &str = "the node's port is ";
/// Long after everything has happened, or the test has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// In the other process: serves until the test ends, and returns true. In the test's own: false.
pub(crate) fn serves() -> bool {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return false;
    };
    if let Ok(most) = std::env::var(DESCRIPTORS) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most.parse().unwrap(), hard).unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(serve_from(directory.into()));
    // Its other end closes with the test, however that ends.
    let _ = std::io::stdin().read(&mut [0]);
    true
}

async fn serve_from(directory: std::path::PathBuf) {
    let api = REVIEWER.start(None).await;
    let at = |name: &str| directory.join(name);
    let files = Files {
        serving_certificate: ServingCertificate::Files(at("kubelet.crt"), at("kubelet.key")),
        client_ca: Some(at("ca.crt")),
        offer: TlsOffer::default(),
    };
    let long = Duration::from_secs(600);
    let rules = Rules {
        node: "n".to_owned(),
        anonymous: true,
        tokens: Some(long),
        permissions: Some((long, long)),
        debugging: true,
        stream_verb: Default::default(),
    };
    let listener = serve::port::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let runtime = Runtime::new(&cri::Settings::at(at("containerd.sock"), long));
    let world = serve::World {
        stream_idle: long,
        ..served::world(&directory, runtime)
    };
    // After the harness' own "test … ", which has no end of line yet.
    println!("\n{LISTENS}{}", listener.local_addr().unwrap());
    let clients = watch::channel(api).1;
    node_api::run(listener, files, (rules, clients), world, std::future::pending())
        .await
        .unwrap();
}

/// It knows no token, and permits everything to the API server and nothing to others.
const REVIEWER: Reviewer = Reviewer {
    of_token: |_| json!({"authenticated": false}),
    permits: |spec| spec["user"] == "kube-apiserver",
};

/// The other process.
pub(crate) struct NodePort {
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
    authority: Authority,
    child: Child,
}

impl NodePort {
    /// Starts it, as the test whose name (with its modules) is given: that one has to begin with [`serves`].
    pub(crate) fn start(test: &str, descriptors: Option<u64>) -> NodePort {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("cluster");
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        let (certificate, key) = authority.issue("n", &["n"], (-300, 3600));
        std::fs::write(directory.path().join("kubelet.crt"), certificate).unwrap();
        std::fs::write(directory.path().join("kubelet.key"), key).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(most) = descriptors {
            command.env(DESCRIPTORS, most.to_string());
        }
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let address = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix(LISTENS).map(|address| address.parse().unwrap()));
        NodePort {
            address: address.unwrap_or_else(|| panic!("{test} says no address")),
            _directory: directory,
            authority,
            child,
        }
    }

    /// What a caller needs to trust the port; `as_user`: with a certificate of that name.
    pub(crate) fn trust(&self, as_user: Option<&str>) -> Arc<ClientConfig> {
        let of_pem = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(of_pem(&self.authority.pem)).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match as_user {
            None => config.with_no_client_auth(),
            Some(user) => {
                let (certificate, key) = self.authority.issue(user, &[], (-300, 3600));
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![of_pem(&certificate)], key)
                    .unwrap()
            }
        };
        Arc::new(config)
    }

    /// A line of `/proc/PID/status` that counts KiB.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let count = line.and_then(|line| line.split_whitespace().next());
        1024 * count.unwrap().parse::<u64>().unwrap()
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(Path::new(&path)).unwrap().count()
    }
}

impl Drop for NodePort {
    fn drop(&mut self) {
        // It may have ended, and the test has failed by that already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection from an address of one's own.
pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// TLS over it.
pub(crate) async fn agree(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("n").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

/// A connection that HTTP is spoken on.
pub(crate) struct Http(SendRequest<Empty<&'static [u8]>>);

impl Http {
    pub(crate) async fn open(stream: TlsStream<TcpStream>) -> Http {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Http(sender)
    }

    /// The status of the answer to a GET.
    pub(crate) async fn get(&mut self, path: &str, token: Option<&str>) -> hyper::Result<u16> {
        self.0.ready().await?;
        let mut request = hyper::Request::get(path).header("host", "n");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.0.send_request(request.body(Empty::new()).unwrap()).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await?;
        Ok(status)
    }
}
