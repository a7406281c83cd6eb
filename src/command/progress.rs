//! How far lengthy work has come, for a person who waits, or for the log of a program.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::table::in_line;
use crate::model::image_progress::Share;

/// How long nothing is shown: most work has ended by then.
const FIRST: Duration = Duration::from_secs(1);
/// How often a line is drawn again.
const EACH: Duration = Duration::from_millis(500);
/// The shortest time between two lines of a log.
const EACH_LINE: Duration = Duration::from_secs(5);
/// After this long a log gets a line though nothing has changed.
const SILENCE: Duration = Duration::from_secs(30);
/// The time over which the rate is measured.
const RECENT: Duration = Duration::from_secs(5);
/// What is left of a long description at least, in characters.
const LEAST_DESCRIPTION: usize = 12;
const MEBIBYTE: f64 = 1_048_576.0;

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nowhere.
    Hidden,
    /// In one line of the terminal that messages go to, which has so many columns. It is gone at the end.
    Redrawn {
        /// The terminal's width.
        columns: usize,
    },
    /// In a line for each change, but not many of them.
    Lines,
}

/// How far some work has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reached {
    /// What is done, as in `pulling demo:1`.
    pub(super) doing: String,
    /// Bytes, if they are counted.
    pub(super) bytes: Option<Share>,
    /// Layers, if they are counted.
    pub(super) layers: Option<Share>,
}

impl Progress {
    /// Does the work, and shows meanwhile how far it has come.
    pub(super) async fn during<T>(
        self,
        look: impl Fn() -> Reached,
        err: &mut impl Write,
        work: impl Future<Output = T>,
    ) -> T {
        let each = match self {
            Progress::Hidden => return work.await,
            Progress::Redrawn { .. } => EACH,
            Progress::Lines => EACH_LINE,
        };
        let begun = Instant::now();
        let mut ticks = interval_at(begun + FIRST, each);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut work = std::pin::pin!(work);
        let mut meter = Meter::default();
        let mut shown: Option<(Reached, Duration)> = None;
        loop {
            tokio::select! {
                // The same work is waited for in each turn.
                done = &mut work => {
                    if shown.is_some() && self != Progress::Lines {
                        let _ = write!(err, "\r\x1b[K");
                    }
                    return done;
                }
                _ = ticks.tick() => {
                    let (reached, elapsed) = (look(), begun.elapsed());
                    let rate = meter.rate(elapsed, &reached);
                    // A terminal that is gone ends the command by a signal.
                    let _ = match self {
                        Progress::Redrawn { columns } => {
                            write!(err, "\r{}\x1b[K", line(&reached, elapsed, rate, Some(columns)))
                        }
                        _ if !is_news(shown.as_ref(), &reached, elapsed) => continue,
                        _ => writeln!(err, "{}", line(&reached, elapsed, rate, None)),
                    };
                    let _ = err.flush();
                    shown = Some((reached, elapsed));
                }
            }
        }
    }
}

/// Whether a log gets another line.
fn is_news(before: Option<&(Reached, Duration)>, reached: &Reached, elapsed: Duration) -> bool {
    before.is_none_or(|(before, at)| before != reached || elapsed.saturating_sub(*at) >= SILENCE)
}

/// Measures how many bytes come in a second.
#[derive(Debug, Default)]
struct Meter {
    /// What is done; the rest of the samples are of the same.
    doing: String,
    /// When there were how many bytes, the oldest first.
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// The recent rate in bytes per second; `None` while there is nothing to compare with.
    fn rate(&mut self, elapsed: Duration, reached: &Reached) -> Option<f64> {
        let bytes = reached.bytes?.done;
        if self.samples.is_empty() && self.doing.is_empty() {
            // Everything begins with nothing.
            self.samples.push_back((Duration::ZERO, 0));
        } else if self.doing != reached.doing {
            self.samples.clear();
        }
        self.doing.clone_from(&reached.doing);
        self.samples.push_back((elapsed, bytes));
        while self.samples.len() > 2 && elapsed.saturating_sub(self.samples[1].0) >= RECENT {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let time = elapsed.saturating_sub(since);
        let more = bytes.checked_sub(before)?;
        (!time.is_zero()).then(|| more as f64 / time.as_secs_f64())
    }
}

/// One line; `None` for the columns: as long as it becomes. Pure.
fn line(reached: &Reached, elapsed: Duration, rate: Option<f64>, columns: Option<usize>) -> String {
    let mut parts = Vec::new();
    parts.extend(reached.bytes.map(Share::in_mebibytes));
    if let Some(Share { done, total }) = reached.layers {
        parts.push(match total {
            Some(total) => format!("layers {done} of {total}"),
            None => format!("{done} layers"),
        });
    }
    let is_complete = reached.bytes.is_some_and(|bytes| bytes.total == Some(bytes.done));
    match rate {
        Some(rate) if !is_complete => parts.push(format!("{:.1} MiB/s", rate / MEBIBYTE)),
        _ => parts.push(time(elapsed)),
    }
    let rest = parts.join(", ");
    let doing = in_line(&reached.doing);
    // The last column stays free: some terminals begin a new line after it.
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(rest.len() + 3));
    let text = format!("{}: {rest}", shortened(&doing, room.max(LEAST_DESCRIPTION)));
    match columns {
        Some(columns) => text.chars().take(columns.saturating_sub(1)).collect(),
        None => text,
    }
}

/// Without its middle if it is longer: an image's tag and a file's extension are at the end.
fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let begin = most.saturating_sub(1) / 2;
    let end = most.saturating_sub(1) - begin;
    let head: String = text.chars().take(begin).collect();
    let tail: String = text.chars().skip(length - end).collect();
    format!("{head}…{tail}")
}

fn time(elapsed: Duration) -> String {
    match (elapsed.as_secs() / 60, elapsed.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(done: u64, total: Option<u64>) -> Option<Share> {
        Some(Share { done, total })
    }

    async fn shown(progress: Progress, takes: Duration) -> String {
        let mut err = Vec::new();
        let look = || Reached {
            doing: "copying".to_owned(),
            bytes: bytes(3 << 20, None),
            layers: None,
        };
        let work = async {
            tokio::time::sleep(takes).await;
            7
        };
        assert_eq!(progress.during(look, &mut err, work).await, 7);
        String::from_utf8(err).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_long_is_shown_and_the_line_is_gone_afterwards() {
        let redrawn = Progress::Redrawn { columns: 80 };
        assert_eq!(shown(redrawn, Duration::from_millis(900)).await, "");
        assert_eq!(
            shown(redrawn, Duration::from_millis(1600)).await,
            "\rcopying: 3.0 MiB, 3.0 MiB/s\x1b[K\rcopying: 3.0 MiB, 2.0 MiB/s\x1b[K\r\x1b[K"
        );
        assert_eq!(shown(Progress::Hidden, Duration::from_secs(9)).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_gets_a_line_for_each_change_and_seldom_one_without() {
        let log = shown(Progress::Lines, Duration::from_secs(40)).await;
        assert_eq!(log, "copying: 3.0 MiB, 3.0 MiB/s\ncopying: 3.0 MiB, 0.0 MiB/s\n");
        // Bytes change all the time.
        let reached = std::cell::Cell::new(0);
        let look = || {
            reached.set(reached.get() + (1 << 20));
            Reached {
                doing: "pulling x".to_owned(),
                bytes: bytes(reached.get(), Some(8 << 20)),
                layers: bytes(1, Some(2)),
            }
        };
        let mut err = Vec::new();
        let work = tokio::time::sleep(Duration::from_secs(12));
        Progress::Lines.during(look, &mut err, work).await;
        assert_eq!(
            String::from_utf8(err).unwrap(),
            "pulling x: 1.0 of 8.0 MiB, layers 1 of 2, 1.0 MiB/s\n\
             pulling x: 2.0 of 8.0 MiB, layers 1 of 2, 0.2 MiB/s\n\
             pulling x: 3.0 of 8.0 MiB, layers 1 of 2, 0.2 MiB/s\n"
        );
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let check = |doing: &str, bytes, layers, columns, expected: &str| {
            let reached = Reached {
                doing: doing.to_owned(),
                bytes,
                layers,
            };
            let rate = bytes.map(|_| 3.4 * MEBIBYTE);
            let line = line(&reached, Duration::from_secs(75), rate, columns);
            assert_eq!(line, expected, "{doing} in {columns:?}");
            assert!(columns.is_none_or(|columns| line.chars().count() < columns));
        };
        let image = "pulling registry.example.com:5000/some/long/repository/of/things:v1.2.3";
        let part = bytes(12_900_000, Some(47_800_000));
        check(
            image,
            part,
            bytes(2, Some(5)),
            None,
            "pulling registry.example.com:5000/some/long/repository/of/things:v1.2.3: 12.3 of 45.6 MiB, layers 2 of 5, \
             3.4 MiB/s",
        );
        check(
            image,
            part,
            bytes(2, Some(5)),
            Some(80),
            "pulling registry.…/of/things:v1.2.3: 12.3 of 45.6 MiB, layers 2 of 5, 3.4 MiB/s",
        );
        check(image, part, None, Some(24), "pulli…v1.2.3: 12.3 of 4");
        // Everything has arrived: a rate would say nothing.
        check(
            "unpacking x",
            bytes(5, Some(5)),
            None,
            Some(80),
            "unpacking x: 0.0 of 0.0 MiB, 1 min 15 s",
        );
        check("pulling x", None, None, Some(80), "pulling x: 1 min 15 s");
        check(
            "im\u{1b}[31m\nporting",
            None,
            None,
            Some(80),
            "im␛[31m␊porting: 1 min 15 s",
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_of_one_thing() {
        let mut meter = Meter::default();
        let mut rate = |seconds: u64, doing: &str, done: Option<u64>| {
            let reached = Reached {
                doing: doing.to_owned(),
                bytes: done.and_then(|done| bytes(done, None)),
                layers: None,
            };
            meter.rate(Duration::from_secs(seconds), &reached)
        };
        assert_eq!(rate(1, "a", Some(10)), Some(10.0));
        assert_eq!(rate(2, "a", Some(20)), Some(10.0));
        for second in 3..=20 {
            rate(second, "a", Some(20));
        }
        assert_eq!(rate(21, "a", Some(20)), Some(0.0));
        assert_eq!(rate(22, "b", Some(1000)), None);
        assert_eq!(rate(23, "b", Some(1005)), Some(5.0));
        assert_eq!(rate(24, "b", Some(0)), None);
        assert_eq!(rate(25, "c", None), None);
    }
}
