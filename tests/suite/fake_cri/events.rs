//! containerd's events service. Its client crate has no server, so the one method is served by hand.

use std::convert::Infallible;
use std::task::{Context, Poll};

use containerd_client::events::{ContainerDelete, TaskDelete, TaskExit, TaskOom, TaskStart};
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message;
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, BoxStream, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::Shared;

impl Shared {
    /// Sends what containerd sends about a container.
    pub(crate) fn send(&self, topic: &str, id: &str) {
        let container_id = id.to_owned();
        let value = match topic {
            "/tasks/start" => TaskStart { container_id, pid: 1 }.encode_to_vec(),
            "/tasks/exit" => TaskExit {
                id: id.to_owned(),
                container_id,
                ..Default::default()
            }
            .encode_to_vec(),
            "/tasks/delete" => TaskDelete {
                container_id,
                ..Default::default()
            }
            .encode_to_vec(),
            "/tasks/oom" => TaskOom { container_id }.encode_to_vec(),
            "/containers/delete" => ContainerDelete { id: container_id }.encode_to_vec(),
            topic => {
                assert!(topic.starts_with("/images/"), "{topic}");
                Vec::new()
            }
        };
        let envelope = Envelope {
            timestamp: None,
            namespace: "k8s.io".to_owned(),
            topic: topic.to_owned(),
            event: Some(prost_types::Any {
                type_url: String::new(),
                value,
            }),
        };
        // Nobody listens while the agent is away.
        let _ = self.events.send(envelope);
    }
}

#[derive(Clone)]
pub(crate) struct EventsServer(pub broadcast::Sender<Envelope>);

impl NamedService for EventsServer {
    const NAME: &'static str = "containerd.services.events.v1.Events";
}

struct Subscribe(broadcast::Sender<Envelope>);

impl ServerStreamingService<SubscribeRequest> for Subscribe {
    type Response = Envelope;
    type ResponseStream = BoxStream<Envelope>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<SubscribeRequest>) -> Self::Future {
        let filters = request.into_inner().filters;
        let events = BroadcastStream::new(self.0.subscribe());
        let events = events.filter_map(|event| event.ok());
        let mut wanted =
            Box::pin(events.filter(move |event| filters.iter().any(|filter| passes(filter, event))));
        // As containerd does: the answer to a subscription leaves with the first event.
        Box::pin(async move {
            let first = tokio_stream::iter(wanted.next().await);
            Ok(Response::new(
                Box::pin(first.chain(wanted).map(Ok)) as BoxStream<Envelope>
            ))
        })
    }
}

struct Publish(broadcast::Sender<Envelope>);

impl UnaryService<PublishRequest> for Publish {
    type Response = ();
    type Future = BoxFuture<Response<()>, Status>;

    fn call(&mut self, request: Request<PublishRequest>) -> Self::Future {
        let namespace = request.metadata().get("containerd-namespace").cloned();
        let published = request.into_inner();
        let _nobody_listens = self.0.send(Envelope {
            timestamp: None,
            namespace: namespace
                .and_then(|name| name.to_str().map(str::to_owned).ok())
                .unwrap_or_default(),
            topic: published.topic,
            event: published.event,
        });
        Box::pin(async { Ok(Response::new(())) })
    }
}

/// The two operators of containerd's filter language that matter here.
fn passes(filter: &str, event: &Envelope) -> bool {
    filter.split(',').all(|part| {
        let (field, equal, value) = match part.split_once("==") {
            Some((field, value)) => (field, true, value),
            None => {
                let (field, value) = part.split_once("~=").expect("an operator");
                (field, false, value)
            }
        };
        let value = value.trim_matches('"');
        let actual = match field {
            "namespace" => &event.namespace,
            "topic" => &event.topic,
            field => panic!("containerd knows no field {field}"),
        };
        if equal {
            actual == value
        } else {
            actual.contains(value)
        }
    })
}

impl Service<http::Request<Body>> for EventsServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let events = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if path.ends_with("/Publish") {
                let mut grpc = Grpc::new(ProstCodec::default());
                return Ok(grpc.unary(Publish(events), request).await);
            }
            if !path.ends_with("/Subscribe") {
                return Ok(Status::unimplemented("only Subscribe and Publish are").into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(Subscribe(events), request).await)
        })
    }
}
