//! Our reader of manifests and the kubelet's own, asked about the same ten thousand manifests: both take a manifest or
//! neither does, and what both take becomes the same object. What differs is in the table of `intended.rs`, or a failure.
//!
//! `make test-judge`; with `SEED=…` other manifests.

#![allow(unreachable_pub, missing_docs)] // a program of its own, whose modules are its only readers
#![allow(clippy::print_stdout)] // it prints what it compared

mod compare;
mod intended;
mod kubelet;
mod mutate;
mod pools;
mod schema;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use gantry::manifest;
use gantry::manifest::ManifestContext;
use gantry::model::pod::{Problem, Source};
use serde_json::Value;

use self::intended::{Answers, Intended};
use self::kubelet::Verdict;
use self::mutate::{Case, Dice};
use self::tree::{Form, Node};

/// The node and the file that all manifests are of.
const NODE: &str = "node-1";
const FILE: &str = "/etc/kubernetes/manifests/pod.yaml";
/// The seed of every run that names none.
const SEED: u64 = 15;
/// How many manifests a run compares.
const MANIFESTS: usize = 10_000;
/// Of each kind of difference so many are printed.
const SHOWN: usize = 5;

macro_rules! seeds {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("seeds/", $name, ".yaml")))),*] };
}

fn seeds() -> Vec<(&'static str, Node)> {
    let texts = seeds!["plain" "probes" "security" "spec" "volumes" "huge" "unsupported" "references"];
    texts.map(|(name, text)| (name, Node::parse(text))).into()
}

/// What we make of a manifest.
struct Ours {
    pod: Option<Value>,
    /// The document of the pod.
    document: usize,
    problems: Vec<Problem>,
}

fn ours(text: &str) -> Ours {
    let context = ManifestContext {
        node_name: NODE.into(),
        privileged_allowed: true,
        ..ManifestContext::default()
    };
    let now = "2026-01-31T12:00:00Z".parse().expect("it is a time");
    let (pods, problems) = manifest::read(text.as_bytes(), Path::new(FILE), &context, now);
    let first = pods.into_iter().next();
    let document = first.as_ref().map_or(1, |pod| match pod.source {
        Source::File { document, .. } => document,
        Source::Api => 0,
    });
    Ours {
        document,
        pod: first.map(|pod| serde_json::to_value(&*pod.object).expect("an object is JSON")),
        // The kubelet reads the first document only.
        problems: problems
            .into_iter()
            .filter(|problem| problem.document <= document)
            .collect(),
    }
}

/// How the two sides differ, and what of; `None`: not at all. The second text is the kind of the difference.
fn differ(
    case: &Case,
    ours: &Ours,
    kubelet: &Verdict,
    used: &mut BTreeMap<&'static str, usize>,
) -> Option<(String, String)> {
    let problems = || {
        ours.problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n     ")
    };
    let answers = Answers {
        text: &case.text,
        document: ours.document,
        problems: &ours.problems,
        kubelet: &kubelet.error,
    };
    let mut is_meant = |table: &'static [Intended]| {
        let found = table.iter().find(|intended| (intended.explains)(&answers));
        if let Some(intended) = found {
            *used.entry(intended.reason).or_default() += 1;
        }
        found.is_some()
    };
    if !kubelet.panic.is_empty() {
        return Some((format!("the judge panicked: {}", kubelet.panic), "panic".into()));
    }
    match (&ours.pod, &kubelet.pod) {
        (None, None) => None,
        (Some(own), Some(pod)) => {
            let (pod, own) = intended::alike(pod, own, kubelet.of_server);
            let found = compare::difference(&pod, &own)?;
            let place = found.split(':').next().unwrap_or_default();
            let kind: String = place.chars().filter(|c| !c.is_ascii_digit()).collect();
            Some((
                format!("both take it, and it differs\n     {found}"),
                format!("object: {kind}"),
            ))
        }
        (None, Some(_)) => {
            if is_meant(intended::REFUSED) {
                return None;
            }
            let kind = ours.problems.first().map_or("nothing".to_owned(), |problem| {
                kind_of(&problem.field, &problem.message)
            });
            Some((
                format!("the kubelet takes it; ours\n     {}", problems()),
                format!("refused: {kind}"),
            ))
        }
        (Some(_), None) => {
            if is_meant(intended::TAKEN) {
                return None;
            }
            let kind = kind_of("", &kubelet.error);
            Some((
                format!("we take it; the kubelet\n     {}", kubelet.error),
                format!("taken: {kind}"),
            ))
        }
    }
}

/// A message without what is of this manifest alone: quoted parts and numbers.
fn kind_of(field: &str, message: &str) -> String {
    let field: String = field.chars().filter(|c| !c.is_ascii_digit()).collect();
    let mut quoted = false;
    let mut kind = format!("{field}: ");
    for c in message.chars().take(160) {
        quoted ^= c == '"';
        if !quoted && !c.is_ascii_digit() {
            kind.push(c);
        }
    }
    kind
}

#[test]
fn what_the_kubelet_takes_we_take_and_understand_alike() {
    let seed = std::env::var("SEED")
        .ok()
        .filter(|seed| !seed.is_empty())
        .map_or(SEED, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let (seeds, schema) = (seeds(), schema::of_pod());
    let source = mutate::Source::new(&seeds, &schema);
    let mut dice = Dice(seed);
    let mut cases: Vec<Case> = Vec::new();
    for (name, seed) in &seeds {
        for form in [Form::Block, Form::Json] {
            cases.push(Case {
                text: seed.written(form),
                story: format!("{name} [{form:?}]"),
            });
        }
    }
    cases.extend(source.sweep(&mut dice));
    let fields = cases.len();
    assert!(
        fields < MANIFESTS / 2,
        "the single fields alone are {fields} manifests: raise the number"
    );
    while cases.len() < MANIFESTS {
        cases.push(source.case(&mut dice));
    }
    let (verdicts, own) = std::thread::scope(|scope| {
        let texts = cases.iter().map(|case| case.text.as_str());
        let judge = scope.spawn(|| kubelet::judge(texts));
        let half = cases.split_at(cases.len() / 2);
        let read = |cases: &[Case]| cases.iter().map(|case| ours(&case.text)).collect::<Vec<Ours>>();
        let second = scope.spawn(move || read(half.1));
        let mut own = read(half.0);
        own.extend(second.join().expect("reading does not panic"));
        (judge.join().expect("the judge judges"), own)
    });
    assert_eq!(verdicts.len(), cases.len(), "one answer for each manifest");
    let is_near =
        |verdict: &&Verdict| verdict.pod.is_some() || verdict.error.starts_with(intended::REFERENCE);
    let taken = verdicts.iter().filter(is_near).count();
    println!(
        "{} manifests, {fields} of them for single fields; {taken} are right in the kubelet's eyes",
        cases.len()
    );
    assert!(
        taken * 5 > cases.len(),
        "most of the manifests are nonsense, which compares little"
    );
    report(&cases, &own, &verdicts, seed == SEED);
}

/// Fails with every kind of difference that is not meant; where all of the table are to be expected, also with those that
/// explain nothing.
fn report(cases: &[Case], own: &[Ours], verdicts: &[Verdict], expects_all: bool) {
    let (mut kinds, mut used) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::new());
    for ((case, ours), verdict) in cases.iter().zip(own).zip(verdicts) {
        if let Some((what, kind)) = differ(case, ours, verdict, &mut used) {
            kinds
                .entry(kind)
                .or_default()
                .push(format!("{}\n     {what}", case.story));
        }
    }
    for (reason, count) in &used {
        println!("{count:6} differ as meant: {reason}");
    }
    let stale: BTreeSet<&str> = [intended::REFUSED, intended::TAKEN]
        .into_iter()
        .flatten()
        .map(|intended| intended.reason)
        .filter(|reason| !used.contains_key(reason))
        .collect();
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, found)| std::cmp::Reverse(found.len()));
    let mut text = String::new();
    for (kind, found) in &kinds {
        let _ = writeln!(text, "{:5} × {kind}", found.len());
        for one in found.iter().take(SHOWN) {
            let _ = writeln!(text, "   - {one}");
        }
    }
    let count: usize = kinds.iter().map(|(_, found)| found.len()).sum();
    assert!(
        kinds.is_empty(),
        "{count} manifests differ in {} kinds\n{text}",
        kinds.len()
    );
    assert!(
        stale.is_empty() || !expects_all,
        "nothing differs any more by: {stale:?}"
    );
}
