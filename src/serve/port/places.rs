//! Which connection has a slot at a port, and which one is closed to make room. Pure: no lock, no clock, no I/O; those
//! are in [`super::seat`].
//!
//! Until its client is authenticated, a connection counts as a stranger. Strangers and known (authenticated) clients
//! have separate slots, so that strangers, however many, never take the slots of authenticated clients. When all slots
//! are taken, the address with the most connections loses the one that has been idle for longest: a client that fills a
//! port affects only itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// The maximum number of connections: in total, and from one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) all: usize,
    pub(super) each: usize,
}

/// The bounds of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(super) strangers: Bound,
    pub(super) known: Bound,
}

impl Bounds {
    /// For a port that authenticates clients. A stranger costs at most some 120 KiB (a header, and before it a
    /// handshake, of at most 64 KiB each, and the 16 KiB of a certificate chain twice): 128 of them stay below 16 MiB.
    /// One API server is one origin: the logs of 250 containers that it follows and hundreds of streams have a connection
    /// each, and a quarter of the slots is left for others.
    pub(crate) const AUTHENTICATED: Bounds = Bounds {
        strangers: Bound { all: 128, each: 32 },
        known: Bound { all: 1024, each: 768 },
    };

    /// For a port of the loopback address: all its clients are one origin, and one API client of a person needs few.
    pub(crate) const LOOPBACK: Bounds = Bounds {
        strangers: Bound { all: 32, each: 32 },
        known: Bound { all: 256, each: 256 },
    };

    /// For a port without authentication.
    pub(crate) const OPEN: Bounds = Bounds {
        strangers: Bound { all: 64, each: 32 },
        known: Bound { all: 0, each: 0 },
    };
}

/// The origin of a connection: an IPv4 address, or the /64 of an IPv6 address, because one machine may have all
/// addresses of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin(IpAddr);

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Origin {
        Origin(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            v4 => v4,
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Identifies a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(u64);

/// A connection that has lost its slot to another one, and its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) id: Id,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    origin: Origin,
    /// Whether a request is being answered.
    is_busy: bool,
    /// The sequence number of its last change: the smaller, the longer ago.
    since: u64,
}

/// The connections of a port.
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    strangers: BTreeMap<Id, Place>,
    known: BTreeMap<Id, Place>,
    turn: u64,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Places {
        Places {
            bounds,
            strangers: BTreeMap::new(),
            known: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Adds a connection, which always gets a slot.
    pub(super) fn enter(&mut self, origin: Origin) -> (Id, Option<Lost>) {
        let bound = self.bounds.strangers;
        let lost = match occupied(&self.strangers, origin) {
            own if own >= bound.each => first_to_go(&self.strangers, |place| place.origin == origin),
            _ if self.strangers.len() >= bound.all => first_to_go(&self.strangers, |_| true),
            _ => None,
        };
        let lost = lost.and_then(|lost| self.lose(lost));
        let since = self.next();
        let place = Place {
            origin,
            is_busy: false,
            since,
        };
        self.strangers.insert(Id(since), place);
        (Id(since), lost)
    }

    /// Marks the client as authenticated. If no slot can be freed, the connection stays among the strangers.
    pub(super) fn recognise(&mut self, id: Id) -> Option<Lost> {
        let origin = self.strangers.get(&id)?.origin;
        let bound = self.bounds.known;
        let own = occupied(&self.known, origin);
        let lost = if own >= bound.each {
            // A connection's own requests are not cut off for it.
            Some(first_to_go(&self.known, |place| {
                place.origin == origin && !place.is_busy
            })?)
        } else if self.known.len() >= bound.all {
            let idle = first_to_go(&self.known, |place| !place.is_busy);
            Some(idle.or_else(|| self.of_who_has_more_than(own + 1))?)
        } else {
            None
        };
        let place = self.strangers.remove(&id)?;
        let lost = lost.and_then(|lost| self.lose(lost));
        let since = self.next();
        self.known.insert(id, Place { since, ..place });
        lost
    }

    /// Records that a request is being answered, or no longer is.
    pub(super) fn set_busy(&mut self, id: Id, is_busy: bool) {
        let since = self.next();
        let place = self.known.get_mut(&id).or_else(|| self.strangers.get_mut(&id));
        if let Some(place) = place {
            place.is_busy = is_busy;
            place.since = since;
        }
    }

    /// Removes a connection that has ended.
    pub(super) fn leave(&mut self, id: Id) {
        self.strangers.remove(&id);
        self.known.remove(&id);
    }

    /// The connection to close when the process has no descriptors left.
    pub(super) fn shed(&mut self) -> Option<Lost> {
        let lost = first_to_go(&self.strangers, |_| true)
            .or_else(|| first_to_go(&self.known, |place| !place.is_busy))?;
        self.lose(lost)
    }

    fn lose(&mut self, id: Id) -> Option<Lost> {
        let place = self.strangers.remove(&id).or_else(|| self.known.remove(&id))?;
        Some(Lost {
            id,
            origin: place.origin,
        })
    }

    /// A busy connection of the origin with the most connections, if it has more than `count`: an origin is cut off
    /// only in favor of one with fewer connections.
    fn of_who_has_more_than(&self, count: usize) -> Option<Id> {
        let lost = first_to_go(&self.known, |_| true)?;
        (occupied(&self.known, self.known.get(&lost)?.origin) > count).then_some(lost)
    }

    fn next(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

fn occupied(places: &BTreeMap<Id, Place>, origin: Origin) -> usize {
    places.values().filter(|place| place.origin == origin).count()
}

/// Chooses among the connections that may be closed: the origin with the most slots, and of its connections the one
/// that has not changed for longest. One pass over all slots, whose number is bounded.
fn first_to_go(places: &BTreeMap<Id, Place>, may_go: impl Fn(&Place) -> bool) -> Option<Id> {
    let mut counts: HashMap<Origin, usize> = HashMap::new();
    for place in places.values() {
        *counts.entry(place.origin).or_default() += 1;
    }
    places
        .iter()
        .filter(|(_, place)| may_go(place))
        .max_by_key(|(_, place)| (counts.get(&place.origin), Reverse(place.since)))
        .map(|(id, _)| *id)
}

#[cfg(test)]
mod tests;
