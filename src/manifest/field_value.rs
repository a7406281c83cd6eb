//! `fieldRef` and `resourceFieldRef`: which value of the pod they select (`validateObjectFieldSelector`,
//! `validateContainerResourceFieldSelector` of `pkg/apis/core/validation`).

use k8s_openapi::api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};

use super::go_quantity::{Quantity, Rounding};
use super::names;
use super::validate;
use crate::model::quantity;
use crate::model::resources::Bytes;
use crate::model::value::{Bound, Field, Resource, ResourceField};

/// Where the value is used: not every field is allowed everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A variable.
    Environment,
    /// A file.
    Volume,
}

/// The field, or the name of the wrong part with a complaint about it.
pub(crate) fn field(own: &ObjectFieldSelector, used: Use) -> Result<Field, (&'static str, String)> {
    let version = own.api_version.as_deref().unwrap_or("");
    if !matches!(version, "" | "v1") {
        return Err((
            "apiVersion",
            format!("{version:?} is not a supported version: use v1"),
        ));
    }
    path(&own.field_path, used).map_err(|complaint| ("fieldPath", complaint))
}

fn path(path: &str, used: Use) -> Result<Field, String> {
    if let Some((map, key)) = path
        .split_once("['")
        .and_then(|(map, rest)| Some((map, rest.strip_suffix("']")?)))
    {
        let lower = key.to_ascii_lowercase();
        return match map {
            "metadata.labels" => checked(key, names::qualified_name(key)).map(Field::Label),
            "metadata.annotations" => checked(key, names::qualified_name(&lower)).map(Field::Annotation),
            _ => Err(format!(
                "{path:?} does not take a key: only metadata.labels and metadata.annotations do"
            )),
        };
    }
    let field = match path {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        "metadata.uid" => Field::Uid,
        "metadata.labels" if used == Use::Volume => Field::Labels,
        "metadata.annotations" if used == Use::Volume => Field::Annotations,
        "spec.nodeName" if used == Use::Environment => Field::NodeName,
        "spec.serviceAccountName" if used == Use::Environment => Field::ServiceAccount,
        "status.hostIP" if used == Use::Environment => Field::HostIp,
        "status.hostIPs" if used == Use::Environment => Field::HostIps,
        "status.podIP" if used == Use::Environment => Field::PodIp,
        "status.podIPs" if used == Use::Environment => Field::PodIps,
        "" => return Err("is missing: it names a field of the pod (metadata.name)".to_owned()),
        _ => {
            let all = match used {
                Use::Environment => {
                    "metadata.name, metadata.namespace, metadata.uid, metadata.labels['key'], \
                     metadata.annotations['key'], spec.nodeName, spec.serviceAccountName, status.hostIP, \
                     status.hostIPs, status.podIP, status.podIPs"
                }
                Use::Volume => {
                    "metadata.name, metadata.namespace, metadata.uid, metadata.labels, metadata.annotations, \
                     metadata.labels['key'], metadata.annotations['key']"
                }
            };
            return Err(format!("{path:?} is not one of {all}"));
        }
    };
    Ok(field)
}

fn checked(key: &str, complaint: Option<String>) -> Result<String, String> {
    match complaint {
        Some(complaint) => Err(format!("{key:?} {complaint}")),
        None => Ok(key.to_owned()),
    }
}

/// The amount, or what is wrong. A volume has to name the container.
pub(crate) fn resource(
    own: &ResourceFieldSelector,
    used: Use,
) -> Result<ResourceField, (&'static str, String)> {
    let container = own.container_name.clone().filter(|name| !name.is_empty());
    if used == Use::Volume && container.is_none() {
        return Err((
            "containerName",
            "is missing: it names the container that the resource belongs to".to_owned(),
        ));
    }
    let unknown = || {
        let message = format!(
            "{:?} is not one of limits.cpu, limits.memory, limits.ephemeral-storage, limits.hugepages-<size> and \
             the same with requests",
            own.resource
        );
        ("resource", message)
    };
    let (bound, name) = own.resource.split_once('.').ok_or_else(unknown)?;
    let bound = match bound {
        "limits" => Bound::Limits,
        "requests" => Bound::Requests,
        _ => return Err(unknown()),
    };
    let resource = match name {
        "cpu" => Resource::Cpu,
        "memory" => Resource::Memory,
        "ephemeral-storage" => Resource::EphemeralStorage,
        name => Resource::HugePages(Bytes(validate::resources::page_size(name).ok_or_else(unknown)?)),
    };
    let text = own.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
    let divisor = divisor(text, resource).map_err(|complaint| ("divisor", complaint))?;
    Ok(ResourceField {
        container,
        bound,
        resource,
        divisor,
    })
}

/// The divisors in their canonical form; an empty one is 1.
fn divisor(text: &str, resource: Resource) -> Result<i64, String> {
    const CPU: &[(&str, i64)] = &[("0", 1000), ("1m", 1), ("1", 1000)];
    const BYTES: &[(&str, i64)] = &[
        ("0", 1),
        ("1", 1),
        ("1k", 1000),
        ("1M", 1_000_000),
        ("1G", 1_000_000_000),
        ("1T", 1_000_000_000_000),
        ("1P", 1_000_000_000_000_000),
        ("1E", 1_000_000_000_000_000_000),
        ("1Ki", 1 << 10),
        ("1Mi", 1 << 20),
        ("1Gi", 1 << 30),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
        ("1Ei", 1 << 60),
    ];
    let text = if text.is_empty() { "0" } else { text };
    quantity::parse(text).map_err(|complaint| format!("{text:?} {complaint}"))?;
    let written = Quantity::read(text, Rounding::None).map(|quantity| quantity.canonical());
    let known = if resource == Resource::Cpu { CPU } else { BYTES };
    let found = known.iter().find(|(text, _)| written.as_deref() == Some(*text));
    found.map(|(_, divisor)| *divisor).ok_or_else(|| match resource {
        Resource::Cpu => format!("{text:?} is neither 1m nor 1"),
        _ => format!("{text:?} is not one of 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    #[test]
    fn fields_by_where_they_go() {
        let check = |path: &str, env: Result<Field, &str>, volume: Result<Field, &str>| {
            let own = ObjectFieldSelector {
                api_version: None,
                field_path: path.to_owned(),
            };
            for (used, want) in [(Use::Environment, env), (Use::Volume, volume)] {
                match (field(&own, used), want) {
                    (Ok(got), Ok(want)) => assert_eq!(got, want),
                    (Err((part, message)), Err(want)) => {
                        assert!(part == "fieldPath" && message.contains(want), "{message}");
                    }
                    (got, want) => panic!("{path} {used:?}: {got:?}, not {want:?}"),
                }
            }
        };
        check("metadata.name", Ok(Field::Name), Ok(Field::Name));
        check("metadata.labels", Err("is not one of"), Ok(Field::Labels));
        check("status.podIP", Ok(Field::PodIp), Err("is not one of"));
        let label = || Field::Label("a.b/c".to_owned());
        check("metadata.labels['a.b/c']", Ok(label()), Ok(label()));
        check(
            "metadata.labels['a b']",
            Err("must consist of"),
            Err("must consist of"),
        );
        check(
            "spec.nodeName['a']",
            Err("does not take a key"),
            Err("does not take a key"),
        );
        check("", Err("is missing"), Err("is missing"));
    }

    #[test]
    fn resources_and_divisors() {
        let check = |resource: &str, divisor: &str, want: Result<i64, &str>| {
            let own = ResourceFieldSelector {
                container_name: None,
                divisor: Some(Quantity(divisor.to_owned())),
                resource: resource.to_owned(),
            };
            match (super::resource(&own, Use::Environment), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.divisor, want, "{resource}"),
                (Err((part, _)), Err(want)) => assert_eq!(part, want, "{resource}"),
                (got, want) => panic!("{resource} {divisor}: {got:?}, not {want:?}"),
            }
            assert_eq!(super::resource(&own, Use::Volume).unwrap_err().0, "containerName");
        };
        check("limits.cpu", "", Ok(1000));
        check("limits.cpu", "0", Ok(1000));
        check("requests.cpu", "1m", Ok(1));
        check("limits.cpu", "2", Err("divisor"));
        check("limits.memory", "", Ok(1));
        check("limits.memory", "1Mi", Ok(1 << 20));
        check("limits.memory", "1k", Ok(1000));
        check("limits.memory", "3", Err("divisor"));
        check("limits.memory", "x", Err("divisor"));
        check("limits.hugepages-2Mi", "1Mi", Ok(1 << 20));
        check("memory", "", Err("resource"));
        check("limits.gpu", "", Err("resource"));
    }
}
