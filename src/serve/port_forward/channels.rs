//! Ports forwarded over the channels of a WebSocket, one connection to each: for clients that know no SPDY. Port number
//! N of the request has channel 2N for its data, and 2N + 1 for its error
//! (`staging/src/k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::client_end::{ClientEnd, ClientGone, ToChannel};
use super::relay::{AFTERWARDS, CHUNK, QUEUE, Target, forward};
use crate::serve::stream::heartbeat;
use crate::serve::stream::lifetime::Lifetime;
use crate::serve::stream::websocket::{self, ChannelReader, ChannelWriter, Codec, WebSocketError};

/// The protocols, by name. A client that names none speaks the last.
pub(super) const PROTOCOLS: [(&str, Codec); 3] = [
    ("v4.channel.k8s.io", Codec::Binary),
    ("v4.base64.channel.k8s.io", Codec::Base64),
    ("", Codec::Binary),
];

/// How long the client may take to close the connection after the last message.
const PARTING: Duration = Duration::from_secs(5);

/// Forwards until every connection has ended, the client is gone, or the stream is cut.
pub(super) async fn run<I>(io: I, codec: Codec, ports: &[u16], target: Target, lifetime: &Lifetime)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut reader, writer) = websocket::channels(io, codec);
    let (messages, queue) = mpsc::channel(1);
    let sender = AbortOnDropHandle::new(tokio::spawn(write(writer, queue)));
    let target = Arc::new(target);
    let cut = tokio::select! {
        forwarded = forward_all(&mut reader, &messages, ports, &target) => match forwarded {
            Ok(()) => None,
            Err(error) => return debug!("{error}"),
        },
        // Dropped with all forwarded connections.
        why = lifetime.cut() => Some(why),
    };
    let parting = async {
        if let Some(why) = cut {
            debug!("forwarding ports ends: {why}");
            for (error, port) in (1..).step_by(2).zip(ports) {
                let text = target.failure(*port, &why.to_string());
                // It fails if the client is gone, which needs no answer then.
                let _ = messages.send(ToChannel::Data(error, text.into())).await;
            }
        }
        drop(messages);
        if let Err(error) = sender.await {
            tracing::error!(%error, "the task that sends to the client of forwarded ports failed");
        }
        let closing = async { while let Ok(Some(_)) = reader.next().await {} };
        if tokio::time::timeout(PARTING, closing).await.is_err() {
            debug!("the client of forwarded ports did not close the connection");
        }
    };
    lifetime.part(cut.is_some(), parting).await;
}

/// Forwards until every connection has ended.
async fn forward_all<I>(
    reader: &mut ChannelReader<I>,
    messages: &mpsc::Sender<ToChannel>,
    ports: &[u16],
    target: &Arc<Target>,
) -> Result<(), ClientGone>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut connections, mut to_pod) = (JoinSet::new(), Vec::new());
    for (data, port) in (0..).step_by(2).zip(ports) {
        // How the client knows which port a channel is for.
        for channel in [data, data + 1] {
            let bytes = Bytes::copy_from_slice(&port.to_le_bytes());
            let sent = messages.send(ToChannel::Data(channel, bytes)).await;
            sent.map_err(|_| ClientGone)?;
        }
    }
    for (data, port) in (0..).step_by(2).zip(ports.iter().copied()) {
        let (sender, from_client) = mpsc::channel(QUEUE);
        to_pod.push(sender);
        let client = ClientEnd::Channels {
            messages: messages.clone(),
            data,
            error: data + 1,
        };
        let target = target.clone();
        connections.spawn(async move { forward(client, port, &target, from_client).await });
    }
    let all = async { while connections.join_next().await.is_some() {} };
    let mut all = std::pin::pin!(all);
    tokio::select! {
        () = all.as_mut() => return Ok(()),
        // Dropped with all forwarded connections.
        () = messages.closed() => return Err(ClientGone),
        passed = pass(reader, &to_pod, messages) => if let Err(error) = passed {
            debug!(%error, "the client of forwarded ports disconnected");
        },
    }
    // To close the WebSocket is the client's only way to end what it sends, all of which reaches the pod.
    drop(to_pod);
    let _ = tokio::time::timeout(AFTERWARDS, all).await;
    Err(ClientGone)
}

/// Passes what the client sends to the pod until the client closes the WebSocket. While the pod does not take it, the
/// client is sent heartbeats, which fail when it has disconnected.
async fn pass<I>(
    reader: &mut ChannelReader<I>,
    to_pod: &[mpsc::Sender<Bytes>],
    messages: &mpsc::Sender<ToChannel>,
) -> Result<(), WebSocketError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    while let Some((channel, data)) = reader.next().await? {
        let to_pod = match channel % 2 {
            0 => to_pod.get(usize::from(channel / 2)),
            // The errors, which are not the client's.
            _ => None,
        };
        let Some(to_pod) = to_pod else { continue };
        let passed = async {
            // A large message is not kept whole for a pod that reads slowly.
            for piece in data.chunks(CHUNK) {
                // It fails when the connection with the pod has ended: what comes late is for nobody.
                let _ = to_pod.send(Bytes::copy_from_slice(piece)).await;
            }
        };
        heartbeat::meanwhile(passed, || {
            let _ = messages.try_send(ToChannel::Heartbeat);
        })
        .await;
    }
    Ok(())
}

/// Sends messages to the client until there are no more, and closes the WebSocket, or until the client is gone.
async fn write<I>(mut writer: ChannelWriter<I>, mut queue: mpsc::Receiver<ToChannel>)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let written = async {
        while let Some(message) = queue.recv().await {
            match message {
                ToChannel::Data(channel, data) => writer.send(channel, &data).await?,
                ToChannel::Heartbeat => writer.heartbeat().await?,
            }
        }
        writer.close().await
    };
    if let Err(error) = written.await {
        debug!(%error, "the client of forwarded ports disconnected");
    }
}

#[cfg(test)]
mod tests;
