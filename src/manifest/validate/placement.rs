//! Validates the fields for the scheduler (`validateAffinity`, `validateTopologySpreadConstraints` of
//! `pkg/apis/core/validation`). A static pod needs no scheduler; the kubelet rejects wrong fields anyway.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};

/// Whether the values of a requirement must be valid label values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    OfLabels,
    /// Preferences may use any value.
    Any,
}

/// Notes what is wrong with a pod's placement.
pub(crate) fn placement(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    for (key, value) in spec.node_selector.iter().flatten() {
        let at = at.field("nodeSelector").key(key.clone());
        faults.complain(&at, key, names::qualified_name(key));
        faults.complain(&at, value, names::label_value(value));
    }
    if let Some(own) = &spec.affinity {
        affinity(own, &at.field("affinity"), faults);
    }
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or(&[]);
    let at = at.field("topologySpreadConstraints");
    let mut taken = BTreeSet::new();
    for (index, own) in constraints.iter().enumerate() {
        let at = at.index(index);
        constraint(own, &at, faults);
        if !taken.insert((own.topology_key.as_str(), own.when_unsatisfiable.as_str())) {
            faults.add(
                &at,
                "repeats the topologyKey and whenUnsatisfiable of another: keep one of the two",
            );
        }
    }
}

fn affinity(own: &Affinity, at: &FieldPath, faults: &mut Faults) {
    let (required, preferred) = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    );
    if let Some(node) = &own.node_affinity {
        let at = at.field("nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            let at = at.field(required).field("nodeSelectorTerms");
            if selector.node_selector_terms.is_empty() {
                faults.add(&at, "is missing: add at least one term");
            }
            for (index, own) in selector.node_selector_terms.iter().enumerate() {
                node_term(own, Values::OfLabels, &at.index(index), faults);
            }
        }
        let preferences = node
            .preferred_during_scheduling_ignored_during_execution
            .iter()
            .flatten();
        for (index, own) in preferences.enumerate() {
            let at = at.field(preferred).index(index);
            weight(own.weight, &at, faults);
            node_term(&own.preference, Values::Any, &at.field("preference"), faults);
        }
    }
    let pods = own.pod_affinity.as_ref().map(|own| {
        (
            "podAffinity",
            &own.required_during_scheduling_ignored_during_execution,
            &own.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let anti = own.pod_anti_affinity.as_ref().map(|own| {
        (
            "podAntiAffinity",
            &own.required_during_scheduling_ignored_during_execution,
            &own.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, musts, mays) in pods.into_iter().chain(anti) {
        let at = at.field(field);
        for (index, own) in musts.iter().flatten().enumerate() {
            pod_term(own, &at.field(required).index(index), faults);
        }
        for (index, own) in mays.iter().flatten().enumerate() {
            let WeightedPodAffinityTerm {
                weight: own_weight,
                pod_affinity_term: term,
            } = own;
            let at = at.field(preferred).index(index);
            weight(*own_weight, &at, faults);
            pod_term(term, &at.field("podAffinityTerm"), faults);
        }
    }
}

fn weight(weight: i32, at: &FieldPath, faults: &mut Faults) {
    if !(1..=100).contains(&weight) {
        faults.add(
            &at.field("weight"),
            format!("{weight} is not a valid weight: it must be from 1 to 100"),
        );
    }
}

fn node_term(term: &NodeSelectorTerm, values: Values, at: &FieldPath, faults: &mut Faults) {
    for (index, own) in term.match_expressions.iter().flatten().enumerate() {
        let at = at.field("matchExpressions").index(index);
        requirement(&own.operator, own.values.as_deref(), true, &at, faults);
        faults.complain(&at.field("key"), &own.key, names::qualified_name(&own.key));
        if values == Values::OfLabels {
            label_values(own.values.as_deref(), &at.field("values"), faults);
        }
    }
    for (index, own) in term.match_fields.iter().flatten().enumerate() {
        node_field(own, &at.field("matchFields").index(index), faults);
    }
}

fn node_field(own: &NodeSelectorRequirement, at: &FieldPath, faults: &mut Faults) {
    let values = own.values.as_deref().unwrap_or(&[]);
    faults.one_of(&at.field("operator"), &own.operator, &["In", "NotIn"]);
    if matches!(own.operator.as_str(), "In" | "NotIn") && values.len() != 1 {
        faults.add(&at.field("values"), "must be a single value");
    }
    faults.one_of(&at.field("key"), &own.key, &["metadata.name"]);
    for (index, value) in values.iter().enumerate() {
        faults.complain(
            &at.field("values").index(index),
            value,
            names::dns_subdomain(value),
        );
    }
}

/// Checks that an operator has as many values as it compares.
fn requirement(
    operator: &str,
    values: Option<&[String]>,
    of_node: bool,
    at: &FieldPath,
    faults: &mut Faults,
) {
    let values = values.unwrap_or(&[]);
    let all = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    faults.one_of(
        &at.field("operator"),
        operator,
        if of_node { &all } else { &all[..4] },
    );
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            faults.add(
                &at.field("values"),
                format!("is missing: {operator} needs values"),
            );
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            faults.add(&at.field("values"), format!("must be empty with {operator}"));
        }
        "Gt" | "Lt" if of_node && values.len() != 1 => {
            faults.add(
                &at.field("values"),
                format!("must be a single value with {operator}"),
            );
        }
        _ => {}
    }
}

fn label_values(values: Option<&[String]>, at: &FieldPath, faults: &mut Faults) {
    for (index, value) in values.unwrap_or(&[]).iter().enumerate() {
        faults.complain(&at.index(index), value, names::label_value(value));
    }
}

fn selector(own: Option<&LabelSelector>, at: &FieldPath, faults: &mut Faults) {
    let Some(own) = own else {
        return;
    };
    for (key, value) in own.match_labels.iter().flatten() {
        let at = at.field("matchLabels").key(key.clone());
        faults.complain(&at, key, names::qualified_name(key));
        faults.complain(&at, value, names::label_value(value));
    }
    for (index, own) in own.match_expressions.iter().flatten().enumerate() {
        let at = at.field("matchExpressions").index(index);
        requirement(&own.operator, own.values.as_deref(), false, &at, faults);
        faults.complain(&at.field("key"), &own.key, names::qualified_name(&own.key));
        label_values(own.values.as_deref(), &at.field("values"), faults);
    }
}

fn pod_term(term: &PodAffinityTerm, at: &FieldPath, faults: &mut Faults) {
    selector(term.label_selector.as_ref(), &at.field("labelSelector"), faults);
    selector(
        term.namespace_selector.as_ref(),
        &at.field("namespaceSelector"),
        faults,
    );
    for (index, name) in term.namespaces.iter().flatten().enumerate() {
        faults.complain(&at.field("namespaces").index(index), name, names::dns_label(name));
    }
    label_keys(
        term.match_label_keys.as_deref(),
        term.mismatch_label_keys.as_deref(),
        term.label_selector.as_ref(),
        at,
        faults,
    );
    let key = &term.topology_key;
    faults.complain(&at.field("topologyKey"), key, names::qualified_name(key));
}

/// Keys whose values are taken from the pod's own labels.
fn label_keys(
    matching: Option<&[String]>,
    mismatching: Option<&[String]>,
    selector: Option<&LabelSelector>,
    at: &FieldPath,
    faults: &mut Faults,
) {
    for (field, keys) in [("matchLabelKeys", matching), ("mismatchLabelKeys", mismatching)] {
        let keys = keys.unwrap_or(&[]);
        if !keys.is_empty() && selector.is_none() {
            faults.add(&at.field(field), "needs a labelSelector beside it");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            faults.complain(&at.field(field).index(index), key, names::qualified_name(key));
        }
    }
    let matching = matching.unwrap_or(&[]);
    let mismatching: BTreeSet<&String> = mismatching.iter().copied().flatten().collect();
    for (index, key) in matching.iter().enumerate() {
        if mismatching.contains(key) {
            faults.add(
                &at.field("matchLabelKeys").index(index),
                format!("{key:?} is also in mismatchLabelKeys: keep one of the two"),
            );
        }
    }
    let matching: BTreeSet<&String> = matching.iter().collect();
    // An expression repeats a key that the selector already has; a label alone may.
    let mut before: BTreeSet<&str> = BTreeSet::new();
    before.extend(
        selector
            .iter()
            .flat_map(|own| own.match_labels.iter().flatten().map(|(key, _)| key.as_str())),
    );
    for own in selector
        .iter()
        .flat_map(|own| own.match_expressions.iter().flatten())
    {
        if !before.insert(own.key.as_str()) && matching.contains(&own.key) {
            faults.add(
                &at.field("matchLabelKeys"),
                format!("{:?} is also in labelSelector: keep one of the two", own.key),
            );
        }
    }
}

fn constraint(own: &TopologySpreadConstraint, at: &FieldPath, faults: &mut Faults) {
    if own.max_skew <= 0 {
        faults.add(
            &at.field("maxSkew"),
            format!("{} is not a valid skew: it must be 1 or more", own.max_skew),
        );
    }
    if own.topology_key.is_empty() {
        faults.add(&at.field("topologyKey"), "is missing: it names a node label");
    }
    let action = own.when_unsatisfiable.as_str();
    faults.one_of(
        &at.field("whenUnsatisfiable"),
        action,
        &["DoNotSchedule", "ScheduleAnyway"],
    );
    if let Some(domains) = own.min_domains {
        if domains <= 0 {
            faults.add(
                &at.field("minDomains"),
                format!("{domains} is not a valid count: it must be 1 or more"),
            );
        }
        if action != "DoNotSchedule" {
            faults.add(&at.field("minDomains"), "needs whenUnsatisfiable: DoNotSchedule");
        }
    }
    for (field, policy) in [
        ("nodeAffinityPolicy", &own.node_affinity_policy),
        ("nodeTaintsPolicy", &own.node_taints_policy),
    ] {
        if let Some(policy) = policy {
            faults.one_of(&at.field(field), policy, &["Honor", "Ignore"]);
        }
    }
    selector(own.label_selector.as_ref(), &at.field("labelSelector"), faults);
    label_keys(
        own.match_label_keys.as_deref(),
        None,
        own.label_selector.as_ref(),
        at,
        faults,
    );
}
