//! The collector that traces are sent to, over OTLP's gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::cri::connect_lazily;
use crate::model::collector::Address;
use crate::model::error_chain::chain;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, made when there is something to send, and again after it broke.
pub(super) struct Sender(TraceServiceClient<Channel>);

impl Sender {
    pub(super) fn new(address: &Address) -> Sender {
        let channel = match address {
            Address::Unix(path) => connect_lazily(path),
            Address::Tcp(authority) => Endpoint::from_shared(format!("http://{authority}"))
                .expect("it was parsed as an authority")
                .connect_timeout(TIMEOUT)
                .connect_lazy(),
        };
        Sender(TraceServiceClient::new(channel))
    }

    /// Sends traces. The error says why the collector does not have them.
    pub(super) async fn send(&self, request: ExportTraceServiceRequest) -> Result<(), String> {
        let mut client = self.0.clone();
        // Dropping it after the timeout ends the request.
        match tokio::time::timeout(TIMEOUT, client.export(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(chain(&status)),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }
}
