//! Events in the form of their own group, `events.k8s.io/v1`. Pure.

use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

/// The event of the core group, with the names that its fields have in `events.k8s.io/v1`
/// (`pkg/apis/events/v1/conversion.go`).
pub(super) fn in_own_group(event: &Event) -> Value {
    let mut own = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": event.metadata,
        "eventTime": event.event_time,
        "regarding": event.involved_object,
    });
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            own[name] = value;
        }
    };
    set("series", json!(event.series));
    set("reportingController", json!(event.reporting_component));
    set("reportingInstance", json!(event.reporting_instance));
    set("action", json!(event.action));
    set("reason", json!(event.reason));
    set("note", json!(event.message));
    set("type", json!(event.type_));
    set("related", json!(event.related));
    set("deprecatedSource", json!(event.source));
    set("deprecatedFirstTimestamp", json!(event.first_timestamp));
    set("deprecatedLastTimestamp", json!(event.last_timestamp));
    set("deprecatedCount", json!(event.count));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_have_the_names_of_their_group() {
        let core: Event = serde_json::from_value(json!({
            "metadata": {"name": "e", "namespace": "ns"},
            "involvedObject": {"kind": "Pod", "name": "p"},
            "reason": "Started", "message": "Container started", "type": "Normal", "count": 2,
            "firstTimestamp": "2026-11-21T00:00:00Z", "lastTimestamp": "2026-11-21T00:00:01Z",
            "source": {"component": "kubelet", "host": "vm"},
            "reportingComponent": "kubelet", "reportingInstance": "vm",
        }))
        .unwrap();
        let expected = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "e", "namespace": "ns"},
            "eventTime": null,
            "regarding": {"kind": "Pod", "name": "p"},
            "reason": "Started", "note": "Container started", "type": "Normal", "deprecatedCount": 2,
            "deprecatedFirstTimestamp": "2026-11-21T00:00:00Z", "deprecatedLastTimestamp": "2026-11-21T00:00:01Z",
            "deprecatedSource": {"component": "kubelet", "host": "vm"},
            "reportingController": "kubelet", "reportingInstance": "vm",
        });
        assert_eq!(in_own_group(&core), expected);
        let read: k8s_openapi::api::events::v1::Event = serde_json::from_value(in_own_group(&core)).unwrap();
        assert_eq!(read.note.as_deref(), Some("Container started"));
    }
}
