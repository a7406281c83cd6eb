//! The events of the node, in the kubelet's words (`pkg/kubelet/nodestatus/setters.go`,
//! `pkg/kubelet/kubelet_node_status.go`).

use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// A reason, and what happened. None of them is a warning: the kubelet's are not.
pub type NodeEvent = (String, String);

/// What the agent tells when it begins.
pub fn starting() -> NodeEvent {
    ("Starting".to_owned(), "Starting kubelet.".to_owned())
}

/// What changed from one report of the node to the next. Pressures are told at the first report too.
pub fn changes(before: Option<&Node>, after: &Node) -> Vec<NodeEvent> {
    let name = after.metadata.name.as_deref().unwrap_or_default();
    conditions(after)
        .iter()
        .filter_map(|condition| {
            let former = before.and_then(|before| of_type(before, &condition.type_));
            let same = former.is_some_and(|former| former.status == condition.status);
            let reason = reason(condition, before.is_none())?;
            (!same).then(|| (reason.to_owned(), format!("Node {name} status is now: {reason}")))
        })
        .collect()
}

fn conditions(node: &Node) -> &[NodeCondition] {
    let status = node.status.as_ref();
    status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn of_type<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    conditions(node).iter().find(|condition| condition.type_ == kind)
}

/// A node that was never told of as ready or not has no event of that.
fn reason(condition: &NodeCondition, is_first: bool) -> Option<&'static str> {
    match (condition.type_.as_str(), condition.status == "True") {
        ("Ready", _) if is_first => None,
        ("Ready", true) => Some("NodeReady"),
        ("Ready", false) => Some("NodeNotReady"),
        ("MemoryPressure", true) => Some("NodeHasInsufficientMemory"),
        ("MemoryPressure", false) => Some("NodeHasSufficientMemory"),
        ("DiskPressure", true) => Some("NodeHasDiskPressure"),
        ("DiskPressure", false) => Some("NodeHasNoDiskPressure"),
        ("PIDPressure", true) => Some("NodeHasInsufficientPID"),
        ("PIDPressure", false) => Some("NodeHasSufficientPID"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(conditions: &[(&str, &str)]) -> Node {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status)| serde_json::json!({"type": kind, "status": status}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "vm"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn reasons(before: Option<&Node>, after: &Node) -> Vec<String> {
        changes(before, after)
            .into_iter()
            .map(|(reason, _)| reason)
            .collect()
    }

    #[test]
    fn the_first_report_tells_pressures_and_a_change_tells_itself() {
        let starts = node(&[
            ("MemoryPressure", "False"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "False"),
        ]);
        let ready = node(&[
            ("MemoryPressure", "False"),
            ("DiskPressure", "True"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        ]);
        assert_eq!(
            reasons(None, &starts),
            [
                "NodeHasSufficientMemory",
                "NodeHasNoDiskPressure",
                "NodeHasSufficientPID"
            ]
        );
        assert_eq!(
            reasons(Some(&starts), &ready),
            ["NodeHasDiskPressure", "NodeReady"]
        );
        assert_eq!(reasons(Some(&ready), &ready), Vec::<String>::new());
        assert_eq!(
            changes(Some(&ready), &starts)[1],
            (
                "NodeNotReady".to_owned(),
                "Node vm status is now: NodeNotReady".to_owned()
            )
        );
    }
}
