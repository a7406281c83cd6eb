//! Metrics in the formats that Prometheus reads. Pure.
//!
//! A [`Page`] is filled one family after the other, and written in its format at once: `text` knows the two text formats,
//! `protobuf` the third, `value` has what they write, and `negotiate` knows which one a client wants.

mod labels;
mod negotiate;
mod protobuf;
mod text;
mod value;

use jiff::Timestamp;

pub(crate) use labels::Labels;
pub(crate) use negotiate::negotiate;
use value::Head;
pub(crate) use value::{Format, Number};

use crate::counters::{Histogram, Kind, Sample, Sampled};

/// The page being written.
#[derive(Debug)]
pub(crate) struct Page {
    format: Format,
    bytes: Vec<u8>,
    /// The names and kinds of all families, also of those without values.
    families: Vec<(&'static str, Kind)>,
}

/// A metric family to which values are added. One without values is not on the page.
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    head: Head<'a>,
    is_begun: bool,
    /// The message being built, in the format that needs it whole.
    message: protobuf::MetricFamily,
}

impl Page {
    pub(crate) fn new(format: Format) -> Page {
        Page {
            format,
            bytes: Vec::new(),
            families: Vec::new(),
        }
    }

    pub(crate) fn family<'a>(&'a mut self, name: &'static str, kind: Kind, help: &'a str) -> Family<'a> {
        self.families.push((name, kind));
        Family {
            page: self,
            head: Head { name, kind, help },
            is_begun: false,
            message: protobuf::MetricFamily::default(),
        }
    }

    /// Adds a family that was counted.
    pub(crate) fn counted(&mut self, sampled: &Sampled) {
        let mut family = self.family(sampled.name, sampled.kind, sampled.help);
        for (values, sample) in &sampled.samples {
            let labels: Vec<(&'static str, &str)> = sampled
                .labels
                .iter()
                .copied()
                .zip(values.iter().map(AsRef::as_ref))
                .collect();
            match sample {
                Sample::Count(count) => family.value(&labels, *count),
                Sample::Level(level) => family.value(&labels, *level),
                Sample::Distribution(histogram) => family.histogram(&labels, histogram),
            }
        }
    }

    /// The families that were added, also those without values.
    #[cfg(test)]
    pub(crate) fn families(&self) -> &[(&'static str, Kind)] {
        &self.families
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.bytes.extend_from_slice(b"# EOF\n");
        }
        self.bytes
    }
}

impl Family<'_> {
    /// Adds a value with these labels.
    pub(crate) fn value(&mut self, labels: &[(&'static str, &str)], value: impl Into<Number>) {
        self.add(&Labels::of(labels), &[], value.into(), None);
    }

    /// Adds a value that was measured at a time, with these labels and a few more.
    pub(crate) fn measured(
        &mut self,
        labels: &Labels,
        more: &[(&'static str, &str)],
        value: impl Into<Number>,
        at: Option<Timestamp>,
    ) {
        self.add(labels, more, value.into(), at);
    }

    pub(crate) fn histogram(&mut self, labels: &[(&'static str, &str)], histogram: &Histogram) {
        let labels = Labels::of(labels);
        match self.page.format {
            Format::Protobuf => self.message.add_histogram(&labels, histogram),
            format => {
                self.begin(format);
                text::histogram(&mut self.page.bytes, format, self.head.name, &labels, histogram);
            }
        }
    }

    fn add(&mut self, labels: &Labels, more: &[(&'static str, &str)], value: Number, at: Option<Timestamp>) {
        match self.page.format {
            Format::Protobuf => self.message.add(self.head.kind, labels, more, value, at),
            format => {
                self.begin(format);
                text::sample(
                    &mut self.page.bytes,
                    format,
                    self.head.name,
                    labels,
                    more,
                    value,
                    at,
                );
            }
        }
    }

    fn begin(&mut self, format: Format) {
        if !self.is_begun {
            self.is_begun = true;
            text::head(&mut self.page.bytes, format, self.head);
        }
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        if self.page.format == Format::Protobuf {
            let message = std::mem::take(&mut self.message);
            message.write(&mut self.page.bytes, self.head);
        }
    }
}

#[cfg(test)]
mod tests;
