//! A node's cells in a table, by the API server's rules (`printNode` in pkg/printers/internalversion). Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;

/// `Ready`, `NotReady` or `Unknown`, and whether pods may be placed on it.
pub(crate) fn status(node: &Node) -> String {
    let mut conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = match conditions.find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let closed = node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true));
    format!("{ready}{}", if closed { ",SchedulingDisabled" } else { "" })
}

/// The roles in the node's labels, or `<none>`.
pub(crate) fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None => (key == "kubernetes.io/role").then_some(value.as_str()),
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    match roles.is_empty() {
        true => "<none>".to_owned(),
        false => Vec::from_iter(roles).join(","),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_and_roles_follow_from_conditions_and_labels() {
        let check = |object: serde_json::Value, expected: (&str, &str)| {
            let node: Node = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(
                (status(&node).as_str(), roles(&node).as_str()),
                expected,
                "{object}"
            );
        };
        check(json!({"metadata": {}}), ("Unknown", "<none>"));
        let ready = |is: &str| json!({"conditions": [{"type": "Ready", "status": is}]});
        check(
            json!({"metadata": {"labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a"}}, "status": ready("True")}),
            ("Ready", "a,b"),
        );
        check(
            json!({"metadata": {"labels": {"node-role.kubernetes.io/": ""}}, "status": ready("Unknown"), "spec": {"unschedulable": true}}),
            ("NotReady,SchedulingDisabled", "<none>"),
        );
    }
}
