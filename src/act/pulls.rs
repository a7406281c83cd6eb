//! Which images are being pulled, how many at once, and how often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::pulls_at_work::{Pulling, PullsAtWork};
use crate::model::image_ref::full_name;
use crate::model::pod::PodUid;
use crate::model::token_bucket::TokenBucket;

/// How often images are pulled for pods (`throttleImagePulling` in `pkg/kubelet/images/helpers.go`): a bucket of tokens, full
/// at the start. Each pull takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullRate {
    /// `registryPullQPS`: how many tokens come in a second.
    pub per_second: u32,
    /// `registryBurst`: how many there are at most.
    pub burst: u32,
}

impl PullRate {
    fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.burst.into(), self.per_second.into(), Duration::ZERO)
    }
}

/// The pulls of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct Pulls {
    inner: Arc<Inner>,
    /// Where the pulls for pods are said.
    at_work: PullsAtWork,
}

#[derive(Debug)]
struct Inner {
    permits: Semaphore,
    /// How often they may begin, and since when that is counted.
    rate: Option<(Mutex<TokenBucket>, Instant)>,
    /// How often each image is being pulled, by its full name.
    under_way: Mutex<BTreeMap<String, usize>>,
}

/// A pull that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    pulls: Pulls,
    image: String,
}

impl Pulls {
    /// So many at once (`None`: any number), and so often (`None`: without limit).
    pub fn new(at_once: Option<u32>, rate: Option<PullRate>) -> Pulls {
        let permits = at_once.map_or(Semaphore::MAX_PERMITS, |at_once| at_once as usize);
        let inner = Inner {
            permits: Semaphore::new(permits),
            rate: rate.map(|rate| (Mutex::new(rate.bucket()), Instant::now())),
            under_way: Mutex::default(),
        };
        Pulls {
            inner: Arc::new(inner),
            at_work: PullsAtWork::default(),
        }
    }

    /// The same, and which are for pods is said there.
    pub fn said_at(self, at_work: PullsAtWork) -> Pulls {
        Pulls { at_work, ..self }
    }

    /// Says that an image is pulled for a pod.
    pub(super) fn begin_for(&self, pod: &PodUid, image: &str) -> Pulling {
        self.at_work.begin(pod, image)
    }

    /// A permit, if there is one now.
    pub(super) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.inner.permits.try_acquire()
    }

    /// A permit, as soon as there is one.
    pub(super) async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.inner.permits.acquire().await
    }

    /// Takes a token, if there is one.
    pub(super) fn may_ask_registry(&self, now: Instant) -> bool {
        self.inner.rate.as_ref().is_none_or(|(bucket, began)| {
            let passed = now.saturating_duration_since(*began);
            lock(bucket).take(passed).is_ok()
        })
    }

    /// Notes that an image is being pulled.
    pub(super) fn begin(&self, image: &str) -> UnderWay {
        let image = full_name(image);
        *lock(&self.inner.under_way).entry(image.clone()).or_default() += 1;
        UnderWay {
            pulls: self.clone(),
            image,
        }
    }

    /// Whether an image of one of these full names is being pulled.
    pub(super) fn are_under_way(&self, names: &[String]) -> bool {
        let under_way = lock(&self.inner.under_way);
        names.iter().any(|name| under_way.contains_key(name))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = lock(&self.pulls.inner.under_way);
        let left = under_way
            .get(&self.image)
            .map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(under_way.remove(&self.image)),
            left => drop(under_way.insert(self.image.clone(), left)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock can panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_pulled_at_once_and_then_so_many_a_second() {
        let rate = PullRate {
            per_second: 2,
            burst: 3,
        };
        let (pulls, begin) = (Pulls::new(None, Some(rate)), Instant::now());
        let granted = |at: u64, asked: usize| {
            let now = begin + Duration::from_millis(at);
            (0..asked).filter(|_| pulls.may_ask_registry(now)).count()
        };
        assert_eq!(granted(0, 5), 3);
        assert_eq!(granted(499, 1), 0);
        // A refused request takes nothing.
        assert_eq!(granted(500, 2), 1);
        assert_eq!(granted(60_000, 5), 3, "no more than the burst is saved");
        let unlimited = Pulls::new(None, None);
        assert!((0..1000).all(|_| unlimited.may_ask_registry(begin)));
    }

    #[test]
    fn an_image_is_being_pulled_until_its_last_pull_has_ended() {
        let pulls = Pulls::new(Some(1), None);
        let names = ["docker.io/library/busybox:latest".to_owned()];
        let first = pulls.begin("busybox");
        let second = pulls.begin("docker.io/library/busybox:latest");
        drop(first);
        assert!(pulls.are_under_way(&names));
        drop(second);
        assert!(!pulls.are_under_way(&names));
    }
}
