//! SPDY within a WebSocket, as kubectl forwards ports since 1.31 (KEP 4006): binary messages with the bytes of a
//! connection, wherever they are cut.

use std::future::ready;
use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_websockets::Message;

use super::pings::Pings;
use super::{WebSocketError, serve};

/// The name of the protocol.
pub(crate) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The connection within an upgraded one.
pub(crate) fn tunnel<I>(io: I) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, stream) = serve(io).split();
    let wire = |error: tokio_websockets::Error| io::Error::from(WebSocketError::from(error));
    let mut pings = Pings::default();
    let data = stream.map_err(wire).try_filter_map(move |message: Message| {
        if let Err(error) = pings.check(&message) {
            return ready(Err(error.into()));
        }
        let data = message.is_binary().then(|| Bytes::from(message.into_payload()));
        ready(Ok(data.filter(|data| !data.is_empty())))
    });
    let messages = sink
        .sink_map_err(wire)
        .with(|data: Bytes| ready(Ok::<_, io::Error>(Message::binary(data))));
    let writer = SinkWriter::new(CopyToBytes::new(messages));
    tokio::io::join(StreamReader::new(data), writer)
}
