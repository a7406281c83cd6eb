//! The fields of CRI that are newer than the `k8s-cri` crate: a container's stop signal (KEP-4960), and the part of an
//! image that it mounts (KEP-4639).
//!
//! The fields of a sub-message that is encoded twice are merged by whoever decodes it, so the signal is a second encoding
//! of the same sub-message after the crate's own. A list is continued by the second encoding, so the mounts are moved
//! there as a whole. A runtime that does not know a field skips it.

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
    /// Each as it is encoded: bytes look like a message.
    #[prost(bytes = "vec", repeated, tag = "7")]
    mounts: Vec<Vec<u8>>,
    #[prost(int32, tag = "18")]
    stop_signal: i32,
}

/// What `Mount` has besides the crate's fields.
#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "10")]
    image_sub_path: String,
}

/// What a container has besides the crate's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewerFields {
    /// The signal that ends it.
    pub stop_signal: Option<StopSignal>,
    /// The parts of the images that it mounts: the places of the mounts, and paths relative to the images.
    pub image_sub_paths: Vec<(usize, String)>,
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

/// The call, with the newer fields that are set.
pub(super) async fn create_container(
    channel: Channel,
    request: v1::CreateContainerRequest,
    newer: NewerFields,
) -> Result<Response<v1::CreateContainerResponse>, Status> {
    let answer = call(channel, "CreateContainer", with_newer(request, newer)).await?;
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

fn with_newer(mut request: v1::CreateContainerRequest, newer: NewerFields) -> Bytes {
    let mut more = ContainerConfig {
        stop_signal: newer.stop_signal.map_or(0, StopSignal::cri),
        ..ContainerConfig::default()
    };
    let parts: Vec<_> = newer
        .image_sub_paths
        .into_iter()
        .filter(|(_, path)| !path.is_empty())
        .collect();
    if let Some(config) = request.config.as_mut().filter(|_| !parts.is_empty()) {
        let mounts = std::mem::take(&mut config.mounts);
        more.mounts = mounts.iter().map(v1::Mount::encode_to_vec).collect();
        for (index, image_sub_path) in parts {
            if let Some(mount) = more.mounts.get_mut(index) {
                mount.extend(Mount { image_sub_path }.encode_to_vec());
            }
        }
    }
    let mut bytes = request.encode_to_vec();
    if more != ContainerConfig::default() {
        let config = Some(more);
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

    fn signal(name: &str) -> NewerFields {
        NewerFields {
            stop_signal: StopSignal::named(name),
            ..NewerFields::default()
        }
    }

    #[test]
    fn the_signal_is_one_more_field_of_the_configuration() {
        let bytes = with_newer(request(), signal("SIGUSR1"));
        let decoded = CreateContainerRequest::decode(bytes.clone()).unwrap();
        assert_eq!(decoded.config.unwrap().stop_signal, 29);
        assert_eq!(v1::CreateContainerRequest::decode(bytes).unwrap(), request());
    }

    #[test]
    fn the_part_of_an_image_is_one_more_field_of_its_mount() {
        let mount = |path: &str| v1::Mount {
            container_path: path.to_owned(),
            ..Default::default()
        };
        let mut request = request();
        request.config.as_mut().unwrap().mounts = vec![mount("/a"), mount("/b"), mount("/c")];
        let newer = NewerFields {
            image_sub_paths: vec![(1, "bin".to_owned()), (2, String::new())],
            ..signal("SIGUSR1")
        };
        let bytes = with_newer(request.clone(), newer);
        assert_eq!(
            v1::CreateContainerRequest::decode(bytes.clone()).unwrap(),
            request
        );
        let config = CreateContainerRequest::decode(bytes).unwrap().config.unwrap();
        let parts = config
            .mounts
            .iter()
            .map(|mount| Mount::decode(mount.as_slice()).unwrap().image_sub_path);
        assert_eq!(parts.collect::<Vec<_>>(), ["", "bin", ""]);
        assert_eq!(config.stop_signal, 29);
    }

    #[test]
    fn a_request_without_newer_fields_is_the_crates_own() {
        let bytes = with_newer(request(), NewerFields::default());
        assert_eq!(bytes, request().encode_to_vec());
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
