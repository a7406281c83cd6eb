//! Observes the container runtime: reads lists, listens to events, and publishes what is so as one value.
//! The only writer of the [`Snapshot`]. Changes nothing in the world and decides nothing.

pub mod address;
mod due;
mod log_numbers;
pub mod machine;
pub mod measure;
mod observer;
mod out_of_memory;
mod pod_files;
mod probe;
pub mod probes;
pub mod resolv_conf;
mod snapshot;
mod termination;
mod world;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::cri::{Runtime, events};
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::Snapshot;

use observer::Observer;
pub use out_of_memory::Kills;

/// How the runtime is observed.
pub struct Settings {
    /// The directory of the pods (`/var/lib/kubelet/pods`): termination messages are read beneath it, and
    /// what is left in it of pods without sandboxes is told.
    pub pods_dir: PathBuf,
    /// The directory of the pods' logs (`/var/log/pods`): the ends of logs are read beneath it.
    pub pod_logs_dir: PathBuf,
    /// How often everything is read while events come, 10 s.
    pub relist: Duration,
    /// How often the images are listed even if no event told of a change, 5 min.
    pub list_images: Duration,
    /// The pods that have a cgroup (`act::cgroup::Cgroups::pod_uids`; this room does not know that one).
    pub pod_cgroups: Box<dyn Fn() -> io::Result<BTreeSet<PodUid>> + Send + Sync>,
    /// How often the kernel killed a process of a pod (`act::cgroup::Cgroups::memory_kills`).
    pub memory_kills: Kills,
}

/// Asks for a pod to be read anew.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
    news: mpsc::UnboundedSender<probes::News>,
}

/// The requests on their way to [`run`].
#[derive(Debug)]
pub struct Inbox {
    requests: mpsc::UnboundedReceiver<Request>,
    news: mpsc::UnboundedReceiver<probes::News>,
}

#[derive(Debug)]
struct Request {
    pod: PodName,
    uid: PodUid,
    done: oneshot::Sender<()>,
}

/// Nobody observes any more: the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime is no longer observed: the agent is stopping")]
pub struct Stopped;

/// The two ends of the requests.
pub fn requests() -> (Handle, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (news, news_out) = mpsc::unbounded_channel();
    let handle = Handle {
        requests: sender,
        news,
    };
    let inbox = Inbox {
        requests: receiver,
        news: news_out,
    };
    (handle, inbox)
}

impl Handle {
    /// Has it be part of the snapshot. Who observes has ended before us at shutdown; then nobody needs to know.
    fn tell(&self, news: probes::News) {
        let _ = self.news.send(news);
    }

    /// Has the pod read anew; ready when a snapshot is published that was read after this call, which is
    /// never while the runtime does not answer. The request is made at once, not when first polled.
    /// What is kept on disk of the pod under the name with this UID is read with it.
    pub fn refresh(
        &self,
        pod: PodName,
        uid: PodUid,
    ) -> impl Future<Output = Result<(), Stopped>> + Send + use<> {
        let (done, published) = oneshot::channel();
        let sent = self.requests.send(Request { pod, uid, done });
        async move {
            sent.map_err(|_| Stopped)?;
            published.await.map_err(|_| Stopped)
        }
    }
}

/// How many events may wait while lists are read; more wait in the connection.
const EVENTS_WAITING: usize = 1024;

/// Observes until cancelled.
pub async fn run(
    runtime: Runtime,
    inbox: Inbox,
    out: watch::Sender<Arc<Snapshot>>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let (events_in, events) = mpsc::channel(EVENTS_WAITING);
    let observer = Observer::new(runtime.clone(), out, settings);
    // Whatever is dropped was only reading; the two loops end by themselves with each other only.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = events::subscribe(&runtime, events_in) => {}
        () = observer.run(events, inbox.requests, inbox.news) => {}
    }
}
