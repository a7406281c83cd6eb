//! Every name of the kubelet's is served, or listed with a reason.

use std::collections::BTreeMap;

use super::*;
use crate::counters::Kind;

/// Name and type of each family that the kubelet v1.36.2 shows.
const KUBELET: &str = include_str!("../../../../tests/fixtures/kubelet-metrics.txt");
/// What is not served, and why.
const UNSERVED: &str = include_str!("unserved.txt");

/// The pairs of name and type of a file, and what is wrong with its lines.
fn pairs<'a>(lines: impl Iterator<Item = &'a str>) -> (BTreeMap<&'a str, &'a str>, Vec<String>) {
    let (mut pairs, mut wrong) = (BTreeMap::new(), Vec::new());
    for line in lines {
        match line.trim().split_once(' ') {
            Some((name, kind)) if !kind.contains(' ') => {
                if pairs.insert(name, kind).is_some() {
                    wrong.push(format!("{name} appears twice"));
                }
            }
            _ => wrong.push(format!("{line:?} is not a name and a type")),
        }
    }
    (pairs, wrong)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// What is wrong with what is served and what is listed.
fn check(kubelet: &str, served: &[(&'static str, Kind)], unserved: &str) -> Vec<String> {
    let (kubelet, mut wrong) = pairs(kubelet.lines());
    let (listed, more) = pairs(unserved.lines().filter(|line| line.starts_with(' ')));
    wrong.extend(more);
    if unserved
        .lines()
        .find(|line| !line.starts_with('#'))
        .is_none_or(|line| line.starts_with(' '))
    {
        wrong.push("the first name has no reason".to_owned());
    }
    let mut kinds = BTreeMap::new();
    for (name, of) in served {
        if kinds.insert(*name, kind(*of)).is_some() {
            wrong.push(format!("{name} is served twice"));
        }
    }
    for (name, of) in &kubelet {
        match (kinds.get(name), listed.get(name)) {
            (None, None) => wrong.push(format!("{name} is neither served nor listed")),
            (Some(_), Some(_)) => wrong.push(format!("{name} is served and listed")),
            (Some(ours), None) | (None, Some(ours)) if ours != of => {
                wrong.push(format!("{name} is a {of}, not a {ours}"));
            }
            _ => {}
        }
    }
    let strange = listed.keys().filter(|name| !kubelet.contains_key(**name));
    wrong.extend(strange.map(|name| format!("{name} is listed and is not the kubelet's")));
    wrong
}

#[test]
fn every_name_of_the_kubelets_is_served_or_listed_with_a_reason() {
    let page = filled(Format::Text, &Now::default(), &Counters::default());
    let wrong = check(KUBELET, page.families(), UNSERVED);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_is_missing_or_in_both_places_is_found() {
    let served = [("a", Kind::Gauge), ("b", Kind::Counter), ("a", Kind::Gauge)];
    let unserved = "why\n  b counter\n  c gauge\n  e gauge\n";
    let expected = [
        "a is served twice",
        "b is served and listed",
        "c is a counter, not a gauge",
        "d is neither served nor listed",
        "e is listed and is not the kubelet's",
    ];
    assert_eq!(
        check("a gauge\nb counter\nc counter\nd gauge\n", &served, unserved),
        expected
    );
    assert_eq!(check("", &[], "  b counter\n").len(), 2);
}
