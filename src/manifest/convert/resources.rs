//! Requests and limits as this node understands them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::manifest::path::{Faults, FieldPath};
use crate::manifest::validate;
use crate::model::quantity;
use crate::model::resources::{Amounts, Bytes, MilliCpu, Resources};

/// Requests and limits.
pub(crate) fn resources(own: &k8s::ResourceRequirements, at: &FieldPath, faults: &mut Faults) -> Resources {
    Resources {
        requests: amounts(own.requests.as_ref(), &at.field("requests"), faults),
        limits: amounts(own.limits.as_ref(), &at.field("limits"), faults),
    }
}

pub(super) fn amounts(list: Option<&BTreeMap<String, Text>>, at: &FieldPath, faults: &mut Faults) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, text) in list.into_iter().flatten() {
        let at = at.key(name.clone());
        let amount = quantity::parse(&text.0).ok();
        let counted = amount.and_then(|amount| {
            if name == "cpu" {
                amount.millis()
            } else {
                amount.units()
            }
        });
        let Some(counted) = counted else {
            faults.add(
                &at,
                format!("{:?} is not a quantity that can be represented", text.0),
            );
            continue;
        };
        match name.as_str() {
            "cpu" => amounts.cpu = Some(MilliCpu(counted)),
            "memory" => amounts.memory = Some(Bytes(counted)),
            "ephemeral-storage" => amounts.ephemeral_storage = Some(Bytes(counted)),
            name => match validate::resources::page_size(name) {
                Some(size) => {
                    amounts.hugepages.insert(Bytes(size), Bytes(counted));
                }
                None => {
                    amounts.extended.insert(name.to_owned(), counted);
                }
            },
        }
    }
    amounts
}
