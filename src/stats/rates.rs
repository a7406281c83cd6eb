//! What two samples say together: the CPU time of the last seconds. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::stats::CgroupSample;

/// A rate over less time is mostly noise.
const LEAST: i128 = 500_000_000;

/// A counter, with its rate at the time of its sample.
#[derive(Debug, Clone, Copy)]
struct Counted {
    at: Timestamp,
    number: u64,
    total: u64,
    rate: Option<u64>,
}

/// The counters of the last sample, by cgroup.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    last: HashMap<Arc<str>, Counted>,
    next: HashMap<Arc<str>, Counted>,
}

impl Rates {
    /// Adds the CPU time used in a second since the last sample.
    pub(super) fn apply(&mut self, sample: &mut CgroupSample) {
        let Some(cpu) = sample.usage.cpu else { return };
        // A cgroup of the same path may be another one.
        let last = self.last.get(&sample.path);
        let last = last.filter(|last| last.number == sample.number && last.total <= cpu.total);
        let mut counted = Counted {
            at: sample.at,
            number: sample.number,
            total: cpu.total,
            rate: None,
        };
        if let Some(last) = last {
            let elapsed = sample.at.as_nanosecond() - last.at.as_nanosecond();
            if elapsed < LEAST {
                counted = *last;
            } else {
                let used = i128::from(cpu.total - last.total);
                counted.rate = u64::try_from(used * 1_000_000_000 / elapsed).ok();
            }
        }
        sample.nano_cores = counted.rate;
        self.next.insert(Arc::clone(&sample.path), counted);
    }

    /// Ends a sample: cgroups that were not in it are forgotten.
    pub(super) fn end(&mut self) {
        self.last = std::mem::take(&mut self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usage::{CpuUsage, Usage};

    fn rate(rates: &mut Rates, millis: i64, number: u64, total: u64) -> Option<u64> {
        let mut sample = CgroupSample {
            path: "/a".into(),
            at: Timestamp::from_millisecond(millis).unwrap(),
            created: Timestamp::UNIX_EPOCH,
            number,
            usage: Usage {
                cpu: Some(CpuUsage {
                    total,
                    ..CpuUsage::default()
                }),
                ..Usage::default()
            },
            nano_cores: None,
            processes: Default::default(),
        };
        rates.apply(&mut sample);
        rates.end();
        sample.nano_cores
    }

    #[test]
    fn a_rate_is_of_the_time_since_the_last_sample_of_the_same_cgroup() {
        let mut rates = Rates::default();
        assert_eq!(rate(&mut rates, 0, 7, 1_000_000_000), None);
        assert_eq!(rate(&mut rates, 2000, 7, 2_000_000_000), Some(500_000_000));
        // Too soon: the rate of before stands, and is not forgotten by the next one.
        assert_eq!(rate(&mut rates, 2100, 7, 2_100_000_000), Some(500_000_000));
        assert_eq!(rate(&mut rates, 3000, 7, 4_000_000_000), Some(2_000_000_000));
        // Another one of the same path, and a clock that was set back.
        assert_eq!(rate(&mut rates, 4000, 8, 4_000_000_000), None);
        assert_eq!(rate(&mut rates, 3000, 8, 5_000_000_000), None);
    }
}
