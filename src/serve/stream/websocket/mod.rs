//! WebSocket (RFC 6455), as Kubernetes' streams use it: [`handshake`] begins it, [`channels`] are within a
//! connection, [`command`] are those of a command, [`tunnel`] carries SPDY.

mod channels;
mod command;
mod handshake;
mod pings;
mod tunnel;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{ClientBuilder, Config, Limits, ServerBuilder, WebSocketStream};

pub(crate) use channels::{ChannelReader, ChannelWriter, Codec, channels};
pub use command::{
    ClientReader, ClientWriter, CommandProtocol, CommandReader, CommandWriter, as_client, command,
};
pub(crate) use handshake::{begin, choose, key};
pub(crate) use tunnel::{TUNNEL, tunnel};

/// The longest message accepted. kubectl and the API server send 32 KiB at most; a message is buffered as a whole.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How much is queued before it is written to the connection.
const FLUSH: usize = 8 * 1024;

/// Why a WebSocket cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum WebSocketError {
    #[error("the WebSocket broke")]
    Wire(#[from] tokio_websockets::Error),
    #[error("the peer broke the protocol of the streams: {0}")]
    Protocol(&'static str),
}

impl From<WebSocketError> for io::Error {
    fn from(error: WebSocketError) -> io::Error {
        io::Error::other(error)
    }
}

fn config() -> (Config, Limits) {
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
    (Config::default().flush_threshold(FLUSH), limits)
}

/// The server's end of an upgraded connection.
fn serve<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> WebSocketStream<I> {
    let (config, limits) = config();
    ServerBuilder::new().config(config).limits(limits).serve(io)
}

/// The client's end.
fn take_over<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> WebSocketStream<I> {
    let (config, limits) = config();
    ClientBuilder::new().config(config).limits(limits).take_over(io)
}

#[cfg(test)]
mod tests;
