//! Requests to the node API (`pkg/kubelet/server/server.go`, `pkg/kubelet/server/metrics`), and what it asks the API
//! server about their callers.

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Gauge, Head, Label};

/// The methods that have a number of their own; a caller can make up others.
const METHODS: [&str; 8] = [
    "OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT",
];

/// The paths that have a number of their own, each for everything below it (`metricsBuckets`).
const PATHS: [&str; 20] = [
    "attach",
    "checkpoint",
    "configz",
    "containerLogs",
    "debug",
    "exec",
    "flagz",
    "healthz",
    "logs",
    "metrics",
    "metrics/cadvisor",
    "metrics/probes",
    "metrics/resource",
    "pods",
    "portForward",
    "pprof",
    "run",
    "runningpods",
    "stats",
    "statusz",
];

/// Which port a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerType {
    /// The one without authentication.
    ReadOnly,
    /// The one with it.
    ReadWrite,
}

/// Which stream a WebSocket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Of a new process.
    Exec,
    /// Of a running process.
    Attach,
    /// Of a port.
    PortForward,
}

/// What is counted of a request: its method and path, as far as they are known ones, and the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route([Label; 4]);

impl Route {
    /// That of a request.
    pub fn of(method: &str, path: &str, server: ServerType) -> Route {
        let method = METHODS.into_iter().find(|known| *known == method);
        let path = PATHS
            .into_iter()
            .find(|known| *known == root(path))
            .unwrap_or("other");
        let server = match server {
            ServerType::ReadOnly => "readonly",
            ServerType::ReadWrite => "readwrite",
        };
        // The kubelet's list has `portforward`, which is no path: port-forward counts as short.
        let is_long = matches!(path, "exec" | "attach" | "debug");
        let long = if is_long { "true" } else { "false" };
        Route([method.unwrap_or("other"), path, server, long].map(Into::into))
    }
}

/// The first part of a path, or the first two below `/metrics`.
fn root(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut ends = path.match_indices('/').map(|(at, _)| at);
    let first = ends.next().unwrap_or(path.len());
    match &path[..first] {
        "metrics" => &path[..ends.next().unwrap_or(path.len())],
        first => first,
    }
}

/// Requests to the node API.
#[derive(Debug)]
pub struct Served {
    requests: Counter<4>,
    seconds: Distribution<4>,
    in_flight: Gauge<4>,
    websockets: Counter<1>,
    reviews: Counter<1>,
    review_seconds: Distribution<1>,
    certificates: Distribution<0>,
}

impl Default for Served {
    fn default() -> Self {
        let labels = ["method", "path", "server_type", "long_running"];
        Served {
            requests: Counter::new(Head {
                name: "kubelet_http_requests_total",
                help: "How many requests the node API has received.",
                labels,
            }),
            seconds: Distribution::new(
                Head {
                    name: "kubelet_http_requests_duration_seconds",
                    help: "How long it took in seconds to answer requests to the node API.",
                    labels,
                },
                buckets::DEFAULT,
            ),
            in_flight: Gauge::new(Head {
                name: "kubelet_http_inflight_requests",
                help: "How many requests the node API is answering now.",
                labels,
            }),
            websockets: Counter::new(Head {
                name: "kubelet_websocket_streaming_requests_total",
                help: "How many streams were requested over WebSocket: exec, attach or portforward.",
                labels: ["subresource"],
            }),
            reviews: Counter::new(Head {
                name: "apiserver_delegated_authz_request_total",
                help: "How often the API server was asked what a caller may do, by the status of its answer.",
                labels: ["code"],
            }),
            review_seconds: Distribution::new(
                Head {
                    name: "apiserver_delegated_authz_request_duration_seconds",
                    help: "How long the API server took in seconds to answer what a caller may do, by the status of its \
                           answer.",
                    labels: ["code"],
                },
                buckets::AUTHORIZATION,
            ),
            certificates: Distribution::new(
                Head {
                    name: "apiserver_client_certificate_expiration_seconds",
                    help: "For how many seconds the client certificates of requests were still valid.",
                    labels: [],
                },
                buckets::CERTIFICATE,
            ),
        }
    }
}

impl Served {
    /// A request has come.
    pub fn begun(&self, Route(labels): &Route) {
        self.requests.count(labels.clone());
        self.in_flight.add(labels.clone(), 1.0);
    }

    /// Its answer has begun, or its caller is gone.
    pub fn ended(&self, Route(labels): Route, took: Duration) {
        self.in_flight.add(labels.clone(), -1.0);
        self.seconds.observe(labels, took.as_secs_f64());
    }

    /// A stream is requested over WebSocket.
    pub fn websocket(&self, kind: StreamKind) {
        let label = match kind {
            StreamKind::Exec => "exec",
            StreamKind::Attach => "attach",
            StreamKind::PortForward => "portforward",
        };
        self.websockets.count([label.into()]);
    }

    /// The API server was asked what a caller may do; `status` is its answer's, `None` if there was none.
    pub fn reviewed(&self, status: Option<u16>, took: Duration) {
        let code: Label = status.map_or("<error>".into(), |status| status.to_string().into());
        self.reviews.count([code.clone()]);
        self.review_seconds.observe([code], took.as_secs_f64());
    }

    /// A caller is known by a certificate that is valid for this long.
    pub fn authenticated(&self, valid: Duration) {
        self.certificates.observe([], valid.as_secs_f64());
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![
            &self.requests,
            &self.seconds,
            &self.in_flight,
            &self.websockets,
            &self.reviews,
            &self.review_seconds,
            &self.certificates,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_and_paths_have_numbers_of_their_own() {
        let check = |method: &str, path: &str, expected: &str| {
            let Route(labels) = Route::of(method, path, ServerType::ReadWrite);
            assert_eq!(labels.join(" "), expected, "{method} {path}");
        };
        check("GET", "/metrics", "GET metrics readwrite false");
        check("GET", "/metrics/cadvisor", "GET metrics/cadvisor readwrite false");
        check("GET", "/metrics/probes/x", "GET metrics/probes readwrite false");
        check("GET", "/metrics/made/up", "GET other readwrite false");
        check("GET", "/pods/", "GET pods readwrite false");
        check("POST", "/exec/ns/p/c", "POST exec readwrite true");
        check("POST", "/portForward/ns/p", "POST portForward readwrite false");
        check("BREW", "/", "other other readwrite false");
        check("GET", "", "GET other readwrite false");
    }

    #[test]
    fn a_request_is_in_flight_until_it_ends() {
        let served = Served::default();
        let route = Route::of("GET", "/pods", ServerType::ReadOnly);
        served.begun(&route);
        served.begun(&route);
        served.ended(route, Duration::from_millis(3));
        let level = &served.in_flight.sample().samples[0].1;
        assert_eq!(*level, super::super::family::Sample::Level(1.0));
    }
}
