//! Which parts of a pod's status others write, and the node therefore has to read again whenever they change. Pure.
//!
//! Both loops hear of a pod only when it becomes another one (another `Arc`). The node's own status comes back to it with
//! each watch event and must not count as a change; a condition that a controller sets must, each time.

use k8s_openapi::api::core::v1::{
    PodCondition, PodExtendedResourceClaimStatus, PodResourceClaimStatus, PodStatus,
};

use super::api::tells_end;

/// The conditions that the node alone writes (`PodConditionsByKubelet` in `pkg/kubelet/types/pod_status.go`). All others
/// are somebody else's, `DisruptionTarget` included: nothing here ends a pod for the node's sake.
const OWN_CONDITIONS: &[&str] = &[
    "PodScheduled",
    "Ready",
    "Initialized",
    "ContainersReady",
    "PodResizeInProgress",
    "PodResizePending",
    "PodReadyToStartContainers",
    "AllContainersRestarting",
];

/// Whether others write conditions of this type.
pub fn is_foreign(condition: &str) -> bool {
    !OWN_CONDITIONS.contains(&condition)
}

/// What a status says that the node did not write, or has to act upon though it did.
#[derive(Debug, PartialEq)]
pub struct ForeignStatus<'a> {
    /// The phase where it is an end, with its reason and message: nothing follows upon it, whoever wrote it.
    end: Option<[Option<&'a str>; 3]>,
    /// In their order.
    conditions: Vec<&'a PodCondition>,
    nominated_node_name: Option<&'a str>,
    resource_claim_statuses: Option<&'a [PodResourceClaimStatus]>,
    extended_resource_claim_status: Option<&'a PodExtendedResourceClaimStatus>,
}

impl<'a> ForeignStatus<'a> {
    /// Reads it out of a status. Every field of a status is named here: one that a new version of the API brings does not
    /// compile before somebody has decided whose it is.
    pub fn of(status: Option<&'a PodStatus>) -> ForeignStatus<'a> {
        let end = status.filter(|status| tells_end(Some(status))).map(|status| {
            let texts = [&status.phase, &status.reason, &status.message];
            texts.map(Option::as_deref)
        });
        let Some(PodStatus {
            conditions,
            nominated_node_name,
            resource_claim_statuses,
            extended_resource_claim_status,
            // In `end`, where they are an end.
            phase: _,
            reason: _,
            message: _,
            // The node's own.
            allocated_resources: _,
            container_statuses: _,
            ephemeral_container_statuses: _,
            host_ip: _,
            host_ips: _,
            init_container_statuses: _,
            node_allocatable_resource_claim_statuses: _,
            observed_generation: _,
            pod_ip: _,
            pod_ips: _,
            qos_class: _,
            // Replaced by conditions in v1.33.
            resize: _,
            resources: _,
            start_time: _,
        }) = status
        else {
            return ForeignStatus {
                end,
                conditions: Vec::new(),
                nominated_node_name: None,
                resource_claim_statuses: None,
                extended_resource_claim_status: None,
            };
        };
        let conditions = conditions.iter().flatten();
        ForeignStatus {
            end,
            conditions: conditions
                .filter(|condition| is_foreign(&condition.type_))
                .collect(),
            nominated_node_name: nominated_node_name.as_deref(),
            resource_claim_statuses: resource_claim_statuses.as_deref(),
            extended_resource_claim_status: extended_resource_claim_status.as_ref(),
        }
    }

    /// Puts it into a status that the node has made, as the kubelet does: others' conditions come first.
    pub fn carry_into(&self, own: &mut PodStatus) {
        let mut conditions: Vec<_> = self.conditions.iter().map(|&other| other.clone()).collect();
        let made = own.conditions.take().unwrap_or_default();
        conditions.extend(made.into_iter().filter(|own| !is_foreign(&own.type_)));
        own.conditions = Some(conditions).filter(|conditions| !conditions.is_empty());
        own.nominated_node_name = self.nominated_node_name.map(str::to_owned);
        own.resource_claim_statuses = self.resource_claim_statuses.map(<[_]>::to_vec);
        own.extended_resource_claim_status = self.extended_resource_claim_status.cloned();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// Statuses of which some have the same parts of others, and some the same parts of the node.
    pub(crate) fn statuses() -> impl Strategy<Value = Value> {
        let of = |kinds: &'static [&'static str]| {
            let condition = (
                prop::sample::select(kinds),
                prop::sample::select(&["True", "False"][..]),
                0..2u8,
            );
            prop::collection::btree_map(0..3u8, condition, 0..3).prop_map(|all| {
                let mut conditions: Vec<Value> = Vec::new();
                for (kind, status, message) in all.into_values() {
                    if conditions.iter().all(|condition| condition["type"] != kind) {
                        conditions
                            .push(json!({"type": kind, "status": status, "message": message.to_string()}));
                    }
                }
                conditions
            })
        };
        let conditions = (
            of(&["Ready", "ContainersReady", "PodResizePending"]),
            of(&["example.org/one", "example.org/two", "DisruptionTarget"]),
        );
        let text = || prop::option::of(prop::sample::select(&["a", "b"][..]));
        let phase = prop::option::of(prop::sample::select(
            &["Pending", "Running", "Succeeded", "Failed"][..],
        ));
        (conditions, phase, text(), text(), text(), text(), text()).prop_map(
            |((own, others), phase, reason, nominated, claim, extended, ip)| {
                let conditions: Vec<Value> = others.into_iter().chain(own).collect();
                let mut status = json!({"phase": phase, "reason": reason, "nominatedNodeName": nominated,
                    "conditions": conditions, "podIP": ip, "hostIP": ip});
                if let Some(claim) = claim {
                    status["resourceClaimStatuses"] = json!([{"name": "c", "resourceClaimName": claim}]);
                }
                if let Some(extended) = extended {
                    status["extendedResourceClaimStatus"] =
                        json!({"resourceClaimName": extended, "requestMappings": []});
                }
                status
            },
        )
    }

    pub(crate) fn read(status: &Value) -> PodStatus {
        serde_json::from_value(status.clone()).unwrap()
    }

    /// The same as JSON, without the node's own parts.
    pub(crate) fn foreign_parts(status: &PodStatus) -> Value {
        let Value::Object(mut status) = json!(status) else {
            panic!("a status is an object")
        };
        let is_end = matches!(status.get("phase"), Some(Value::String(phase)) if phase == "Succeeded" || phase == "Failed");
        let mut keys = vec!["podIP", "hostIP"];
        if !is_end {
            keys.extend(["phase", "reason", "message"]);
        }
        for key in keys {
            status.remove(key);
        }
        let conditions = status.remove("conditions").unwrap_or_default();
        let others = conditions.as_array().into_iter().flatten();
        let others: Vec<&Value> = others
            .filter(|condition| {
                let kind = condition["type"].as_str().unwrap();
                kind.starts_with("example.org/") || kind == "DisruptionTarget"
            })
            .collect();
        status.insert("conditions".to_owned(), json!(others));
        Value::Object(
            status
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect::<Map<_, _>>(),
        )
    }

    proptest! {
        #[test]
        fn a_status_is_another_one_exactly_where_others_have_changed_it(one in statuses(), other in statuses()) {
            let (one, other) = (read(&one), read(&other));
            let is_same = ForeignStatus::of(Some(&one)) == ForeignStatus::of(Some(&other));
            prop_assert_eq!(is_same, foreign_parts(&one) == foreign_parts(&other));
        }

        #[test]
        fn what_others_wrote_is_carried_and_what_the_node_wrote_stays(own in statuses(), others in statuses()) {
            let (own, others) = (read(&own), read(&others));
            let mut carried = own.clone();
            ForeignStatus::of(Some(&others)).carry_into(&mut carried);
            let conditions = |status: &PodStatus, foreign: bool| {
                let all = status.conditions.clone().unwrap_or_default();
                all.into_iter().filter(|condition| is_foreign(&condition.type_) == foreign).collect::<Vec<_>>()
            };
            prop_assert_eq!(conditions(&carried, false), conditions(&own, false));
            prop_assert_eq!(conditions(&carried, true), conditions(&others, true));
            prop_assert_eq!(&carried.nominated_node_name, &others.nominated_node_name);
            prop_assert_eq!(&carried.resource_claim_statuses, &others.resource_claim_statuses);
            prop_assert_eq!(&carried.extended_resource_claim_status, &others.extended_resource_claim_status);
            prop_assert_eq!((&carried.phase, &carried.pod_ip), (&own.phase, &own.pod_ip));
        }
    }
}
