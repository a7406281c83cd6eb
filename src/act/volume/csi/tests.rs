//! Random pods, agents that are killed at any call, and a driver that keeps its own account: at the end nothing is staged,
//! published or on the disk, and in between nothing was taken down under a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::ledger::CsiVolumes;
use super::publish::{Progress, bring};
use super::{data, release, unstage};
use crate::act::volume::at_work::AtWork;
use crate::csi::messages as m;
use crate::disk::tree::{self, Mounts};
use crate::model::csi::Lifecycle;
use crate::model::csi_request::{CsiPlaces, CsiRequest, DATA_FILE, Publishing, Shape, plugin_dir};
use crate::model::driver::{Ability, Driver, Drivers};
use crate::model::persistent::AccessMode;
use crate::model::pod::PodUid;

const NAME: &str = "csi.example.com";
/// No step takes so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is carried out and answered.
    Done,
    /// The agent is killed before it is carried out.
    KilledBefore,
    /// It is carried out, and the agent killed before it has the answer.
    KilledAfter,
    /// It fails without effect.
    Refused,
    /// It fails, and has its effect all the same.
    Lost,
}

/// The driver's own account.
#[derive(Debug, Default)]
struct Account {
    /// By volume: where.
    staged: BTreeMap<String, BTreeSet<String>>,
    published: BTreeMap<String, BTreeSet<String>>,
    /// What must not happen.
    wrong: Vec<String>,
    fates: Vec<Fate>,
}

#[derive(Clone)]
struct Fake {
    account: Arc<Mutex<Account>>,
    /// An agent is to be killed.
    kill: Arc<Notify>,
}

enum Call {
    Stage(m::StageRequest),
    Unstage(m::UndoRequest),
    Publish(m::PublishRequest),
    Unpublish(m::UndoRequest),
}

impl Fake {
    async fn serve(&self, call: Call) -> Result<Response<m::Empty>, Status> {
        let fate = self.account.lock().unwrap().fates.pop().unwrap_or(Fate::Done);
        match fate {
            Fate::KilledBefore => {
                self.kill.notify_one();
                std::future::pending().await
            }
            Fate::Refused => return Err(Status::internal("no disk today")),
            Fate::Done | Fate::KilledAfter | Fate::Lost => self.carry_out(call),
        }
        match fate {
            Fate::KilledAfter => {
                self.kill.notify_one();
                std::future::pending().await
            }
            Fate::Lost => Err(Status::unavailable("the answer is lost")),
            _ => Ok(Response::new(m::Empty {})),
        }
    }

    fn carry_out(&self, call: Call) {
        let mut account = self.account.lock().unwrap();
        let account = &mut *account;
        match call {
            Call::Stage(r) => {
                assert!(Path::new(&r.staging_target_path).is_dir(), "the agent makes it");
                let at = account.staged.entry(r.volume_id).or_default();
                at.insert(r.staging_target_path);
            }
            Call::Unstage(r) => {
                if account
                    .published
                    .get(&r.volume_id)
                    .is_some_and(|at| !at.is_empty())
                {
                    account
                        .wrong
                        .push(format!("{} was unstaged under a pod", r.volume_id));
                }
                if let Some(at) = account.staged.get_mut(&r.volume_id) {
                    at.remove(&r.path);
                }
            }
            Call::Publish(r) => {
                let is_staged = account
                    .staged
                    .get(&r.volume_id)
                    .is_some_and(|at| at.contains(&r.staging_target_path));
                if !is_staged {
                    account
                        .wrong
                        .push(format!("{} was published unstaged", r.volume_id));
                }
                std::fs::create_dir_all(&r.target_path).unwrap();
                account
                    .published
                    .entry(r.volume_id)
                    .or_default()
                    .insert(r.target_path);
            }
            Call::Unpublish(r) => {
                if let Some(at) = account.published.get_mut(&r.volume_id) {
                    at.remove(&r.path);
                }
                let _ = std::fs::remove_dir(&r.path);
            }
        }
    }
}

macro_rules! unary {
    ($name:ident, $request:ty, $call:path) => {
        struct $name(Fake);

        impl UnaryService<$request> for $name {
            type Response = m::Empty;
            type Future = BoxFuture<Response<m::Empty>, Status>;

            fn call(&mut self, request: Request<$request>) -> Self::Future {
                let fake = self.0.clone();
                Box::pin(async move { fake.serve($call(request.into_inner())).await })
            }
        }
    };
}

unary!(Stage, m::StageRequest, Call::Stage);
unary!(Unstage, m::UndoRequest, Call::Unstage);
unary!(Publish, m::PublishRequest, Call::Publish);
unary!(Unpublish, m::UndoRequest, Call::Unpublish);

impl NamedService for Fake {
    const NAME: &'static str = "csi.v1.Node";
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                "/csi.v1.Node/NodeStageVolume" => {
                    Grpc::new(ProstCodec::default()).unary(Stage(fake), request).await
                }
                "/csi.v1.Node/NodeUnstageVolume" => {
                    Grpc::new(ProstCodec::default())
                        .unary(Unstage(fake), request)
                        .await
                }
                "/csi.v1.Node/NodePublishVolume" => {
                    Grpc::new(ProstCodec::default())
                        .unary(Publish(fake), request)
                        .await
                }
                _ => {
                    Grpc::new(ProstCodec::default())
                        .unary(Unpublish(fake), request)
                        .await
                }
            })
        })
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happens {
    /// A pod gets a volume.
    Starts { pod: usize, volume: usize },
    /// A pod ends, and its directory goes.
    Ends { pod: usize },
    /// The agent is started again.
    Restart,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..3usize, 0..2usize).prop_map(|(pod, volume)| Happens::Starts { pod, volume }),
        3 => (0..3usize).prop_map(|pod| Happens::Ends { pod }),
        1 => Just(Happens::Restart),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Done),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Lost),
    ]
}

/// One agent: its ledger, and its loop, with threads of its own, which end with it.
struct Agent {
    volumes: CsiVolumes,
    runtime: Option<Runtime>,
}

impl Agent {
    fn start(root: &Path, drivers: &watch::Sender<Arc<Drivers>>) -> Agent {
        let volumes = CsiVolumes::open(root, drivers.subscribe(), AtWork::default(), Arc::default());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        runtime.spawn(unstage::run(volumes.clone(), CancellationToken::new()));
        Agent {
            volumes,
            runtime: Some(runtime),
        }
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.as_ref().unwrap().spawn(work)
    }

    /// No call of it is made after this, and none on the disk goes on.
    async fn kill(&mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(|| drop(runtime)).await.unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct World {
    root: PathBuf,
    fake: Fake,
    drivers: watch::Sender<Arc<Drivers>>,
    agent: Agent,
}

impl World {
    /// The agent is killed, and another takes its place.
    async fn restart(&mut self) {
        self.agent.kill().await;
        self.agent = Agent::start(&self.root, &self.drivers);
    }

    /// Works until it is done or the agent is killed meanwhile.
    async fn work<W>(&mut self, work: W) -> Option<Result<(), String>>
    where
        W: Future<Output = Result<(), String>> + Send + 'static,
    {
        let kill = self.fake.kill.clone();
        let work = self.agent.spawn(work);
        let result = tokio::select! {
            result = work => Some(result.unwrap()),
            () = kill.notified() => None,
            () = tokio::time::sleep(DEADLINE) => panic!("nothing happens: {:?}", self.fake.account),
        };
        if result.is_none() {
            self.restart().await;
        }
        result
    }

    async fn start(&mut self, pod: &PodUid, volume: usize) {
        let dir = self.root.join("pods").join(&pod.0);
        std::fs::create_dir_all(&dir).unwrap();
        let request = request(&self.root, pod, volume);
        let volumes = self.agent.volumes.clone();
        let (user, asked) = (pod.clone(), request.clone());
        let work = async move {
            let progress = Progress::begin(volumes.at_work(), &user, &asked);
            bring(&volumes, &user, &asked, &progress).await
        };
        if let Some(Ok(())) = self.work(work).await {
            let account = self.fake.account.lock().unwrap();
            let target = request.places.target(&request.name);
            let at = account.published.get(&request.handle);
            let is_there = at.is_some_and(|at| at.contains(&*target.to_string_lossy()));
            assert!(is_there, "{request:?} is not published: {account:?}");
        }
    }

    async fn end(&mut self, pod: &PodUid) {
        let dir = self.root.join("pods").join(&pod.0);
        let volumes = self.agent.volumes.clone();
        let (user, of_pod) = (pod.clone(), dir.clone());
        let work = async move { release(&volumes, &user, &of_pod).await };
        if let Some(Ok(())) = self.work(work).await {
            tree::remove(&dir, Mounts::Refused).unwrap();
        }
    }
}

fn request(root: &Path, pod: &PodUid, volume: usize) -> CsiRequest {
    CsiRequest {
        driver: NAME.to_owned(),
        registered: driver(root),
        handle: format!("h{volume}"),
        name: format!("pv{volume}"),
        lifecycle: Lifecycle::Persistent,
        node: "n".to_owned(),
        shape: Shape::FileSystem {
            fs_type: String::new(),
            options: Vec::new(),
            group: None,
            delegated: None,
        },
        access: AccessMode::Many,
        is_exclusive: false,
        read_only: false,
        publish_context: BTreeMap::new(),
        stage_context: BTreeMap::new(),
        volume_context: BTreeMap::new(),
        stage_secrets: BTreeMap::new(),
        publish_secrets: BTreeMap::new(),
        places: CsiPlaces {
            root: root.to_owned(),
            pod: pod.0.clone(),
        },
        attachment: "csi-1".to_owned(),
        attaches: false,
        publishing: Publishing::Once,
    }
}

fn driver(root: &Path) -> Arc<Driver> {
    Arc::new(Driver {
        endpoint: root.join("s"),
        abilities: [Ability::Stage].into(),
        ..Driver::default()
    })
}

/// The data files below the directory.
fn data_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false if entry.file_name() == DATA_FILE => found.push(entry.path()),
                false => {}
            }
        }
    }
    found
}

async fn told(story: Vec<Happens>, fates: Vec<Fate>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let fake = Fake {
        account: Arc::new(Mutex::new(Account {
            fates,
            ..Account::default()
        })),
        kill: Arc::new(Notify::new()),
    };
    let listener = UnixListener::bind(root.join("s")).unwrap();
    let serving = Server::builder().add_service(fake.clone());
    let serving = tokio::spawn(serving.serve_with_incoming(UnixListenerStream::new(listener)));
    let drivers = watch::channel(Arc::new(Drivers {
        are_known: true,
        by_name: [(NAME.to_owned(), driver(&root))].into(),
        ..Drivers::default()
    }))
    .0;
    let agent = Agent::start(&root, &drivers);
    let mut world = World {
        root,
        fake,
        drivers,
        agent,
    };
    let uid = |pod: usize| PodUid(format!("u{pod}"));
    for happens in story {
        match happens {
            Happens::Starts { pod, volume } => world.start(&uid(pod), volume).await,
            Happens::Ends { pod } => world.end(&uid(pod)).await,
            Happens::Restart => world.restart().await,
        }
    }
    world.fake.account.lock().unwrap().fates.clear();
    for pod in 0..3 {
        world.end(&uid(pod)).await;
        // Killed by a call of the loop, whose fate had been drawn before.
        world.end(&uid(pod)).await;
    }
    world.restart().await;
    let mut mounted = world.agent.volumes.mounted();
    let gone = mounted.wait_for(|mounted| mounted.0.is_empty());
    let gone = tokio::time::timeout(DEADLINE, gone).await;
    world.agent.kill().await;
    let account = world.fake.account.lock().unwrap();
    assert!(gone.is_ok(), "{:?} {account:?}", world.agent.volumes);
    assert_eq!(account.wrong, Vec::<String>::new(), "{account:?}");
    let left = account.staged.values().chain(account.published.values());
    assert!(left.flatten().next().is_none(), "{account:?}");
    assert_eq!(data_files(&world.root), Vec::<PathBuf>::new());
    let of_driver = plugin_dir(&world.root).join(NAME);
    assert_eq!(data::names(&of_driver).unwrap(), Vec::<String>::new());
    serving.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_killed_agent_leaves_nothing_and_takes_nothing_from_a_pod(
        story in prop::collection::vec(happens(), 1..12),
        fates in prop::collection::vec(fate(), 0..24),
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(told(story, fates));
    }
}
