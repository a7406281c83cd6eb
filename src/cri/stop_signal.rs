//! The field of CRI that is newer than the `k8s-cri` crate: a container's stop signal (KEP-4960).
//!
//! The fields of a sub-message that is encoded twice are merged by whoever decodes it, so the signal is a second encoding
//! of the same sub-message after the crate's own. A runtime that does not know the field skips it.

use bytes::{Buf, BufMut, Bytes};
use k8s_cri::v1;
use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response};

use super::MAX_MESSAGE;
use crate::model::stop_signal::StopSignal;

/// What `CreateContainerRequest` has besides the crate's fields.
#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(int32, tag = "18")]
    stop_signal: i32,
}

/// What `ContainerStatusResponse` has besides the crate's fields.
#[derive(Clone, PartialEq, Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    #[prost(int32, tag = "19")]
    stop_signal: i32,
}

/// The call, with the signal if there is one.
pub(super) async fn create_container(
    channel: Channel,
    request: v1::CreateContainerRequest,
    signal: Option<StopSignal>,
) -> Result<Response<v1::CreateContainerResponse>, Status> {
    let answer = call(channel, "CreateContainer", with_signal(&request, signal)).await?;
    decoded(answer, v1::CreateContainerResponse::decode)
}

/// The call, with the signal that the runtime reports.
pub(super) async fn container_status(
    channel: Channel,
    request: &v1::ContainerStatusRequest,
) -> Result<Response<(v1::ContainerStatusResponse, Option<StopSignal>)>, Status> {
    let answer = call(channel, "ContainerStatus", request.encode_to_vec().into()).await?;
    decoded(answer, read_status)
}

fn with_signal(request: &v1::CreateContainerRequest, signal: Option<StopSignal>) -> Bytes {
    let mut bytes = request.encode_to_vec();
    if let Some(signal) = signal {
        let stop_signal = signal.cri();
        let config = Some(ContainerConfig { stop_signal });
        bytes.extend(CreateContainerRequest { config }.encode_to_vec());
    }
    bytes.into()
}

fn read_status(
    bytes: Bytes,
) -> Result<(v1::ContainerStatusResponse, Option<StopSignal>), prost::DecodeError> {
    let more = ContainerStatusResponse::decode(bytes.clone())?;
    let signal = more.status.map_or(0, |status| status.stop_signal);
    let answer = v1::ContainerStatusResponse::decode(bytes)?;
    Ok((answer, StopSignal::of_cri(signal)))
}

async fn call(channel: Channel, method: &'static str, message: Bytes) -> Result<Response<Bytes>, Status> {
    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))
        .expect("the names of methods are plain");
    grpc.unary(Request::new(message), path, Encoded).await
}

fn decoded<T>(
    answer: Response<Bytes>,
    decode: impl FnOnce(Bytes) -> Result<T, prost::DecodeError>,
) -> Result<Response<T>, Status> {
    let (metadata, bytes, extensions) = answer.into_parts();
    // The code that tonic's own codec gives.
    let message = decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::from_parts(metadata, message, extensions))
}

/// Messages that are encoded already.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::CreateContainerRequest {
        v1::CreateContainerRequest {
            pod_sandbox_id: "s".to_owned(),
            config: Some(v1::ContainerConfig {
                log_path: "c/0.log".to_owned(),
                ..Default::default()
            }),
            sandbox_config: Some(v1::PodSandboxConfig {
                hostname: "h".to_owned(),
                ..Default::default()
            }),
        }
    }

    #[test]
    fn the_signal_is_one_more_field_of_the_configuration() {
        let bytes = with_signal(&request(), StopSignal::named("SIGUSR1"));
        let decoded = CreateContainerRequest::decode(bytes.clone()).unwrap();
        assert_eq!(decoded.config.unwrap().stop_signal, 29);
        assert_eq!(v1::CreateContainerRequest::decode(bytes).unwrap(), request());
    }

    #[test]
    fn a_request_without_a_signal_is_the_crates_own() {
        assert_eq!(with_signal(&request(), None), request().encode_to_vec());
    }

    #[test]
    fn a_status_has_the_signal_that_the_runtime_reports() {
        let own = v1::ContainerStatusResponse {
            status: Some(v1::ContainerStatus {
                id: "c".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut bytes = own.encode_to_vec();
        assert_eq!(read_status(bytes.clone().into()).unwrap(), (own.clone(), None));
        let status = Some(ContainerStatus { stop_signal: 10 });
        bytes.extend(ContainerStatusResponse { status }.encode_to_vec());
        let signal = StopSignal::named("SIGINT");
        assert_eq!(read_status(bytes.into()).unwrap(), (own, signal));
    }
}
