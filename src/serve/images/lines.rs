//! The answer to a pull or an import: JSON objects, one a line, while it is under way.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::wire::{ArrivedImage, Line};
use crate::model::image_progress::Progress;
use crate::model::image_work::{Arrived, NotDone};

/// The shortest time between two lines.
const EACH: Duration = Duration::from_millis(200);

/// The work, which a client that leaves cancels by dropping it.
type Work = Pin<Box<dyn Future<Output = Result<Vec<Arrived>, NotDone>> + Send>>;

struct Lines {
    progress: watch::Receiver<Progress>,
    /// `None`: the last line has been sent.
    work: Option<Work>,
    ticks: Interval,
    stopping: CancellationToken,
}

/// Streams the progress of some work, and at the end what became of it. There is at most one line in memory, however slowly
/// the client reads.
pub(super) fn answer(
    mut progress: watch::Receiver<Progress>,
    work: impl Future<Output = Result<Vec<Arrived>, NotDone>> + Send + 'static,
    stopping: CancellationToken,
) -> Response {
    progress.mark_changed();
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = Lines {
        progress,
        work: Some(Box::pin(work)),
        ticks,
        stopping,
    };
    let stream = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        let mut text = serde_json::to_vec(&line).expect("numbers and texts serialize to JSON");
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), lines))
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from_stream(stream)).into_response()
}

impl Lines {
    async fn next(&mut self) -> Option<Line> {
        let work = self.work.as_mut()?;
        loop {
            tokio::select! {
                // The same work is waited for in each turn.
                done = &mut *work => {
                    self.work = None;
                    return Some(last(done));
                }
                _ = self.ticks.tick() => {
                    // The sender is dropped a moment before the work is done.
                    if self.progress.has_changed().unwrap_or(false) {
                        return Some(Line::Progress(*self.progress.borrow_and_update()));
                    }
                }
                () = self.stopping.cancelled() => {
                    self.work = None;
                    return Some(last(Err(NotDone::Stopping)));
                }
            }
        }
    }
}

fn last(done: Result<Vec<Arrived>, NotDone>) -> Line {
    match done {
        Ok(arrived) => Line::Done(arrived.into_iter().map(image).collect()),
        Err(error) => Line::Failed(error.to_string()),
    }
}

fn image(arrived: Arrived) -> ArrivedImage {
    ArrivedImage {
        names: arrived.names,
        reference: arrived.reference,
        size: arrived.size,
        was_there: arrived.was_there,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::model::image_progress::Phase;

    async fn read(response: Response) -> Vec<Line> {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let lines = std::str::from_utf8(&body).unwrap().lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_sent_and_then_what_became_of_it() {
        let (progress, reached) = watch::channel(Progress::default());
        let work = async move {
            for done in 1..=1000_u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                progress.send_replace(Progress::of_bytes(Phase::Receiving, done, None));
            }
            Err(NotDone::Failed("it is full".to_owned()))
        };
        let lines = read(answer(reached, work, CancellationToken::new())).await;
        let last = Line::Failed("it is full".to_owned());
        assert_eq!(lines.first(), Some(&Line::Progress(Progress::default())));
        assert_eq!(lines.last(), Some(&last));
        // Not a thousand.
        assert!((4..=8).contains(&lines.len()), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stops_says_so() {
        let (_progress, reached) = watch::channel(Progress::default());
        let stopping = CancellationToken::new();
        let response = answer(reached, std::future::pending(), stopping.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stopping.cancel();
        });
        let expected = [
            Line::Progress(Progress::default()),
            Line::Failed("gantry is stopping".to_owned()),
        ];
        assert_eq!(read(response).await, expected);
    }

    #[tokio::test]
    async fn a_client_that_leaves_cancels_the_work() {
        let (_progress, reached) = watch::channel(Progress::default());
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        let mut body = answer(reached, work, CancellationToken::new()).into_body();
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        assert!(dropped.await.is_err(), "the work was dropped");
    }
}
