//! An archive that a client sends, as parts for the one who imports it.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::image_work::Part;

/// How many parts wait to be written. A part is what the socket brought at once, at most some hundred kilobytes.
const QUEUE: usize = 4;
/// How long a client may send nothing.
const IDLE: Duration = Duration::from_secs(30);
/// How long a client may go on sending what is no longer wanted, so that it reads why before the connection is closed.
const DRAIN: Duration = Duration::from_secs(5);

/// The parts of the archive. Reading ends with the archive, with a client that leaves or stalls, and with the receiver.
pub(super) fn parts(mut body: Body) -> mpsc::Receiver<Part> {
    let (to, parts) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            let part = match timeout(IDLE, body.frame()).await {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    // Trailers.
                    Err(_) => continue,
                },
                Ok(Some(Err(_))) => Err("the archive ended early: its client has left".to_owned()),
                Err(_) => Err(format!(
                    "nothing of the archive came for {} seconds",
                    IDLE.as_secs()
                )),
            };
            let is_last = part.is_err();
            if to.send(part).await.is_err() {
                break;
            }
            if is_last {
                return;
            }
        }
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = timeout(DRAIN, rest).await;
    });
    parts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    async fn received(body: Body) -> Vec<Result<Bytes, String>> {
        let mut parts = parts(body);
        let mut found = Vec::new();
        while let Some(part) = parts.recv().await {
            found.push(part);
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn an_archive_that_does_not_come_whole_does_not_end_like_one_that_does() {
        let part = |text: &'static str| Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes()));
        let whole = Body::from_stream(stream::iter([part("a"), part("b")]));
        assert_eq!(received(whole).await, [Ok("a".into()), Ok("b".into())]);
        let cut = Body::from_stream(stream::iter([part("a"), Err(std::io::Error::other("gone"))]));
        let why = "the archive ended early: its client has left";
        assert_eq!(received(cut).await, [Ok("a".into()), Err(why.to_owned())]);
        use futures::StreamExt as _;
        let stalled = Body::from_stream(stream::iter([part("a")]).chain(stream::pending()));
        let why = "nothing of the archive came for 30 seconds";
        assert_eq!(received(stalled).await, [Ok("a".into()), Err(why.to_owned())]);
    }
}
