//! The read-only port: whoever reaches it sees pods, metrics and health, and nothing else, by any method.

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Request;
use tower::ServiceExt as _;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::super::{read_only, run_read_only};
use super::callers::{METHODS, PATHS, STREAMS};
use crate::serve::fixture;
use crate::serve::world::Served;

/// What is answered; the paths below count, too.
const OPEN: [&str; 5] = ["/healthz", "/pods", "/pods/", "/metrics", "/stats/summary"];

#[tokio::test]
async fn only_what_needs_no_permission_is_answered() {
    let changing = fixture::changing();
    let router = read_only(Served::new(changing.world.clone(), Default::default()));
    let mut open = Vec::new();
    for path in PATHS.iter().chain(STREAMS) {
        for method in METHODS.into_iter().chain(["DELETE"]) {
            let request = Request::builder()
                .method(method)
                .uri(*path)
                .body(Body::empty())
                .unwrap();
            let code = router.clone().oneshot(request).await.unwrap().status().as_u16();
            let is_open =
                OPEN.contains(path) || path.starts_with("/healthz/") || path.starts_with("/metrics/");
            match (is_open, method, code) {
                (true, "GET", 200) => open.push(*path),
                (true, "HEAD", 200) | (true, _, 404 | 405) => {}
                // The kubelet answers it whatever the method, too.
                (true, "POST", 200) if *path == "/stats/summary" => {}
                (true, _, 200) if path.starts_with("/healthz") => {}
                // Pages that are there, but not on this port, are as if they were not, or disabled.
                (false, _, 404 | 405 | 501) => {}
                _ => panic!("{method} {path}: {code}"),
            }
        }
    }
    let expected = [
        "/healthz",
        "/healthz/ping",
        "/healthz/log",
        "/healthz/syncloop",
        "/pods",
        "/pods/",
        "/metrics",
        "/metrics/cadvisor",
        "/metrics/probes",
        "/metrics/resource",
        "/metrics/slis",
        "/stats/summary",
    ];
    assert_eq!(open, expected);
    assert!(!changing.temp.path().join("checkpoints").exists());
    assert!(!changing.temp.path().join("exec").exists());
}

#[tokio::test]
async fn it_is_plain_http_and_ends_with_the_agent() {
    let changing = fixture::changing();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let port = tokio::spawn(run_read_only(listener, changing.world.clone(), shutdown));
    let ask = async |method: &str, path: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "vm");
        let answer = sender
            .send_request(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    };
    let (code, pods) = ask("GET", "/pods").await;
    assert!(code == 200 && pods.contains("\"web-vm\""), "{code} {pods}");
    assert_eq!(ask("GET", "/healthz").await, (200, "ok".to_owned()));
    let disabled = (405, "Debug endpoints are disabled.\n".to_owned());
    assert_eq!(ask("POST", "/run/default/web-vm/web?cmd=id").await, disabled);
    assert_eq!(ask("POST", "/checkpoint/default/web-vm/web").await.0, 404);
    stop.send(()).unwrap();
    port.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
