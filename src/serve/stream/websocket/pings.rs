//! Bounds how often a peer may ping: the library queues an answer to each, whether or not the peer reads them.

use std::time::Duration;

use tokio::time::Instant;
use tokio_websockets::Message;

use super::WebSocketError;

/// How many pings are answered within [`PERIOD`]. kubectl and the API server ping every five seconds.
const MAX_PINGS: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);

/// The pings of a period.
#[derive(Debug)]
pub(super) struct Pings {
    since: Instant,
    count: u32,
}

impl Default for Pings {
    fn default() -> Pings {
        Pings {
            since: Instant::now(),
            count: 0,
        }
    }
}

impl Pings {
    /// Counts a message if it is a ping; an error if there are too many.
    pub(super) fn check(&mut self, message: &Message) -> Result<(), WebSocketError> {
        if !message.is_ping() {
            return Ok(());
        }
        if self.since.elapsed() > PERIOD {
            *self = Pings::default();
        }
        self.count += 1;
        match self.count > MAX_PINGS {
            true => Err(WebSocketError::Protocol("it pings too often")),
            false => Ok(()),
        }
    }
}
