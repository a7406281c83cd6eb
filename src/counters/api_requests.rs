//! Requests to the API server, as client-go counts them (`k8s.io/component-base/metrics/prometheus/restclient`).

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Head};

/// Requests to the API server.
#[derive(Debug)]
pub struct ApiRequests {
    total: Counter<3>,
    seconds: Distribution<2>,
    sent: Distribution<2>,
    received: Distribution<2>,
}

/// A request whose answer has begun, or that has failed.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// Its method: `GET`.
    pub method: String,
    /// The API server: `192.0.2.1:6443`.
    pub host: String,
    /// The status of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// The time until the answer began.
    pub took: Duration,
    /// The bytes of the request's body, if that is known.
    pub sent: Option<u64>,
    /// The bytes of the answer's body, if that is known: a watch has no end.
    pub received: Option<u64>,
}

impl Default for ApiRequests {
    fn default() -> Self {
        let labels = ["verb", "host"];
        ApiRequests {
            total: Counter::new(Head {
                name: "rest_client_requests_total",
                help: "How many requests the API server was sent, by the status of the answer, method and host.",
                labels: ["code", "method", "host"],
            }),
            seconds: Distribution::new(
                Head {
                    name: "rest_client_request_duration_seconds",
                    help: "How long the API server took in seconds to answer requests, by method and host.",
                    labels,
                },
                buckets::API_REQUEST,
            ),
            sent: Distribution::new(
                Head {
                    name: "rest_client_request_size_bytes",
                    help: "How many bytes requests to the API server had, by method and host.",
                    labels,
                },
                buckets::API_BYTES,
            ),
            received: Distribution::new(
                Head {
                    name: "rest_client_response_size_bytes",
                    help: "How many bytes answers of the API server had, by method and host.",
                    labels,
                },
                buckets::API_BYTES,
            ),
        }
    }
}

impl ApiRequests {
    /// A request was answered, or has failed.
    pub fn ended(&self, request: ApiRequest) {
        let code = request
            .status
            .map_or("<error>".into(), |status| status.to_string().into());
        let (method, host) = (request.method, request.host);
        let labels = || [method.clone().into(), host.clone().into()];
        self.total
            .count([code, method.clone().into(), host.clone().into()]);
        self.seconds.observe(labels(), request.took.as_secs_f64());
        for (family, bytes) in [(&self.sent, request.sent), (&self.received, request.received)] {
            if let Some(bytes) = bytes {
                family.observe(labels(), bytes as f64);
            }
        }
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.total, &self.seconds, &self.sent, &self.received]
    }
}
