//! `/healthz`: whether the agent's loops make progress. Paths and texts are those of the kubelet
//! (`staging/src/k8s.io/apiserver/pkg/server/healthz`), because kubeadm and monitoring parse them.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::port::{Bounds, Plain, Port};
use super::query::values;
use super::slis::results::Results;

/// How long a stop waits for pending requests: they are short.
const FAREWELL: Duration = Duration::from_secs(1);
/// Checks that pass whenever the server answers at all.
const ALWAYS_WELL: [&str; 2] = ["ping", "log"];
/// The name of the check that the loops make progress.
const SYNCLOOP: &str = "syncloop";

/// The loops that must make progress. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Health {
    loops: Arc<Mutex<Vec<Arc<Pulse>>>>,
    results: Arc<Mutex<Results>>,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    period: Duration,
    origin: Instant,
    /// The last beat, in milliseconds after `origin`.
    last: AtomicU64,
}

/// Held by a loop, which beats it on each turn. When it is dropped, the loop is no longer watched.
#[derive(Debug)]
pub struct Heartbeat(Arc<Pulse>);

impl Heartbeat {
    /// Records a turn of the loop.
    pub fn beat(&self) {
        let since = self.0.origin.elapsed().as_millis();
        self.0
            .last
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Pulse {
    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(last)
    }
}

impl Health {
    /// Watches a loop that turns at least once each `period`; twice that time without a beat is a failure.
    pub fn register(&self, name: &'static str, period: Duration) -> Heartbeat {
        let pulse = Arc::new(Pulse {
            name,
            period,
            origin: Instant::now(),
            last: AtomicU64::new(0),
        });
        self.lock().push(pulse.clone());
        Heartbeat(pulse)
    }

    /// Whether every loop makes progress; if not, which one does not and since when. The watchdog uses it, too.
    pub fn check(&self) -> Result<(), String> {
        let mut loops = self.lock();
        loops.retain(|pulse| Arc::strong_count(pulse) > 1);
        let stuck: Vec<String> = loops
            .iter()
            .filter(|pulse| pulse.silence() > 2 * pulse.period)
            .map(|pulse| {
                format!(
                    "{} has made no progress for {} s",
                    pulse.name,
                    pulse.silence().as_secs()
                )
            })
            .collect();
        if stuck.is_empty() {
            Ok(())
        } else {
            Err(stuck.join(", "))
        }
    }

    /// The checks by their names, with the reason of a failure.
    fn checks(&self) -> impl Iterator<Item = (&'static str, Result<(), String>)> {
        let well = ALWAYS_WELL.map(|name| (name, Ok(())));
        well.into_iter().chain([(SYNCLOOP, self.check())])
    }

    /// The results of the checks so far, of all ports.
    pub(super) fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().expect("no holder of this lock can panic")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.loops.lock().expect("no holder of this lock can panic")
    }
}

/// Serves `/healthz` on its port until `shutdown` completes; connections still open then are closed.
pub async fn healthz(
    listener: TcpListener,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let port = Port {
        name: "health check",
        listener,
        bounds: Bounds::OPEN,
        transport: Plain,
    };
    let stopping = CancellationToken::new();
    let stop = stopping.clone();
    let stopped = async move {
        shutdown.await;
        stop.cancel();
    };
    tokio::join!(port.serve(router(health), stopping, FAREWELL), stopped);
}

pub(crate) fn router(health: Health) -> Router {
    Router::new()
        // Whatever the method, as the kubelet (`InstallHandler` of `k8s.io/apiserver/pkg/server/healthz`).
        .route("/healthz", any(all))
        .route("/healthz/{check}", any(one))
        .with_state(health)
}

/// All checks but those that the query excludes. Each that is made counts.
async fn all(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut lines = String::new();
    let mut fails = false;
    for (name, result) in health.checks() {
        if values(&query, "exclude").any(|excluded| excluded == name) {
            lines += &format!("[+]{name} excluded: ok\n");
            continue;
        }
        health.results().count(name, result.is_ok());
        match result {
            Ok(()) => lines += &format!("[+]{name} ok\n"),
            Err(why) => {
                fails = true;
                lines += &format!("[-]{name} failed: {why}\n");
            }
        }
    }
    let is_check = |name: &str| name == SYNCLOOP || ALWAYS_WELL.contains(&name);
    let unknown: Vec<String> = values(&query, "exclude")
        .filter(|name| !is_check(name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        lines += &format!("warn: some health checks cannot be excluded: no matches for {unknown}\n");
    }
    match fails {
        true => {
            lines += "healthz check failed\n";
            (StatusCode::INTERNAL_SERVER_ERROR, lines).into_response()
        }
        false if values(&query, "verbose").next().is_none() => "ok".into_response(),
        false => (lines + "healthz check passed\n").into_response(),
    }
}

async fn one(State(health): State<Health>, Path(check): Path<String>) -> Response {
    if ALWAYS_WELL.contains(&check.as_str()) {
        return "ok".into_response();
    }
    if check != SYNCLOOP {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    match health.check() {
        Ok(()) => "ok".into_response(),
        Err(why) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {why}\n"),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn check(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_told_and_one_that_turns_again_is_well() {
        let health = Health::default();
        let beat = health.register("reconcile", Duration::from_secs(10));
        assert_eq!(check(&health, "/healthz").await, (200, "ok".into()));

        tokio::time::advance(Duration::from_secs(21)).await;
        let (status, text) = check(&health, "/healthz").await;
        assert_eq!(status, 500);
        assert_eq!(
            text,
            "[+]ping ok\n[+]log ok\n[-]syncloop failed: reconcile has made no progress for 21 s\nhealthz check \
             failed\n"
        );
        assert_eq!(check(&health, "/healthz/syncloop").await.0, 500);
        assert_eq!(check(&health, "/healthz/ping").await, (200, "ok".into()));

        beat.beat();
        assert_eq!(check(&health, "/healthz/syncloop").await, (200, "ok".into()));
        let all = "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n";
        assert_eq!(check(&health, "/healthz?verbose").await, (200, all.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_ended_is_no_longer_watched() {
        let health = Health::default();
        drop(health.register("observe", Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(health.check(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_excluded_check_neither_fails_nor_counts() {
        let health = Health::default();
        let _beat = health.register("reconcile", Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(21)).await;
        let path = "/healthz?verbose&exclude=syncloop&exclude=etcd&exclude=log";
        let expected = "[+]ping ok\n[+]log excluded: ok\n[+]syncloop excluded: ok\nwarn: some health checks cannot be \
                        excluded: no matches for \"etcd\"\nhealthz check passed\n";
        assert_eq!(check(&health, path).await, (200, expected.into()));
        let page = health.results().page(0);
        assert!(
            page.contains("{name=\"ping\",") && !page.contains("syncloop"),
            "{page}"
        );
        // A single check does not count, as in the kubelet.
        assert_eq!(check(&health, "/healthz/syncloop").await.0, 500);
        assert_eq!(health.results().page(0), page);
    }

    #[tokio::test]
    async fn an_unknown_check_is_not_found() {
        assert_eq!(check(&Health::default(), "/healthz/nothing").await.0, 404);
    }
}
