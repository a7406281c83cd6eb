//! The signals that end a command, for one that has something to give back first.

use tokio::signal::unix::{SignalKind, signal};

/// The exit code for the first signal that would otherwise end the process, with the terminal left as it is.
pub(super) async fn first() -> u8 {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let mut waits: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| {
            let mut signal = signal(kind).ok()?;
            Some(Box::pin(async move {
                signal.recv().await;
                u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX)
            }))
        })
        .collect();
    std::future::poll_fn(move |context| {
        let ready = waits
            .iter_mut()
            .map(|wait| wait.as_mut().poll(context))
            .find(std::task::Poll::is_ready);
        ready.unwrap_or(std::task::Poll::Pending)
    })
    .await
}
