//! The messages of `io/prometheus/client/metrics.proto`, as far as they are used here.

use jiff::Timestamp;
use prost::Message;

use super::labels::Labels;
use super::value::{Head, Number};
use crate::counters::{Histogram as Counts, Kind};

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

/// A gauge or a counter: both are one number.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Value>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Value>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    /// `MetricType`: 0 counter, 1 gauge, 4 histogram.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

impl MetricFamily {
    pub(super) fn add(
        &mut self,
        kind: Kind,
        labels: &Labels,
        more: &[(&'static str, &str)],
        value: Number,
        at: Option<Timestamp>,
    ) {
        let value = Some(Value {
            value: Some(match value {
                Number::Whole(value) => value as f64,
                Number::Real(value) => value,
            }),
        });
        let mut metric = Metric {
            label: pairs(labels, more),
            timestamp_ms: at.map(Timestamp::as_millisecond),
            ..Metric::default()
        };
        match kind {
            Kind::Counter => metric.counter = value,
            Kind::Gauge | Kind::Histogram => metric.gauge = value,
        }
        self.metric.push(metric);
    }

    pub(super) fn add_histogram(&mut self, labels: &Labels, histogram: &Counts) {
        let buckets = histogram.cumulative().map(|(bound, count)| Bucket {
            cumulative_count: Some(count),
            upper_bound: Some(bound),
        });
        self.metric.push(Metric {
            label: pairs(labels, &[]),
            histogram: Some(Histogram {
                sample_count: Some(histogram.count()),
                sample_sum: Some(histogram.sum()),
                bucket: buckets.collect(),
            }),
            ..Metric::default()
        });
    }

    /// Writes the message after its length, unless it has no values.
    pub(super) fn write(mut self, page: &mut Vec<u8>, head: Head<'_>) {
        if self.metric.is_empty() {
            return;
        }
        self.name = Some(head.name.to_owned());
        self.help = Some(head.help.to_owned());
        self.kind = Some(match head.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Histogram => 4,
        });
        page.extend(self.encode_length_delimited_to_vec());
    }
}

/// The labels, in the order of their names.
fn pairs(labels: &Labels, more: &[(&'static str, &str)]) -> Vec<LabelPair> {
    let own = labels.pairs.iter().map(|(name, value)| (*name, value.as_str()));
    let mut all: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
    all.sort_unstable();
    let pair = |(name, value): (&str, &str)| LabelPair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    all.into_iter().map(pair).collect()
}
