//! Pairs the streams of forwarded connections: each connection has one for its data and one for its error, which the
//! client marks with the same `requestID` (`httpStreamHandler` in
//! `staging/src/k8s.io/cri-streaming/pkg/streaming/portforward/httpstream.go`). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::serve::stream::spdy::{Headers, StreamId};

/// How long the second stream of a pair may take.
const CREATION: Duration = Duration::from_secs(30);

/// A stream that is not accepted; the text is for the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(super) enum BadStream {
    #[error("\"port\" header is required")]
    NoPort,
    #[error("unable to parse {0:?} as a port")]
    Port(String),
    #[error("invalid stream type {0:?}")]
    Type(String),
    #[error("the {0} stream of this connection exists already")]
    Twice(&'static str),
    #[error("more than {0} connections at once")]
    TooMany(usize),
}

/// A connection that the client wants forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// The port in the pod.
    pub(super) port: u16,
    pub(super) data: StreamId,
    pub(super) error: StreamId,
}

#[derive(Debug)]
struct Half {
    port: u16,
    data: Option<StreamId>,
    error: Option<StreamId>,
    until: Duration,
}

/// The pairs of which one stream is missing, by request.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    halves: BTreeMap<String, Half>,
}

impl Pairs {
    /// Takes a stream that the client has opened; gives the pair that it completes. `now` is the time since the session
    /// began, as everywhere here.
    pub(super) fn add(
        &mut self,
        stream: StreamId,
        headers: &Headers,
        now: Duration,
    ) -> Result<Option<Pair>, BadStream> {
        let port = port(headers)?;
        let kind = headers.get("streamType").unwrap_or_default();
        if kind != "data" && kind != "error" {
            return Err(BadStream::Type(kind.to_owned()));
        }
        let request = match headers.get("requestID") {
            Some(id) if !id.is_empty() => id.to_owned(),
            // Clients before Kubernetes 1.2 open both streams one after the other, the error stream first.
            _ if kind == "error" => stream.number().to_string(),
            _ => stream.number().saturating_sub(2).to_string(),
        };
        let half = self.halves.entry(request.clone()).or_insert(Half {
            port,
            data: None,
            error: None,
            until: now + CREATION,
        });
        let (place, name) = match kind {
            "data" => (&mut half.data, "data"),
            _ => (&mut half.error, "error"),
        };
        if place.is_some() {
            return Err(BadStream::Twice(name));
        }
        *place = Some(stream);
        if name == "data" {
            half.port = port;
        }
        let (Some(data), Some(error), port) = (half.data, half.error, half.port) else {
            return Ok(None);
        };
        self.halves.remove(&request);
        Ok(Some(Pair { port, data, error }))
    }

    /// How many streams wait for their second one.
    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }

    /// Whether a stream with these headers is the second one of a pair.
    pub(super) fn completes(&self, headers: &Headers) -> bool {
        headers
            .get("requestID")
            .is_some_and(|id| self.halves.contains_key(id))
    }

    /// When the next stream of a pair is overdue.
    pub(super) fn due(&self) -> Option<Duration> {
        self.halves.values().map(|half| half.until).min()
    }

    /// Takes out what has waited for its second stream for too long: the streams to reset.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<StreamId> {
        let late: Vec<Half> = self
            .halves
            .extract_if(.., |_, half| half.until <= now)
            .map(|(_, half)| half)
            .collect();
        late.iter()
            .flat_map(|half| [half.data, half.error])
            .flatten()
            .collect()
    }

    /// The client has given up a stream.
    pub(super) fn remove(&mut self, stream: StreamId) {
        self.halves
            .retain(|_, half| half.data != Some(stream) && half.error != Some(stream));
    }
}

fn port(headers: &Headers) -> Result<u16, BadStream> {
    let text = headers
        .get("port")
        .filter(|text| !text.is_empty())
        .ok_or(BadStream::NoPort)?;
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(BadStream::Port(text.to_owned())),
    }
}
