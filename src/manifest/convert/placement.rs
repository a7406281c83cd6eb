//! Converts the constraints on a pod's node.

use k8s_openapi::api::core::v1::{self as k8s, PodSpec};

use crate::model::placement::{Placement, Requirement, Term, Test, Tolerated, Toleration};

/// What the pod requires of its node.
pub(crate) fn placement(spec: &PodSpec) -> Placement {
    let affinity = spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref());
    let required = affinity.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref());
    Placement {
        os: spec.os.as_ref().map(|os| os.name.clone()),
        selector: spec.node_selector.clone().unwrap_or_default(),
        affinity: required.map(node_terms),
        tolerations: spec.tolerations.iter().flatten().map(toleration).collect(),
    }
}

/// The terms of which a node has to hold one.
pub(crate) fn node_terms(selector: &k8s::NodeSelector) -> Vec<Term> {
    selector.node_selector_terms.iter().filter_map(term).collect()
}

/// A term; an empty one selects no node.
fn term(term: &k8s::NodeSelectorTerm) -> Option<Term> {
    let all = |list: &Option<Vec<k8s::NodeSelectorRequirement>>, test: fn(&str, &[String]) -> Test| {
        let one = |own: &k8s::NodeSelectorRequirement| Requirement {
            key: own.key.clone(),
            test: test(&own.operator, own.values.as_deref().unwrap_or(&[])),
        };
        list.iter().flatten().map(one).collect::<Vec<_>>()
    };
    let made = Term {
        labels: all(&term.match_expressions, of_label),
        fields: all(&term.match_fields, of_field),
    };
    (!made.labels.is_empty() || !made.fields.is_empty()).then_some(made)
}

fn of_label(operator: &str, values: &[String]) -> Test {
    let number = || match values {
        [one] => one.parse::<i64>().ok(),
        _ => None,
    };
    match (operator, values) {
        ("In", [_, ..]) => Test::In(values.to_vec()),
        ("NotIn", [_, ..]) => Test::NotIn(values.to_vec()),
        ("Exists", []) => Test::Exists,
        ("DoesNotExist", []) => Test::Absent,
        ("Gt", _) => number().map_or(Test::Never, Test::Above),
        ("Lt", _) => number().map_or(Test::Never, Test::Below),
        _ => Test::Never,
    }
}

/// A field has a single value and is compared with a single value.
fn of_field(operator: &str, values: &[String]) -> Test {
    match (operator, values) {
        ("In", [_]) => Test::In(values.to_vec()),
        ("NotIn", [_]) => Test::NotIn(values.to_vec()),
        _ => Test::Never,
    }
}

fn toleration(own: &k8s::Toleration) -> Toleration {
    let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Toleration {
        key: stated(&own.key),
        effect: stated(&own.effect),
        value: match own.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => Tolerated::Value(own.value.clone().unwrap_or_default()),
            "Exists" => Tolerated::Any,
            _ => Tolerated::Nothing,
        },
    }
}
