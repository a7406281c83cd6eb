//! Events that only the API server's copy of the Node reveals: the machine was rebooted, or the node was cordoned or
//! uncordoned. Pure, in the kubelet's words (`pkg/kubelet/nodestatus/setters.go`,
//! `pkg/kubelet/kubelet_node_status.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use crate::model::event::{About, Event, EventType};

/// The events emitted so far.
#[derive(Debug, Default)]
pub(super) struct Emitted {
    /// A reboot is reported once in the agent's life: the API server's copy lags behind for a while.
    is_reboot_reported: bool,
    /// A node counts as schedulable until its Node says otherwise.
    is_unschedulable: bool,
}

impl Emitted {
    /// The events from comparing the API server's Node with this agent's.
    pub(super) fn take(&mut self, ours: &Node, theirs: &Node, at: Timestamp) -> Vec<Event> {
        let name = ours.metadata.name.as_deref().unwrap_or_default();
        let event = |kind, reason: &str, message| Event {
            about: About::Node,
            kind,
            reason: reason.to_owned(),
            message,
            annotations: BTreeMap::new(),
            at,
        };
        let mut new = Vec::new();
        let (now, before) = (boot(ours), boot(theirs));
        if !self.is_reboot_reported && !now.is_empty() && !before.is_empty() && now != before {
            self.is_reboot_reported = true;
            let message = format!("Node {name} has been rebooted, boot id: {now}");
            new.push(event(EventType::Warning, "Rebooted", message));
        }
        let is_unschedulable = theirs.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        if is_unschedulable != std::mem::replace(&mut self.is_unschedulable, is_unschedulable) {
            let reason = match is_unschedulable {
                true => "NodeNotSchedulable",
                false => "NodeSchedulable",
            };
            let message = format!("Node {name} status is now: {reason}");
            new.push(event(EventType::Normal, reason, message));
        }
        new
    }
}

/// The machine's boot ID; empty if it is unknown.
fn boot(node: &Node) -> &str {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map_or("", |info| info.boot_id.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(boot: &str, unschedulable: bool) -> Node {
        let mut node: Node = serde_json::from_value(json!({
            "metadata": {"name": "vm"}, "spec": {"unschedulable": unschedulable}, "status": {},
        }))
        .unwrap();
        let status = node.status.as_mut().unwrap();
        status.node_info = Some(k8s_openapi::api::core::v1::NodeSystemInfo {
            boot_id: boot.to_owned(),
            ..Default::default()
        });
        node
    }

    fn events(emitted: &mut Emitted, ours: &Node, theirs: &Node) -> Vec<(EventType, String, String)> {
        let new = emitted.take(ours, theirs, Timestamp::UNIX_EPOCH);
        new.into_iter()
            .map(|new| (new.kind, new.reason, new.message))
            .collect()
    }

    #[test]
    fn a_start_of_the_machine_is_told_once() {
        let ours = node("b2", false);
        let mut emitted = Emitted::default();
        let message = "Node vm has been rebooted, boot id: b2".to_owned();
        let expected = [(EventType::Warning, "Rebooted".to_owned(), message)];
        assert_eq!(events(&mut emitted, &ours, &node("b1", false)), expected);
        // The API server's copy is outdated until the agent's report has arrived.
        assert_eq!(events(&mut emitted, &ours, &node("b1", false)), []);
        assert_eq!(events(&mut emitted, &ours, &node("b2", false)), []);
        // The same boot ID, a new node, and a machine without a boot ID.
        assert_eq!(events(&mut Emitted::default(), &ours, &ours), []);
        assert_eq!(events(&mut Emitted::default(), &ours, &node("", false)), []);
        assert_eq!(events(&mut Emitted::default(), &node("", false), &ours), []);
    }

    #[test]
    fn cordons_are_told_as_they_change() {
        let mut emitted = Emitted::default();
        let (open, closed) = (node("b", false), node("b", true));
        let mut reason = |theirs: &Node| {
            let events = events(&mut emitted, &open, theirs);
            events
                .into_iter()
                .map(|(_, reason, _)| reason)
                .collect::<String>()
        };
        assert_eq!(reason(&open), "");
        assert_eq!(reason(&closed), "NodeNotSchedulable");
        assert_eq!(reason(&closed), "");
        assert_eq!(reason(&open), "NodeSchedulable");
    }
}
