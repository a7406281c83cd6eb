//! Formats the lines of a container's log for a reader. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use crate::cri::log_line::{Output, parse};

/// How much of an unfinished line is buffered while the other stream writes.
const HELD: usize = 256 * 1024;

/// Which lines are printed, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show {
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Whether each line is prefixed with its time.
    pub timestamps: bool,
    /// At most this many bytes.
    pub limit: Option<u64>,
    /// Only lines of this output.
    pub output: Option<Output>,
}

/// Turns the file's lines into printed lines, joining partial ones.
#[derive(Debug)]
pub struct Printer {
    show: Show,
    left: Option<u64>,
    open: [BytesMut; 2],
    /// Whether part of the stream's current line has been printed.
    begun: [bool; 2],
    out: BytesMut,
}

impl Printer {
    /// One that shows so.
    pub fn new(show: Show) -> Self {
        let left = show.limit;
        Printer {
            show,
            left,
            open: Default::default(),
            begun: [false; 2],
            out: BytesMut::new(),
        }
    }

    /// Processes one line of the file, without its `\n`. A line that was not written by a runtime (such as one
    /// truncated by a full disk) is skipped, as in the kubelet.
    pub fn push(&mut self, line: &[u8]) {
        let Some(line) = parse(line) else { return };
        if self.show.output.is_some_and(|output| output != line.output) {
            return;
        }
        if self
            .show
            .since
            .is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since))
        {
            return;
        }
        let stream = line.output as usize;
        let open = &mut self.open[stream];
        if self.show.timestamps && open.is_empty() && !self.begun[stream] {
            put_time(open, line.time);
            open.put_u8(b' ');
        }
        open.put_slice(line.text);
        if line.ends {
            open.put_u8(b'\n');
        }
        if line.ends || open.len() > HELD {
            self.out.unsplit(open.split());
            self.begun[stream] = !line.ends;
        }
    }

    /// At the end of the input: prints the buffered part of an unfinished line.
    pub fn finish(&mut self) {
        for open in &mut self.open {
            self.out.unsplit(open.split());
        }
    }

    /// What can be printed now.
    pub fn take(&mut self) -> Bytes {
        let mut chunk = self.out.split();
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= chunk.len() as u64;
        }
        chunk.freeze()
    }

    /// Whether the requested amount has been printed.
    pub fn is_done(&self) -> bool {
        self.left == Some(0)
    }
}

/// The time with nine digits of the second, so that columns align and the text can be sorted; Go omits trailing zeros.
fn put_time(to: &mut BytesMut, time: &str) {
    const SECONDS: usize = "2006-01-02T15:04:05".len();
    let (seconds, rest) = time.split_at(SECONDS);
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count().min(9);
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    to.put_slice(seconds.as_bytes());
    to.put_u8(b'.');
    to.put_slice(&rest.as_bytes()[..digits]);
    to.put_bytes(b'0', 9 - digits);
    to.put_slice(zone.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(show: Show, lines: &[&[u8]], expected: &[u8]) {
        let mut printer = Printer::new(show);
        for line in lines {
            printer.push(line);
        }
        printer.finish();
        assert_eq!(
            printer.take().escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    const T1: &str = "2026-11-21T01:00:00.5Z";

    #[test]
    fn parts_of_lines_are_joined_also_when_streams_mix() {
        check(
            Show::default(),
            &[
                b"2026-11-21T01:00:00.1Z stdout P one ",
                b"2026-11-21T01:00:00.2Z stderr F trouble",
                b"2026-11-21T01:00:00.3Z stdout P and ",
                b"2026-11-21T01:00:00.4Z stdout F two",
            ],
            b"trouble\none and two\n",
        );
    }

    #[test]
    fn a_part_whose_end_never_came_is_shown_without_one() {
        check(
            Show::default(),
            &[b"2026-11-21T01:00:00Z stdout P prompt> "],
            b"prompt> ",
        );
    }

    #[test]
    fn any_bytes_pass() {
        check(
            Show::default(),
            &[b"2026-11-21T01:00:00Z stdout F \xff\x00 \x1b[1m  "],
            b"\xff\x00 \x1b[1m  \n",
        );
        check(Show::default(), &[b"2026-11-21T01:00:00Z stdout F "], b"\n");
        check(Show::default(), &[b"2026-11-21T01:00:00Z stdout F"], b"\n");
        check(
            Show::default(),
            &[b"2026-11-21T01:00:00Z stdout F:x:y text"],
            b"text\n",
        );
    }

    #[test]
    fn what_no_runtime_wrote_is_left_out() {
        check(
            Show::default(),
            &[
                b"",
                b"garbage",
                b"2026 stdout F x",
                b"2026-11-21T01:00:00Z stdin F x",
            ],
            b"",
        );
    }

    #[test]
    fn times_are_shown_once_a_line_and_at_full_width() {
        let show = Show {
            timestamps: true,
            ..Show::default()
        };
        check(
            show,
            &[
                b"2026-11-21T01:00:00.5Z stdout P a",
                b"2026-11-21T01:00:00.6Z stdout F b",
                b"2026-11-21T03:00:01+02:00 stderr F c",
                b"2026-11-21T01:00:02.123456789Z stdout F d",
            ],
            b"2026-11-21T01:00:00.500000000Z ab\n2026-11-21T03:00:01.000000000+02:00 c\n\
              2026-11-21T01:00:02.123456789Z d\n",
        );
    }

    #[test]
    fn one_output_can_be_shown_alone() {
        let lines: [&[u8]; 3] = [
            b"2026-11-21T01:00:00.4Z stdout P a",
            b"2026-11-21T01:00:00.5Z stderr F b",
            b"2026-11-21T01:00:00.6Z stdout F c",
        ];
        let only = |output| Show {
            output: Some(output),
            ..Show::default()
        };
        check(only(Output::Stdout), &lines, b"ac\n");
        check(only(Output::Stderr), &lines, b"b\n");
    }

    #[test]
    fn earlier_lines_and_more_bytes_than_wanted_are_not_shown() {
        let since = Some(T1.parse().unwrap());
        let lines: [&[u8]; 3] = [
            b"2026-11-21T01:00:00.4Z stdout F early",
            b"2026-11-21T01:00:00.5Z stdout F on time",
            b"2026-11-21T03:00:00.6+02:00 stdout F late",
        ];
        check(
            Show {
                since,
                ..Show::default()
            },
            &lines,
            b"on time\nlate\n",
        );
        check(
            Show {
                since,
                limit: Some(4),
                ..Show::default()
            },
            &lines,
            b"on t",
        );
        check(
            Show {
                limit: Some(0),
                ..Show::default()
            },
            &lines,
            b"",
        );
    }

    proptest! {
        #[test]
        fn however_a_line_is_cut_into_parts_it_comes_out_whole(
            text in proptest::collection::vec(any::<u8>().prop_filter("no line's end", |b| *b != b'\n'), 0..300),
            part in 1usize..50,
        ) {
            let mut printer = Printer::new(Show::default());
            let parts: Vec<&[u8]> = text.chunks(part).collect();
            for (i, chunk) in parts.iter().enumerate() {
                let tag = if i + 1 == parts.len() { "F" } else { "P" };
                printer.push(&[format!("{T1} stdout {tag} ").as_bytes(), chunk].concat());
            }
            let mut expected = text.clone();
            if !parts.is_empty() {
                expected.push(b'\n');
            }
            prop_assert_eq!(printer.take().to_vec(), expected);
        }

        #[test]
        fn no_line_brings_the_printer_down(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut printer = Printer::new(Show { timestamps: true, since: Some(T1.parse().unwrap()), limit: None, output: None });
            printer.push(&line);
            printer.push(&[T1.as_bytes(), b" ", &line].concat());
            printer.finish();
        }

        #[test]
        fn no_time_brings_the_printer_down(time in "[0-9TZ:.+-]{20,40}") {
            let mut printer = Printer::new(Show { timestamps: true, ..Show::default() });
            printer.push(format!("{time} stdout F x").as_bytes());
        }
    }
}
