//! The user and group IDs of pods with a user namespace of their own (KEP-127), as the kubelet deals them out
//! (`pkg/kubelet/userns`): the same number of IDs for each pod, and a file in the pod's directory, by which either agent
//! knows what the other has dealt.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::pod::PodUid;

/// The name of the file in the pod's directory.
pub const FILE: &str = "userns";

/// The IDs that may be dealt out, in ranges of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPool {
    /// The first ID, in ranges.
    offset: u32,
    /// How many ranges there are.
    count: u32,
    /// The IDs of a pod.
    length: u32,
}

impl IdPool {
    /// All IDs of the machine but those below the first range, which are the machine's own.
    pub fn whole(length: u32) -> IdPool {
        let count = u32::try_from((1_u64 << 32) / u64::from(length) - 1).unwrap_or(0);
        IdPool {
            offset: 1,
            count,
            length,
        }
    }

    /// The subordinate IDs of a user; or why pods cannot have them.
    pub fn subordinate(ids: Subordinate, length: u32, max_pods: u32) -> Result<IdPool, String> {
        let Subordinate { first, count } = ids;
        if first % length != 0 {
            return Err(format!(
                "kubelet user assigned ID {first} is not a multiple of {length}"
            ));
        }
        // The IDs below are the machine's own, root's among them.
        if first < length {
            return Err(format!(
                "kubelet user assigned ID {first} must be greater or equal to {length}"
            ));
        }
        if count % length != 0 {
            return Err(format!(
                "kubelet user assigned IDs length {count} is not a multiple of {length}"
            ));
        }
        if count / length < max_pods {
            return Err(format!(
                "kubelet user assigned IDs are not enough to support {max_pods} pods"
            ));
        }
        Ok(IdPool {
            offset: first / length,
            count: count / length,
            length,
        })
    }
}

/// The IDs that a user may give to namespaces (subuid(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subordinate {
    /// The first one.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Subordinate {
    /// What `getsubids` prints: `0: kubelet 65536 2147483648`; it must be a single range.
    pub fn read(printed: &str) -> Result<Subordinate, String> {
        let printed = printed.trim_matches('\n');
        if printed.contains('\n') {
            return Err(format!(
                "error parsing line {printed:?}: it must contain only one line"
            ));
        }
        let words: Vec<&str> = printed.split_whitespace().collect();
        let &[_, _, first, count] = &words[..] else {
            return Err(format!("invalid line {printed:?}"));
        };
        let number = |word: &str| {
            let parsed = word.parse();
            parsed.map_err(|error| format!("error parsing line {printed:?}: {error}"))
        };
        Ok(Subordinate {
            first: number(first)?,
            count: number(count)?,
        })
    }
}

/// The IDs of one pod on the host; in the pod they begin with 0. Users and groups have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    /// The first one.
    pub first: u32,
    /// How many there are.
    pub length: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mappings {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

impl UserRange {
    /// The content of the file.
    pub fn write(self) -> String {
        let mapping = Mapping {
            host_id: self.first,
            container_id: 0,
            length: self.length,
        };
        let mappings = Mappings {
            uid_mappings: vec![mapping],
            gid_mappings: vec![mapping],
        };
        serde_json::to_string(&mappings).expect("numbers serialize to JSON")
    }

    /// Reads the content of a file.
    pub fn read(content: &[u8]) -> Result<UserRange, String> {
        let invalid = |why: &str| Err(format!("invalid user namespace configuration: {why}"));
        let mappings: Mappings = serde_json::from_slice(content)
            .map_err(|error| format!("invalid user namespace mappings file: {error}"))?;
        let ([users], [groups]) = (&mappings.uid_mappings[..], &mappings.gid_mappings[..]) else {
            return invalid("no more than one mapping allowed.");
        };
        if users != groups {
            return invalid("GID and UID mapping should be identical");
        }
        if users.container_id != 0 {
            return invalid("UID 0 must be mapped");
        }
        Ok(UserRange {
            first: users.host_id,
            length: users.length,
        })
    }
}

/// Which ranges are dealt out, and to which pods.
#[derive(Debug, Clone)]
pub struct UserRanges {
    pool: IdPool,
    /// By pod, the number of its range within the pool.
    dealt: BTreeMap<PodUid, u32>,
    taken: BTreeSet<u32>,
    /// From here on a free range is looked for: one that has become free is left alone as long as possible, since files
    /// of its last owner may still be on volumes.
    next: u32,
}

impl UserRanges {
    /// None is dealt out yet.
    pub fn new(pool: IdPool) -> UserRanges {
        UserRanges {
            pool,
            dealt: BTreeMap::new(),
            taken: BTreeSet::new(),
            next: 0,
        }
    }

    /// Notes the range that a pod has according to its file.
    pub fn record(&mut self, pod: &PodUid, range: UserRange) -> Result<(), String> {
        let IdPool {
            offset,
            count,
            length,
        } = self.pool;
        let UserRange { first, length: own } = range;
        if own != length {
            return Err(format!("wrong user namespace length {own}"));
        }
        if first % length != 0 {
            return Err(format!("wrong user namespace offset specified {first}"));
        }
        let number = (first / length)
            .checked_sub(offset)
            .filter(|number| *number < count);
        let Some(number) = number else {
            return Err(format!("id {first} is out of range"));
        };
        match self.dealt.get(pod) {
            Some(dealt) if *dealt == number => Ok(()),
            Some(_) => Err(format!(
                "different user namespace range already used by pod {:?}",
                pod.0
            )),
            None if self.taken.contains(&number) => {
                Err(format!("range picked for pod {:?} already taken", pod.0))
            }
            None => {
                self.take(pod, number);
                Ok(())
            }
        }
    }

    /// Deals a free range to a pod.
    pub fn deal(&mut self, pod: &PodUid) -> Result<UserRange, String> {
        let is_free = |number: &u32| !self.taken.contains(number);
        let free = (self.next..self.pool.count).chain(0..self.next).find(is_free);
        let number =
            free.ok_or_else(|| "could not find an empty slot to allocate a user namespace".to_owned())?;
        self.take(pod, number);
        self.next = number + 1;
        Ok(UserRange {
            first: (self.pool.offset + number) * self.pool.length,
            length: self.pool.length,
        })
    }

    /// Takes a pod's range back.
    pub fn release(&mut self, pod: &PodUid) {
        if let Some(number) = self.dealt.remove(pod) {
            self.taken.remove(&number);
        }
    }

    fn take(&mut self, pod: &PodUid, number: u32) {
        self.dealt.insert(pod.clone(), number);
        self.taken.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::sample::uid;

    const UNIT: u32 = 65_536;
    const POD: UserRange = UserRange {
        first: 131_072,
        length: 65_536,
    };

    #[test]
    fn a_file_is_the_kubelets() {
        let text = r#"{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}"#;
        assert_eq!(POD.write(), text);
        assert_eq!(UserRange::read(text.as_bytes()), Ok(POD));
        let refused = |text: &str, why: &str| {
            let error = UserRange::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        };
        refused("{", "invalid user namespace mappings file: ");
        refused(
            r#"{"uidMappings":[],"gidMappings":[]}"#,
            "no more than one mapping allowed",
        );
        refused(
            &text.replacen("131072", "65536", 1),
            "GID and UID mapping should be identical",
        );
        refused(
            &text.replace(r#""containerId":0"#, r#""containerId":1"#),
            "UID 0 must be mapped",
        );
    }

    #[test]
    fn what_getsubids_prints() {
        let read = Subordinate::read("0: kubelet 65536 2147483648\n");
        assert_eq!(
            read,
            Ok(Subordinate {
                first: 65_536,
                count: 1 << 31
            })
        );
        assert!(
            Subordinate::read("0: kubelet 1 2\n1: kubelet 3 4\n")
                .unwrap_err()
                .contains("only one line")
        );
        assert_eq!(Subordinate::read("").unwrap_err(), "invalid line \"\"");
        assert!(
            Subordinate::read("0: kubelet x 2")
                .unwrap_err()
                .contains("invalid digit")
        );
    }

    #[test]
    fn subordinate_ids_must_fit() {
        let check = |first, count, why: &str| {
            let refused = IdPool::subordinate(Subordinate { first, count }, UNIT, 110).unwrap_err();
            assert_eq!(refused, why);
        };
        check(
            1,
            UNIT * 200,
            "kubelet user assigned ID 1 is not a multiple of 65536",
        );
        check(
            0,
            UNIT * 200,
            "kubelet user assigned ID 0 must be greater or equal to 65536",
        );
        check(
            UNIT,
            UNIT * 200 + 1,
            "kubelet user assigned IDs length 13107201 is not a multiple of 65536",
        );
        check(
            UNIT,
            UNIT * 109,
            "kubelet user assigned IDs are not enough to support 110 pods",
        );
        let ids = Subordinate {
            first: UNIT * 3,
            count: UNIT * 110,
        };
        let pool = IdPool::subordinate(ids, UNIT, 110).unwrap();
        assert_eq!(UserRanges::new(pool).deal(&uid("a")).unwrap().first, UNIT * 3);
    }

    #[test]
    fn a_range_that_has_become_free_is_dealt_last() {
        let mut ranges = UserRanges::new(IdPool {
            offset: 1,
            count: 2,
            length: UNIT,
        });
        let first = |dealt: Result<UserRange, String>| dealt.map(|range| range.first);
        assert_eq!(first(ranges.deal(&uid("a"))), Ok(UNIT));
        ranges.release(&uid("a"));
        assert_eq!(first(ranges.deal(&uid("b"))), Ok(UNIT * 2));
        assert_eq!(first(ranges.deal(&uid("c"))), Ok(UNIT));
        assert!(
            ranges
                .deal(&uid("d"))
                .unwrap_err()
                .starts_with("could not find an empty slot")
        );
        let own = |first| UserRange { first, length: UNIT };
        assert_eq!(ranges.record(&uid("c"), own(UNIT)), Ok(()));
        let refused = |ranges: &mut UserRanges, pod, range| ranges.record(&uid(pod), range).unwrap_err();
        assert_eq!(
            refused(&mut ranges, "c", own(UNIT * 2)),
            "different user namespace range already used by pod \"c\""
        );
        assert_eq!(
            refused(&mut ranges, "d", own(UNIT)),
            "range picked for pod \"d\" already taken"
        );
        assert_eq!(refused(&mut ranges, "d", own(0)), "id 0 is out of range");
        assert_eq!(
            refused(&mut ranges, "d", own(UNIT * 3)),
            "id 196608 is out of range"
        );
        assert_eq!(
            refused(&mut ranges, "d", own(1)),
            "wrong user namespace offset specified 1"
        );
        let short = UserRange {
            first: UNIT,
            length: 1,
        };
        assert_eq!(refused(&mut ranges, "d", short), "wrong user namespace length 1");
    }

    #[test]
    fn the_machines_own_ids_are_never_dealt() {
        let mut ranges = UserRanges::new(IdPool::whole(UNIT));
        assert_eq!(ranges.deal(&uid("a")).unwrap().first, UNIT);
        let last = UserRange {
            first: u32::MAX - UNIT + 1,
            length: UNIT,
        };
        assert_eq!(ranges.record(&uid("b"), last), Ok(()));
        assert!(
            ranges
                .record(
                    &uid("c"),
                    UserRange {
                        first: 0,
                        length: UNIT
                    }
                )
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_two_pods_ever_have_one_range(steps in prop::collection::vec((0..12_usize, any::<bool>()), 1..60)) {
            let mut ranges = UserRanges::new(IdPool { offset: 1, count: 8, length: UNIT });
            let mut held: BTreeMap<usize, UserRange> = BTreeMap::new();
            for (pod, deals) in steps {
                let name = uid(&format!("p{pod}"));
                match (deals, held.get(&pod)) {
                    (true, None) => match ranges.deal(&name) {
                        Ok(range) => {
                            prop_assert!(held.values().all(|other| *other != range));
                            held.insert(pod, range);
                        }
                        Err(_) => prop_assert_eq!(held.len(), 8),
                    },
                    (true, Some(range)) => prop_assert_eq!(ranges.record(&name, *range), Ok(())),
                    (false, _) => {
                        ranges.release(&name);
                        held.remove(&pod);
                    }
                }
            }
        }
    }
}
