//! One page in each format.

use expect_test::expect;
use prost::Message as _;

use super::*;

fn page(format: Format) -> Vec<u8> {
    let mut histogram = Histogram::new(&[0.5, 1.0]);
    for value in [0.5, 0.75, 3.0] {
        histogram.observe(value);
    }
    let mut page = Page::new(format);
    page.family("a_seconds", Kind::Histogram, "Help \"me\".\nOr \\not.")
        .histogram(&[("x", "a\"\\\n")], &histogram);
    page.family("b", Kind::Gauge, "More.").value(&[], 0.25);
    page.family("nothing", Kind::Gauge, "Not on the page.");
    let at = Timestamp::from_millisecond(1_795_900_349_817).unwrap();
    let labels = Labels::of(&[("z", "1")]);
    let mut counter = page.family("c_total", Kind::Counter, "Counts.");
    counter.measured(&labels, &[], u64::MAX, Some(at));
    counter.measured(&labels, &[("a", "2")], f64::INFINITY, None);
    drop(counter);
    page.family("failcnt", Kind::Counter, "Counts, but is not called so.")
        .value(&[], 7);
    page.finish()
}

fn text(format: Format) -> String {
    String::from_utf8(page(format)).unwrap()
}

#[test]
fn a_bound_belongs_to_its_bucket_and_labels_are_escaped() {
    expect![[r#"
        # HELP a_seconds Help "me".\nOr \\not.
        # TYPE a_seconds histogram
        a_seconds_bucket{x="a\"\\\n",le="0.5"} 1
        a_seconds_bucket{x="a\"\\\n",le="1"} 2
        a_seconds_bucket{x="a\"\\\n",le="+Inf"} 3
        a_seconds_sum{x="a\"\\\n"} 4.25
        a_seconds_count{x="a\"\\\n"} 3
        # HELP b More.
        # TYPE b gauge
        b 0.25
        # HELP c_total Counts.
        # TYPE c_total counter
        c_total{z="1"} 18446744073709551615 1795900349817
        c_total{z="1",a="2"} +Inf
        # HELP failcnt Counts, but is not called so.
        # TYPE failcnt counter
        failcnt 7
    "#]]
    .assert_eq(&text(Format::Text));
}

#[test]
fn open_metrics_names_counters_without_their_suffix_and_has_an_end() {
    expect![[r#"
        # HELP a_seconds Help \"me\".\nOr \\not.
        # TYPE a_seconds histogram
        a_seconds_bucket{x="a\"\\\n",le="0.5"} 1
        a_seconds_bucket{x="a\"\\\n",le="1.0"} 2
        a_seconds_bucket{x="a\"\\\n",le="+Inf"} 3
        a_seconds_sum{x="a\"\\\n"} 4.25
        a_seconds_count{x="a\"\\\n"} 3
        # HELP b More.
        # TYPE b gauge
        b 0.25
        # HELP c Counts.
        # TYPE c counter
        c_total{z="1"} 18446744073709551615 1795900349.817
        c_total{z="1",a="2"} +Inf
        # HELP failcnt Counts, but is not called so.
        # TYPE failcnt unknown
        failcnt 7
        # EOF
    "#]]
    .assert_eq(&text(Format::OpenMetrics));
}

#[test]
fn protobuf_has_a_message_for_each_family_with_values() {
    let bytes = page(Format::Protobuf);
    let mut rest = bytes.as_slice();
    let mut families = Vec::new();
    while !rest.is_empty() {
        let family = protobuf::MetricFamily::decode_length_delimited(&mut rest).unwrap();
        families.push(format!("{family:?}"));
    }
    expect![[r#"
        MetricFamily { name: Some("a_seconds"), help: Some("Help \"me\".\nOr \\not."), kind: Some(4), metric: [Metric { label: [LabelPair { name: Some("x"), value: Some("a\"\\\n") }], gauge: None, counter: None, histogram: Some(Histogram { sample_count: Some(3), sample_sum: Some(4.25), bucket: [Bucket { cumulative_count: Some(1), upper_bound: Some(0.5) }, Bucket { cumulative_count: Some(2), upper_bound: Some(1.0) }] }), timestamp_ms: None }] }
        MetricFamily { name: Some("b"), help: Some("More."), kind: Some(1), metric: [Metric { label: [], gauge: Some(Value { value: Some(0.25) }), counter: None, histogram: None, timestamp_ms: None }] }
        MetricFamily { name: Some("c_total"), help: Some("Counts."), kind: Some(0), metric: [Metric { label: [LabelPair { name: Some("z"), value: Some("1") }], gauge: None, counter: Some(Value { value: Some(1.8446744073709552e19) }), histogram: None, timestamp_ms: Some(1795900349817) }, Metric { label: [LabelPair { name: Some("a"), value: Some("2") }, LabelPair { name: Some("z"), value: Some("1") }], gauge: None, counter: Some(Value { value: Some(inf) }), histogram: None, timestamp_ms: None }] }
        MetricFamily { name: Some("failcnt"), help: Some("Counts, but is not called so."), kind: Some(0), metric: [Metric { label: [], gauge: None, counter: Some(Value { value: Some(7.0) }), histogram: None, timestamp_ms: None }] }"#]]
    .assert_eq(&families.join("\n"));
}
