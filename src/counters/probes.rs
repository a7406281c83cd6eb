//! The results of the probes of containers (`pkg/kubelet/prober`). There is a series for each probe of each container of
//! a pod that is desired; they end with the pod.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::buckets;
use super::family::{Kind, Label, Sample, Sampled, lock};
use super::histogram::Histogram;
use crate::model::pod::{PodName, PodUid};
use crate::model::probe::ProbeKind;

/// A probe of a container of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Probed<'a> {
    /// The pod.
    pub pod: &'a PodName,
    /// Its UID.
    pub uid: &'a PodUid,
    /// The container's name in the pod.
    pub container: &'a str,
    /// Which probe.
    pub kind: ProbeKind,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeResult {
    /// The container is well.
    Successful,
    /// It is not.
    Failed,
}

impl ProbeResult {
    fn label(self) -> &'static str {
        match self {
            ProbeResult::Successful => "successful",
            ProbeResult::Failed => "failed",
        }
    }
}

#[derive(Debug, Default)]
struct Pod {
    name: Option<PodName>,
    /// By container and probe.
    probes: BTreeMap<(String, &'static str), Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    results: BTreeMap<ProbeResult, u64>,
    /// Of the successful ones, as in the kubelet: how long a failed probe takes says how long its timeout is.
    seconds: Option<Histogram>,
}

/// What the probes found.
#[derive(Debug, Default)]
pub struct Probes(Mutex<BTreeMap<PodUid, Pod>>);

impl Probes {
    /// A probe was run. A probe that could not be run has no result, and is not counted.
    pub fn ended(&self, probe: Probed<'_>, result: ProbeResult, took: Duration) {
        let mut pods = lock(&self.0);
        let pod = pods.entry(probe.uid.clone()).or_default();
        pod.name.get_or_insert_with(|| probe.pod.clone());
        let key = (probe.container.to_owned(), probe.kind.title());
        let counts = pod.probes.entry(key).or_default();
        *counts.results.entry(result).or_default() += 1;
        if result == ProbeResult::Successful {
            let seconds = counts
                .seconds
                .get_or_insert_with(|| Histogram::new(buckets::DEFAULT));
            seconds.observe(took.as_secs_f64());
        }
    }

    /// A pod is not probed any more.
    pub fn forget(&self, uid: &PodUid) {
        lock(&self.0).remove(uid);
    }

    /// The two families of `/metrics/probes`.
    pub fn sample(&self) -> [Sampled; 2] {
        let (mut totals, mut seconds) = (Vec::new(), Vec::new());
        for (uid, pod) in lock(&self.0).iter() {
            let Some(name) = &pod.name else { continue };
            for ((container, kind), counts) in &pod.probes {
                let text = |text: &str| Label::from(text.to_owned());
                let (pod, namespace) = (text(&name.name), text(&name.namespace));
                for (result, count) in &counts.results {
                    let labels = vec![
                        Label::from(*kind),
                        result.label().into(),
                        text(container),
                        pod.clone(),
                        namespace.clone(),
                        text(&uid.0),
                    ];
                    totals.push((labels, Sample::Count(*count)));
                }
                if let Some(histogram) = &counts.seconds {
                    let labels = vec![Label::from(*kind), text(container), pod, namespace];
                    seconds.push((labels, Sample::Distribution(histogram.clone())));
                }
            }
        }
        [
            Sampled {
                name: "prober_probe_total",
                help: "How often a probe of a container was run, by its result.",
                kind: Kind::Counter,
                labels: vec!["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
                samples: totals,
            },
            Sampled {
                name: "prober_probe_duration_seconds",
                help: "How long successful probes of a container took in seconds.",
                kind: Kind::Histogram,
                labels: vec!["probe_type", "container", "pod", "namespace"],
                samples: seconds,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_pod_end_with_it() {
        let probes = Probes::default();
        let (pod, uid) = (PodName::new("ns", "web"), PodUid("u".to_owned()));
        let probe = Probed {
            pod: &pod,
            uid: &uid,
            container: "main",
            kind: ProbeKind::Readiness,
        };
        for result in [ProbeResult::Failed, ProbeResult::Successful, ProbeResult::Failed] {
            probes.ended(probe, result, Duration::from_millis(7));
        }
        let [totals, seconds] = probes.sample();
        let series: Vec<_> = totals
            .samples
            .iter()
            .map(|(labels, sample)| (labels.join(" "), sample.clone()))
            .collect();
        let expected = [
            ("Readiness successful main web ns u".to_owned(), Sample::Count(1)),
            ("Readiness failed main web ns u".to_owned(), Sample::Count(2)),
        ];
        assert_eq!(series, expected);
        let [(labels, Sample::Distribution(histogram))] = &seconds.samples[..] else {
            panic!("{seconds:?}");
        };
        assert_eq!(
            (labels.join(" "), histogram.count()),
            ("Readiness main web ns".to_owned(), 1)
        );
        probes.forget(&uid);
        assert!(probes.sample().iter().all(|family| family.samples.is_empty()));
    }
}
