//! Pod-level resources (`spec.resources`): their defaults from the containers, and the check that the containers fit
//! into them (`pkg/apis/core/v1/defaults.go`, `validatePodResourceConsistency`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::path::{Faults, FieldPath};
use super::validate;
use crate::model::quantity::{self, Quantity};

type List = BTreeMap<String, Text>;

/// Which of a container's two lists.
#[derive(Clone, Copy)]
enum Which {
    Requests,
    Limits,
}

/// Fills in the pod's requests if the pod has limits: the sum of the containers' requests, or else the limit.
pub(crate) fn apply_defaults(spec: &mut PodSpec) {
    let huge_limits = together(spec, Which::Limits);
    let requested = together(spec, Which::Requests);
    let Some(resources) = &mut spec.resources else {
        return;
    };
    let stated = |list: &Option<List>| list.as_ref().is_some_and(|list| !list.is_empty());
    if stated(&resources.limits) || stated(&resources.requests) {
        for (name, limit) in huge_limits
            .iter()
            .filter(|(name, _)| name.starts_with("hugepages-"))
        {
            let has_request = resources.requests.as_ref().is_some_and(|r| r.contains_key(name));
            let limits = resources.limits.get_or_insert_default();
            if !has_request {
                limits
                    .entry(name.clone())
                    .or_insert_with(|| Text(limit.to_string()));
            }
        }
    }
    if !stated(&resources.limits) {
        return;
    }
    let requests = resources.requests.get_or_insert_default();
    for (name, amount) in &requested {
        if matches!(name.as_str(), "cpu" | "memory") {
            requests
                .entry(name.clone())
                .or_insert_with(|| Text(amount.to_string()));
        }
    }
    for (name, limit) in resources.limits.iter().flatten() {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// Notes what is wrong with the pod-level resources and the overhead.
pub(crate) fn check(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    for (name, text) in spec.overhead.iter().flatten() {
        let at = at.field("overhead").key(name.clone());
        validate::resources::amount(name, &text.0, &at, faults);
    }
    let Some(resources) = &spec.resources else {
        return;
    };
    let at = at.field("resources");
    for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for name in list.iter().flat_map(BTreeMap::keys) {
            if !matches!(name.as_str(), "cpu" | "memory") && validate::resources::page_size(name).is_none() {
                let message =
                    format!("{name:?} is not a resource of a pod: use cpu, memory or hugepages-<size>");
                faults.add(&at.field(field).key(name.clone()), message);
            }
        }
    }
    validate::resources::requirements(resources, &at, faults);
    fits(spec, resources, &at, faults);
}

fn fits(spec: &PodSpec, resources: &ResourceRequirements, at: &FieldPath, faults: &mut Faults) {
    let requested = together(spec, Which::Requests);
    for (name, own) in amounts(resources.requests.as_ref()) {
        if requested.get(&name).is_some_and(|all| *all > own) {
            let at = at.field("requests").key(name);
            faults.add(&at, "is less than the sum of the containers' requests: raise it");
        }
    }
    let limits = amounts(resources.limits.as_ref());
    for (index, container) in spec.containers.iter().enumerate() {
        for (name, own) in amounts(list(container, Which::Limits)) {
            if limits.get(&name).is_some_and(|pod| own > *pod) {
                let at = at
                    .parent()
                    .field("containers")
                    .index(index)
                    .field("resources")
                    .field("limits");
                faults.add(&at.key(name), "is more than the pod's limit: lower it");
            }
        }
    }
}

/// The total request of the containers: the larger of the sum of those that run together, and the need of an init
/// container with the sidecars that were started before it.
fn together(spec: &PodSpec, which: Which) -> BTreeMap<String, Quantity> {
    let mut sum: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in &spec.containers {
        add(&mut sum, &amounts(list(container, which)));
    }
    let mut sidecars: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut most: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in spec.init_containers.iter().flatten() {
        let mut beside = sidecars.clone();
        add(&mut beside, &amounts(list(container, which)));
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = beside.clone();
            add(&mut sum, &amounts(list(container, which)));
        }
        for (name, amount) in beside {
            let highest = most.entry(name).or_insert(amount);
            *highest = (*highest).max(amount);
        }
    }
    for (name, amount) in most {
        let highest = sum.entry(name).or_insert(amount);
        *highest = (*highest).max(amount);
    }
    sum
}

fn list(container: &Container, which: Which) -> Option<&List> {
    let resources = container.resources.as_ref()?;
    match which {
        Which::Requests => resources.requests.as_ref(),
        Which::Limits => resources.limits.as_ref(),
    }
}

/// The amounts that can be parsed; the container's validation reports the others.
fn amounts(list: Option<&List>) -> BTreeMap<String, Quantity> {
    list.into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.clone(), quantity::parse(&text.0).ok()?)))
        .collect()
}

fn add(sum: &mut BTreeMap<String, Quantity>, more: &BTreeMap<String, Quantity>) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            // Amounts are below 2^63, and there are too few containers for their sum to overflow.
            Some(own) => *own = own.plus(*amount).unwrap_or(*own),
            None => {
                sum.insert(name.clone(), *amount);
            }
        }
    }
}
