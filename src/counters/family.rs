//! Families of numbers: one number for each combination of label values.
//!
//! What is counted is often chosen by others (an exit code, a runtime handler), so a family has at most [`MOST_CHILDREN`]
//! numbers; what would be one more is not counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::histogram::Histogram;

/// The value of a label.
pub type Label = Cow<'static, str>;

/// The most combinations of label values of one family.
const MOST_CHILDREN: usize = 1000;

/// What a family is called.
#[derive(Debug, Clone, Copy)]
pub struct Head<const N: usize> {
    /// The name.
    pub name: &'static str,
    /// What the numbers mean.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: [&'static str; N],
}

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How values are distributed.
    Histogram,
}

/// One number of a family.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(f64),
    /// Of a histogram.
    Distribution(Histogram),
}

/// A family as it is at one moment.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// The name.
    pub name: &'static str,
    /// What the numbers mean.
    pub help: &'static str,
    /// What the numbers are.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: Vec<&'static str>,
    /// The values of the labels, in the same order, and the number.
    pub samples: Vec<(Vec<Label>, Sample)>,
}

/// A family that can be shown.
pub trait Family {
    /// Its numbers now.
    fn sample(&self) -> Sampled;
}

/// Numbers that only grow.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    head: Head<N>,
    counts: Mutex<BTreeMap<[Label; N], u64>>,
}

impl<const N: usize> Counter<N> {
    /// A family that counts nothing yet. One without labels is there from the beginning, as 0.
    pub fn new(head: Head<N>) -> Self {
        let family = Counter {
            head,
            counts: Mutex::default(),
        };
        if N == 0 {
            family.add(std::array::from_fn(|_| Label::default()), 0);
        }
        family
    }

    /// Counts so many; 0 makes the number visible.
    pub fn add(&self, labels: [Label; N], count: u64) {
        let mut counts = lock(&self.counts);
        if counts.len() < MOST_CHILDREN || counts.contains_key(&labels) {
            *counts.entry(labels).or_default() += count;
        }
    }

    /// Counts one.
    pub fn count(&self, labels: [Label; N]) {
        self.add(labels, 1);
    }
}

impl<const N: usize> Family for Counter<N> {
    fn sample(&self) -> Sampled {
        let counts = lock(&self.counts);
        let samples = counts
            .iter()
            .map(|(labels, count)| (labels.to_vec(), Sample::Count(*count)));
        sampled(&self.head, Kind::Counter, samples.collect())
    }
}

/// Numbers that go up and down.
#[derive(Debug)]
pub struct Gauge<const N: usize> {
    head: Head<N>,
    levels: Mutex<BTreeMap<[Label; N], f64>>,
}

impl<const N: usize> Gauge<N> {
    /// A family without numbers. Unlike a counter, a gauge without labels is not shown before it is set.
    pub fn new(head: Head<N>) -> Self {
        Gauge {
            head,
            levels: Mutex::default(),
        }
    }

    /// Sets a number.
    pub fn set(&self, labels: [Label; N], level: f64) {
        let mut levels = lock(&self.levels);
        if levels.len() < MOST_CHILDREN || levels.contains_key(&labels) {
            levels.insert(labels, level);
        }
    }

    /// Adds to a number, which begins at 0.
    pub fn add(&self, labels: [Label; N], change: f64) {
        let mut levels = lock(&self.levels);
        if levels.len() < MOST_CHILDREN || levels.contains_key(&labels) {
            *levels.entry(labels).or_default() += change;
        }
    }

    /// Whether a number was set.
    pub fn is_set(&self, labels: &[Label; N]) -> bool {
        lock(&self.levels).contains_key(labels)
    }
}

impl<const N: usize> Family for Gauge<N> {
    fn sample(&self) -> Sampled {
        let levels = lock(&self.levels);
        let samples = levels
            .iter()
            .map(|(labels, level)| (labels.to_vec(), Sample::Level(*level)));
        sampled(&self.head, Kind::Gauge, samples.collect())
    }
}

/// How values are distributed.
#[derive(Debug)]
pub struct Distribution<const N: usize> {
    head: Head<N>,
    bounds: &'static [f64],
    histograms: Mutex<BTreeMap<[Label; N], Histogram>>,
}

impl<const N: usize> Distribution<N> {
    /// A family without values. One without labels is there from the beginning, empty.
    pub fn new(head: Head<N>, bounds: &'static [f64]) -> Self {
        let mut histograms = BTreeMap::new();
        if N == 0 {
            let labels = std::array::from_fn(|_| Label::default());
            histograms.insert(labels, Histogram::new(bounds));
        }
        Distribution {
            head,
            bounds,
            histograms: Mutex::new(histograms),
        }
    }

    /// Adds a value, in the unit of the bounds.
    pub fn observe(&self, labels: [Label; N], value: f64) {
        let mut histograms = lock(&self.histograms);
        if histograms.len() < MOST_CHILDREN || histograms.contains_key(&labels) {
            histograms
                .entry(labels)
                .or_insert_with(|| Histogram::new(self.bounds))
                .observe(value);
        }
    }
}

impl<const N: usize> Family for Distribution<N> {
    fn sample(&self) -> Sampled {
        let histograms = lock(&self.histograms);
        let samples = histograms
            .iter()
            .map(|(labels, histogram)| (labels.to_vec(), Sample::Distribution(histogram.clone())));
        sampled(&self.head, Kind::Histogram, samples.collect())
    }
}

fn sampled<const N: usize>(head: &Head<N>, kind: Kind, samples: Vec<(Vec<Label>, Sample)>) -> Sampled {
    Sampled {
        name: head.name,
        help: head.help,
        kind,
        labels: head.labels.to_vec(),
        samples,
    }
}

/// Nothing that holds one of these locks can panic, but a number is never worth a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<const N: usize>(labels: [&'static str; N]) -> Head<N> {
        Head {
            name: "a_total",
            help: "Counts.",
            labels,
        }
    }

    #[test]
    fn a_counter_without_labels_begins_at_zero_and_a_gauge_is_not_there() {
        assert_eq!(
            Counter::new(head([])).sample().samples,
            [(vec![], Sample::Count(0))]
        );
        assert!(Gauge::new(head([])).sample().samples.is_empty());
        assert!(Counter::new(head(["x"])).sample().samples.is_empty());
        assert_eq!(Distribution::new(head([]), &[1.0]).sample().samples.len(), 1);
    }

    #[test]
    fn what_others_choose_has_a_bound() {
        let counter = Counter::new(head(["x"]));
        for number in 0..MOST_CHILDREN + 10 {
            counter.count([number.to_string().into()]);
        }
        counter.count(["7".into()]);
        let samples = counter.sample().samples;
        assert_eq!(samples.len(), MOST_CHILDREN);
        assert!(samples.contains(&(vec!["7".into()], Sample::Count(2))));
    }
}
