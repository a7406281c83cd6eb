//! Processes and what they hold open, and when a cgroup was created.

use jiff::Timestamp;

use super::super::exposition::{Number, Page};
use super::super::resource::seconds;
use super::measures::{Measure, put_measures};
use super::subjects::Subject;
use crate::counters::Kind;

const MEASURES: [Measure; 5] = [
    (
        "container_processes",
        Kind::Gauge,
        "Number of processes running inside the container.",
        |sample| Some(sample.processes.count.into()),
    ),
    (
        "container_file_descriptors",
        Kind::Gauge,
        "Number of open file descriptors for the container.",
        |sample| sample.processes.descriptors.map(Number::Whole),
    ),
    (
        "container_sockets",
        Kind::Gauge,
        "Number of open sockets for the container.",
        |sample| sample.processes.sockets.map(Number::Whole),
    ),
    (
        "container_threads",
        Kind::Gauge,
        "Number of threads running inside the container",
        |sample| Some(sample.usage.tasks?.threads.into()),
    ),
    (
        "container_threads_max",
        Kind::Gauge,
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |sample| Some(sample.usage.tasks?.limit.unwrap_or_default().into()),
    ),
];

pub(super) fn put(page: &mut Page, subjects: &[Subject<'_>], now: Timestamp) {
    put_measures(page, subjects, &MEASURES);
    let help = "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice";
    let mut family = page.family("container_ulimits_soft", Kind::Gauge, help);
    for subject in subjects {
        if let Some(limit) = subject.cgroup.processes.descriptor_limit {
            let more = [("ulimit", "max_open_files")];
            family.measured(&subject.labels, &more, limit, Some(subject.cgroup.at));
        }
    }
    drop(family);
    let help = "Start time of the container since unix epoch in seconds.";
    let mut family = page.family("container_start_time_seconds", Kind::Gauge, help);
    for subject in subjects {
        family.measured(&subject.labels, &[], seconds(subject.created).trunc(), None);
    }
    drop(family);
    let help = "Last time a container was seen by the exporter";
    let mut family = page.family("container_last_seen", Kind::Gauge, help);
    for subject in subjects {
        family.measured(
            &subject.labels,
            &[],
            seconds(subject.cgroup.at).trunc(),
            Some(now),
        );
    }
}
