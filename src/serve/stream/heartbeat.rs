//! Notices a client that disconnects while nobody takes what it has sent. Its end is not seen then: behind input that is
//! not read the kernel hides it, and TCP does not even deliver it once the window is closed. So something is sent, which
//! its kernel, or the socket itself, refuses: the next write fails. What is sent asks for no answer, because a client
//! whose own writes are stuck could read nothing while it answers (moby/spdystream writes under one lock).

use std::pin::pin;
use std::time::Duration;

/// How often something is sent. A client that has disconnected is noticed with the second at the latest: the first is
/// answered with a reset.
const INTERVAL: Duration = Duration::from_secs(2);

/// Waits for `work`, which passes on what the client has sent, and calls `beat` meanwhile, which must not wait: if it
/// cannot send at once, something is under way that fails as well.
pub(crate) async fn meanwhile<T>(work: impl Future<Output = T>, beat: impl Fn()) -> T {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(INTERVAL, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) => beat(),
        }
    }
}
