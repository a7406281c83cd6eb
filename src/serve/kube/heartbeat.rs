//! Whether a Node has changed, or was only measured again. Pure.
//!
//! The kubelet measures every ten seconds, but writes a status that has not changed every five minutes only
//! (`nodeStatusReportFrequency`), so that those who watch nodes hear nothing in between.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// How old the heartbeats of a Node that is shown may become.
const REPORTED: SignedDuration = SignedDuration::from_mins(5);

/// Whether the node is as it is shown, but for heartbeats that are not old yet.
pub(super) fn is_as_shown(shown: &Node, node: &Node) -> bool {
    let (before, after) = (conditions(shown), conditions(node));
    let is_fresh = |(before, after): (&NodeCondition, &NodeCondition)| {
        let (before, after) = (&before.last_heartbeat_time, &after.last_heartbeat_time);
        match (before, after) {
            (Some(before), Some(after)) => after.0.duration_since(before.0) < REPORTED,
            (before, after) => before == after,
        }
    };
    before.len() == after.len()
        && before.iter().zip(after).all(is_fresh)
        && without_heartbeats(shown) == without_heartbeats(node)
}

fn conditions(node: &Node) -> &[NodeCondition] {
    let status = node.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn without_heartbeats(node: &Node) -> Node {
    let mut node = node.clone();
    let conditions = node.status.as_mut().and_then(|status| status.conditions.as_mut());
    for condition in conditions.into_iter().flatten() {
        condition.last_heartbeat_time = None;
    }
    node
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(heartbeat: &str, ready: &str) -> Node {
        let status = json!({"conditions": [
            {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat},
        ]});
        serde_json::from_value(json!({"metadata": {"name": "vm"}, "status": status})).unwrap()
    }

    #[test]
    fn only_heartbeats_that_are_not_old_are_no_change() {
        let shown = node("2026-11-20T00:00:00Z", "True");
        let check =
            |other: Node, expected: bool| assert_eq!(is_as_shown(&shown, &other), expected, "{other:?}");
        check(shown.clone(), true);
        check(node("2026-11-20T00:04:59Z", "True"), true);
        check(node("2026-11-20T00:05:00Z", "True"), false);
        check(node("2026-11-20T00:00:10Z", "False"), false);
        check(Node::default(), false);
    }
}
