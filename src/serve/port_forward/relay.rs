//! One forwarded connection: it is made in the pod, and bytes pass in both directions until it ends.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{FusedFuture as _, FutureExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tracing::debug;

use super::client_end::{ClientEnd, ClientGone};
use super::dial::{PodNetwork, dial};
use crate::model::error_chain::chain;
use crate::model::pod::PodName;

/// How much is read from the pod at once.
pub(super) const CHUNK: usize = 16 * 1024;
/// How many pieces from the client may wait for the pod on one connection. When it is reached, the client's whole
/// connection waits: its protocols know no flow control of a single stream.
pub(super) const QUEUE: usize = 2;
/// How long what the client sends is passed on after the pod has ended its side, as containerd does.
pub(super) const AFTERWARDS: Duration = Duration::from_secs(1);
/// How long the pod may be silent after the client has ended its side; containerd gives it a second.
const AFTER_CLIENT: Duration = Duration::from_secs(60);

/// The pod whose ports are forwarded.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pod: PodName,
    pub(super) uid: String,
    pub(super) network: PodNetwork,
}

impl Target {
    /// As the kubelet words it.
    pub(super) fn failure(&self, port: u16, why: &str) -> String {
        format!(
            "error forwarding port {port} to pod {}, uid {}: {why}",
            self.pod, self.uid
        )
    }
}

/// Forwards one connection. The client learns if it cannot be made. One that breaks later ends alone; the others go on.
pub(super) async fn forward(
    client: ClientEnd,
    port: u16,
    target: &Target,
    from_client: mpsc::Receiver<Bytes>,
) {
    let done = match dial(&target.network, port).await {
        Ok(stream) => match relay(stream, &client, from_client).await {
            Err(Broken::Pod(error)) => {
                debug!(%error, port, "a forwarded connection broke");
                client.reset(target.failure(port, &error.to_string())).await
            }
            Err(Broken::Client(gone)) => Err(gone),
            Ok(()) => Ok(()),
        },
        Err(error) => client.refuse(target.failure(port, &chain(&error))).await,
    };
    if let Err(error) = done {
        debug!("{error}");
    }
}

/// What ended a forwarded connection early.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection with the pod.
    Pod(std::io::Error),
    /// The connection with the client, which carries all others, too.
    Client(ClientGone),
}

impl From<ClientGone> for Broken {
    fn from(gone: ClientGone) -> Broken {
        Broken::Client(gone)
    }
}

pub(super) async fn relay(
    stream: TcpStream,
    client: &ClientEnd,
    from_client: mpsc::Receiver<Bytes>,
) -> Result<(), Broken> {
    let (from_pod, to_pod) = stream.into_split();
    let received_bytes = AtomicU64::new(0);
    // Fused, because it may have completed before the pod's side ends.
    let mut received = pin!(receive(from_client, to_pod).fuse());
    let broken = async {
        match received.as_mut().await {
            // The pod may have more to say, but not for ever.
            Ok(()) => silence(&received_bytes).await,
            Err(error) => error,
        }
    };
    tokio::select! {
        sent = send(from_pod, client, &received_bytes) => sent?,
        // What has been read from the pod is on its way.
        error = broken => return Err(error),
    }
    client.end().await?;
    if !received.is_terminated() {
        let _ = tokio::time::timeout(AFTERWARDS, received).await;
    }
    Ok(())
}

/// Completes when nothing has come from the pod for [`AFTER_CLIENT`].
async fn silence(bytes: &AtomicU64) -> Broken {
    loop {
        let before = bytes.load(Ordering::Relaxed);
        tokio::time::sleep(AFTER_CLIENT).await;
        if bytes.load(Ordering::Relaxed) == before {
            return Broken::Pod(std::io::ErrorKind::TimedOut.into());
        }
    }
}

/// Sends what comes from the pod until its end.
async fn send(mut from_pod: OwnedReadHalf, client: &ClientEnd, bytes: &AtomicU64) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = (&mut from_pod).take(CHUNK as u64).read_buf(&mut buffer).await;
        let is_end = read.map_err(Broken::Pod)? == 0;
        let data = buffer.split().freeze();
        bytes.fetch_add(u64::try_from(data.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        client.data(data, is_end).await?;
        if is_end {
            return Ok(());
        }
    }
}

/// Writes what comes from the client until its end.
async fn receive(mut from_client: mpsc::Receiver<Bytes>, mut to_pod: OwnedWriteHalf) -> Result<(), Broken> {
    while let Some(data) = from_client.recv().await {
        to_pod.write_all(&data).await.map_err(Broken::Pod)?;
    }
    match to_pod.shutdown().await {
        // The pod has closed the connection before.
        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(()),
        ended => ended.map_err(Broken::Pod),
    }
}
