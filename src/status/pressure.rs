//! Whether the node is short of memory, disk or PIDs: at once when a threshold of `evictionHard` is crossed, and until
//! it has not been crossed for a while (`pkg/kubelet/eviction/{eviction_manager,helpers}.go`). Without that period, a
//! node close to a threshold would alternate between getting pods and rejecting them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::node::{FsUsage, Measured, NodeSettings};
use crate::model::resources::Bytes;

/// The resources that a node can be short of; each is one condition of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// `MemoryPressure`
    Memory,
    /// `DiskPressure`: bytes or inodes, of the node's or the images' file system.
    Disk,
    /// `PIDPressure`
    Pids,
}

/// When the node last had each shortage. Carried over from one observation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pressure {
    last: BTreeMap<Shortage, Timestamp>,
}

impl Pressure {
    /// The pressure after this measurement; `memory` is the machine's.
    pub fn after(
        &self,
        measured: &Measured,
        memory: Bytes,
        settings: &NodeSettings,
        now: Timestamp,
    ) -> Pressure {
        let mut last = self.last.clone();
        let crossed = signals(measured, memory)
            .into_iter()
            .filter(|signal| signal.crossed(settings))
            .map(|signal| (signal.shortage, now));
        last.extend(crossed);
        Pressure { last }
    }

    /// Whether the node has the shortage now or had it within the period (`evictionPressureTransitionPeriod`).
    pub fn is_under(&self, shortage: Shortage, period: Duration, now: Timestamp) -> bool {
        let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
        self.last
            .get(&shortage)
            .is_some_and(|&last| last >= now || now.duration_since(last) < period)
    }
}

/// A measured quantity with a threshold.
struct Signal {
    name: &'static str,
    shortage: Shortage,
    available: i64,
    capacity: i64,
}

impl Signal {
    fn crossed(&self, settings: &NodeSettings) -> bool {
        let threshold = settings.eviction_hard.get(self.name);
        threshold.is_some_and(|threshold| self.available < threshold.of(self.capacity))
    }
}

fn signals(measured: &Measured, memory: Bytes) -> Vec<Signal> {
    let signal = |name, shortage, available, capacity| Signal {
        name,
        shortage,
        available,
        capacity,
    };
    let mut signals = vec![
        signal(
            "memory.available",
            Shortage::Memory,
            measured.memory_available.0,
            memory.0,
        ),
        signal(
            "pid.available",
            Shortage::Pids,
            measured.pids_max - measured.pids_used,
            measured.pids_max,
        ),
    ];
    let mut disk = |fs: &FsUsage, bytes, inodes| {
        signals.push(signal(bytes, Shortage::Disk, fs.available.0, fs.capacity.0));
        // A file system that creates inodes on demand reports 0.
        if fs.inodes > 0 {
            signals.push(signal(inodes, Shortage::Disk, fs.inodes_free, fs.inodes));
        }
    };
    disk(&measured.nodefs, "nodefs.available", "nodefs.inodesFree");
    if let Some(imagefs) = &measured.imagefs {
        disk(imagefs, "imagefs.available", "imagefs.inodesFree");
    }
    signals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node::Threshold;

    const PERIOD: Duration = Duration::from_secs(300);
    const MEMORY: Bytes = Bytes(1000);

    fn roomy() -> Measured {
        let fs = FsUsage {
            capacity: Bytes(1000),
            available: Bytes(500),
            inodes: 100,
            inodes_free: 50,
        };
        Measured {
            memory_available: Bytes(500),
            nodefs: fs,
            imagefs: Some(fs),
            pids_max: 1000,
            pids_used: 100,
        }
    }

    fn settings() -> NodeSettings {
        let thresholds = [
            ("memory.available", Threshold::Quantity(100)),
            ("nodefs.available", Threshold::Fraction(0.1)),
            ("nodefs.inodesFree", Threshold::Fraction(0.05)),
            ("imagefs.available", Threshold::Fraction(0.15)),
            ("imagefs.inodesFree", Threshold::Quantity(3)),
            ("pid.available", Threshold::Fraction(0.1)),
        ];
        NodeSettings {
            eviction_hard: thresholds
                .into_iter()
                .map(|(signal, threshold)| (signal.to_owned(), threshold))
                .collect(),
            ..NodeSettings::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn under(pressure: &Pressure, now: Timestamp) -> Vec<Shortage> {
        [Shortage::Memory, Shortage::Disk, Shortage::Pids]
            .into_iter()
            .filter(|&shortage| pressure.is_under(shortage, PERIOD, now))
            .collect()
    }

    fn check(change: impl FnOnce(&mut Measured), expected: &[Shortage]) {
        let mut measured = roomy();
        change(&mut measured);
        let pressure = Pressure::default().after(&measured, MEMORY, &settings(), at(0));
        assert_eq!(under(&pressure, at(0)), expected, "{measured:?}");
    }

    #[test]
    fn each_signal_has_its_condition() {
        check(|_| {}, &[]);
        check(|m| m.memory_available = Bytes(99), &[Shortage::Memory]);
        check(|m| m.memory_available = Bytes(100), &[]);
        check(|m| m.nodefs.available = Bytes(99), &[Shortage::Disk]);
        check(|m| m.nodefs.available = Bytes(101), &[]);
        check(|m| m.nodefs.inodes_free = 4, &[Shortage::Disk]);
        check(
            |m| m.imagefs.as_mut().unwrap().available = Bytes(149),
            &[Shortage::Disk],
        );
        check(|m| m.imagefs.as_mut().unwrap().inodes_free = 2, &[Shortage::Disk]);
        check(|m| m.imagefs = None, &[]);
        check(|m| m.pids_used = 901, &[Shortage::Pids]);
        check(|m| (m.nodefs.inodes, m.nodefs.inodes_free) = (0, 0), &[]);
        check(
            |m| (m.memory_available, m.pids_used) = (Bytes(0), 1000),
            &[Shortage::Memory, Shortage::Pids],
        );
    }

    #[test]
    fn no_threshold_no_pressure() {
        let measured = Measured::default();
        let settings = NodeSettings::default();
        let pressure = Pressure::default().after(&measured, MEMORY, &settings, at(0));
        assert_eq!(under(&pressure, at(0)), []);
    }

    #[test]
    fn pressure_comes_at_once_and_goes_after_the_period() {
        let short = Measured {
            memory_available: Bytes(1),
            ..roomy()
        };
        let measure = |pressure: &Pressure, measured: &Measured, second| {
            let pressure = pressure.after(measured, MEMORY, &settings(), at(second));
            let under = under(&pressure, at(second));
            (pressure, under)
        };
        let (pressure, now) = measure(&Pressure::default(), &roomy(), 0);
        assert_eq!(now, []);
        let (pressure, now) = measure(&pressure, &short, 10);
        assert_eq!(now, [Shortage::Memory]);
        // No longer short, but it still counts as short.
        let (pressure, now) = measure(&pressure, &roomy(), 20);
        assert_eq!(now, [Shortage::Memory]);
        // Crossed again: the period starts over.
        let (pressure, _) = measure(&pressure, &short, 200);
        let (pressure, now) = measure(&pressure, &roomy(), 200 + 299);
        assert_eq!(now, [Shortage::Memory]);
        let (pressure, now) = measure(&pressure, &roomy(), 200 + 300);
        assert_eq!(now, []);
        let (_, now) = measure(&pressure, &short, 501);
        assert_eq!(now, [Shortage::Memory]);
    }

    #[test]
    fn without_a_period_it_goes_with_the_next_measurement() {
        let short = Measured {
            pids_used: 1000,
            ..roomy()
        };
        let pressure = Pressure::default().after(&short, MEMORY, &settings(), at(0));
        assert!(pressure.is_under(Shortage::Pids, Duration::ZERO, at(0)));
        assert!(!pressure.is_under(Shortage::Pids, Duration::ZERO, at(1)));
    }
}
