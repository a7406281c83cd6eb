//! How far a copy has come, for a person who waits.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long nothing is shown: most copies have ended by then.
const FIRST: Duration = Duration::from_secs(1);
/// How often it is shown.
const EACH: Duration = Duration::from_millis(500);

/// Counts the bytes of an archive.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what is read.
    pub(super) fn counting<R: Read>(&self, from: R) -> impl Read + use<R> {
        Counting {
            from,
            counter: self.clone(),
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counting<R> {
    from: R,
    counter: Counter,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.from.read(buffer)?;
        self.counter.add(size);
        Ok(size)
    }
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nowhere.
    Hidden,
    /// In one line of the terminal that messages go to, which is gone at the end.
    Shown,
}

impl Progress {
    /// Does the work, and shows how far it has come meanwhile.
    pub(super) async fn during<T>(
        self,
        counter: &Counter,
        err: &mut impl Write,
        work: impl Future<Output = T>,
    ) -> T {
        if self == Progress::Hidden {
            return work.await;
        }
        let begun = Instant::now();
        let mut ticks = interval_at(begun + FIRST, EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut work = std::pin::pin!(work);
        let mut is_shown = false;
        loop {
            tokio::select! {
                // The same work is waited for in each turn.
                done = &mut work => {
                    if is_shown {
                        let _ = write!(err, "\r\x1b[K");
                    }
                    return done;
                }
                _ = ticks.tick() => {
                    // A terminal that is gone ends the command by a signal.
                    let _ = write!(err, "\r{}\x1b[K", line(counter.get(), begun.elapsed()));
                    let _ = err.flush();
                    is_shown = true;
                }
            }
        }
    }
}

fn line(bytes: u64, elapsed: Duration) -> String {
    const MEBIBYTE: f64 = 1_048_576.0;
    let size = bytes as f64 / MEBIBYTE;
    let rate = size / elapsed.as_secs_f64().max(0.001);
    format!("{size:.1} MiB copied, {rate:.1} MiB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(progress: Progress, takes: Duration) -> String {
        let counter = Counter::default();
        let mut err = Vec::new();
        let work = async {
            counter.add(3 << 20);
            tokio::time::sleep(takes).await;
            7
        };
        assert_eq!(progress.during(&counter, &mut err, work).await, 7);
        String::from_utf8(err).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_long_is_shown_and_the_line_is_gone_afterwards() {
        assert_eq!(shown(Progress::Shown, Duration::from_millis(900)).await, "");
        assert_eq!(
            shown(Progress::Shown, Duration::from_millis(1600)).await,
            "\r3.0 MiB copied, 3.0 MiB/s\x1b[K\r3.0 MiB copied, 2.0 MiB/s\x1b[K\r\x1b[K"
        );
        assert_eq!(shown(Progress::Hidden, Duration::from_secs(9)).await, "");
    }

    #[test]
    fn what_is_read_is_counted() {
        let counter = Counter::default();
        let text = io::read_to_string(counter.counting("hello".as_bytes())).unwrap();
        assert_eq!((text.as_str(), counter.get()), ("hello", 5));
    }
}
