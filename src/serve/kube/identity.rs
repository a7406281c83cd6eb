//! The UIDs of objects that no manifest gives one. Pure.

use std::hash::Hasher as _;

use fnv::FnvHasher;
use jiff::Timestamp;

use super::kind::Kind;

/// The UID of the object of this name that is there since then: the same after a restart of the agent, and another one for
/// an object that comes back.
pub(super) fn uid(kind: Kind, (namespace, name): (&str, &str), created: Timestamp) -> String {
    let half = |salt: u8| {
        let mut hasher = FnvHasher::default();
        hasher.write_u8(salt);
        for part in [kind.names().kind, namespace, name] {
            hasher.write(part.as_bytes());
            // No name has a slash.
            hasher.write_u8(b'/');
        }
        hasher.write(&created.as_second().to_be_bytes());
        hasher.finish()
    };
    let (first, second) = (half(1), half(2));
    // Version 8 of RFC 9562: the bits are the program's own business.
    let first = first & !0xf000 | 0x8000;
    let second = second & !(0b11 << 62) | 0b10 << 62;
    let (a, b, c) = (first >> 32, first >> 16 & 0xffff, first & 0xffff);
    format!(
        "{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}",
        second >> 48,
        second & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_one_objects_and_that_of_its_time() {
        let of = |name, second| {
            let created = Timestamp::from_second(second).unwrap();
            uid(Kind::ConfigMap, ("default", name), created)
        };
        let first = of("a", 1);
        assert_eq!(first, of("a", 1));
        assert!(first != of("b", 1) && first != of("a", 2));
        let lengths: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!((lengths, first.as_bytes()[14]), (vec![8, 4, 4, 4, 12], b'8'));
    }
}
