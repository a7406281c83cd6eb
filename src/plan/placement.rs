//! Whether a pod may run on this node at all (`nodeaffinity` of k8s.io/component-helpers, `tainttoleration` of the
//! scheduler, as used by `pkg/kubelet/lifecycle/predicate.go`).

use crate::model::placement::{
    NO_EXECUTE, NO_SCHEDULE, NodeMarks, Placement, Requirement, Taint, Term, Test, Tolerated, Toleration,
};

/// Whether a node matches the node selector and the required affinity.
pub(super) fn is_on_its_node(placement: &Placement, node: &NodeMarks) -> bool {
    let mut selector = placement.selector.iter();
    selector.all(|(key, value)| node.labels.get(key) == Some(value))
        && match &placement.affinity {
            Some(terms) => holds_one(terms, node),
            None => true,
        }
}

/// Whether a node holds one of these terms.
pub(super) fn holds_one(terms: &[Term], node: &NodeMarks) -> bool {
    terms.iter().any(|term| holds(term, node))
}

/// Whether the pod restricts the nodes that it may run on.
pub(super) fn asks(placement: &Placement) -> bool {
    !placement.selector.is_empty() || placement.affinity.is_some()
}

/// Whether every taint that would end the pod is tolerated.
pub(super) fn tolerates(placement: &Placement, node: &NodeMarks) -> bool {
    let tolerated = |taint: &Taint| placement.tolerations.iter().any(|own| covers(own, taint));
    node.taints.iter().all(tolerated)
}

/// Whether the pod tolerates a taint of this key that keeps new pods away (`NoSchedule`).
pub(super) fn tolerates_scheduling(placement: &Placement, key: &str) -> bool {
    placement.tolerations.iter().any(|own| {
        let is_of_effect = own.effect.as_ref().is_none_or(|effect| effect == NO_SCHEDULE);
        let is_of_key = own.key.as_ref().is_none_or(|own| own == key);
        // The taint has no value.
        let is_of_value = match &own.value {
            Tolerated::Any => true,
            Tolerated::Value(value) => value.is_empty(),
            Tolerated::Nothing => false,
        };
        is_of_effect && is_of_key && is_of_value
    })
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration
        .effect
        .as_ref()
        .is_none_or(|effect| effect == NO_EXECUTE);
    let key = toleration.key.as_ref().is_none_or(|key| *key == taint.key);
    let value = match &toleration.value {
        Tolerated::Any => true,
        Tolerated::Value(value) => *value == taint.value,
        Tolerated::Nothing => false,
    };
    effect && key && value
}

fn holds(term: &Term, node: &NodeMarks) -> bool {
    let label = |own: &Requirement| passes(&own.test, node.labels.get(&own.key).map(String::as_str));
    // A node has one field that can be selected; any other is empty.
    let field = |own: &Requirement| {
        let value = match own.key.as_str() {
            "metadata.name" => node.name.as_str(),
            _ => "",
        };
        passes(&own.test, Some(value))
    };
    term.labels.iter().all(label) && term.fields.iter().all(field)
}

fn passes(test: &Test, value: Option<&str>) -> bool {
    let number = || value.and_then(|value| value.parse::<i64>().ok());
    let is_one_of = |values: &[String]| value.is_some_and(|value| values.iter().any(|own| own == value));
    match test {
        Test::In(values) => is_one_of(values),
        Test::NotIn(values) => !is_one_of(values),
        Test::Exists => value.is_some(),
        Test::Absent => value.is_none(),
        Test::Above(bound) => number().is_some_and(|number| number > *bound),
        Test::Below(bound) => number().is_some_and(|number| number < *bound),
        Test::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeMarks {
        let labels = [("disk", "ssd"), ("cores", "8")];
        NodeMarks {
            name: "n1".to_owned(),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            taints: vec![Taint {
                key: "k".to_owned(),
                value: "v".to_owned(),
            }],
        }
    }

    fn require(key: &str, test: Test) -> Requirement {
        Requirement {
            key: key.to_owned(),
            test,
        }
    }

    #[test]
    fn each_requirement() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let check = |key: &str, test: Test, want: bool| {
            let term = Term {
                labels: vec![require(key, test.clone())],
                fields: Vec::new(),
            };
            assert_eq!(holds(&term, &node()), want, "{key} {test:?}");
        };
        check("disk", Test::In(texts(&["hdd", "ssd"])), true);
        check("disk", Test::In(texts(&["hdd"])), false);
        check("none", Test::In(texts(&[""])), false);
        check("disk", Test::NotIn(texts(&["hdd"])), true);
        check("none", Test::NotIn(texts(&["hdd"])), true);
        check("disk", Test::NotIn(texts(&["ssd"])), false);
        check("disk", Test::Exists, true);
        check("disk", Test::Absent, false);
        check("none", Test::Absent, true);
        check("cores", Test::Above(7), true);
        check("cores", Test::Above(8), false);
        check("cores", Test::Below(9), true);
        check("disk", Test::Above(0), false);
        check("disk", Test::Never, false);
    }

    #[test]
    fn all_of_a_term_and_one_of_the_terms() {
        let name = |name: &str| Term {
            labels: vec![require("disk", Test::Exists)],
            fields: vec![require("metadata.name", Test::In(vec![name.to_owned()]))],
        };
        let check = |affinity: Option<Vec<Term>>, selector: &[(&str, &str)], want: bool| {
            let selector = selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let placement = Placement {
                affinity,
                selector: selector.collect(),
                ..Placement::default()
            };
            assert_eq!(is_on_its_node(&placement, &node()), want, "{placement:?}");
        };
        check(None, &[], true);
        check(Some(vec![name("n2"), name("n1")]), &[("disk", "ssd")], true);
        check(Some(vec![name("n2")]), &[], false);
        check(Some(vec![name("n1")]), &[("disk", "hdd")], false);
        // A term without requirements matches nothing.
        check(Some(Vec::new()), &[], false);
    }

    #[test]
    fn each_toleration() {
        let check = |key: Option<&str>, effect: Option<&str>, value: Tolerated, want: bool| {
            let own = Toleration {
                key: key.map(str::to_owned),
                effect: effect.map(str::to_owned),
                value,
            };
            let placement = Placement {
                tolerations: vec![own],
                ..Placement::default()
            };
            assert_eq!(tolerates(&placement, &node()), want, "{placement:?}");
        };
        check(None, None, Tolerated::Any, true);
        check(
            Some("k"),
            Some(NO_EXECUTE),
            Tolerated::Value("v".to_owned()),
            true,
        );
        check(Some("k"), Some("NoSchedule"), Tolerated::Any, false);
        check(Some("k"), None, Tolerated::Value(String::new()), false);
        check(Some("other"), None, Tolerated::Any, false);
        check(Some("k"), None, Tolerated::Nothing, false);
        assert!(!tolerates(&Placement::default(), &node()));
        assert!(tolerates(&Placement::default(), &NodeMarks::default()));
    }
}
