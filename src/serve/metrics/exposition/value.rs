//! What is written: numbers, and the formats.

use crate::counters::Kind;

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text, version 0.0.4.
    Text,
    /// OpenMetrics' text, version 1.0.0.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily` messages, each after its length.
    Protobuf,
}

impl Format {
    /// The content type of an answer. The names have no characters that would have to be escaped, in any of Prometheus'
    /// ways; the kubelet says underscores.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Format::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
            }
        }
    }
}

/// A number, which text shows with all its digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}

/// What is known of a family before its first value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'a str,
}
