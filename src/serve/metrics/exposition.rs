//! Prometheus' text format, version 0.0.4. Pure.

use std::fmt::Write;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// How often a value was at most each bound.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// Counts by bound, not cumulative; the last one is above all bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram; `bounds` must ascend.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Histogram {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The text being built.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// A metric family to which values are added.
pub(crate) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = kind.as_str();
        put(
            &mut self.0,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Family {
            page: &mut self.0,
            name,
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(crate) fn value(&mut self, labels: &[(&str, &str)], value: u64) {
        self.sample("", labels, None, format_args!("{value}"));
    }

    pub(crate) fn float(&mut self, labels: &[(&str, &str)], value: f64) {
        self.sample("", labels, None, format_args!("{value}"));
    }

    pub(crate) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            self.sample(
                "_bucket",
                labels,
                Some(&bound.to_string()),
                format_args!("{below}"),
            );
        }
        let count = histogram.count();
        self.sample("_bucket", labels, Some("+Inf"), format_args!("{count}"));
        self.sample("_sum", labels, None, format_args!("{}", histogram.sum));
        self.sample("_count", labels, None, format_args!("{count}"));
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: std::fmt::Arguments<'_>,
    ) {
        let all: Vec<String> = labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)))
            .map(|(name, text)| format!("{name}=\"{}\"", escape(text)))
            .collect();
        let all = if all.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", all.join(","))
        };
        put(self.page, format_args!("{}{suffix}{all} {value}\n", self.name));
    }
}

fn put(to: &mut String, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text).expect("writing to a String cannot fail");
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_labels_are_escaped() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.5, 0.75, 3.0] {
            histogram.observe(value);
        }
        let mut page = Page::default();
        page.family("a_seconds", Kind::Histogram, "Help.")
            .histogram(&[("x", "a\"\\\n")], &histogram);
        page.family("b", Kind::Gauge, "More.").float(&[], 0.25);
        let expected = r#"# HELP a_seconds Help.
# TYPE a_seconds histogram
a_seconds_bucket{x="a\"\\\n",le="0.5"} 1
a_seconds_bucket{x="a\"\\\n",le="1"} 2
a_seconds_bucket{x="a\"\\\n",le="+Inf"} 3
a_seconds_sum{x="a\"\\\n"} 4.25
a_seconds_count{x="a\"\\\n"} 3
# HELP b More.
# TYPE b gauge
b 0.25
"#;
        assert_eq!(page.into_text(), expected);
    }
}
