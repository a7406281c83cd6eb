//! Merges a pod's status over the API server's, as a patch that leaves the fields of others alone.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use serde_json::{Map, Value, json};

use crate::model::api::has_final_phase;
use crate::model::foreign_status::is_own;

/// The keys of a status that the node writes. All other keys belong to others.
const OURS: &[&str] = &[
    "phase",
    "reason",
    "message",
    "observedGeneration",
    "startTime",
    "qosClass",
    "hostIP",
    "podIP",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];

/// Amounts by name, which the API server merges name by name.
const AMOUNTS: &[&str] = &["resources", "allocatedResources"];

/// Lists that the API server would merge by a key: the patch replaces them as a whole.
const REPLACED: &[&str] = &["hostIPs", "podIPs"];

/// The patch from `theirs` to `ours`; `None` if there is no difference. A final phase is never taken back, and a
/// condition that did not change keeps its transition time.
pub(super) fn patch(ours: &PodStatus, theirs: Option<&PodStatus>) -> Option<Value> {
    let nothing = PodStatus::default();
    let theirs = theirs.unwrap_or(&nothing);
    if has_final_phase(Some(theirs)) && !has_final_phase(Some(ours)) {
        return None;
    }
    let mut ours = ours.clone();
    ours.start_time = theirs.start_time.clone().or(ours.start_time);
    // The runtime forgets the address of a sandbox that has ended, but readers of the status still need it.
    if ours.pod_ip.is_none() {
        ours.pod_ip = theirs.pod_ip.clone();
        ours.pod_ips = theirs.pod_ips.clone();
    }
    let conditions = conditions(&ours, theirs);
    let (new, old) = (object(&ours), object(theirs));
    let mut patch = Map::new();
    for key in OURS {
        let (new, old) = (new.get(*key), old.get(*key));
        if new != old {
            patch.insert((*key).to_owned(), new.cloned().unwrap_or(Value::Null));
        }
    }
    for key in AMOUNTS {
        // The kubelet reports them of pods for which we do not, and they are not wrong.
        let (Some(new), old) = (new.get(*key), old.get(*key)) else {
            continue;
        };
        if Some(new) != old {
            patch.insert((*key).to_owned(), over(Some(new), old));
        }
    }
    for key in REPLACED {
        let (new, old) = (new.get(*key), old.get(*key));
        if let Some(Value::Array(items)) = new
            && Some(&Value::Array(items.clone())) != old
        {
            let mut items = items.clone();
            items.push(json!({"$patch": "replace"}));
            patch.insert((*key).to_owned(), Value::Array(items));
        } else if new.is_none() && old.is_some() {
            // Kept without hostIP, it would make the whole patch invalid.
            patch.insert((*key).to_owned(), Value::Null);
        }
    }
    if !conditions.is_empty() {
        patch.insert("conditions".to_owned(), json!(conditions));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// A value over another one, for a patch that merges: what is gone is null.
fn over(new: Option<&Value>, old: Option<&Value>) -> Value {
    let Some(Value::Object(new)) = new else {
        return new.cloned().unwrap_or(Value::Null);
    };
    let mut merged = new.clone();
    for (key, old) in old.and_then(Value::as_object).into_iter().flatten() {
        merged.insert(key.clone(), over(new.get(key), Some(old)));
    }
    Value::Object(merged)
}

/// Conditions that are removed when they no longer apply.
const PASSING: &[&str] = &["PodResizePending", "PodResizeInProgress"];

/// Our conditions that differ from the API server's. It merges them by type, and key by key: a key that is gone, like
/// the reason of a condition that is now true, must be removed explicitly.
fn conditions(ours: &PodStatus, theirs: &PodStatus) -> Vec<Map<String, Value>> {
    let published = |kind: &str| {
        theirs
            .conditions
            .iter()
            .flatten()
            .find(|published| published.type_ == kind)
    };
    let mut changed = Vec::new();
    // Conditions of others are in `ours` as they were when it was computed, and may have changed since.
    let own = |condition: &&PodCondition| is_own(condition);
    for condition in ours.conditions.iter().flatten().filter(own) {
        let mut condition = condition.clone();
        let published = published(&condition.type_);
        // These are always true; the information is in their reason.
        let is_same = |published: &&PodCondition| match PASSING.contains(&published.type_.as_str()) {
            true => published.reason == condition.reason,
            false => published.status == condition.status,
        };
        if let Some(published) = published.filter(is_same) {
            condition.last_transition_time = published.last_transition_time.clone();
        }
        let (mut new, old) = (object(&condition), published.map(object).unwrap_or_default());
        if new == old {
            continue;
        }
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
        changed.push(new);
    }
    for kind in PASSING {
        let ours = ours.conditions.iter().flatten().any(|ours| ours.type_ == *kind);
        if !ours && published(kind).is_some() {
            let gone = [("type", json!(kind)), ("$patch", json!("delete"))];
            changed.push(
                gone.map(|(key, value)| (key.to_owned(), value))
                    .into_iter()
                    .collect(),
            );
        }
    }
    changed
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match json!(value) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::foreign_status::ForeignStatus;
    use crate::model::foreign_status::tests::{foreign_parts, read, statuses};

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    fn check(ours: Value, theirs: Value, expected: Option<Value>) {
        assert_eq!(patch(&status(ours), Some(&status(theirs))), expected);
    }

    /// Applies a patch as the API server does, as far as the node's patches need it.
    fn apply(patch: &Value, theirs: &Value) -> Value {
        let mut status = theirs.clone();
        for (key, value) in patch.as_object().unwrap() {
            if key != "conditions" {
                status[key] = value.clone();
                continue;
            }
            let published = status["conditions"].as_array_mut().unwrap();
            for item in value.as_array().unwrap() {
                published.retain(|published| published["type"] != item["type"]);
                if item["$patch"] != "delete" {
                    published.push(item.clone());
                }
            }
        }
        status
    }

    proptest! {
        /// Others may write between the computation of a status and its publication.
        #[test]
        fn what_others_write_is_never_written_over(own in statuses(), seen in statuses(), now in statuses()) {
            let mut ours = read(&own);
            ForeignStatus::of(Some(&read(&seen))).carry_into(&mut ours);
            if let Some(patch) = patch(&ours, Some(&read(&now))) {
                let after = read(&apply(&patch, &now));
                let mut wanted = foreign_parts(&read(&now));
                let mut found = foreign_parts(&after);
                // A phase belongs to the node until it is final.
                for parts in [&mut wanted, &mut found] {
                    for key in ["phase", "reason", "message"] {
                        parts.as_object_mut().unwrap().remove(key);
                    }
                }
                prop_assert_eq!(found, wanted);
                prop_assert!(!has_final_phase(Some(&read(&now))) || has_final_phase(Some(&after)));
            }
        }
    }

    #[test]
    fn only_what_differs_is_written_and_others_parts_stay() {
        let running = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]});
        check(running.clone(), running.clone(), None);
        check(
            running.clone(),
            json!({"phase": "Pending", "message": "m", "nominatedNodeName": "n",
                "podIPs": [{"ip": "10.0.0.9"}]}),
            Some(json!({"phase": "Running", "message": null, "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"$patch": "replace"}]})),
        );
    }

    #[test]
    fn addresses_go_together() {
        check(
            json!({"phase": "Failed"}),
            json!({"phase": "Failed", "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}]}),
            Some(json!({"hostIP": null, "hostIPs": null})),
        );
    }

    #[test]
    fn an_amount_that_is_gone_is_removed() {
        check(
            json!({"resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1"}}),
            json!({"resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1"}},
                "allocatedResources": {"cpu": "1"}}),
            Some(json!({"resources": {"requests": {"cpu": "1", "memory": null}, "limits": null}})),
        );
        check(
            json!({}),
            json!({"resources": {"limits": {"memory": "1Mi"}}, "allocatedResources": {"cpu": "1"}}),
            None,
        );
    }

    #[test]
    fn an_end_is_not_taken_back() {
        check(json!({"phase": "Running"}), json!({"phase": "Failed"}), None);
        check(json!({"phase": "Pending"}), json!({"phase": "Succeeded"}), None);
    }

    #[test]
    fn a_reason_goes_with_what_it_was_for() {
        let (early, late) = ("2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z");
        check(
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": late}]}),
            json!({"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": early,
                "reason": "ContainersNotReady", "message": "containers with unready status: [c]"}]}),
            Some(
                json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": late,
                "reason": null, "message": null}]}),
            ),
        );
    }

    #[test]
    fn a_condition_that_has_passed_is_taken_away() {
        let (early, late) = ("2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z");
        let pending = |reason: &str, time: &str| {
            json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": reason,
                "lastTransitionTime": time}]})
        };
        check(
            json!({}),
            pending("Deferred", early),
            Some(json!({"conditions": [{"type": "PodResizePending", "$patch": "delete"}]})),
        );
        check(pending("Deferred", late), pending("Deferred", early), None);
        check(
            pending("Infeasible", late),
            pending("Deferred", early),
            Some(pending("Infeasible", late)),
        );
    }

    #[test]
    fn an_address_outlives_its_sandbox() {
        let addressed =
            |phase: &str| json!({"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]});
        check(
            json!({"phase": "Succeeded"}),
            addressed("Running"),
            Some(json!({"phase": "Succeeded"})),
        );
        check(json!({"phase": "Succeeded"}), addressed("Succeeded"), None);
    }

    #[test]
    fn conditions_keep_their_times_and_others_conditions_are_not_named() {
        let condition = |kind: &str, status: &str, time: &str| json!({"type": kind, "status": status, "lastTransitionTime": time});
        let (early, late) = ("2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z");
        check(
            json!({"startTime": late,
                "conditions": [condition("Ready", "True", late), condition("Initialized", "True", late)]}),
            json!({"startTime": early, "conditions": [
                condition("Ready", "False", early), condition("Initialized", "True", early),
                condition("example.org/own", "True", early)]}),
            Some(json!({"conditions": [condition("Ready", "True", late)]})),
        );
    }
}
