//! Amounts of compute resources: parsed from Kubernetes quantities once, exact integers afterwards.

use std::collections::BTreeMap;

/// Thousandths of one CPU core (`100m` = 100, `2` = 2000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MilliCpu(pub i64);

impl MilliCpu {
    /// The canonical Kubernetes quantity: `2`, `1500m`.
    pub fn quantity(self) -> String {
        decimal(self.0, &["m", "", "k", "M", "G"])
    }
}

/// Bytes of memory, disk or huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub i64);

impl Bytes {
    /// The canonical Kubernetes quantity in binary units: `24684092Ki`, or plain digits if no unit divides the value.
    pub fn quantity(self) -> String {
        let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let (value, unit) = largest_unit(self.0, 1024, &units);
        format!("{value}{unit}")
    }

    /// A huge page's size as the runtime and cgroup files name it: `2MB`, `1GB`.
    pub fn page_size(self) -> String {
        let (value, unit) = largest_unit(self.0, 1024, &["B", "KB", "MB", "GB", "TB"]);
        format!("{value}{unit}")
    }
}

/// The canonical Kubernetes quantity of a count: `110`, `1k`.
pub fn count_quantity(count: i64) -> String {
    decimal(count, &["", "k", "M", "G", "T", "P", "E"])
}

fn decimal(value: i64, units: &[&'static str]) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    let (value, unit) = largest_unit(value, 1000, units);
    format!("{value}{unit}")
}

/// The value in the largest unit that divides it without remainder.
fn largest_unit(mut value: i64, base: i64, units: &[&'static str]) -> (i64, &'static str) {
    let mut unit = 0;
    while value != 0 && value % base == 0 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    (value, units[unit])
}

/// The requests, limits or capacity of a container, pod or node. An absent entry means "not stated", which differs from
/// zero (Kubernetes: *Resource Management for Pods and Containers*).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts {
    /// `cpu`
    pub cpu: Option<MilliCpu>,
    /// `memory`
    pub memory: Option<Bytes>,
    /// `ephemeral-storage`
    pub ephemeral_storage: Option<Bytes>,
    /// `hugepages-<size>`, by page size.
    pub hugepages: BTreeMap<Bytes, Bytes>,
    /// Extended resources (`example.com/gpu`), by name.
    pub extended: BTreeMap<String, i64>,
}

impl Amounts {
    /// Adds what `other` states.
    pub fn add(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_add);
    }

    /// The amounts that `names` states too; the few amounts that every node has are always included. The cost depends
    /// on the size of `names`, not of `self`.
    pub fn of_those_in(&self, names: &Amounts) -> Amounts {
        let pages = names.hugepages.keys();
        let extended = names.extended.keys();
        Amounts {
            hugepages: pages
                .filter_map(|size| Some((*size, *self.hugepages.get(size)?)))
                .collect(),
            extended: extended
                .filter_map(|name| Some((name.clone(), *self.extended.get(name)?)))
                .collect(),
            ..*self
        }
    }

    /// Raises each amount to that of `other` if that is larger.
    pub fn raise_to(&mut self, other: &Amounts) {
        self.combine(other, i64::max);
    }

    /// Subtracts what `other` states from the amounts stated here; none becomes negative.
    pub fn take_off(&mut self, other: &Amounts) {
        let less = |mine: i64, theirs: i64| mine.saturating_sub(theirs).max(0);
        if let (Some(mine), Some(theirs)) = (&mut self.cpu, other.cpu) {
            mine.0 = less(mine.0, theirs.0);
        }
        if let (Some(mine), Some(theirs)) = (&mut self.memory, other.memory) {
            mine.0 = less(mine.0, theirs.0);
        }
        if let (Some(mine), Some(theirs)) = (&mut self.ephemeral_storage, other.ephemeral_storage) {
            mine.0 = less(mine.0, theirs.0);
        }
        for (size, mine) in &mut self.hugepages {
            mine.0 = less(mine.0, other.hugepages.get(size).map_or(0, |theirs| theirs.0));
        }
        for (name, mine) in &mut self.extended {
            *mine = less(*mine, other.extended.get(name).copied().unwrap_or(0));
        }
    }

    /// Applies `f` to each amount that both state, and copies what only `other` states.
    fn combine(&mut self, other: &Amounts, f: impl Fn(i64, i64) -> i64) {
        if let Some(theirs) = other.cpu {
            self.cpu = Some(self.cpu.map_or(theirs, |mine| MilliCpu(f(mine.0, theirs.0))));
        }
        if let Some(theirs) = other.memory {
            self.memory = Some(self.memory.map_or(theirs, |mine| Bytes(f(mine.0, theirs.0))));
        }
        if let Some(theirs) = other.ephemeral_storage {
            self.ephemeral_storage = Some(
                self.ephemeral_storage
                    .map_or(theirs, |mine| Bytes(f(mine.0, theirs.0))),
            );
        }
        for (&size, &theirs) in &other.hugepages {
            self.hugepages
                .entry(size)
                .and_modify(|mine| mine.0 = f(mine.0, theirs.0))
                .or_insert(theirs);
        }
        for (name, &theirs) in &other.extended {
            self.extended
                .entry(name.clone())
                .and_modify(|mine| *mine = f(*mine, theirs))
                .or_insert(theirs);
        }
    }

    /// CPU in thousandths; not stated counts as 0.
    pub fn cpu_or_zero(&self) -> i64 {
        self.cpu.map_or(0, |cpu| cpu.0)
    }

    /// Memory in bytes; not stated counts as 0.
    pub fn memory_or_zero(&self) -> i64 {
        self.memory.map_or(0, |memory| memory.0)
    }
}

/// The `resources` of a container or a pod. A request without a value but with a limit has already been set to the
/// limit (the API server's defaulting rule).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// What is set aside.
    pub requests: Amounts,
    /// What may not be exceeded.
    pub limits: Amounts,
}

/// Quality of service class (Kubernetes: *Pod Quality of Service Classes*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// Every container states equal CPU and memory requests and limits.
    Guaranteed,
    /// Something is stated, but not enough for `Guaranteed`.
    Burstable,
    /// Nothing is stated.
    BestEffort,
}

impl Qos {
    /// The name as it stands in `PodStatus.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// The QoS class of a pod with these resources: its pod-level ones if stated, else those of its containers and init
/// containers (`pkg/apis/core/v1/helper/qos/qos.go` of Kubernetes). Only CPU and memory count, and zero counts as not
/// stated.
pub fn qos_class<'a>(pod: Option<&Resources>, containers: impl Iterator<Item = &'a Resources>) -> Qos {
    let stated = |amounts: &Amounts| (amounts.cpu_or_zero(), amounts.memory_or_zero());
    let sum = |a: (i64, i64), b: (i64, i64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
    let (mut requests, mut limits, mut all_limited) = ((0, 0), (0, 0), true);
    let mut count = |resources: &Resources| {
        let limit = stated(&resources.limits);
        requests = sum(requests, stated(&resources.requests));
        limits = sum(limits, limit);
        all_limited &= limit.0 > 0 && limit.1 > 0;
    };
    match pod {
        Some(own) => count(own),
        None => containers.for_each(count),
    }
    if requests == (0, 0) && limits == (0, 0) {
        Qos::BestEffort
    } else if all_limited && requests == limits {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let check = |quantity: String, expected: &str| assert_eq!(quantity, expected);
        check(MilliCpu(0).quantity(), "0");
        check(MilliCpu(1500).quantity(), "1500m");
        check(MilliCpu(2000).quantity(), "2");
        check(MilliCpu(1_000_000).quantity(), "1k");
        check(Bytes(0).quantity(), "0");
        check(Bytes(1000).quantity(), "1000");
        check(Bytes(24_684_092 << 10).quantity(), "24684092Ki");
        check(Bytes(64 << 20).quantity(), "64Mi");
        check(Bytes(i64::MAX).quantity(), "9223372036854775807");
        check(Bytes(2 << 20).page_size(), "2MB");
        check(Bytes(1 << 30).page_size(), "1GB");
        check(Bytes(64 << 10).page_size(), "64KB");
        check(count_quantity(110), "110");
        check(count_quantity(2000), "2k");
    }

    /// Request and limit of CPU, request and limit of memory; 0 means not set.
    fn resources([cpu, cpu_limit, memory, memory_limit]: [i64; 4]) -> Resources {
        let amounts = |cpu, memory| Amounts {
            cpu: Some(MilliCpu(cpu)).filter(|cpu| cpu.0 != 0),
            memory: Some(Bytes(memory)).filter(|memory| memory.0 != 0),
            ..Amounts::default()
        };
        Resources {
            requests: amounts(cpu, memory),
            limits: amounts(cpu_limit, memory_limit),
        }
    }

    #[test]
    fn classes() {
        let check = |own: Option<[i64; 4]>, containers: &[[i64; 4]], expected: Qos| {
            let containers: Vec<Resources> = containers.iter().copied().map(resources).collect();
            let class = qos_class(own.map(resources).as_ref(), containers.iter());
            assert_eq!(class, expected, "{own:?} {containers:?}");
        };
        use Qos::{BestEffort, Burstable, Guaranteed};
        check(None, &[[0; 4], [0; 4]], BestEffort);
        check(None, &[[1, 1, 2, 2], [3, 3, 4, 4]], Guaranteed);
        check(None, &[[1, 1, 2, 2], [0; 4]], Burstable);
        check(None, &[[1, 1, 2, 3]], Burstable);
        check(None, &[[1, 1, 0, 0]], Burstable);
        check(None, &[[0, 0, 5, 0]], Burstable);
        check(Some([2, 2, 3, 3]), &[[0; 4]], Guaranteed);
        check(Some([2, 2, 0, 0]), &[[1, 1, 1, 1]], Burstable);
        let huge = Resources {
            limits: Amounts {
                hugepages: BTreeMap::from([(Bytes(2 << 20), Bytes(4 << 20))]),
                ..Amounts::default()
            },
            ..Resources::default()
        };
        assert_eq!(qos_class(None, [&huge].into_iter()), BestEffort);
    }

    #[test]
    fn arithmetic_of_amounts() {
        let amounts = |cpu: Option<i64>, memory: Option<i64>| Amounts {
            cpu: cpu.map(MilliCpu),
            memory: memory.map(Bytes),
            ..Amounts::default()
        };
        let mut sum = amounts(Some(1), None);
        sum.add(&amounts(Some(2), Some(5)));
        assert_eq!(sum, amounts(Some(3), Some(5)));
        sum.raise_to(&amounts(Some(1), Some(9)));
        assert_eq!(sum, amounts(Some(3), Some(9)));
        sum.take_off(&amounts(Some(4), Some(4)));
        assert_eq!(sum, amounts(Some(0), Some(5)));
        sum.add(&amounts(Some(i64::MAX), Some(i64::MAX)));
        assert_eq!(sum, amounts(Some(i64::MAX), Some(i64::MAX)));
    }
}
