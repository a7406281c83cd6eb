//! A plugin behind a unix socket: a storage driver that registers itself, with answers that a test chooses. Whoever
//! includes this has `messages`, those of the wire.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::messages as m;

/// What the plugin answers, and what it was asked.
pub(crate) struct Content {
    pub(crate) info: m::PluginInfo,
    pub(crate) node: m::NodeInfo,
    pub(crate) capabilities: Vec<m::Capability>,
    /// By volume.
    pub(crate) stats: BTreeMap<String, m::StatsResponse>,
    /// Calls that fail, and how, and those that are never answered.
    pub(crate) fails: BTreeMap<&'static str, (Code, &'static str)>,
    pub(crate) hangs: BTreeSet<&'static str>,
    /// The names of the calls.
    pub(crate) calls: Vec<&'static str>,
    /// What it was told of its registration.
    pub(crate) told: Vec<(bool, String)>,
    /// What was published, and where what was unpublished had been.
    pub(crate) published: Vec<m::PublishRequest>,
    pub(crate) unpublished: Vec<String>,
    /// The questions about volumes: volume and path.
    pub(crate) measured: Vec<(String, String)>,
}

/// A running plugin. Its socket goes with it.
pub(crate) struct Plugin {
    pub(crate) socket: PathBuf,
    shared: Shared,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    content: Arc<Mutex<Content>>,
    /// Counts the calls.
    news: watch::Sender<usize>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.server.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Plugin {
    /// A storage driver that serves its registration and itself at this path.
    pub(crate) fn start(socket: &Path, name: &str) -> Plugin {
        let topology = m::Topology {
            segments: HashMap::from([(format!("topology.{name}/node"), "n1".to_owned())]),
        };
        let content = Content {
            info: m::PluginInfo {
                kind: "CSIPlugin".to_owned(),
                name: name.to_owned(),
                endpoint: String::new(),
                supported_versions: vec!["1.0.0".to_owned()],
            },
            node: m::NodeInfo {
                node_id: "n1".to_owned(),
                max_volumes_per_node: 0,
                accessible_topology: Some(topology),
            },
            capabilities: vec![m::Capability::StageUnstageVolume, m::Capability::GetVolumeStats],
            stats: BTreeMap::new(),
            fails: BTreeMap::new(),
            hangs: BTreeSet::new(),
            calls: Vec::new(),
            told: Vec::new(),
            published: Vec::new(),
            unpublished: Vec::new(),
            measured: Vec::new(),
        };
        let shared = Shared {
            content: Arc::new(Mutex::new(content)),
            news: watch::channel(0).0,
        };
        let listener = UnixListener::bind(socket).unwrap();
        let server = Server::builder()
            .add_service(Registration(shared.clone()))
            .add_service(Node(shared.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Plugin {
            socket: socket.to_owned(),
            shared,
            server: tokio::spawn(async move { server.await.unwrap() }),
        }
    }

    /// What it answers, and what it was asked.
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.content.lock().unwrap()
    }

    /// Waits until this is so.
    pub(crate) async fn wait(&self, what: &str, is_so: impl Fn(&Content) -> bool) {
        let mut news = self.shared.news.subscribe();
        let waiting = news.wait_for(|_| is_so(&self.content()));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await;
        let calls = self.content().calls.clone();
        waited.unwrap_or_else(|_| panic!("{what}: {calls:?}")).unwrap();
    }

    /// Waits until it was told so often what became of its registration; returns all of that.
    pub(crate) async fn told(&self, times: usize) -> Vec<(bool, String)> {
        self.wait("it was told of its registration", |content| {
            content.told.len() >= times
        })
        .await;
        self.content().told.clone()
    }
}

impl Shared {
    /// Answers one call with what `answer` makes of it.
    fn call<Q, A>(
        &self,
        name: &'static str,
        request: http::Request<Body>,
        answer: impl Fn(&mut Content, Q) -> Result<A, Status> + Send + Sync + 'static,
    ) -> BoxFuture<http::Response<Body>, Infallible>
    where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Send + Sync + 'static,
    {
        let (shared, answer) = (self.clone(), Arc::new(answer));
        Box::pin(async move {
            let service = tower::service_fn(move |request: Request<Q>| {
                let (shared, answer) = (shared.clone(), answer.clone());
                async move {
                    let (hangs, result) = {
                        let mut content = shared.content.lock().unwrap();
                        content.calls.push(name);
                        let result = match content.fails.get(name) {
                            Some((code, text)) => Err(Status::new(*code, *text)),
                            None => answer(&mut content, request.into_inner()),
                        };
                        (content.hangs.contains(name), result)
                    };
                    shared.news.send_modify(|news| *news += 1);
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    result.map(Response::new)
                }
            });
            let codec: ProstCodec<A, Q> = ProstCodec::default();
            Ok(Grpc::new(codec).unary(service, request).await)
        })
    }
}

#[derive(Clone)]
struct Registration(Shared);

impl NamedService for Registration {
    const NAME: &'static str = "pluginregistration.Registration";
}

impl Service<http::Request<Body>> for Registration {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path().rsplit('/').next() {
            Some("GetInfo") => self.0.call("GetInfo", request, |content, _: m::Empty| {
                Ok(content.info.clone())
            }),
            _ => self.0.call(
                "NotifyRegistrationStatus",
                request,
                |content, status: m::RegistrationStatus| {
                    content.told.push((status.plugin_registered, status.error));
                    Ok(m::Empty {})
                },
            ),
        }
    }
}

#[derive(Clone)]
struct Node(Shared);

impl NamedService for Node {
    const NAME: &'static str = "csi.v1.Node";
}

impl Service<http::Request<Body>> for Node {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path().rsplit('/').next() {
            Some("NodeGetInfo") => self.0.call("NodeGetInfo", request, |content, _: m::Empty| {
                Ok(content.node.clone())
            }),
            Some("NodeGetCapabilities") => {
                self.0
                    .call("NodeGetCapabilities", request, |content, _: m::Empty| {
                        let rpc = |kind: &m::Capability| m::NodeCapability {
                            rpc: Some(m::RpcCapability { kind: *kind as i32 }),
                        };
                        let capabilities = content.capabilities.iter().map(rpc).collect();
                        Ok(m::NodeCapabilities { capabilities })
                    })
            }
            Some("NodePublishVolume") => self.0.call(
                "NodePublishVolume",
                request,
                |content, asked: m::PublishRequest| {
                    std::fs::create_dir_all(&asked.target_path)?;
                    content.published.push(asked);
                    Ok(m::Empty {})
                },
            ),
            Some("NodeUnpublishVolume") => self.0.call(
                "NodeUnpublishVolume",
                request,
                |content, asked: m::UndoRequest| {
                    let _ = std::fs::remove_dir(&asked.path);
                    content.unpublished.push(asked.path);
                    Ok(m::Empty {})
                },
            ),
            Some("NodeUnstageVolume") => {
                self.0
                    .call("NodeUnstageVolume", request, |_, asked: m::UndoRequest| {
                        let _ = std::fs::remove_dir(&asked.path);
                        Ok(m::Empty {})
                    })
            }
            _ => self.0.call(
                "NodeGetVolumeStats",
                request,
                |content, asked: m::StatsRequest| {
                    content
                        .measured
                        .push((asked.volume_id.clone(), asked.volume_path));
                    let stats = content.stats.get(&asked.volume_id).cloned();
                    stats.ok_or_else(|| Status::not_found(asked.volume_id))
                },
            ),
        }
    }
}
