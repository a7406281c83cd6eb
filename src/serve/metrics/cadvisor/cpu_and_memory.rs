//! CPU time, memory, and the time lost for lack of them.

use super::super::exposition::{Number, Page};
use super::measures::{Measure, put_measures};
use super::subjects::Subject;
use crate::counters::Kind;

use crate::model::stats::CgroupSample;
use crate::model::usage::{Faults, Stall, Throttling};

const MEASURES: [Measure; 25] = [
    (
        "container_cpu_user_seconds_total",
        Kind::Counter,
        "Cumulative user cpu time consumed in seconds.",
        |sample| seconds(sample.usage.cpu?.user),
    ),
    (
        "container_cpu_system_seconds_total",
        Kind::Counter,
        "Cumulative system cpu time consumed in seconds.",
        |sample| seconds(sample.usage.cpu?.system),
    ),
    (
        "container_cpu_cfs_periods_total",
        Kind::Counter,
        "Number of elapsed enforcement period intervals.",
        |sample| Some(throttling(sample)?.periods.into()),
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        Kind::Counter,
        "Number of throttled period intervals.",
        |sample| Some(throttling(sample)?.throttled_periods.into()),
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        Kind::Counter,
        "Total time duration the container has been throttled.",
        |sample| seconds(throttling(sample)?.throttled),
    ),
    (
        "container_cpu_cfs_burst_periods_total",
        Kind::Counter,
        "Number of periods when burst occurs.",
        |sample| Some(throttling(sample)?.burst_periods.into()),
    ),
    (
        "container_cpu_cfs_burst_seconds_total",
        Kind::Counter,
        "Total time duration the container has been bursted.",
        |sample| seconds(throttling(sample)?.burst),
    ),
    (
        "container_memory_cache",
        Kind::Gauge,
        "Number of bytes of page cache memory.",
        |sample| Some(sample.usage.memory?.cache.into()),
    ),
    (
        "container_memory_rss",
        Kind::Gauge,
        "Size of RSS in bytes.",
        |sample| Some(sample.usage.memory?.rss.into()),
    ),
    (
        "container_memory_kernel_usage",
        Kind::Gauge,
        "Size of kernel memory allocated in bytes.",
        |sample| sample.usage.memory?.kernel.map(Number::Whole),
    ),
    (
        "container_memory_mapped_file",
        Kind::Gauge,
        "Size of memory mapped files in bytes.",
        |sample| Some(sample.usage.memory?.mapped_file.into()),
    ),
    (
        "container_memory_swap",
        Kind::Gauge,
        "Container swap usage in bytes.",
        |sample| sample.usage.memory?.swap.map(Number::Whole),
    ),
    (
        "container_memory_failcnt",
        Kind::Counter,
        "Number of memory usage hits limits",
        |sample| sample.usage.memory?.failures.map(Number::Whole),
    ),
    (
        "container_memory_usage_bytes",
        Kind::Gauge,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |sample| Some(sample.usage.memory?.usage.into()),
    ),
    (
        "container_memory_max_usage_bytes",
        Kind::Gauge,
        "Maximum memory usage recorded in bytes",
        |sample| sample.usage.memory?.max_usage.map(Number::Whole),
    ),
    (
        "container_memory_working_set_bytes",
        Kind::Gauge,
        "Current working set in bytes.",
        |sample| Some(sample.usage.memory?.working_set.into()),
    ),
    (
        "container_memory_total_active_file_bytes",
        Kind::Gauge,
        "Current total active file in bytes.",
        |sample| Some(sample.usage.memory?.active_file.into()),
    ),
    (
        "container_memory_total_inactive_file_bytes",
        Kind::Gauge,
        "Current total inactive file in bytes.",
        |sample| Some(sample.usage.memory?.inactive_file.into()),
    ),
    (
        "container_oom_events_total",
        Kind::Counter,
        "Count of out of memory events observed for the container",
        |sample| sample.usage.memory?.oom_kills.map(Number::Whole),
    ),
    (
        "container_pressure_cpu_stalled_seconds_total",
        Kind::Counter,
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |sample| stalled(sample.usage.pressure.cpu?.full),
    ),
    (
        "container_pressure_cpu_waiting_seconds_total",
        Kind::Counter,
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |sample| stalled(sample.usage.pressure.cpu?.some),
    ),
    (
        "container_pressure_memory_stalled_seconds_total",
        Kind::Counter,
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |sample| stalled(sample.usage.pressure.memory?.full),
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        Kind::Counter,
        "Total time duration tasks in the container have waited due to memory congestion.",
        |sample| stalled(sample.usage.pressure.memory?.some),
    ),
    (
        "container_pressure_io_stalled_seconds_total",
        Kind::Counter,
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |sample| stalled(sample.usage.pressure.io?.full),
    ),
    (
        "container_pressure_io_waiting_seconds_total",
        Kind::Counter,
        "Total time duration tasks in the container have waited due to IO congestion.",
        |sample| stalled(sample.usage.pressure.io?.some),
    ),
];

/// Limits have no time: they hold until they are changed.
const LIMITS: [Measure; 6] = [
    (
        "container_spec_cpu_period",
        Kind::Gauge,
        "CPU period of the container.",
        |sample| sample.usage.cpu?.limits.period.map(Number::Whole),
    ),
    (
        "container_spec_cpu_quota",
        Kind::Gauge,
        "CPU quota of the container.",
        |sample| sample.usage.cpu?.limits.quota.map(Number::Whole),
    ),
    (
        "container_spec_cpu_shares",
        Kind::Gauge,
        "CPU share of the container.",
        |sample| sample.usage.cpu?.limits.shares.map(Number::Whole),
    ),
    (
        "container_spec_memory_limit_bytes",
        Kind::Gauge,
        "Memory limit for the container.",
        |sample| limit(sample.usage.memory?.limits.memory),
    ),
    (
        "container_spec_memory_swap_limit_bytes",
        Kind::Gauge,
        "Memory swap limit for the container.",
        |sample| limit(sample.usage.memory?.limits.swap),
    ),
    (
        "container_spec_memory_reservation_limit_bytes",
        Kind::Gauge,
        "Memory reservation limit for the container.",
        |sample| limit(sample.usage.memory?.limits.reservation),
    ),
];

pub(super) fn put(page: &mut Page, subjects: &[Subject<'_>]) {
    put_cpu(page, subjects);
    put_measures(page, subjects, &MEASURES);
    put_faults(page, subjects);
    for (name, kind, help, measure) in LIMITS {
        let mut family = page.family(name, kind, help);
        for subject in subjects {
            if let Some(value) = measure(subject.cgroup) {
                family.measured(&subject.labels, &[], value, None);
            }
        }
    }
}

/// By CPU in cAdvisor; the kubelet asks for their sum alone.
fn put_cpu(page: &mut Page, subjects: &[Subject<'_>]) {
    let help = "Cumulative cpu time consumed in seconds.";
    let mut family = page.family("container_cpu_usage_seconds_total", Kind::Counter, help);
    for subject in subjects {
        if let Some(value) = subject.cgroup.usage.cpu.and_then(|cpu| seconds(cpu.total)) {
            family.measured(
                &subject.labels,
                &[("cpu", "total")],
                value,
                Some(subject.cgroup.at),
            );
        }
    }
}

fn put_faults(page: &mut Page, subjects: &[Subject<'_>]) {
    let help = "Cumulative count of memory allocation failures.";
    let mut family = page.family("container_memory_failures_total", Kind::Counter, help);
    for subject in subjects {
        let Some(memory) = subject.cgroup.usage.memory else {
            continue;
        };
        let mut put = |scope: &str, Faults { all, major }: Faults| {
            for (kind, count) in [("pgfault", all), ("pgmajfault", major)] {
                let more = [("failure_type", kind), ("scope", scope)];
                family.measured(&subject.labels, &more, count, Some(subject.cgroup.at));
            }
        };
        put("container", memory.faults);
        put("hierarchy", memory.hierarchical_faults);
    }
}

/// Only of a cgroup with a quota.
fn throttling(sample: &CgroupSample) -> Option<Throttling> {
    let cpu = sample.usage.cpu?;
    cpu.limits.quota?;
    cpu.throttling
}

fn seconds(nanos: u64) -> Option<Number> {
    Some(Number::Real(nanos as f64 / 1e9))
}

fn stalled(stall: Stall) -> Option<Number> {
    Some(Number::Real(stall.total as f64 / 1e6))
}

/// No limit is 0 here.
fn limit(limit: Option<u64>) -> Option<Number> {
    Some(Number::Whole(limit.unwrap_or_default()))
}
