//! A container runtime that keeps its sandboxes, containers and images in maps, and says so on a unix socket
//! through CRI and containerd's events, as containerd 1.6 does it. It can be made to fail, to hold a call,
//! to lose things, and to go away and come back: what runs, goes on running meanwhile.

mod events;
mod services;
mod signals;
pub(crate) mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_cri::v1;
use k8s_cri::v1::image_service_server::ImageServiceServer;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::Server;

pub(crate) use world::{Lag, World};

/// The runtime as a test handles it.
pub(crate) struct FakeCri {
    shared: Shared,
    socket: PathBuf,
    server: Option<tokio::runtime::Runtime>,
}

/// What the test and the services have in common.
#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<containerd_client::types::Envelope>,
    /// Wakes calls that are held, whenever something changes about holds.
    holds: watch::Sender<u64>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Every call passes here first: it is noted, held while it shall be, and fails if it shall.
    async fn enter(&self, call: &'static str, about: &str) -> Result<(), Status> {
        self.world().calls.push(Call {
            call,
            about: about.to_owned(),
        });
        let mut holds = self.holds.subscribe();
        while self.world().unsupported.contains(call) {
            let _ = holds.changed().await;
        }
        self.world().failure(call).map_or(Ok(()), Err)
    }

    /// The calls that make something pass here when it is made: the answer is held while it shall be.
    async fn leave(&self, call: &'static str) {
        let mut holds = self.holds.subscribe();
        while self.world().held_answers.contains(call) {
            let _ = holds.changed().await;
        }
    }
}

/// One call that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// `RunPodSandbox`
    pub call: &'static str,
    /// The id, name or image that it was about; empty for lists.
    pub about: String,
}

impl FakeCri {
    /// Starts on a socket in that directory, with the image `busybox:latest`.
    pub(crate) fn start(dir: &Path) -> Self {
        let shared = Shared {
            world: Arc::new(Mutex::new(World::default())),
            events: broadcast::channel(1024).0,
            holds: watch::channel(0).0,
        };
        shared.world().add_image("busybox:latest");
        let mut fake = FakeCri {
            shared,
            socket: dir.join("runtime.sock"),
            server: None,
        };
        fake.restart();
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    pub(crate) fn settings(&self) -> gantry::cri::Settings {
        gantry::cri::Settings::at(self.socket(), Duration::from_secs(20))
    }

    /// Goes away: connections break, the socket refuses, containers run on.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Comes back on the same socket, with all that it had.
    pub(crate) fn restart(&mut self) {
        self.stop();
        // A runtime of its own, so that stopping drops connections as the end of a process does.
        let server = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&self.socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = self.shared.clone();
        let supports_events = shared.world().supports_events;
        server.spawn(async move {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
            let mut router = Server::builder()
                .add_service(signals::Signals::new(shared.clone()))
                .add_service(ImageServiceServer::new(services::Services(shared.clone())));
            if supports_events {
                router = router.add_service(events::EventsServer(shared.events.clone()));
            }
            router.serve_with_incoming(incoming).await.unwrap();
        });
        self.server = Some(server);
    }

    /// What there is; to be looked at and changed as if by the kernel. Events are sent by the methods below.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// How often that was called.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.world()
            .calls
            .iter()
            .filter(|entry| entry.call == call)
            .count()
    }

    /// Has the next calls of that name fail.
    pub(crate) fn fail(&self, call: &'static str, times: usize, status: Status) {
        self.world().failures.insert(call, (times, status));
    }

    /// Has calls of that name wait until released.
    pub(crate) fn hold(&self, call: &'static str) {
        self.world().unsupported.insert(call);
    }

    /// Has calls of that name do their work and not answer until released.
    pub(crate) fn hold_answer(&self, call: &'static str) {
        self.world().held_answers.insert(call);
    }

    /// Lets them go on.
    pub(crate) fn release(&self, call: &'static str) {
        self.world().unsupported.remove(call);
        self.world().held_answers.remove(call);
        self.shared.holds.send_modify(|changes| *changes += 1);
    }

    /// Whether the events have a reader.
    pub(crate) fn has_subscriber(&self) -> bool {
        self.shared.events.receiver_count() > 0
    }

    /// Has a command, its words joined, end so from now on; any other command succeeds.
    pub(crate) fn answer(&self, command: &str, code: i32, output: &str) {
        let answer = (code, output.to_owned());
        self.world().answers.insert(command.to_owned(), answer);
    }

    /// Says that images changed.
    pub(crate) fn touch_images(&self) {
        self.shared.send("/images/update", "");
    }

    /// A container's first process ends by itself.
    pub(crate) fn exit(&self, id: &str, code: i32) {
        self.shared.end_container(id, code, "");
    }

    /// A container's first process ended a while ago, and the exit is reported only now.
    pub(crate) fn exited_before(&self, id: &str, code: i32, ago: Duration) {
        {
            let mut world = self.world();
            let container = world.containers.get_mut(id).unwrap();
            container.state = v1::ContainerState::ContainerExited;
            container.finished = world::now() - i64::try_from(ago.as_nanos()).unwrap();
            container.code = code;
            container.reason = "Error".to_owned();
        }
        self.announce_exit(id);
    }

    /// The kernel kills it for lack of memory. containerd may note the reason after the exit.
    pub(crate) fn out_of_memory(&self, id: &str, lag: Lag) {
        match lag {
            Lag::None => self.shared.end_container(id, 137, "OOMKilled"),
            Lag::ReasonAfterExit => {
                self.shared.end_container(id, 137, "");
                self.shared.send("/tasks/oom", id);
            }
        }
    }

    /// The exit is reported by an event and not by CRI yet; `exit` does that later.
    pub(crate) fn announce_exit(&self, id: &str) {
        self.shared.send("/tasks/exit", id);
        self.shared.send("/tasks/delete", id);
    }

    /// A sandbox's own process dies: it is not ready any more.
    pub(crate) fn kill_sandbox(&self, id: &str) {
        self.world().sandboxes.get_mut(id).unwrap().ready = false;
        self.announce_exit(id);
    }

    /// Something of another program, without the kubelet's labels.
    pub(crate) fn add_stranger(&self) {
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "stranger".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.world().add_sandbox(config).unwrap();
    }
}

impl Drop for FakeCri {
    fn drop(&mut self) {
        self.stop();
    }
}
