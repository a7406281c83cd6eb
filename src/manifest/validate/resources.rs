//! Validates requests and limits: their names, their amounts, and their relation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::quantity::{self, Quantity};

/// Notes what is wrong with the resources of a container.
pub(crate) fn container(resources: &ResourceRequirements, at: &FieldPath, faults: &mut Faults) {
    requirements(resources, at, faults);
    for (field, list) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for name in list.iter().flat_map(BTreeMap::keys) {
            resource_name(name, &at.field(field).key(name.clone()), faults);
        }
    }
}

/// Notes what is wrong with the resource names of a pod's overhead; its amounts are checked with the pod's.
pub(crate) fn overhead(overhead: Option<&BTreeMap<String, Text>>, at: &FieldPath, faults: &mut Faults) {
    for name in overhead.into_iter().flat_map(BTreeMap::keys) {
        resource_name(name, &at.key(name.clone()), faults);
    }
    let names = || overhead.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
    huge_pages_alone(names(), at, faults);
}

/// Notes huge pages without anything that accounts for the memory that comes with them.
fn huge_pages_alone<'a>(names: impl Iterator<Item = &'a str> + Clone, at: &FieldPath, faults: &mut Faults) {
    let huge = names.clone().any(|name| name.starts_with("hugepages-"));
    if huge && !names.clone().any(|name| matches!(name, "cpu" | "memory")) {
        faults.add(at, "huge pages also need a request or limit of cpu or memory");
    }
}

/// Notes wrong amounts of a container or a pod.
pub(crate) fn requirements(resources: &ResourceRequirements, at: &FieldPath, faults: &mut Faults) {
    let limits = amounts(resources.limits.as_ref(), &at.field("limits"), faults);
    let requests = amounts(resources.requests.as_ref(), &at.field("requests"), faults);
    for (name, request) in &requests {
        let at = at.field("requests").key((*name).to_owned());
        let overcommits = !name.starts_with("hugepages-") && !is_extended(name);
        match limits.get(name) {
            Some(limit) if overcommits && request > limit => {
                faults.add(
                    &at,
                    "is more than the limit: lower the request or raise the limit",
                );
            }
            Some(limit) if !overcommits && request != limit => faults.add(&at, "must be equal to the limit"),
            None if !overcommits && !has(resources.limits.as_ref(), name) => {
                faults.add(&at, "needs a limit of the same amount");
            }
            _ => {}
        }
    }
    huge_pages_alone(limits.keys().chain(requests.keys()).copied(), at, faults);
}

fn has(list: Option<&BTreeMap<String, Text>>, name: &str) -> bool {
    list.is_some_and(|list| list.contains_key(name))
}

/// The valid amounts; the others are noted.
fn amounts<'a>(
    list: Option<&'a BTreeMap<String, Text>>,
    at: &FieldPath,
    faults: &mut Faults,
) -> BTreeMap<&'a str, Quantity> {
    let mut right = BTreeMap::new();
    for (name, text) in list.into_iter().flatten() {
        let at = at.key(name.clone());
        if let Some(amount) = amount(name, &text.0, &at, faults) {
            right.insert(name.as_str(), amount);
        }
    }
    right
}

/// The amount of one resource, if it is valid.
pub(crate) fn amount(name: &str, text: &str, at: &FieldPath, faults: &mut Faults) -> Option<Quantity> {
    let amount = match quantity::parse(text) {
        Ok(amount) => amount,
        Err(complaint) => {
            faults.add(at, format!("{text:?} is not a quantity: {complaint}"));
            return None;
        }
    };
    if amount.is_negative() {
        faults.add(at, format!("{text} is negative"));
        return None;
    }
    let counted = if name == "cpu" {
        amount.millis()
    } else {
        amount.units()
    };
    if counted.is_none() {
        faults.add(at, format!("{text} is too large"));
        return None;
    }
    if name != "cpu" && !amount.is_whole() && text.ends_with(['m', 'u', 'n']) {
        let meant = text.trim_end_matches(['m', 'u', 'n']);
        faults.warn(
            at,
            format!("{text} is a fraction of a byte: did you mean {meant}M or {meant}Mi?"),
        );
    }
    if is_extended(name) && !amount.is_whole() {
        faults.add(at, format!("{text} is not an integer"));
        return None;
    }
    if let Some(size) = page_size(name)
        && !amount.is_multiple_of(size)
    {
        faults.add(at, format!("{text} is not a multiple of the page size"));
        return None;
    }
    Some(amount)
}

/// The size of the pages of a resource `hugepages-<size>`, in bytes.
pub(crate) fn page_size(name: &str) -> Option<i64> {
    let size = quantity::parse(name.strip_prefix("hugepages-")?).ok()?;
    size.units().filter(|size| *size > 0 && quantity_is_whole(name))
}

fn quantity_is_whole(name: &str) -> bool {
    name.strip_prefix("hugepages-")
        .and_then(|size| quantity::parse(size).ok())
        .is_some_and(Quantity::is_whole)
}

/// Whether it is a device resource (`example.com/gpu`).
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn resource_name(name: &str, at: &FieldPath, faults: &mut Faults) {
    if matches!(name, "cpu" | "memory" | "ephemeral-storage") || page_size(name).is_some() {
        return;
    }
    if let Some(complaint) = names::qualified_name(name) {
        faults.add(at, format!("{name:?} {complaint}"));
    } else if is_extended(name) {
        faults.unsupported(
            at,
            "devices are not supported by this version of gantry yet: remove it",
        );
    } else {
        faults.add(
            at,
            format!(
                "{name:?} is not a resource of a container: use cpu, memory, ephemeral-storage or hugepages-<size>"
            ),
        );
    }
}
