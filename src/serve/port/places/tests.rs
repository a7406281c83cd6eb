use proptest::prelude::*;

use super::*;

/// Small enough to be filled by a few connections.
const SMALL: Bounds = Bounds {
    strangers: Bound { all: 4, each: 2 },
    known: Bound { all: 4, each: 2 },
};

fn from(number: u8) -> Origin {
    Origin::of(IpAddr::from([10, 0, 0, number]))
}

/// Slots with a connection from each of these origins, in this order; none has to make room.
fn strangers(origins: &[u8]) -> (Places, Vec<Id>) {
    let mut places = Places::new(SMALL);
    let ids = origins.iter().map(|origin| {
        let (id, lost) = places.enter(from(*origin));
        assert_eq!(lost, None);
        id
    });
    let ids = ids.collect();
    (places, ids)
}

/// The same for authenticated clients.
fn known(origins: &[u8]) -> (Places, Vec<Id>) {
    let mut places = Places::new(SMALL);
    let ids = origins.iter().map(|origin| {
        let (id, _) = places.enter(from(*origin));
        assert_eq!(places.recognise(id), None);
        id
    });
    let ids = ids.collect();
    (places, ids)
}

#[test]
fn an_origin_is_an_ipv4_address_or_the_64_of_an_ipv6_address() {
    let check = |one: &str, other: &str, same: bool| {
        let of = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(of(one) == of(other), same, "{one} and {other}");
    };
    check("10.0.0.1", "10.0.0.1", true);
    check("10.0.0.1", "10.0.0.2", false);
    check("10.0.0.1", "::ffff:10.0.0.1", true);
    check("fd00::1", "fd00::ffff:ffff:ffff:ffff", true);
    check("fd00::1", "fd00:0:0:1::1", false);
    let shown = |text: &str| Origin::of(text.parse().unwrap()).to_string();
    assert_eq!(shown("fd00::5:1"), "fd00::/64");
    assert_eq!(shown("::ffff:10.0.0.1"), "10.0.0.1");
}

#[test]
fn who_has_all_places_of_its_address_loses_the_oldest_of_its_own() {
    let (mut places, ids) = strangers(&[1, 1, 2]);
    let (_, lost) = places.enter(from(1));
    assert_eq!(lost.map(|lost| lost.id), Some(ids[0]));
    // A connection that was active since is not the oldest.
    places.set_busy(ids[1], true);
    places.set_busy(ids[1], false);
    let (_, lost) = places.enter(from(1));
    assert_ne!(lost.map(|lost| lost.id), Some(ids[1]));
}

#[test]
fn where_strangers_have_all_places_the_address_with_most_makes_room() {
    let (mut places, ids) = strangers(&[3, 1, 1, 2]);
    let (_, lost) = places.enter(from(4));
    let lost = lost.unwrap();
    assert_eq!((lost.id, lost.origin), (ids[1], from(1)));
    // Each has one: the first to connect.
    let (_, lost) = places.enter(from(5));
    assert_eq!(lost.map(|lost| lost.id), Some(ids[0]));
}

#[test]
fn strangers_never_take_the_place_of_who_is_known() {
    let (mut places, ids) = known(&[1, 2]);
    for number in 0..100 {
        let (_, lost) = places.enter(from(number));
        assert!(lost.is_none_or(|lost| !ids.contains(&lost.id)));
    }
    assert!(ids.iter().all(|id| places.known.contains_key(id)));
}

#[test]
fn of_who_is_known_the_idle_make_room_and_then_who_has_most() {
    let (mut places, ids) = known(&[1, 1, 2, 3]);
    for id in [ids[0], ids[1], ids[2]] {
        places.set_busy(id, true);
    }
    // Its own are busy, and not cut off for it.
    let (same, _) = places.enter(from(1));
    assert_eq!(places.recognise(same), None);
    assert!(places.strangers.contains_key(&same));
    let (other, _) = places.enter(from(4));
    assert_eq!(places.recognise(other).map(|lost| lost.id), Some(ids[3]));
    places.set_busy(other, true);
    // None is idle: the first origin has two, a new one has none.
    let (next, _) = places.enter(from(5));
    assert_eq!(places.recognise(next).map(|lost| lost.id), Some(ids[0]));
    places.set_busy(next, true);
    // Now all have one.
    let (last, _) = places.enter(from(6));
    assert_eq!(places.recognise(last), None);
    assert!(places.strangers.contains_key(&last));
}

#[test]
fn where_descriptors_lack_strangers_go_first_and_who_is_busy_stays() {
    let (mut places, ids) = known(&[1, 2]);
    places.set_busy(ids[0], true);
    let (stranger, _) = places.enter(from(3));
    assert_eq!(places.shed().map(|lost| lost.id), Some(stranger));
    assert_eq!(places.shed().map(|lost| lost.id), Some(ids[1]));
    assert_eq!(places.shed(), None);
}

#[derive(Debug, Clone)]
enum Event {
    Enter(u8),
    /// Of the connections that are open, the one at this index.
    Recognise(prop::sample::Index),
    SetBusy(prop::sample::Index, bool),
    Leave(prop::sample::Index),
    Shed,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..6_u8).prop_map(Event::Enter),
        6 => any::<prop::sample::Index>().prop_map(Event::Recognise),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(id, busy)| Event::SetBusy(id, busy)),
        2 => any::<prop::sample::Index>().prop_map(Event::Leave),
        1 => Just(Event::Shed),
    ]
}

fn within(places: &BTreeMap<Id, Place>, bound: Bound) -> bool {
    let each = places
        .values()
        .all(|place| occupied(places, place.origin) <= bound.each);
    places.len() <= bound.all && each
}

proptest! {
    /// For any sequence of operations: the bounds hold; a new connection gets a slot; at most one connection loses its
    /// slot, and a stranger never takes that of an authenticated client; the authenticated client with the fewest
    /// connections gets in.
    #[test]
    fn places_are_bounded_and_fair(events in prop::collection::vec(event(), 1..200)) {
        let mut places = Places::new(SMALL);
        let mut open: Vec<Id> = Vec::new();
        for event in events {
            let pick = |index: prop::sample::Index| (!open.is_empty()).then(|| *index.get(&open));
            let known_before: Vec<Id> = places.known.keys().copied().collect();
            let lost = match event {
                Event::Enter(number) => {
                    let (id, lost) = places.enter(from(number));
                    prop_assert!(places.strangers.contains_key(&id));
                    prop_assert!(lost.is_none_or(|lost| lost.id != id && !known_before.contains(&lost.id)));
                    open.push(id);
                    lost
                }
                Event::Recognise(index) => pick(index).and_then(|id| {
                    let own = places.strangers.get(&id).map(|place| occupied(&places.known, place.origin));
                    let most = places.known.values().map(|place| occupied(&places.known, place.origin)).max();
                    let lost = places.recognise(id);
                    let is_behind = own.is_some_and(|own| own + 1 < most.unwrap_or(0));
                    assert!(!is_behind || places.known.contains_key(&id), "who has fewer gets in");
                    assert!(lost.is_none_or(|lost| lost.id != id));
                    lost
                }),
                Event::SetBusy(index, busy) => {
                    if let Some(id) = pick(index) {
                        places.set_busy(id, busy);
                    }
                    None
                }
                Event::Leave(index) => {
                    if let Some(id) = pick(index) {
                        places.leave(id);
                        open.retain(|other| *other != id);
                    }
                    None
                }
                Event::Shed => places.shed(),
            };
            if let Some(lost) = lost {
                prop_assert!(open.contains(&lost.id));
                open.retain(|other| *other != lost.id);
            }
            prop_assert!(within(&places.strangers, SMALL.strangers));
            prop_assert!(within(&places.known, SMALL.known));
            prop_assert_eq!(places.strangers.len() + places.known.len(), open.len());
        }
    }
}
