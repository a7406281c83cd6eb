//! The health service of gRPC (`grpc.health.v1.Health`), asked once (`pkg/probe/grpc`).

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::connect::join;

/// `HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckRequest {
    /// The service that is asked about; empty: the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckResponse {
    /// 1 is SERVING.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

const SERVING: i32 = 1;

/// Whether the service says that it serves; the error in the kubelet's words.
pub async fn check(host: &str, port: u16, service: &str, within: Duration) -> Result<(), String> {
    let address = join(host, port);
    let deadline = Instant::now() + within;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .user_agent("kube-probe/1.36")
        .map_err(|error| error.to_string())?;
    // Who does not answer is asked again until the time is up; that is told of whoever does not answer at all.
    let Ok(Ok(channel)) = timeout_at(deadline, endpoint.connect()).await else {
        return Err(format!(
            "timeout: failed to connect service {address:?} within {}s: context deadline exceeded",
            within.as_secs()
        ));
    };
    match timeout_at(deadline, ask(channel, service)).await {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => {
            let status = match status {
                0 => "UNKNOWN".to_owned(),
                2 => "NOT_SERVING".to_owned(),
                3 => "SERVICE_UNKNOWN".to_owned(),
                other => other.to_string(),
            };
            Err(format!("service unhealthy (responded with {status:?})"))
        }
        Ok(Err(status)) => Err(told(&status, within)),
        Err(_) => Err(told(&Status::deadline_exceeded(""), within)),
    }
}

async fn ask(channel: Channel, service: &str) -> Result<i32, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let codec: ProstCodec<HealthCheckRequest, HealthCheckResponse> = ProstCodec::default();
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let answer = grpc.unary(Request::new(request), path, codec).await?;
    Ok(answer.into_inner().status)
}

fn told(status: &Status, within: Duration) -> String {
    match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        ),
        Code::DeadlineExceeded => {
            format!(
                "timeout: health rpc did not complete within {}s",
                within.as_secs()
            )
        }
        code => format!(
            "error: health rpc probe failed: rpc error: code = {code:?} desc = {}",
            status.message()
        ),
    }
}
