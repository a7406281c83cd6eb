//! How long API pods took to start, from their creation until the API server shows that all containers have started
//! (`pkg/kubelet/util/pod_startup_latency_tracker.go`). The SLI leaves out the pulls of images and the init containers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::buckets;
use super::family::{Distribution, Family, Gauge, Head, lock};
use crate::model::pod::PodUid;

/// The most pulls that are remembered of a pod that starts: a pod's author chooses how many containers it has.
const MOST_PULLS: usize = 1000;

/// Pods that start.
#[derive(Debug)]
pub struct PodStarts {
    total: Distribution<0>,
    sli: Distribution<0>,
    first_network: Gauge<0>,
    /// The pulls of pods that are starting: when each began and ended.
    starting: Mutex<BTreeMap<PodUid, Vec<(Timestamp, Timestamp)>>>,
}

impl Default for PodStarts {
    fn default() -> Self {
        let labels = [];
        PodStarts {
            total: Distribution::new(
                Head {
                    name: "kubelet_pod_start_total_duration_seconds",
                    help: "How many seconds after a pod was created the API server showed that all its containers had \
                           started.",
                    labels,
                },
                buckets::POD_START,
            ),
            sli: Distribution::new(
                Head {
                    name: "kubelet_pod_start_sli_duration_seconds",
                    help: "As kubelet_pod_start_total_duration_seconds, without the time for pulling images and for init \
                           containers, and without pods that have volumes with state.",
                    labels,
                },
                buckets::POD_START,
            ),
            first_network: Gauge::new(Head {
                name: "kubelet_first_network_pod_start_sli_duration_seconds",
                help: "The value that the first pod with a network of its own added to \
                       kubelet_pod_start_sli_duration_seconds.",
                labels,
            }),
            starting: Mutex::default(),
        }
    }
}

/// A pod whose containers have all started.
#[derive(Debug, Clone)]
pub struct Started {
    /// The time since its creation.
    pub since_creation: Duration,
    /// How long its init containers ran, together.
    pub init: Duration,
    /// Whether it keeps state on this node or elsewhere; then it does not count for the SLI.
    pub is_stateful: bool,
    /// Whether it has a network of its own.
    pub has_network: bool,
}

impl PodStarts {
    /// The API server has a pod that has not begun to start.
    pub fn begin(&self, uid: &PodUid) {
        lock(&self.starting).entry(uid.clone()).or_default();
    }

    /// Whether a pod is starting.
    pub fn is_starting(&self, uid: &PodUid) -> bool {
        lock(&self.starting).contains_key(uid)
    }

    /// An image was pulled for a pod.
    pub fn pulled(&self, uid: &PodUid, began: Timestamp, took: Duration) {
        let mut starting = lock(&self.starting);
        let Some(pulls) = starting.get_mut(uid).filter(|pulls| pulls.len() < MOST_PULLS) else {
            return;
        };
        let end = jiff::SignedDuration::try_from(took).map_or(began, |took| began + took);
        pulls.push((began, end));
    }

    /// A pod has started; it is counted if it was starting.
    pub fn started(&self, uid: &PodUid, pod: &Started) {
        let Some(pulls) = lock(&self.starting).remove(uid) else {
            return;
        };
        self.total.observe([], pod.since_creation.as_secs_f64());
        if pod.is_stateful {
            return;
        }
        let without = pod
            .since_creation
            .saturating_sub(together(pulls))
            .saturating_sub(pod.init);
        self.sli.observe([], without.as_secs_f64());
        if pod.has_network && !self.first_network.is_set(&[]) {
            self.first_network.set([], without.as_secs_f64());
        }
    }

    /// A pod is gone, or has ended.
    pub fn forget(&self, uid: &PodUid) {
        lock(&self.starting).remove(uid);
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.total, &self.sli, &self.first_network]
    }
}

/// How long at least one image was being pulled.
fn together(mut pulls: Vec<(Timestamp, Timestamp)>) -> Duration {
    pulls.sort_unstable();
    let mut sum = Duration::ZERO;
    let mut covered = Timestamp::MIN;
    for (began, end) in pulls {
        let from = began.max(covered);
        if end > from {
            sum += end.duration_since(from).unsigned_abs();
            covered = end;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::family::Sample;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn pulls_at_the_same_time_count_once() {
        let check = |pulls: &[(i64, i64)], expected| {
            let pulls = pulls.iter().map(|(from, to)| (at(*from), at(*to))).collect();
            assert_eq!(together(pulls), Duration::from_secs(expected));
        };
        check(&[], 0);
        check(&[(0, 3), (10, 12)], 5);
        check(&[(1, 4), (0, 3)], 4);
        check(&[(0, 9), (2, 3), (8, 10)], 10);
    }

    #[test]
    fn the_sli_leaves_out_pulls_and_init_containers() {
        let starts = PodStarts::default();
        let uid = PodUid("u".to_owned());
        let pod = Started {
            since_creation: Duration::from_secs(10),
            init: Duration::from_secs(2),
            is_stateful: false,
            has_network: true,
        };
        starts.started(&uid, &pod);
        assert!(!starts.first_network.is_set(&[]), "it was not starting");
        starts.begin(&uid);
        starts.pulled(&uid, at(0), Duration::from_secs(3));
        starts.started(&uid, &pod);
        starts.started(&uid, &pod);
        let level = starts.first_network.sample().samples;
        assert_eq!(level, [(vec![], Sample::Level(5.0))]);
        let Sample::Distribution(total) = &starts.total.sample().samples[0].1 else {
            panic!("it is a histogram");
        };
        assert_eq!((total.count(), total.sum()), (1, 10.0));
    }
}
