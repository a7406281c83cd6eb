//! Containers' stop signals, and the parts of images that they mount, which are newer than the messages of the crate: read
//! from the bytes of a request, signals added to those of an answer.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use k8s_cri::v1;
use k8s_cri::v1::runtime_service_server::RuntimeServiceServer;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tower::Service;

use super::Shared;
use super::services::Services;

/// What comes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct Created {
    #[prost(message, optional, tag = "2")]
    config: Option<Config>,
}

#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(int32, tag = "18")]
    stop_signal: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "10")]
    image_sub_path: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answered {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "19")]
    stop_signal: i32,
}

/// The runtime service of a runtime that knows stop signals.
#[derive(Clone)]
pub(super) struct Signals {
    inner: RuntimeServiceServer<Services>,
    shared: Shared,
}

impl Signals {
    pub(super) fn new(shared: Shared) -> Signals {
        Signals {
            inner: RuntimeServiceServer::new(Services(shared.clone())),
            shared,
        }
    }

    fn created(&self, message: Bytes) {
        let config = Created::decode(message.clone())
            .unwrap()
            .config
            .unwrap_or_default();
        let request = v1::CreateContainerRequest::decode(message).unwrap();
        let name = request
            .config
            .unwrap_or_default()
            .metadata
            .unwrap_or_default()
            .name;
        let mut world = self.shared.world();
        let parts = config.mounts.into_iter().map(|mount| mount.image_sub_path);
        world.image_sub_paths.insert(name.clone(), parts.collect());
        match config.stop_signal {
            0 => world.stop_signals.remove(&name),
            signal => world.stop_signals.insert(name, signal),
        };
    }

    fn of(&self, message: Bytes) -> Option<i32> {
        let id = v1::ContainerStatusRequest::decode(message).unwrap().container_id;
        let world = self.shared.world();
        let name = world.containers.get(&id)?.config.metadata.clone()?.name;
        world.stop_signals.get(&name).copied()
    }
}

impl NamedService for Signals {
    const NAME: &'static str = <RuntimeServiceServer<Services> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Signals {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut own = self.clone();
        let method = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        if method != "CreateContainer" && method != "ContainerStatus" {
            return Box::pin(self.inner.call(request));
        }
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // A caller that goes away sends only a part.
            let Ok(body) = body.collect().await else {
                return Ok(tonic::Status::cancelled("the caller went away").into_http());
            };
            let bytes = body.to_bytes();
            let message = bytes.slice(FRAME.min(bytes.len())..);
            let mut signal = None;
            match method.as_str() {
                "CreateContainer" => own.created(message),
                _ => signal = own.of(message),
            }
            let request = http::Request::from_parts(head, Body::new(Full::new(bytes)));
            let answer = own.inner.call(request).await?;
            match signal {
                Some(signal) => Ok(with_signal(answer, signal).await),
                None => Ok(answer),
            }
        })
    }
}

async fn with_signal(answer: http::Response<Body>, stop_signal: i32) -> http::Response<Body> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    let bytes = body.to_bytes();
    if bytes.is_empty() {
        return http::Response::from_parts(head, Body::empty());
    }
    let status = Some(Status { stop_signal });
    let more = Answered { status }.encode_to_vec();
    let message = &bytes[FRAME..];
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len() + more.len()).unwrap());
    framed.put_slice(message);
    framed.put_slice(&more);
    let trailers = async move { trailers.map(Ok) };
    http::Response::from_parts(
        head,
        Body::new(Full::new(framed.freeze()).with_trailers(trailers)),
    )
}
