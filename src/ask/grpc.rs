//! One query of the gRPC health service (`grpc.health.v1.Health`, `pkg/probe/grpc`).

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
    /// The service to query; empty for the server as a whole.
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

/// Whether the service reports SERVING; the error has the kubelet's wording.
pub async fn check(host: &str, port: u16, service: &str, within: Duration) -> Result<(), String> {
    let address = join(host, port);
    let deadline = Instant::now() + within;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .user_agent("kube-probe/1.36")
        .map_err(|error| error.to_string())?;
    // A server that does not answer is retried until the deadline; this error is for one that never answered.
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
        Ok(Err(status)) => Err(error_text(&status, within)),
        Err(_) => Err(error_text(&Status::deadline_exceeded(""), within)),
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

fn error_text(status: &Status, within: Duration) -> String {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::body::Body;
    use tonic::codegen::{BoxFuture, Service, http};
    use tonic::server::{NamedService, UnaryService};
    use tonic::transport::Server;

    use super::*;

    /// A server's health service: `up` is serving, `down` is not, others are unknown.
    #[derive(Clone)]
    struct Health;

    impl NamedService for Health {
        const NAME: &'static str = "grpc.health.v1.Health";
    }

    impl UnaryService<HealthCheckRequest> for Health {
        type Response = HealthCheckResponse;
        type Future = BoxFuture<tonic::Response<HealthCheckResponse>, Status>;

        fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
            let answer = match request.into_inner().service.as_str() {
                "" | "up" => Ok(1),
                "down" => Ok(2),
                other => Err(Status::not_found(format!("unknown service {other}"))),
            };
            Box::pin(async move { Ok(tonic::Response::new(HealthCheckResponse { status: answer? })) })
        }
    }

    impl Service<http::Request<Body>> for Health {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            Box::pin(async move {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
                Ok(grpc.unary(Health, request).await)
            })
        }
    }

    #[tokio::test]
    async fn a_server_says_how_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::builder().add_service(Health);
        let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let within = Duration::from_secs(20);
        assert_eq!(check("127.0.0.1", port, "", within).await, Ok(()));
        assert_eq!(check("127.0.0.1", port, "up", within).await, Ok(()));
        let error = check("127.0.0.1", port, "down", within).await.unwrap_err();
        assert_eq!(error, "service unhealthy (responded with \"NOT_SERVING\")");
        let error = check("127.0.0.1", port, "x", within).await.unwrap_err();
        assert_eq!(
            error,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service x"
        );
        serving.abort();
        let _ = serving.await;
        let error = check("127.0.0.1", port, "", Duration::from_secs(2))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            format!(
                "timeout: failed to connect service \"127.0.0.1:{port}\" within 2s: context deadline exceeded"
            )
        );
    }
}
