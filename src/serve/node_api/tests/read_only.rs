//! The read-only port: whoever reaches it sees pods, metrics and health, and nothing else, by any method.

use axum::body::Body;
use hyper::Request;
use tower::ServiceExt as _;

use super::super::read_only;
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
                (true, _, 501) if *path == "/metrics/probes" => {}
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
        "/metrics/resource",
        "/metrics/slis",
        "/stats/summary",
    ];
    assert_eq!(open, expected);
    assert!(!changing.temp.path().join("checkpoints").exists());
    assert!(!changing.temp.path().join("exec").exists());
}
