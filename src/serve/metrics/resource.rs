//! `/metrics/resource`: CPU, memory and swap of the node, its pods and containers, for metrics-server
//! (`pkg/kubelet/metrics/collectors/resource_metrics.go`). Pure.

use jiff::Timestamp;

use super::exposition::{Format, Labels, Number, Page};
use crate::counters::Kind;
use crate::model::stats::{CgroupSample, NodeSample};

/// A second in nanoseconds.
const SECOND: f64 = 1e9;

/// A number of a cgroup.
type Measure = fn(&CgroupSample) -> Option<Number>;

/// One family: name, kind, help.
type Head = (&'static str, Kind, &'static str);

const CONTAINERS: [(Head, Measure); 4] = [
    (
        (
            "container_cpu_usage_seconds_total",
            Kind::Counter,
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        ),
        cpu,
    ),
    (
        (
            "container_memory_working_set_bytes",
            Kind::Gauge,
            "[STABLE] Current working set of the container in bytes",
        ),
        working_set,
    ),
    (
        (
            "container_swap_limit_bytes",
            Kind::Gauge,
            "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems",
        ),
        swap_limit,
    ),
    (
        (
            "container_swap_usage_bytes",
            Kind::Gauge,
            "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        ),
        swap,
    ),
];

const NODE: [(Head, Measure); 3] = [
    (
        (
            "node_cpu_usage_seconds_total",
            Kind::Counter,
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        ),
        cpu,
    ),
    (
        (
            "node_memory_working_set_bytes",
            Kind::Gauge,
            "[STABLE] Current working set of the node in bytes",
        ),
        working_set,
    ),
    (
        (
            "node_swap_usage_bytes",
            Kind::Gauge,
            "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        ),
        swap,
    ),
];

const PODS: [(Head, Measure); 3] = [
    (
        (
            "pod_cpu_usage_seconds_total",
            Kind::Counter,
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        ),
        cpu,
    ),
    (
        (
            "pod_memory_working_set_bytes",
            Kind::Gauge,
            "[STABLE] Current working set of the pod in bytes",
        ),
        working_set,
    ),
    (
        (
            "pod_swap_usage_bytes",
            Kind::Gauge,
            "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        ),
        swap,
    ),
];

fn cpu(sample: &CgroupSample) -> Option<Number> {
    Some(Number::Real(sample.usage.cpu?.total as f64 / SECOND))
}

fn working_set(sample: &CgroupSample) -> Option<Number> {
    Some(Number::Whole(sample.usage.memory?.working_set))
}

fn swap(sample: &CgroupSample) -> Option<Number> {
    sample.usage.memory?.swap.map(Number::Whole)
}

/// The greatest use of swap; never less than what is used, which may have been there before the limit.
fn swap_limit(sample: &CgroupSample) -> Option<Number> {
    let memory = sample.usage.memory?;
    let used = memory.swap?;
    Some(Number::Whole(memory.limits.swap?.max(used)))
}

/// The page; an error of the sample is a value on it, as in the kubelet.
pub(super) fn page(format: Format, sample: Option<&NodeSample>) -> Vec<u8> {
    let mut page = Page::new(format);
    if let Some(sample) = sample {
        put_containers(&mut page, sample);
        for (head, measure) in NODE {
            put(
                &mut page,
                head,
                measure,
                [(Labels::default(), &sample.machine)].iter(),
            );
        }
        let pods: Vec<(Labels, &CgroupSample)> = running(sample)
            .filter_map(|pod| {
                let labels = Labels::of(&[("namespace", &pod.name.namespace), ("pod", &pod.name.name)]);
                Some((labels, pod.cgroup.as_ref()?))
            })
            .collect();
        for (head, measure) in PODS {
            put(&mut page, head, measure, pods.iter());
        }
    }
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    page.family("resource_scrape_error", Kind::Gauge, help)
        .value(&[], u64::from(sample.is_none()));
    page.finish()
}

fn running(sample: &NodeSample) -> impl Iterator<Item = &crate::model::stats::PodSample> {
    sample.pods.iter().filter(|pod| !pod.containers.is_empty())
}

fn put_containers(page: &mut Page, sample: &NodeSample) {
    let mut containers: Vec<(Labels, &CgroupSample)> = Vec::new();
    let mut starts: Vec<(Labels, Timestamp)> = Vec::new();
    for pod in running(sample) {
        for container in &pod.containers {
            let labels = Labels::of(&[
                ("container", &container.name),
                ("namespace", &pod.name.namespace),
                ("pod", &pod.name.name),
            ]);
            starts.push((labels.clone(), container.created));
            containers.extend(container.cgroup.as_ref().map(|cgroup| (labels, cgroup)));
        }
    }
    for (head, measure) in CONTAINERS {
        put(page, head, measure, containers.iter());
    }
    let help = "[STABLE] Start time of the container since unix epoch in seconds";
    let mut family = page.family("container_start_time_seconds", Kind::Gauge, help);
    for (labels, created) in &starts {
        family.measured(labels, &[], seconds(*created), None);
    }
}

fn put<'a>(
    page: &mut Page,
    (name, kind, help): Head,
    measure: Measure,
    samples: impl Iterator<Item = &'a (Labels, &'a CgroupSample)>,
) {
    let mut family = page.family(name, kind, help);
    for (labels, sample) in samples {
        if let Some(value) = measure(sample) {
            family.measured(labels, &[], value, Some(sample.at));
        }
    }
}

/// A moment in seconds since 1970.
pub(super) fn seconds(moment: Timestamp) -> f64 {
    moment.as_nanosecond() as f64 / SECOND
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::sample::stats::node;

    fn values(sample: Option<&NodeSample>) -> String {
        let page = page(Format::Text, sample);
        let text = String::from_utf8(page).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn containers_pods_and_the_node_are_shown_with_the_time_of_their_sample() {
        let mut sample = node();
        let mut starting = sample.pods[0].clone();
        starting.containers.clear();
        sample.pods.push(starting);
        expect![[r#"
            container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 2.5 1795900349817
            container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 7500 1795900349817
            container_swap_limit_bytes{container="main",namespace="default",pod="web"} 20512 1795900349817
            container_swap_usage_bytes{container="main",namespace="default",pod="web"} 64 1795900349817
            container_start_time_seconds{container="main",namespace="default",pod="web"} 1795900276
            node_cpu_usage_seconds_total 2.5 1795900349817
            node_memory_working_set_bytes 7500 1795900349817
            node_swap_usage_bytes 64 1795900349817
            pod_cpu_usage_seconds_total{namespace="default",pod="web"} 2.5 1795900349817
            pod_memory_working_set_bytes{namespace="default",pod="web"} 7500 1795900349817
            pod_swap_usage_bytes{namespace="default",pod="web"} 64 1795900349817
            resource_scrape_error 0"#]]
        .assert_eq(&values(Some(&sample)));
    }

    #[test]
    fn a_failed_sample_is_a_value() {
        assert_eq!(values(None), "resource_scrape_error 1");
    }
}
