//! The two text formats (<https://prometheus.io/docs/instrumenting/exposition_formats/> and the OpenMetrics
//! specification, 1.0).

use std::io::Write as _;

use jiff::Timestamp;

use super::labels::{self, Labels};
use super::value::{Format, Head, Number};
use crate::counters::{Histogram, Kind};

/// The suffix that every counter has in OpenMetrics, and a family's name has not.
const TOTAL: &str = "_total";

/// The lines before the first value.
pub(super) fn head(page: &mut Vec<u8>, format: Format, head: Head<'_>) {
    let (mut name, mut kind) = (head.name, kind(head.kind));
    let mut help = head.help.replace('\\', "\\\\").replace('\n', "\\n");
    if format == Format::OpenMetrics {
        help = help.replace('"', "\\\"");
        if head.kind == Kind::Counter {
            match name.strip_suffix(TOTAL) {
                Some(short) => name = short,
                None => kind = "unknown",
            }
        }
    }
    put(page, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// One value.
pub(super) fn sample(
    page: &mut Vec<u8>,
    format: Format,
    name: &str,
    labels: &Labels,
    more: &[(&'static str, &str)],
    value: Number,
    at: Option<Timestamp>,
) {
    page.extend_from_slice(name.as_bytes());
    braces(page, &labels.text, more);
    page.push(b' ');
    number(page, value);
    match (at, format) {
        (Some(at), Format::OpenMetrics) => put(
            page,
            format_args!(" {:.3}\n", at.as_millisecond() as f64 / 1000.0),
        ),
        (Some(at), _) => {
            page.push(b' ');
            whole(page, at.as_millisecond());
            page.push(b'\n');
        }
        (None, _) => page.push(b'\n'),
    }
}

/// The lines of a histogram.
pub(super) fn histogram(
    page: &mut Vec<u8>,
    format: Format,
    name: &str,
    labels: &Labels,
    histogram: &Histogram,
) {
    let mut bucket = |bound: &str, count: u64| {
        put(page, format_args!("{name}_bucket"));
        braces(page, &labels.text, &[("le", bound)]);
        put(page, format_args!(" {count}\n"));
    };
    for (bound, count) in histogram.cumulative() {
        // OpenMetrics wants numbers to look like those of floating point.
        match format == Format::OpenMetrics && bound.fract() == 0.0 {
            true => bucket(&format!("{bound:.1}"), count),
            false => bucket(&bound.to_string(), count),
        }
    }
    let count = histogram.count();
    bucket("+Inf", count);
    put(page, format_args!("{name}_sum"));
    braces(page, &labels.text, &[]);
    page.push(b' ');
    number(page, Number::Real(histogram.sum()));
    put(page, format_args!("\n{name}_count"));
    braces(page, &labels.text, &[]);
    put(page, format_args!(" {count}\n"));
}

fn braces(page: &mut Vec<u8>, labels: &[u8], more: &[(&'static str, &str)]) {
    if !(labels.is_empty() && more.is_empty()) {
        page.push(b'{');
        page.extend_from_slice(labels);
        labels::write(page, more.iter().copied());
        page.push(b'}');
    }
}

fn number(page: &mut Vec<u8>, value: Number) {
    match value {
        Number::Whole(value) => whole(page, value),
        Number::Real(value) if value.is_infinite() => {
            page.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        }
        // NaN is written as it is here, too.
        Number::Real(value) => put(page, format_args!("{value}")),
    }
}

/// A page has tens of thousands of whole numbers: the standard library's formatting costs several times as much.
fn whole(page: &mut Vec<u8>, value: impl itoa::Integer) {
    page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put(page: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to memory cannot fail");
}
