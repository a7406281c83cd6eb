//! containerd's own events: the task events of its own API, which every version since 1.6 has. CRI's own
//! `GetContainerEvents` exists only in newer ones.
//!
//! An event says that something happened, not what the state is now: the reader queries CRI. Events may be lost while
//! disconnected, so each connection begins with [`Event::Connected`], after which everything is read.

use std::time::Duration;

use containerd_client::events::{ContainerDelete, TaskDelete, TaskExit, TaskOom, TaskStart};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use jiff::Timestamp;
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{NAMESPACE, Runtime, connect_lazily, in_namespace};
use crate::model::backoff::Doubling;

/// The waits before reconnecting.
const WAITS: Doubling = Doubling::new(Duration::from_millis(50), Duration::from_secs(1));

/// The topic of the event that the agent itself publishes, to learn that events arrive.
const KNOCK: &str = "/gantry/subscribed";
/// The pauses between such events.
const KNOCKS: Doubling = Doubling::new(Duration::from_millis(20), Duration::from_secs(10));

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The stream starts; earlier events are unknown.
    Connected,
    /// The stream broke; reconnecting.
    Disconnected,
    /// The runtime is not containerd: no event will ever arrive.
    Unsupported,
    /// Something happened to the container or sandbox with this id.
    Container(String, Kind),
    /// An image appeared, changed or was removed.
    Images,
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its first process started.
    Started,
    /// Its first process ended.
    Exited,
    /// The kernel killed one of its processes for lack of memory.
    OutOfMemory,
    /// Its ended task was collected: the runtime is about to record its exit.
    Collected,
    /// It was removed.
    Removed,
}

/// Reads containerd's events into `out` while it has a receiver. It has a connection of its own: a slow reader must not
/// use up the flow-control window of the calls' connection.
pub async fn subscribe(runtime: &Runtime, out: mpsc::Sender<Event>) {
    let channel = connect_lazily(runtime.socket());
    let mut waits = WAITS.waits();
    while !out.is_closed() {
        match open(channel.clone()).await {
            Ok(mut stream) => {
                runtime.counters.listing.connected(true);
                if out.send(Event::Connected).await.is_err() {
                    return;
                }
                waits.reset();
                while let Ok(Some(envelope)) = stream.message().await {
                    if let Some(latency) = latency(&envelope, Timestamp::now()) {
                        runtime.counters.listing.event(latency);
                    }
                    if let Some(event) = decode(&envelope)
                        && out.send(event).await.is_err()
                    {
                        return;
                    }
                }
                tracing::debug!("containerd's event stream ended");
                if out.send(Event::Disconnected).await.is_err() {
                    return;
                }
            }
            Err(status) if status.code() == Code::Unimplemented => {
                // Closing `out` would end the reader's loop; the reader needs the reason instead.
                let _ = out.send(Event::Unsupported).await;
                out.closed().await;
                return;
            }
            Err(status) => {
                runtime.counters.listing.connected(false);
                tracing::debug!(error = %status, "cannot open containerd's event stream");
            }
        }
        tokio::time::sleep(waits.fail()).await;
    }
}

/// Subscribes. containerd answers a subscription with the first event that it sends, so on a quiet node nothing would
/// show that the stream is open: until the answer arrives, the agent publishes an event that only it subscribes to.
async fn open(channel: Channel) -> Result<Streaming<Envelope>, Status> {
    let request = SubscribeRequest { filters: filters() };
    let mut subscriber = EventsClient::new(channel.clone());
    let mut answer = std::pin::pin!(subscriber.subscribe(request));
    let mut pauses = KNOCKS.waits();
    let mut pause = pauses.fail();
    loop {
        // A publication that the answer cuts short has done its work. The subscription is sent first.
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map(tonic::Response::into_inner),
            () = knock_after(pause, channel.clone()) => pause = pauses.fail(),
        }
    }
}

/// Publishes the event that only the agent subscribes to. Whether that failed shows in the answer to the subscription.
async fn knock_after(pause: Duration, channel: Channel) {
    tokio::time::sleep(pause).await;
    let request = in_namespace(PublishRequest {
        topic: KNOCK.to_owned(),
        event: Some(Any {
            type_url: "type.googleapis.com/google.protobuf.Empty".to_owned(),
            value: Vec::new(),
        }),
    });
    if let Err(error) = EventsClient::new(channel).publish(request).await {
        tracing::trace!(%error, "cannot publish an event");
    }
}

/// One filter is one alternative; its parts must all hold.
fn filters() -> Vec<String> {
    let whole = [
        "/tasks/start",
        "/tasks/exit",
        "/tasks/oom",
        "/tasks/delete",
        "/containers/delete",
        KNOCK,
    ];
    let whole = whole.map(|topic| format!("namespace=={NAMESPACE},topic==\"{topic}\""));
    let images = format!("namespace=={NAMESPACE},topic~=\"/images/\"");
    whole.into_iter().chain([images]).collect()
}

/// How long ago containerd sent it; `None` if it does not say, or in the future.
fn latency(envelope: &Envelope, now: Timestamp) -> Option<Duration> {
    let sent = envelope.timestamp.as_ref()?;
    let sent = Timestamp::new(sent.seconds, sent.nanos).ok()?;
    Duration::try_from(now.duration_since(sent)).ok()
}

/// The topic names the type of the message. A message that cannot be parsed is skipped: the relist is the safety net.
fn decode(envelope: &Envelope) -> Option<Event> {
    let body = envelope.event.as_ref().map_or(&[][..], |event| &event.value);
    let (id, kind) = match envelope.topic.as_str() {
        topic if topic.starts_with("/images/") => return Some(Event::Images),
        "/tasks/start" => (TaskStart::decode(body).ok()?.container_id, Kind::Started),
        "/tasks/exit" => {
            let exit = TaskExit::decode(body).ok()?;
            // The end of an `exec` is reported by the same message with the id of the exec.
            if exit.id != exit.container_id && !exit.id.is_empty() {
                return None;
            }
            (exit.container_id, Kind::Exited)
        }
        "/tasks/delete" => {
            let delete = TaskDelete::decode(body).ok()?;
            if delete.id != delete.container_id && !delete.id.is_empty() {
                return None;
            }
            (delete.container_id, Kind::Collected)
        }
        "/tasks/oom" => (TaskOom::decode(body).ok()?.container_id, Kind::OutOfMemory),
        "/containers/delete" => (ContainerDelete::decode(body).ok()?.id, Kind::Removed),
        _ => return None,
    };
    (!id.is_empty()).then_some(Event::Container(id, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Any;

    fn envelope(topic: &str, body: &impl Message) -> Envelope {
        Envelope {
            timestamp: None,
            namespace: "k8s.io".into(),
            topic: topic.into(),
            event: Some(Any {
                type_url: String::new(),
                value: body.encode_to_vec(),
            }),
        }
    }

    fn exit(id: &str) -> TaskExit {
        TaskExit {
            container_id: "c1".into(),
            id: id.into(),
            pid: 7,
            exit_status: 1,
            exited_at: None,
        }
    }

    #[test]
    fn events_as_containerd_sends_them() {
        let check = |topic: &str, body: &dyn Fn(&str) -> Envelope, want: Option<Event>| {
            assert_eq!(decode(&body(topic)), want, "{topic}");
        };
        let container = |kind| Some(Event::Container("c1".into(), kind));
        let start = TaskStart {
            container_id: "c1".into(),
            pid: 7,
        };
        let oom = TaskOom {
            container_id: "c1".into(),
        };
        check("/tasks/start", &|t| envelope(t, &start), container(Kind::Started));
        check(
            "/tasks/exit",
            &|t| envelope(t, &exit("c1")),
            container(Kind::Exited),
        );
        check("/tasks/exit", &|t| envelope(t, &exit("exec7")), None);
        check("/tasks/oom", &|t| envelope(t, &oom), container(Kind::OutOfMemory));
        let removed = ContainerDelete { id: "c1".into() };
        check(
            "/containers/delete",
            &|t| envelope(t, &removed),
            container(Kind::Removed),
        );
        check("/tasks/paused", &|t| envelope(t, &oom), None);
        check("/images/update", &|t| envelope(t, &oom), Some(Event::Images));
        check("/snapshot/prepare", &|t| envelope(t, &oom), None);
        check(KNOCK, &|t| envelope(t, &oom), None);
        let delete = TaskDelete {
            container_id: "c1".into(),
            ..TaskDelete::default()
        };
        check(
            "/tasks/delete",
            &|t| envelope(t, &delete),
            container(Kind::Collected),
        );
    }

    #[test]
    fn a_message_that_cannot_be_read_is_skipped() {
        let mut broken = envelope("/tasks/exit", &exit("c1"));
        broken.event.as_mut().unwrap().value = vec![0xff, 0xff];
        assert_eq!(decode(&broken), None);
        broken.event = None;
        assert_eq!(decode(&broken), None);
    }
}
