//! The fault proxy: a small proxy between the agent and the API server that injects the faults of real networks: slow
//! answers, refusals, answers that break off or never come, watches that end because they are too old.
//!
//! It terminates the agent's TLS with the API server's own certificate and sends requests with the node's credentials, so
//! it can read and change them. Without an injected fault it passes everything on unchanged.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;
use crate::control_plane::{NODE, PORT};
use crate::node::NODE_IP;
use crate::seeded_random::SeededRandom;

/// The API server's own certificate, by kubeadm.
const CERTIFICATE: &str = "/etc/kubernetes/pki/apiserver.crt";
const KEY: &str = "/etc/kubernetes/pki/apiserver.key";

/// What the API server says to a watch whose place in history is gone.
const EXPIRED: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}
"#;

/// Which faults the proxy injects.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// Everything is passed on.
    Pass,
    /// Of all requests some are answered late, refused, cut off or lost, at random.
    Faulty,
    /// No request gets through.
    Closed,
}

/// What becomes of one request.
enum Fate {
    Passed,
    /// Passed on after a while.
    Late(Duration),
    /// Answered here with this code.
    Refused(u16),
    /// The connection ends before the request is sent.
    Unsent,
    /// The request is carried out, and the connection ends before the answer.
    Unanswered,
    /// The connection ends in the middle of the answer.
    Torn,
}

/// What happens to all answers that are under way.
#[derive(Clone, Copy)]
enum Sign {
    None,
    /// They end in the middle.
    Tear,
    /// Watches get the error that they are too old, and end.
    Expire,
}

struct Shared {
    mode: Mutex<Mode>,
    random: Mutex<SeededRandom>,
    signs: watch::Sender<Sign>,
    upstream: kube::Client,
    spoiled: AtomicUsize,
    expired: AtomicUsize,
    /// Held once more by each watch that is open.
    watches: Arc<()>,
}

/// A proxy that the agent uses. When dropped it is closed, and the kubeconfig is restored.
pub struct FaultProxy {
    shared: Arc<Shared>,
    /// The kubeconfig as it was.
    former: String,
    _end: oneshot::Sender<Infallible>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let _ = std::fs::write(NODE, &self.former);
    }
}

impl FaultProxy {
    /// Starts the proxy, and restarts the agent to use it.
    pub fn build(cluster: &mut Cluster) -> FaultProxy {
        let former = std::fs::read_to_string(NODE).expect("kubeadm has written it");
        let (ready, started) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime in a test");
            runtime.block_on(async {
                let (listener, shared) = begin().await;
                let address = listener.local_addr().expect("a bound socket");
                let _ = ready.send((address, shared.clone()));
                tokio::select! {
                    () = serve(listener, shared) => {}
                    _ = ended => {}
                }
            });
        });
        let (address, shared): (SocketAddr, Arc<Shared>) = started.recv().expect("the proxy has started");
        cluster.node.stop_agent();
        let direct = format!("{NODE_IP}:{PORT}");
        assert!(
            former.contains(&direct),
            "the kubeconfig names another API server"
        );
        let proxied = former.replace(&direct, &address.to_string());
        std::fs::write(NODE, proxied).expect("our own file");
        cluster.node.start_agent();
        FaultProxy {
            shared,
            former,
            _end: end,
        }
    }

    /// Lets the agent go straight to the API server again.
    pub fn leave(self, cluster: &mut Cluster) {
        cluster.node.stop_agent();
        drop(self);
        cluster.node.start_agent();
    }

    /// Changes the weather.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("nobody panics with it") = mode;
    }

    /// Ends all connections in the middle of their data.
    pub fn tear(&self) {
        self.shared.signs.send_replace(Sign::Tear);
    }

    /// Tells every watch that it is too old.
    pub fn expire(&self) {
        self.shared.signs.send_replace(Sign::Expire);
    }

    /// How many watches are open.
    pub fn watches(&self) -> usize {
        Arc::strong_count(&self.shared.watches) - 1
    }

    /// How many requests were spoiled.
    pub fn spoiled(&self) -> usize {
        self.shared.spoiled.load(Ordering::Relaxed)
    }

    /// How many watches and lists got the error that they are too old, here or from the API server itself.
    pub fn expired(&self) -> usize {
        self.shared.expired.load(Ordering::Relaxed)
    }
}

async fn begin() -> (TcpListener, Arc<Shared>) {
    let read = Kubeconfig::read_from(Path::new(NODE)).expect("kubeadm writes kubeconfigs that can be used");
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let config = config.expect("kubeadm writes kubeconfigs that can be used");
    let shared = Shared {
        mode: Mutex::new(Mode::Pass),
        random: Mutex::new(SeededRandom::new()),
        signs: watch::Sender::new(Sign::None),
        upstream: kube::Client::try_from(config).expect("kubeadm makes certificates that can be used"),
        spoiled: AtomicUsize::new(0),
        expired: AtomicUsize::new(0),
        watches: Arc::new(()),
    };
    let listener = TcpListener::bind((NODE_IP, 0)).await.expect("a free port");
    (listener, Arc::new(shared))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let read = |path| std::fs::read(path).expect("kubeadm has written it");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&read(CERTIFICATE)).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(&read(KEY)).expect("a key"),
        )
        .expect("kubeadm makes certificates that can be used");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.expect("the socket stays");
        tokio::spawn(carry(stream, acceptor.clone(), shared.clone()));
    }
}

/// One connection of the agent's, to its end.
async fn carry(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| pass(shared.clone(), request));
    // How it ends, the agent sees.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Answer = Response<StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>>;

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "an injected fault")
}

/// One request. An error ends the connection without an answer.
async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    let fate = shared.fate();
    if !matches!(fate, Fate::Passed) {
        shared.spoiled.fetch_add(1, Ordering::Relaxed);
    }
    match fate {
        Fate::Unsent => return Err(broken()),
        Fate::Refused(code) => return Ok(refusal(code)),
        Fate::Late(moment) => tokio::time::sleep(moment).await,
        Fate::Passed | Fate::Unanswered | Fate::Torn => {}
    }
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch="));
    let answer = ask(&shared.upstream, request).await?;
    if answer.status() == 410 {
        shared.expired.fetch_add(1, Ordering::Relaxed);
    }
    match fate {
        Fate::Unanswered => Err(broken()),
        fate => Ok(ready(shared, answer, is_watch, matches!(fate, Fate::Torn))),
    }
}

async fn ask(
    upstream: &kube::Client,
    request: Request<Incoming>,
) -> io::Result<Response<kube::client::Body>> {
    let (mut head, body) = request.into_parts();
    // They are of the connection; the client sets its own.
    for of_connection in ["host", "connection", "content-length", "transfer-encoding"] {
        head.headers.remove(of_connection);
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(head, kube::client::Body::from(body));
    upstream.send(request).await.map_err(io::Error::other)
}

/// The answer, as it comes, until a sign ends it.
fn ready(shared: Arc<Shared>, answer: Response<kube::client::Body>, is_watch: bool, is_torn: bool) -> Answer {
    let (mut head, body) = answer.into_parts();
    for of_connection in ["connection", "content-length", "transfer-encoding"] {
        head.headers.remove(of_connection);
    }
    let mut signs = shared.signs.subscribe();
    signs.mark_unchanged();
    let open = is_watch.then(|| shared.watches.clone());
    let rest = Some((BodyStream::new(body), signs, shared, open));
    let frames = stream::unfold(rest, move |rest| async move {
        let (mut body, mut signs, shared, open) = rest?;
        // Both may be cancelled: a frame that was not taken is still in the body.
        tokio::select! {
            frame = body.next() => match frame? {
                Ok(frame) if is_torn => {
                    let half = frame.into_data().map(|data| data.slice(..data.len() / 2));
                    Some((Ok(Frame::data(half.unwrap_or_default())), None))
                }
                Ok(frame) => {
                    if is_watch && frame.data_ref().is_some_and(tells_of_expiry) {
                        shared.expired.fetch_add(1, Ordering::Relaxed);
                    }
                    Some((Ok(frame), Some((body, signs, shared, open))))
                }
                Err(error) => Some((Err(io::Error::other(error)), None)),
            },
            Ok(()) = signs.changed() => {
                let sign = *signs.borrow_and_update();
                match sign {
                    Sign::Expire if is_watch => {
                        shared.expired.fetch_add(1, Ordering::Relaxed);
                        Some((Ok(Frame::data(Bytes::from_static(EXPIRED.as_bytes()))), None))
                    }
                    Sign::Tear => Some((Err(broken()), None)),
                    Sign::None | Sign::Expire => Some((Ok(Frame::data(Bytes::new())), Some((body, signs, shared, open)))),
                }
            }
        }
    });
    // Half of an answer is followed by the end of the connection, not by that of the answer.
    let frames = match is_torn {
        true => frames.chain(stream::once(async { Err(broken()) })).boxed(),
        false => frames.boxed(),
    };
    Response::from_parts(head, StreamBody::new(frames))
}

fn tells_of_expiry(data: &Bytes) -> bool {
    let code = b"\"code\":410";
    data.windows(code.len()).any(|window| window == code)
}

/// What an API server says that is overloaded or broken.
fn refusal(code: u16) -> Answer {
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "an injected fault", "code": code,
    });
    let mut answer = Response::builder()
        .status(code)
        .header("Content-Type", "application/json");
    if code == 429 {
        answer = answer.header("Retry-After", "1");
    }
    let body = stream::once(async move { Ok(Frame::data(Bytes::from(text.to_string()))) });
    answer
        .body(StreamBody::new(body.boxed()))
        .expect("a code and a header")
}

impl Shared {
    fn fate(&self) -> Fate {
        let mode = *self.mode.lock().expect("nobody panics with it");
        let mut random = self.random.lock().expect("nobody panics with it");
        match mode {
            Mode::Pass => Fate::Passed,
            Mode::Closed => Fate::Unsent,
            Mode::Faulty => match random.number(20) {
                0 => Fate::Refused(500),
                1 => Fate::Refused(503),
                2 => Fate::Refused(429),
                3 | 4 => Fate::Unanswered,
                5 => Fate::Unsent,
                6 => Fate::Torn,
                7 | 8 => Fate::Late(random.next(Duration::from_secs(3))),
                _ => Fate::Passed,
            },
        }
    }
}
