//! Chooses the next address: pure, from ranges, allocated addresses, and the last allocated one.
//!
//! Round robin, so that an address stays unused as long as possible after its pod is gone, and late packets for the old
//! pod do not reach a new one.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// A part of one subnet, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The subnet; addresses get its prefix length.
    pub subnet: IpNet,
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
    /// Never allocated.
    pub gateway: IpAddr,
}

/// Ranges of one family that are used one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(pub Vec<Range>);

/// An address with everything that a pod needs to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// The address with its subnet's prefix.
    pub address: IpNet,
    /// The subnet's gateway.
    pub gateway: IpAddr,
}

impl Range {
    /// Whether `address` is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && self.start <= address && address <= self.end
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.contains(other.start)
            || self.contains(other.end)
            || other.contains(self.start)
            || other.contains(self.end)
    }

    fn allocation(&self, address: IpAddr) -> Option<Allocation> {
        let address = IpNet::new(address, self.subnet.prefix_len()).ok()?;
        Some(Allocation {
            address,
            gateway: self.gateway,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl RangeSet {
    /// The range that contains `address`.
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    /// The next free address after `last`, or the first free one; `None` if all are allocated.
    pub fn next_free(&self, taken: impl Fn(IpAddr) -> bool, last: Option<IpAddr>) -> Option<Allocation> {
        let begin = last.and_then(|last| Some((self.0.iter().position(|range| range.contains(last))?, last)));
        let (first, after) = begin.map_or((0, None), |(first, last)| (first, Some(last)));
        let behind = self.0.iter().skip(first).enumerate().flat_map(|(nth, range)| {
            let from = if nth == 0 {
                after.map_or(Some(range.start), step)
            } else {
                Some(range.start)
            };
            addresses(range, from)
        });
        // Then wrap around: whole ranges up to the first one, whose second half is checked twice.
        let round = self
            .0
            .iter()
            .take(first + 1)
            .flat_map(|range| addresses(range, Some(range.start)));
        behind
            .chain(round)
            .find(|(range, address)| *address != range.gateway && !taken(*address))
            .and_then(|(range, address)| range.allocation(address))
    }

    /// The allocation of one particular address of the set, free or not.
    pub fn allocation_of(&self, address: IpAddr) -> Option<Allocation> {
        self.range_of(address)?.allocation(address)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = self.0.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

/// The address after `address`; `None` after the last possible one.
pub fn step(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4)
            .checked_add(1)
            .map(|next| IpAddr::from(next.to_be_bytes())),
        IpAddr::V6(v6) => u128::from(v6)
            .checked_add(1)
            .map(|next| IpAddr::from(next.to_be_bytes())),
    }
}

fn addresses(range: &Range, from: Option<IpAddr>) -> impl Iterator<Item = (&Range, IpAddr)> {
    std::iter::successors(from, |address| step(*address))
        .take_while(|address| *address <= range.end)
        .map(move |address| (range, address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(start: &str, end: &str) -> Range {
        let subnet: IpNet = IpNet::new(start.parse().unwrap(), 24).unwrap().trunc();
        Range {
            subnet,
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
            gateway: step(subnet.network()).unwrap(),
        }
    }

    fn check(set: &RangeSet, taken: &[&str], last: Option<&str>, expected: Option<&str>) {
        let taken: BTreeSet<IpAddr> = taken.iter().map(|ip| ip.parse().unwrap()).collect();
        let found = set.next_free(|ip| taken.contains(&ip), last.map(|ip| ip.parse().unwrap()));
        assert_eq!(
            found.map(|found| found.address.addr().to_string()).as_deref(),
            expected
        );
    }

    #[test]
    fn the_gateway_is_skipped_and_the_round_goes_on_after_the_last() {
        let set = RangeSet(vec![range("10.1.0.1", "10.1.0.5")]);
        check(&set, &[], None, Some("10.1.0.2"));
        check(&set, &["10.1.0.2"], None, Some("10.1.0.3"));
        check(&set, &[], Some("10.1.0.3"), Some("10.1.0.4"));
        check(&set, &[], Some("10.1.0.5"), Some("10.1.0.2"));
        check(
            &set,
            &["10.1.0.4", "10.1.0.5"],
            Some("10.1.0.3"),
            Some("10.1.0.2"),
        );
        check(
            &set,
            &["10.1.0.2", "10.1.0.4", "10.1.0.5"],
            Some("10.1.0.3"),
            Some("10.1.0.3"),
        );
        check(
            &set,
            &["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"],
            Some("10.1.0.3"),
            None,
        );
        check(&set, &[], Some("192.168.0.1"), Some("10.1.0.2"));
    }

    #[test]
    fn several_ranges_form_one_ring() {
        let set = RangeSet(vec![range("10.1.0.4", "10.1.0.5"), range("10.2.0.8", "10.2.0.9")]);
        check(&set, &[], Some("10.1.0.5"), Some("10.2.0.8"));
        check(&set, &[], Some("10.2.0.9"), Some("10.1.0.4"));
        check(
            &set,
            &["10.2.0.9", "10.1.0.4"],
            Some("10.2.0.8"),
            Some("10.1.0.5"),
        );
    }

    #[test]
    fn the_end_of_all_addresses_is_an_end() {
        let set = RangeSet(vec![range("255.255.255.250", "255.255.255.255")]);
        check(&set, &[], Some("255.255.255.255"), Some("255.255.255.250"));
    }

    proptest! {
        #[test]
        fn what_is_given_is_free_in_range_and_no_gateway_and_nothing_free_is_missed(
            start in 1u8..=254, length in 0u8..40, start2 in 1u8..=254, length2 in 0u8..40,
            taken in proptest::collection::btree_set((1u8..3, 0u8..=255), 0..120), last in (1u8..3, 0u8..=255),
        ) {
            let ip = |(net, host): (u8, u8)| IpAddr::from([10, net, 0, host]);
            let make = |net, start: u8, length: u8| Range {
                subnet: IpNet::new(ip((net, 0)), 24).unwrap(),
                start: ip((net, start)), end: ip((net, start.saturating_add(length))), gateway: ip((net, 1)),
            };
            let set = RangeSet(vec![make(1, start, length), make(2, start2, length2)]);
            let taken: BTreeSet<IpAddr> = taken.into_iter().map(ip).collect();
            let free: BTreeSet<IpAddr> = set.0.iter().flat_map(|range| addresses(range, Some(range.start)))
                .filter(|(range, address)| *address != range.gateway && !taken.contains(address))
                .map(|(_, address)| address).collect();
            match set.next_free(|address| taken.contains(&address), Some(ip(last))) {
                Some(found) => prop_assert!(free.contains(&found.address.addr())),
                None => prop_assert!(free.is_empty()),
            }
        }

        #[test]
        fn a_round_gives_every_address_exactly_once(start in 2u8..200, length in 0u8..50) {
            let set = RangeSet(vec![range(&format!("10.1.0.{start}"), &format!("10.1.0.{}", start + length))]);
            let mut taken = BTreeSet::new();
            let mut last = None;
            while let Some(found) = set.next_free(|address| taken.contains(&address), last) {
                last = Some(found.address.addr());
                prop_assert!(taken.insert(found.address.addr()));
            }
            prop_assert_eq!(taken.len(), usize::from(length) + 1);
        }
    }
}
