//! Requests to the observer: to read a pod or the images again, and to take in the result of a probe.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use crate::model::health::Probed;
use crate::model::pod::{PodName, PodUid};
use crate::model::probe::ProbeKind;

/// Requests that a pod is read again.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
    images: mpsc::UnboundedSender<oneshot::Sender<()>>,
    news: mpsc::UnboundedSender<ProbeUpdate>,
}

/// The requests on their way to [`run`].
#[derive(Debug)]
pub struct Inbox {
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) images: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    pub(super) news: mpsc::UnboundedReceiver<ProbeUpdate>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) pod: PodName,
    pub(super) uid: PodUid,
    pub(super) done: oneshot::Sender<()>,
}

/// The observer has ended: the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime is no longer observed: the agent is stopping")]
pub struct Stopped;

/// The two ends of the requests.
pub fn requests() -> (Handle, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (images, images_out) = mpsc::unbounded_channel();
    let (news, news_out) = mpsc::unbounded_channel();
    let handle = Handle {
        requests: sender,
        images,
        news,
    };
    let inbox = Inbox {
        requests: receiver,
        images: images_out,
        news: news_out,
    };
    (handle, inbox)
}

impl Handle {
    /// Adds it to the snapshot. At shutdown the observer ends first; then it is not needed.
    pub(super) fn add_probe_update(&self, news: ProbeUpdate) {
        let _ = self.news.send(news);
    }

    /// Has the pod read again; ready when a snapshot is published that was read after this call, which is never while
    /// the runtime does not answer. The request is made at once, not when first polled. The checkpoints of the pod of
    /// this name with this UID are read with it.
    pub fn refresh(
        &self,
        pod: PodName,
        uid: PodUid,
    ) -> impl Future<Output = Result<(), Stopped>> + Send + use<> {
        let (done, read) = oneshot::channel();
        let sent = self.requests.send(Request { pod, uid, done });
        async move {
            sent.map_err(|_| Stopped)?;
            read.await.map_err(|_| Stopped)
        }
    }
}

impl Handle {
    /// Has the images listed again; ready when a snapshot with those is published, which is never while the runtime does
    /// not answer.
    pub async fn refresh_images(&self) -> Result<(), Stopped> {
        let (done, read) = oneshot::channel();
        self.images.send(done).map_err(|_| Stopped)?;
        read.await.map_err(|_| Stopped)
    }
}

/// A probe's result.
#[derive(Debug)]
pub(super) struct ProbeUpdate {
    pub(super) pod: PodName,
    pub(super) id: String,
    pub(super) kind: ProbeKind,
    pub(super) probed: Probed,
}
