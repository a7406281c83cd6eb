use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn inode(number: u64) -> Inode {
    Inode {
        device: 1,
        number,
        modified: (0, 0),
    }
}

fn sockets(of: &[(&str, u64)]) -> BTreeMap<PathBuf, Inode> {
    of.iter()
        .map(|(path, number)| (PathBuf::from(path), inode(*number)))
        .collect()
}

fn answer(name: &str, version: &str) -> Answer {
    Answer {
        name: name.to_owned(),
        version: Version::highest(&[version.to_owned()]).unwrap(),
        driver: Arc::default(),
    }
}

fn silent() -> Failure {
    Failure::MaybeDriver("no answer".to_owned())
}

fn ask(path: &str, attempt: u64) -> Step {
    Step::Ask(path.into(), attempt)
}

fn leave(path: &str) -> Step {
    Step::Leave(path.into())
}

fn names(registry: &Registry, now: Timestamp) -> Vec<String> {
    registry.drivers(now).by_name.into_keys().collect()
}

#[test]
fn a_socket_is_asked_once_and_again_when_it_is_another_one() {
    let mut registry = Registry::new(at(10));
    assert_eq!(registry.compare(&sockets(&[("a", 1)]), at(0)), [ask("a", 1)]);
    assert_eq!(registry.compare(&sockets(&[("a", 1)]), at(1)), []);
    assert_eq!(
        registry.compare(&sockets(&[("a", 2)]), at(1)),
        [leave("a"), ask("a", 2)]
    );
    let late = registry.answered(Path::new("a"), 1, Ok(answer("d", "1.0")), at(2));
    assert_eq!(late, Verdict::Stale);
    registry.answered(Path::new("a"), 2, Ok(answer("d", "1.0")), at(2));
    assert_eq!(names(&registry, at(2)), ["d"]);
    assert_eq!(registry.compare(&sockets(&[]), at(3)), [leave("a")]);
    assert_eq!(names(&registry, at(3)), [""; 0]);
}

#[test]
fn failures_are_waited_for_ever_longer_until_a_success() {
    let mut registry = Registry::new(at(0));
    let present = sockets(&[("a", 1)]);
    let mut now = at(0);
    let mut waits = Vec::new();
    for attempt in 1..=10 {
        assert_eq!(registry.compare(&present, now), [ask("a", attempt)]);
        let failed = registry.answered(Path::new("a"), attempt, Err(silent()), now);
        let is_first = attempt == 1;
        assert!(
            matches!(failed, Verdict::Failed { is_news, .. } if is_news == is_first),
            "{failed:?}"
        );
        let next = registry.wake_at(now).unwrap();
        waits.push(next.duration_since(now).as_millis());
        now = next;
    }
    assert_eq!(
        waits,
        [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 122_000, 122_000]
    );
    registry.compare(&present, now);
    registry.answered(Path::new("a"), 11, Ok(answer("d", "1.0")), now);
    registry.settled(Path::new("a"), 11, Ok(()), now);
    assert_eq!(registry.wake_at(now), None);
    // Made again, it is asked at once, and its failures count from the first.
    registry.compare(&sockets(&[("a", 2)]), now);
    registry.answered(Path::new("a"), 12, Err(silent()), now);
    assert_eq!(registry.wake_at(now), Some(now + Duration::from_millis(500)));
}

#[test]
fn of_two_drivers_of_one_name_the_higher_version_is_registered_and_of_equals_the_first() {
    let mut registry = Registry::new(at(0));
    let both = sockets(&[("a", 1), ("b", 2)]);
    registry.compare(&both, at(0));
    registry.answered(Path::new("a"), 1, Ok(answer("d", "1.1")), at(0));
    let equal = registry.answered(Path::new("b"), 2, Ok(answer("d", "1.1")), at(0));
    assert!(matches!(equal, Verdict::Refused { .. }), "{equal:?}");
    // The name is free: at once, not when the wait is over.
    let steps = registry.compare(&sockets(&[("b", 2)]), at(0));
    assert_eq!(steps, [leave("a"), ask("b", 3)]);
    registry.answered(Path::new("b"), 3, Ok(answer("d", "1.1")), at(0));
    registry.compare(&both, at(1));
    let higher = registry.answered(Path::new("a"), 4, Ok(answer("d", "1.2")), at(1));
    assert!(matches!(higher, Verdict::Registered { replaced: Some(path), .. } if path == Path::new("b")));
    assert_eq!(registry.settled(Path::new("b"), 3, Ok(()), at(1)), Verdict::Stale);
    assert_eq!(names(&registry, at(1)), ["d"]);
}

#[test]
fn a_driver_that_was_not_told_is_not_registered() {
    let mut registry = Registry::new(at(0));
    registry.compare(&sockets(&[("a", 1)]), at(0));
    registry.answered(Path::new("a"), 1, Ok(answer("d", "1.0")), at(0));
    let failed = registry.settled(Path::new("a"), 1, Err("deaf".to_owned()), at(0));
    assert!(matches!(failed, Verdict::Failed { .. }), "{failed:?}");
    assert_eq!(names(&registry, at(0)), [""; 0]);
}

#[test]
fn the_drivers_are_known_when_each_first_socket_was_tried_or_has_taken_too_long() {
    let are_known = |registry: &Registry, second| registry.drivers(at(second)).are_known;
    let mut registry = Registry::new(at(10));
    assert!(!are_known(&registry, 0));
    registry.compare(&sockets(&[("a", 1), ("b", 2), ("c", 3)]), at(0));
    registry.answered(Path::new("a"), 1, Err(silent()), at(1));
    registry.answered(Path::new("b"), 2, Ok(answer("d", "1.0")), at(1));
    assert!(!are_known(&registry, 1));
    assert_eq!(registry.drivers(at(1)).unregistered, 2);
    // One that comes later is not waited for, and one that goes is not either.
    registry.compare(&sockets(&[("a", 1), ("b", 2), ("e", 4)]), at(1));
    assert!(are_known(&registry, 1));
    let mut registry = Registry::new(at(10));
    registry.compare(&sockets(&[("a", 1)]), at(0));
    assert_eq!(registry.wake_at(at(0)), Some(at(10)));
    assert!(!are_known(&registry, 9) && are_known(&registry, 10));
    let mut registry = Registry::new(at(10));
    registry.compare(&sockets(&[]), at(0));
    assert!(are_known(&registry, 0));
}

#[test]
fn a_plugin_that_says_that_it_is_no_driver_hides_none() {
    let mut registry = Registry::new(at(0));
    registry.compare(&sockets(&[("a", 1)]), at(0));
    registry.answered(
        Path::new("a"),
        1,
        Err(Failure::NoDriver("a device".to_owned())),
        at(0),
    );
    assert_eq!(registry.drivers(at(0)).unregistered, 0);
}

/// What may happen to the registry.
#[derive(Debug, Clone)]
enum Event {
    Appears(u8, u64),
    Disappears(u8),
    Answers(u8, Option<(u8, u8)>),
    Settles(u8, bool),
    Later(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let socket = || 0u8..4;
    prop_oneof![
        (socket(), 0u64..3).prop_map(|(socket, number)| Event::Appears(socket, number)),
        socket().prop_map(Event::Disappears),
        (socket(), proptest::option::of((0u8..2, 0u8..3)))
            .prop_map(|(socket, answer)| Event::Answers(socket, answer)),
        (socket(), any::<bool>()).prop_map(|(socket, is_ok)| Event::Settles(socket, is_ok)),
        (0i64..200).prop_map(Event::Later),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a driver is registered by a socket that is there, a name by one socket, and
    /// every socket is registered, under way, or due at a time.
    #[test]
    fn every_socket_is_registered_or_will_be_asked(events in proptest::collection::vec(event(), 0..60)) {
        let mut registry = Registry::new(at(10));
        let mut present = BTreeMap::new();
        let mut attempts: BTreeMap<PathBuf, u64> = BTreeMap::new();
        let mut now = at(0);
        for event in events {
            let path = |socket: u8| PathBuf::from(socket.to_string());
            match event {
                Event::Appears(socket, number) => {
                    present.insert(path(socket), inode(number));
                }
                Event::Disappears(socket) => {
                    present.remove(&path(socket));
                }
                Event::Answers(socket, said) => {
                    let attempt = attempts.get(&path(socket)).copied().unwrap_or_default();
                    let said = said.map(|(name, version)| answer(&format!("d{name}"), &format!("1.{version}")));
                    registry.answered(&path(socket), attempt, said.ok_or_else(silent), now);
                }
                Event::Settles(socket, is_ok) => {
                    let attempt = attempts.get(&path(socket)).copied().unwrap_or_default();
                    let result = if is_ok { Ok(()) } else { Err(String::new()) };
                    registry.settled(&path(socket), attempt, result, now);
                }
                Event::Later(seconds) => now += Duration::from_secs(seconds.unsigned_abs()),
            }
            let steps = registry.compare(&present, now);
            for step in &steps {
                match step {
                    Step::Leave(path) => attempts.remove(path),
                    Step::Ask(path, attempt) => attempts.insert(path.clone(), *attempt),
                };
            }
            // Nothing is left for a second time.
            prop_assert_eq!(registry.compare(&present, now), []);
            let known: Vec<&PathBuf> = registry.plugins.keys().collect();
            prop_assert_eq!(known, present.keys().collect::<Vec<_>>());
            let registered: Vec<&str> = registry.registered().map(|(_, answer)| answer.name.as_str()).collect();
            let distinct: BTreeSet<&str> = registered.iter().copied().collect();
            prop_assert_eq!(registered.len(), distinct.len());
            let waits = registry.plugins.values().any(|plugin| matches!(plugin.state, State::Failed { .. }));
            let wakes = registry.wake_at(now);
            prop_assert!(!waits || wakes.is_some_and(|at| at > now), "{:?}", registry);
        }
    }
}
