//! Which part of a file a request is for (RFC 9110), as Go's `http.ServeContent` answers it. Pure.

use axum::http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// What to send of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The bytes from the first to before the second position.
    Range(u64, u64),
    /// Nothing: no byte of the range is in the file.
    Unsatisfiable,
    /// Nothing: the caller's copy is not older.
    NotModified,
    /// Nothing: the file is newer than the caller requires.
    Failed,
}

/// What to send of a file of that size that was last modified then. A request for several ranges gets the whole file,
/// as the RFC allows.
pub(super) fn part(headers: &HeaderMap, size: u64, modified: Timestamp) -> Part {
    // No file has an entity tag: only `*` matches.
    let any = |name: HeaderName| text(headers, &name).map(|text| text.trim() == "*");
    let is_newer = |name: HeaderName| {
        let date = parse_date(text(headers, &name)?)?;
        Some(modified.as_second() > date.as_second())
    };
    let fails = match any(header::IF_MATCH) {
        Some(matches) => !matches,
        None => is_newer(header::IF_UNMODIFIED_SINCE) == Some(true),
    };
    if fails {
        return Part::Failed;
    }
    let is_known = match any(header::IF_NONE_MATCH) {
        Some(matches) => matches,
        None => is_newer(header::IF_MODIFIED_SINCE) == Some(false),
    };
    if is_known {
        return Part::NotModified;
    }
    let Some(range) = text(headers, &header::RANGE) else {
        return Part::Whole;
    };
    // The rest of a file that has changed since would not fit to its beginning.
    let is_same = |text: &str| parse_date(text).is_some_and(|date| date.as_second() == modified.as_second());
    match text(headers, &header::IF_RANGE) {
        Some(text) if !is_same(text) => Part::Whole,
        _ => parse_range(range, size),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A time as HTTP writes it.
pub(super) fn date(time: Timestamp) -> String {
    let printer = rfc2822::DateTimePrinter::new();
    // Only a year before 0 or after 9999 has no such text.
    printer.timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn parse_range(text: &str, size: u64) -> Part {
    let Some(ranges) = text.trim().strip_prefix("bytes=") else {
        return Part::Unsatisfiable;
    };
    if ranges.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = ranges.split_once('-') else {
        return Part::Unsatisfiable;
    };
    let number = |text: &str| -> Option<u64> {
        let text = text.trim();
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    match (first.trim(), last.trim()) {
        // The last bytes.
        ("", count) => match number(count) {
            None => Part::Unsatisfiable,
            Some(0) => Part::Unsatisfiable,
            Some(count) => Part::Range(size.saturating_sub(count), size),
        },
        (first, last) => {
            let (first, end) = (
                number(first),
                match last {
                    "" => Some(size),
                    last => number(last).map(|last| last.saturating_add(1).min(size)),
                },
            );
            match (first, end) {
                (Some(first), Some(end)) if first < size && first < end => Part::Range(first, end),
                _ => Part::Unsatisfiable,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: &str = "Sat, 21 Nov 2026 01:00:00 GMT";

    fn check(headers: &[(&'static str, &str)], expected: Part) {
        let pairs = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let modified = "2026-11-21T01:00:00.9Z".parse().unwrap();
        assert_eq!(part(&pairs.collect(), 100, modified), expected, "{headers:?}");
    }

    #[test]
    fn a_time_is_written_as_http_has_it() {
        assert_eq!(date("2026-11-21T01:00:00.9Z".parse().unwrap()), MODIFIED);
        assert_eq!(
            parse_date(MODIFIED),
            Some("2026-11-21T01:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn a_range_is_a_part_of_the_file_or_unsatisfiable() {
        let range = |text: &str, expected: Part| check(&[("range", text)], expected);
        check(&[], Part::Whole);
        range("bytes=0-9", Part::Range(0, 10));
        range("bytes=90-", Part::Range(90, 100));
        range("bytes=90-1000", Part::Range(90, 100));
        range("bytes=-10", Part::Range(90, 100));
        range("bytes=-1000", Part::Range(0, 100));
        range("bytes= 5 - 6 ", Part::Range(5, 7));
        range("bytes=0-1,5-6", Part::Whole);
        for wrong in [
            "bytes=100-",
            "bytes=9-5",
            "bytes=-0",
            "bytes=-",
            "bytes=x-y",
            "bytes=5",
            "lines=1-2",
            "bytes=+1-2",
        ] {
            range(wrong, Part::Unsatisfiable);
        }
        range("bytes=0-99999999999999999999", Part::Unsatisfiable);
    }

    #[test]
    fn a_copy_that_is_not_older_is_not_sent_again() {
        let before = "Sat, 21 Nov 2026 00:59:59 GMT";
        check(&[("if-modified-since", MODIFIED)], Part::NotModified);
        check(&[("if-modified-since", before)], Part::Whole);
        check(&[("if-modified-since", "yesterday")], Part::Whole);
        check(&[("if-none-match", "*")], Part::NotModified);
        check(
            &[("if-none-match", "\"a\""), ("if-modified-since", MODIFIED)],
            Part::Whole,
        );
        check(&[("if-unmodified-since", before)], Part::Failed);
        check(&[("if-unmodified-since", MODIFIED)], Part::Whole);
        check(&[("if-match", "\"a\"")], Part::Failed);
        check(&[("if-match", "*"), ("if-unmodified-since", before)], Part::Whole);
        let rest = ("range", "bytes=90-");
        check(&[rest, ("if-range", MODIFIED)], Part::Range(90, 100));
        check(&[rest, ("if-range", before)], Part::Whole);
        check(&[rest, ("if-range", "\"a\"")], Part::Whole);
    }
}
