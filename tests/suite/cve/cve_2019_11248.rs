//! Profiling was open to everybody on the health port (10248). Nothing but health is answered there.

use std::net::SocketAddr;

use gantry::serve::health::{Health, healthz};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What Go's profiler, the kubelet's ports and our own socket answer somewhere.
const ELSEWHERE: &[&str] = &[
    "/",
    "/debug",
    "/debug/flags/v",
    "/debug/pprof",
    "/debug/pprof/",
    "/debug/pprof/allocs",
    "/debug/pprof/block",
    "/debug/pprof/cmdline",
    "/debug/pprof/goroutine?debug=2",
    "/debug/pprof/heap",
    "/debug/pprof/mutex",
    "/debug/pprof/profile?seconds=1",
    "/debug/pprof/symbol",
    "/debug/pprof/threadcreate",
    "/debug/pprof/trace",
    "/attach/default/web/c",
    "/checkpoint/default/web/c",
    "/configz",
    "/containerLogs/default/web/c",
    "/cri/exec/token",
    "/events",
    "/exec/default/web/c?command=id",
    "/flagz",
    "/livez",
    "/logs/",
    "/logs/default/web/c",
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/probes",
    "/metrics/resource",
    "/metrics/slis",
    "/node",
    "/pods",
    "/pods/default/web",
    "/portForward/default/web",
    "/problems",
    "/readyz",
    "/run/default/web/c?cmd=id",
    "/runningpods/",
    "/spec/",
    "/stats/summary",
    "/statusz",
    "/warnings",
    // Ways around a look at the beginning of a path.
    "//metrics",
    "/healthz/../metrics",
    "/healthz/%2e%2e/debug/pprof/heap",
    "/healthz/ping/../../pods",
    "/healthz/metrics",
    "/HEALTHZ/../debug/pprof/",
];

/// Asks without credentials: the status and the whole answer.
async fn ask(port: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(port).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{path}: {answer:?}")), answer)
}

#[tokio::test]
async fn cve_2019_11248_the_health_port_answers_nothing_but_health() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap();
    tokio::spawn(healthz(listener, Health::default(), std::future::pending()));
    let (status, answer) = ask(port, "GET", "/healthz").await;
    assert!(status == 200 && answer.ends_with("\r\n\r\nok"), "{answer}");
    for path in ELSEWHERE {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let (status, answer) = ask(port, method, path).await;
            assert!([404, 405].contains(&status), "{method} {path}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                ["", "404 page not found\n"].contains(&body),
                "{method} {path}: {body}"
            );
        }
    }
}
