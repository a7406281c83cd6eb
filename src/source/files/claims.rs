//! Decides which file provides a pod, or an object, that several files claim. Pure.
//!
//! A file keeps what it was granted until it is removed or no longer provides it; then the file with the oldest claim
//! takes over. The kubelet does the same for static pods with one name (`allowStaticPodStart`,
//! `pkg/kubelet/pod_workers.go`). The order of file names decides only between files that nothing else distinguishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::object::ObjectKey;
use crate::model::pod::{PodName, PodUid};

/// What only one file can provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What<'a> {
    /// A pod.
    Pod(&'a PodName),
    /// A ConfigMap or a Secret.
    Object(&'a ObjectKey),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Pod(name) => write!(f, "pod {name}"),
            What::Object(key) => write!(f, "{key}"),
        }
    }
}

/// A file's claim to a pod or an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    /// The file.
    pub(super) path: &'a Path,
    /// What it claims.
    pub(super) what: What<'a>,
    /// The UID of the pod: directories and cgroups have it in their names, so two pods cannot share one.
    pub(super) uid: Option<&'a PodUid>,
}

/// The order of first claims: at a start all claims are first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority {
    /// The evidence for the claim.
    pub(super) evidence: Evidence,
    /// Its place in the queue of the agent's last run; `None` goes first.
    pub(super) waited: Option<usize>,
}

/// The evidence for a first claim, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// Its pod runs.
    Runs,
    /// The agent knew it before the restart.
    WasThere,
    Nothing,
}

/// The decision about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file provides it.
    Granted,
    /// The claim with this index has the name.
    NameTaken(usize),
    /// The claim with this index has the UID.
    UidTaken(usize),
}

/// The claims of all files and the order of their arrival.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    pods: BTreeMap<PodName, Seats>,
    objects: BTreeMap<ObjectKey, Seats>,
    /// How many claims there have been.
    arrivals: u64,
    /// The number of passes.
    passes: u64,
}

/// The files that claim one name.
type Seats = BTreeMap<PathBuf, Seat>;

#[derive(Debug, Clone)]
struct Seat {
    arrival: u64,
    place: Place,
    /// The last pass in which it was claimed.
    pass: u64,
}

/// The state of a claim after the last pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The file provided it, a pod with this UID.
    Holds(Option<PodUid>),
    Waits,
}

/// The order in which claims are granted: the current holder first, then by arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Same,
    /// It holds the name, but its pod has a new UID: a pod that already has that UID keeps it.
    Edited,
    Waits,
}

impl Claims {
    /// Decides about all claims, each verdict at the index of its claim. New claims queue up in the order of
    /// `seniority`, equal ones in the order given; claims that are no longer made are forgotten.
    pub(super) fn settle(
        &mut self,
        claims: &[Claim<'_>],
        seniority: impl Fn(&Claim<'_>) -> Seniority,
    ) -> Vec<Verdict> {
        self.passes += 1;
        self.take_in(claims, seniority);
        let mut order: Vec<(Rank, u64, usize)> = Vec::with_capacity(claims.len());
        for (index, claim) in claims.iter().enumerate() {
            let seat = self.seat(claim);
            order.push((seat.rank(claim), seat.arrival, index));
        }
        order.sort_unstable();
        let mut names: BTreeMap<What<'_>, usize> = BTreeMap::new();
        let mut uids: BTreeMap<&PodUid, usize> = BTreeMap::new();
        let mut verdicts = vec![Verdict::Granted; claims.len()];
        for (_, _, index) in order {
            let claim = &claims[index];
            let uid_owner = claim.uid.and_then(|uid| uids.get(uid));
            verdicts[index] = match (names.get(&claim.what), uid_owner) {
                (Some(owner), _) => Verdict::NameTaken(*owner),
                (None, Some(owner)) => Verdict::UidTaken(*owner),
                (None, None) => Verdict::Granted,
            };
            let place = match verdicts[index] {
                Verdict::Granted => {
                    names.insert(claim.what, index);
                    claim.uid.map(|uid| uids.insert(uid, index));
                    Place::Holds(claim.uid.cloned())
                }
                Verdict::NameTaken(_) | Verdict::UidTaken(_) => Place::Waits,
            };
            let pass = self.passes;
            let seat = self.seat(claim);
            (seat.place, seat.pass) = (place, pass);
        }
        self.forget_others();
        verdicts
    }

    /// Renames a file: its claims stay its own.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        for seats in self.pods.values_mut().chain(self.objects.values_mut()) {
            if let Some(seat) = seats.remove(from) {
                seats.insert(to.to_owned(), seat);
            }
        }
    }

    /// The files that wait for what another one has, in the order of their arrival.
    pub(super) fn waiting(&self) -> Vec<(PathBuf, String)> {
        let pods = self.pods.iter().map(|(name, seats)| (What::Pod(name), seats));
        let objects = self.objects.iter().map(|(key, seats)| (What::Object(key), seats));
        let mut waiting: Vec<(u64, PathBuf, String)> = Vec::new();
        for (what, seats) in pods.chain(objects) {
            let waits = seats.iter().filter(|(_, seat)| seat.place == Place::Waits);
            waiting.extend(waits.map(|(path, seat)| (seat.arrival, path.clone(), what.to_string())));
        }
        waiting.sort();
        waiting.into_iter().map(|(_, path, what)| (path, what)).collect()
    }

    /// Gives each new claim its place in the queue.
    fn take_in(&mut self, claims: &[Claim<'_>], seniority: impl Fn(&Claim<'_>) -> Seniority) {
        let mut new: Vec<(Seniority, &Claim<'_>)> = Vec::new();
        for claim in claims {
            let seats = match claim.what {
                What::Pod(name) => self.pods.get(name),
                What::Object(key) => self.objects.get(key),
            };
            if seats.is_none_or(|seats| !seats.contains_key(claim.path)) {
                new.push((seniority(claim), claim));
            }
        }
        new.sort_by_key(|(seniority, _)| *seniority);
        for (_, claim) in new {
            self.seat(claim);
        }
    }

    /// The seat of a claim; a new one goes last.
    fn seat(&mut self, claim: &Claim<'_>) -> &mut Seat {
        let Claims {
            pods,
            objects,
            arrivals,
            ..
        } = self;
        let seats = match claim.what {
            What::Pod(name) => pods.entry(name.clone()).or_default(),
            What::Object(key) => objects.entry(key.clone()).or_default(),
        };
        if !seats.contains_key(claim.path) {
            *arrivals += 1;
            let seat = Seat {
                arrival: *arrivals,
                place: Place::Waits,
                pass: 0,
            };
            seats.insert(claim.path.to_owned(), seat);
        }
        seats.get_mut(claim.path).expect("it was inserted above")
    }

    fn forget_others(&mut self) {
        let pass = self.passes;
        let in_pass = |seats: &mut Seats| {
            seats.retain(|_, seat| seat.pass == pass);
            !seats.is_empty()
        };
        self.pods.retain(|_, seats| in_pass(seats));
        self.objects.retain(|_, seats| in_pass(seats));
    }
}

impl Seat {
    fn rank(&self, claim: &Claim<'_>) -> Rank {
        match &self.place {
            Place::Holds(uid) if uid.as_ref() == claim.uid => Rank::Same,
            Place::Holds(_) => Rank::Edited,
            Place::Waits => Rank::Waits,
        }
    }
}

/// The files that claim what another file, or another document of the same file, also claims.
pub(super) fn contested<'a>(claims: &[Claim<'a>]) -> BTreeSet<&'a Path> {
    let mut names: BTreeMap<What<'a>, &'a Path> = BTreeMap::new();
    let mut uids: BTreeMap<&'a PodUid, &'a Path> = BTreeMap::new();
    let mut contested = BTreeSet::new();
    for claim in claims {
        let by_name = names.insert(claim.what, claim.path);
        let by_uid = claim.uid.and_then(|uid| uids.insert(uid, claim.path));
        for other in by_name.into_iter().chain(by_uid) {
            contested.extend([other, claim.path]);
        }
    }
    contested
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Seniority = Seniority {
        evidence: Evidence::Nothing,
        waited: None,
    };

    /// Claims as `file pod uid`.
    fn settle(claims: &mut Claims, pass: &str, seniority: impl Fn(&str) -> Seniority) -> Vec<String> {
        let words = |claim: &str| -> Vec<String> { claim.split(' ').map(str::to_owned).collect() };
        let all: Vec<(PathBuf, PodName, PodUid)> = pass
            .split(", ")
            .filter(|claim| !claim.is_empty())
            .map(words)
            .map(|words| {
                let name = PodName::new("ns".to_owned(), words[1].clone());
                (words[0].clone().into(), name, PodUid(words[2].clone()))
            })
            .collect();
        let list: Vec<Claim<'_>> = all
            .iter()
            .map(|(path, name, uid)| Claim {
                path,
                what: What::Pod(name),
                uid: Some(uid),
            })
            .collect();
        let verdicts = claims.settle(&list, |claim| seniority(claim.path.to_str().unwrap()));
        let granted = list
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| *verdict == Verdict::Granted);
        granted
            .map(|(claim, _)| format!("{} {}", claim.path.display(), claim.uid.unwrap()))
            .collect()
    }

    /// Each pass with what is granted after it, as `file uid`.
    fn check(what: &str, passes: &[(&str, &str)]) {
        let mut claims = Claims::default();
        for (pass, expected) in passes {
            let granted = settle(&mut claims, pass, |_| NEW).join(", ");
            assert_eq!(granted, *expected, "{what}: {pass}");
        }
    }

    #[test]
    fn what_was_granted_stays_until_its_file_gives_it_no_more() {
        check(
            "a copy that sorts first",
            &[("b w 1", "b 1"), ("a w 2, b w 1", "b 1")],
        );
        check("both at once: the first", &[("a w 2, b w 1", "a 2")]);
        check(
            "the longest waiting one follows, not the first",
            &[
                ("b w 1", "b 1"),
                ("b w 1, c w 3", "b 1"),
                ("a w 2, b w 1, c w 3", "b 1"),
                ("a w 2, c w 3", "c 3"),
            ],
        );
        check(
            "the file gives another pod now",
            &[
                ("b w 1", "b 1"),
                ("a w 2, b w 1", "b 1"),
                ("a w 2, b other 4", "a 2, b 4"),
            ],
        );
        check(
            "an edit in place keeps the name",
            &[
                ("b w 1", "b 1"),
                ("a w 2, b w 1", "b 1"),
                ("a w 2, b w 5", "b 5"),
                ("a w 2, b w 6", "b 6"),
            ],
        );
        check(
            "who comes back is the last",
            &[
                ("a w 1, b w 2", "a 1"),
                ("b w 2", "b 2"),
                ("a w 1, b w 2", "b 2"),
                ("a w 1", "a 1"),
            ],
        );
        check(
            "who goes while it waits loses its place",
            &[
                ("a w 1", "a 1"),
                ("a w 1, b w 2", "a 1"),
                ("a w 1", "a 1"),
                ("a w 1, c w 3", "a 1"),
                ("a w 1, b w 2, c w 3", "a 1"),
                ("b w 2, c w 3", "c 3"),
            ],
        );
        check(
            "others are left alone",
            &[("b w 1, c x 2", "b 1, c 2"), ("a x 3, b w 1", "a 3, b 1")],
        );
    }

    #[test]
    fn two_pods_never_share_a_uid() {
        check(
            "two names",
            &[("b w 1", "b 1"), ("a x 1, b w 1", "b 1"), ("a x 1", "a 1")],
        );
        check("two of one file", &[("a w 1, a x 1", "a 1")]);
        check(
            "who waits for the name holds no UID",
            &[
                ("p w 1", "p 1"),
                ("p w 1, q w 2", "p 1"),
                ("p w 1, q w 2, r x 2", "p 1, r 2"),
                ("q w 2, r x 2", "r 2"),
                ("q w 2", "q 2"),
            ],
        );
        check(
            "an edit takes no UID that another one runs with",
            &[
                ("a w 1, b x 2", "a 1, b 2"),
                ("a w 2, b x 2", "b 2"),
                ("a w 3, b x 2", "a 3, b 2"),
            ],
        );
        check(
            "the name is given on where its file has no right to the UID",
            &[
                ("a w 1, b x 2, c w 3", "a 1, b 2"),
                ("a w 2, b x 2, c w 3", "b 2, c 3"),
            ],
        );
    }

    #[test]
    fn a_renamed_file_keeps_its_place() {
        let mut claims = Claims::default();
        settle(&mut claims, "b w 1", |_| NEW);
        settle(&mut claims, "a w 2, b w 1", |_| NEW);
        claims.rename(Path::new("b"), Path::new("c"));
        assert_eq!(settle(&mut claims, "a w 2, c w 3", |_| NEW), ["c 3"]);
        assert_eq!(settle(&mut claims, "a w 2", |_| NEW), ["a 2"]);
    }

    #[test]
    fn at_the_start_what_runs_goes_before_what_was_known_before_what_is_new() {
        let check = |order: &[(&str, Evidence, Option<usize>)], expected: &str| {
            let mut claims = Claims::default();
            let of = |path: &str| {
                let found = order.iter().find(|(file, _, _)| *file == path);
                let (_, evidence, waited) = *found.unwrap();
                Seniority { evidence, waited }
            };
            assert_eq!(
                settle(&mut claims, "a w 1, b w 2, c w 3", of),
                [expected],
                "{order:?}"
            );
            let waiting: Vec<String> = claims
                .waiting()
                .into_iter()
                .map(|(path, what)| format!("{} {what}", path.display()))
                .collect();
            waiting.join(", ")
        };
        use Evidence::{Nothing, Runs, WasThere};
        let waiting = check(
            &[("a", Nothing, None), ("b", WasThere, None), ("c", Runs, None)],
            "c 3",
        );
        assert_eq!(waiting, "b pod ns/w, a pod ns/w");
        let waiting = check(
            &[
                ("a", WasThere, Some(1)),
                ("b", WasThere, Some(0)),
                ("c", WasThere, None),
            ],
            "c 3",
        );
        assert_eq!(waiting, "b pod ns/w, a pod ns/w");
        // Two with one UID, which runs.
        let waiting = check(
            &[("a", Runs, Some(0)), ("b", Runs, None), ("c", Nothing, None)],
            "b 2",
        );
        assert_eq!(waiting, "a pod ns/w, c pod ns/w");
        let waiting = check(
            &[("a", Nothing, None), ("b", Nothing, None), ("c", Nothing, None)],
            "a 1",
        );
        assert_eq!(waiting, "b pod ns/w, c pod ns/w");
    }

    #[test]
    fn contested_are_the_files_that_share_a_name_or_a_uid() {
        let names = ["w", "x", "y"].map(|name| PodName::new("ns".to_owned(), name.to_owned()));
        let uids = ["1", "2"].map(|uid| PodUid(uid.to_owned()));
        let claim = |path: &'static str, name: usize, uid: usize| Claim {
            path: Path::new(path),
            what: What::Pod(&names[name]),
            uid: Some(&uids[uid]),
        };
        let check = |claims: &[Claim<'_>], expected: &[&str]| {
            let found: Vec<_> = contested(claims)
                .into_iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect();
            assert_eq!(found, expected);
        };
        check(&[claim("a", 0, 0), claim("b", 1, 1)], &[]);
        check(&[claim("a", 0, 0), claim("b", 0, 1)], &["a", "b"]);
        check(
            &[claim("a", 0, 0), claim("b", 1, 0), claim("c", 2, 1)],
            &["a", "b"],
        );
    }

    proptest::proptest! {
        /// After any sequence of passes: each name and each UID is granted once, no claim waits for something free, and
        /// an unchanged claim that was granted is granted again.
        #[test]
        fn what_is_granted_is_unique_complete_and_lasting(
            passes in proptest::collection::vec(
                proptest::collection::btree_map((0..4_u8, 0..3_u8), 0..3_u8, 0..8), 1..8)
        ) {
            let mut claims = Claims::default();
            let mut before: BTreeSet<(u8, u8, u8)> = BTreeSet::new();
            for pass in passes {
                let names: Vec<PodName> =
                    (0..3).map(|name| PodName::new("ns".to_owned(), format!("p{name}"))).collect();
                let uids: Vec<PodUid> = (0..3).map(|uid| PodUid(format!("u{uid}"))).collect();
                let paths: Vec<PathBuf> = (0..4).map(|path| format!("f{path}").into()).collect();
                let list: Vec<Claim<'_>> = pass
                    .iter()
                    .map(|((path, name), uid)| Claim {
                        path: &paths[usize::from(*path)],
                        what: What::Pod(&names[usize::from(*name)]),
                        uid: Some(&uids[usize::from(*uid)]),
                    })
                    .collect();
                let verdicts = claims.settle(&list, |_| NEW);
                let mut granted = BTreeSet::new();
                for (((path, name), uid), verdict) in pass.iter().zip(&verdicts) {
                    match verdict {
                        Verdict::Granted => {
                            granted.insert((*path, *name, *uid));
                        }
                        Verdict::NameTaken(owner) => {
                            assert_eq!(verdicts[*owner], Verdict::Granted);
                            assert_eq!(list[*owner].what, What::Pod(&names[usize::from(*name)]));
                        }
                        Verdict::UidTaken(owner) => {
                            assert_eq!(verdicts[*owner], Verdict::Granted);
                            assert_eq!(list[*owner].uid, Some(&uids[usize::from(*uid)]));
                        }
                    }
                }
                let names: BTreeSet<u8> = granted.iter().map(|(_, name, _)| *name).collect();
                let uids: BTreeSet<u8> = granted.iter().map(|(_, _, uid)| *uid).collect();
                assert_eq!((names.len(), uids.len()), (granted.len(), granted.len()));
                for (path, name, uid) in &before {
                    if pass.get(&(*path, *name)) == Some(uid) {
                        assert!(granted.contains(&(*path, *name, *uid)), "{before:?} {granted:?}");
                    }
                }
                before = granted;
            }
        }
    }
}
