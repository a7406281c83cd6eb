//! Which mounted volumes are measured when, and what is remembered of them. Pure: the task has the calls and the clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::found::{Found, Key};
use crate::model::backoff;
use crate::model::pod::PodUid;
use crate::model::stats::{MountedUsage, MountedUsages, VolumeNumbers};
use crate::stats::volume::REST;

/// What came of measuring a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Measured {
    /// This.
    Numbers(VolumeNumbers),
    /// Nothing for now: its driver is not registered. It is tried whenever somebody asks.
    NotYet,
    /// It failed, or there is nothing to be measured.
    Nothing,
}

#[derive(Debug)]
struct Volume {
    found: Found,
    /// Under way since.
    begun: Option<Instant>,
    /// Not measured before.
    rests_until: Option<Instant>,
    last: Option<VolumeNumbers>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Remembered {
    volumes: BTreeMap<Key, Volume>,
    period: Duration,
}

impl Remembered {
    /// Volumes are measured again after this time and up to half of it, each after another.
    pub(super) fn new(period: Duration) -> Remembered {
        Remembered {
            volumes: BTreeMap::new(),
            period,
        }
    }

    /// Takes what there is: what is gone is forgotten, and what is due is to be measured now. A volume is never measured
    /// twice at once.
    pub(super) fn take(&mut self, found: BTreeMap<Key, Found>, now: Instant) -> Vec<(Key, Found)> {
        self.volumes
            .retain(|key, volume| found.get(key) == Some(&volume.found));
        let mut due = Vec::new();
        for (key, found) in found {
            let volume = self.volumes.entry(key.clone()).or_insert_with(|| Volume {
                found,
                begun: None,
                rests_until: None,
                last: None,
            });
            if volume.begun.is_none() && volume.rests_until.is_none_or(|until| until <= now) {
                volume.begun = Some(now);
                due.push((key, volume.found.clone()));
            }
        }
        due
    }

    /// Takes what came of a volume. Numbers that could not be read are not shown again; a call that has not returned leaves
    /// the last ones.
    pub(super) fn measured(
        &mut self,
        (key, found): (&Key, &Found),
        (measured, took): (Measured, Duration),
        now: Instant,
        salt: u64,
    ) {
        let volume = self.volumes.get_mut(key).filter(|volume| volume.found == *found);
        let Some(volume) = volume else { return };
        volume.begun = None;
        let rest = backoff::spread(self.period, salt).max(took * REST);
        (volume.rests_until, volume.last) = match measured {
            Measured::Numbers(numbers) => (Some(now + rest), Some(numbers)),
            Measured::Nothing => (Some(now + rest), None),
            Measured::NotYet => (None, None),
        };
    }

    /// Whether a measurement is under way that has begun after this.
    pub(super) fn is_measuring_since(&self, moment: Instant) -> bool {
        let mut begun = self.volumes.values().filter_map(|volume| volume.begun);
        begun.any(|begun| begun > moment)
    }

    /// What is known.
    pub(super) fn usages(&self) -> MountedUsages {
        let mut all: BTreeMap<PodUid, Vec<MountedUsage>> = BTreeMap::new();
        for (key, volume) in &self.volumes {
            let Some(numbers) = &volume.last else { continue };
            all.entry(key.pod.clone()).or_default().push(MountedUsage {
                name: key.name.clone(),
                plugin: key.plugin,
                numbers: numbers.clone(),
            });
        }
        MountedUsages(all)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::stats::MountedPlugin;

    const PERIOD: Duration = Duration::from_secs(60);
    const ZERO: Duration = Duration::ZERO;

    fn key(name: &str) -> Key {
        Key {
            pod: PodUid("u".to_owned()),
            plugin: MountedPlugin::Csi,
            name: name.to_owned(),
        }
    }

    fn found(handle: &str) -> Found {
        Found {
            path: "/mount".into(),
            of_driver: Some(("d".to_owned(), handle.to_owned())),
        }
    }

    fn there(volumes: &[(&str, &str)]) -> BTreeMap<Key, Found> {
        volumes
            .iter()
            .map(|(name, handle)| (key(name), found(handle)))
            .collect()
    }

    fn numbers(used: u64) -> Measured {
        Measured::Numbers(VolumeNumbers {
            at: Timestamp::UNIX_EPOCH,
            capacity: 10,
            available: 0,
            used,
            inodes: 0,
            inodes_free: 0,
            inodes_used: 0,
            health: None,
        })
    }

    fn names(due: &[(Key, Found)]) -> Vec<&str> {
        due.iter().map(|(key, _)| key.name.as_str()).collect()
    }

    fn used(remembered: &Remembered) -> Vec<(String, u64)> {
        let usages = remembered.usages().0;
        let all = usages.values().flatten();
        all.map(|usage| (usage.name.clone(), usage.numbers.used))
            .collect()
    }

    #[test]
    fn a_volume_is_measured_once_in_a_period_and_never_twice_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut remembered = Remembered::new(PERIOD);
        let both = || there(&[("a", "1"), ("b", "2")]);
        assert_eq!(names(&remembered.take(both(), at(0))), ["a", "b"]);
        assert_eq!(names(&remembered.take(both(), at(1))), [""; 0]);
        remembered.measured((&key("a"), &found("1")), (numbers(5), ZERO), at(1), 0);
        assert_eq!(used(&remembered), [("a".to_owned(), 5)]);
        assert!(remembered.is_measuring_since(start - Duration::from_secs(1)));
        // The other one hangs for two minutes: it rests for twenty.
        assert_eq!(names(&remembered.take(both(), at(61))), ["a"]);
        remembered.measured((&key("a"), &found("1")), (Measured::Nothing, ZERO), at(61), 0);
        let hung = (Measured::Nothing, Duration::from_secs(120));
        remembered.measured((&key("b"), &found("2")), hung, at(120), 0);
        assert_eq!(used(&remembered), []);
        assert_eq!(names(&remembered.take(both(), at(1319))), ["a"]);
        assert_eq!(names(&remembered.take(both(), at(1320))), ["b"]);
    }

    #[test]
    fn volumes_that_were_measured_together_are_measured_again_one_after_the_other() {
        let start = Instant::now();
        let mut remembered = Remembered::new(PERIOD);
        let both = || there(&[("a", "1"), ("b", "2")]);
        remembered.take(both(), start);
        remembered.measured((&key("a"), &found("1")), (numbers(1), ZERO), start, 0);
        remembered.measured((&key("b"), &found("2")), (numbers(1), ZERO), start, 20_000);
        assert_eq!(
            names(&remembered.take(both(), start + Duration::from_secs(79))),
            ["a"]
        );
        assert_eq!(
            names(&remembered.take(both(), start + Duration::from_secs(80))),
            ["b"]
        );
    }

    #[test]
    fn what_is_gone_or_another_volume_is_forgotten() {
        let now = Instant::now();
        let mut remembered = Remembered::new(PERIOD);
        remembered.take(there(&[("a", "1"), ("b", "2")]), now);
        remembered.measured((&key("a"), &found("1")), (numbers(1), ZERO), now, 0);
        remembered.measured((&key("b"), &found("2")), (numbers(2), ZERO), now, 0);
        assert_eq!(names(&remembered.take(there(&[("b", "3")]), now)), ["b"]);
        assert_eq!(used(&remembered), []);
        // What was measured of the former volume comes late.
        remembered.measured((&key("b"), &found("2")), (numbers(2), ZERO), now, 0);
        assert_eq!(used(&remembered), []);
    }

    #[test]
    fn a_volume_whose_driver_is_not_there_yet_is_tried_at_the_next_question() {
        let now = Instant::now();
        let mut remembered = Remembered::new(PERIOD);
        let one = || there(&[("a", "1")]);
        remembered.take(one(), now);
        remembered.measured((&key("a"), &found("1")), (Measured::NotYet, ZERO), now, 0);
        assert_eq!(names(&remembered.take(one(), now)), ["a"]);
    }
}
