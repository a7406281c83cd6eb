//! Parses the lines of a container's log as CRI runtimes write them. Pure.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <tags> <text>`; the first of the tags, which colons separate, is
//! `P` where the container's line goes on in the next one of the same stream, `F` where it ends.

/// The longest prefix of a line that can contain its tags.
pub const HEAD: usize = 128;

/// The output that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One parsed line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// The time as written.
    pub time: &'a str,
    /// The stream that wrote it.
    pub output: Output,
    /// Whether the container's line ends here.
    pub ends: bool,
    /// What the container wrote, any bytes but a line's end.
    pub text: &'a [u8],
}

/// Parses a line, without its `\n`. `None`: it was not written by a runtime.
pub fn parse(line: &[u8]) -> Option<LogLine<'_>> {
    let (time, rest) = split(line)?;
    let (output, rest) = split(rest)?;
    // A line without any text may lack the space after its tags.
    let (tags, text) = split(rest).unwrap_or((rest, &[]));
    let output = match output {
        b"stdout" => Output::Stdout,
        b"stderr" => Output::Stderr,
        _ => return None,
    };
    let ends = match tags.split(|&byte| byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let time = std::str::from_utf8(time)
        .ok()
        .filter(|time| time.len() >= 20 && time.is_ascii())?;
    Some(LogLine {
        time,
        output,
        ends,
        text,
    })
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Whether the line of the file that starts with `head` ends a line of the container.
pub fn is_end(head: &[u8]) -> bool {
    parse(head).is_some_and(|line| line.ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &[u8], expected: Option<(Output, bool, &[u8])>) {
        let found = parse(line).map(|line| (line.output, line.ends, line.text));
        assert_eq!(found, expected, "{}", line.escape_ascii());
        assert_eq!(is_end(line), expected.is_some_and(|(_, ends, _)| ends));
    }

    #[test]
    fn a_line_has_a_time_a_stream_tags_and_any_bytes() {
        let t = b"2026-11-21T01:00:00.5Z ";
        let line = |rest: &[u8]| [&t[..], rest].concat();
        check(&line(b"stdout F text"), Some((Output::Stdout, true, b"text")));
        check(
            &line(b"stderr P te xt "),
            Some((Output::Stderr, false, b"te xt ")),
        );
        check(
            &line(b"stdout F:x:y \xff\x00"),
            Some((Output::Stdout, true, b"\xff\x00")),
        );
        check(&line(b"stdout F  text"), Some((Output::Stdout, true, b" text")));
        // A line without text may lack the space before it.
        check(&line(b"stdout F "), Some((Output::Stdout, true, b"")));
        check(&line(b"stdout F"), Some((Output::Stdout, true, b"")));
        assert_eq!(
            parse(&line(b"stdout F x")).unwrap().time,
            "2026-11-21T01:00:00.5Z"
        );
    }

    #[test]
    fn what_no_runtime_wrote_is_none() {
        for line in [
            &b""[..],
            b"garbage",
            b"2026 stdout F x",
            b"2026-11-21T01:00:00Z",
            b"2026-11-21T01:00:00Z stdin F x",
            b"2026-11-21T01:00:00Z stdout X x",
            b"2026-11-21T01:00:00Z stdout",
            b"\xff\xff\xff\xff-11-21T01:00:00Z stdout F x",
        ] {
            check(line, None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&line);
        }
    }
}
