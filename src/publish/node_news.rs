//! What happened to the node and only the API server's copy of it tells: that the machine was started anew, and that
//! somebody keeps pods from it or lets them come again. Pure, in the kubelet's words
//! (`pkg/kubelet/nodestatus/setters.go`, `pkg/kubelet/kubelet_node_status.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use crate::model::event::{About, Event, EventType};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct News {
    /// A start of the machine is told once in the agent's life: the copy is older than our report of it for a while.
    is_reboot_told: bool,
    /// A node is taken for schedulable until it is seen otherwise.
    is_unschedulable: bool,
}

impl News {
    /// What the API server's node tells beside what this agent tells of it.
    pub(super) fn take(&mut self, ours: &Node, theirs: &Node, at: Timestamp) -> Vec<Event> {
        let name = ours.metadata.name.as_deref().unwrap_or_default();
        let event = |kind, reason: &str, message| Event {
            about: About::Node,
            kind,
            reason: reason.to_owned(),
            message,
            at,
        };
        let mut new = Vec::new();
        let (now, before) = (boot(ours), boot(theirs));
        if !self.is_reboot_told && !now.is_empty() && !before.is_empty() && now != before {
            self.is_reboot_told = true;
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

/// Names the life of the machine; empty where it is not told.
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

    fn told(news: &mut News, ours: &Node, theirs: &Node) -> Vec<(EventType, String, String)> {
        let new = news.take(ours, theirs, Timestamp::UNIX_EPOCH);
        new.into_iter()
            .map(|new| (new.kind, new.reason, new.message))
            .collect()
    }

    #[test]
    fn a_start_of_the_machine_is_told_once() {
        let ours = node("b2", false);
        let mut news = News::default();
        let message = "Node vm has been rebooted, boot id: b2".to_owned();
        let expected = [(EventType::Warning, "Rebooted".to_owned(), message)];
        assert_eq!(told(&mut news, &ours, &node("b1", false)), expected);
        // The API server's copy is the old one until our report has come there.
        assert_eq!(told(&mut news, &ours, &node("b1", false)), []);
        assert_eq!(told(&mut news, &ours, &node("b2", false)), []);
        // The same life, a new node, and a machine that does not say.
        assert_eq!(told(&mut News::default(), &ours, &ours), []);
        assert_eq!(told(&mut News::default(), &ours, &node("", false)), []);
        assert_eq!(told(&mut News::default(), &node("", false), &ours), []);
    }

    #[test]
    fn cordons_are_told_as_they_change() {
        let mut news = News::default();
        let (open, closed) = (node("b", false), node("b", true));
        let mut reason = |theirs: &Node| {
            let told = told(&mut news, &open, theirs);
            told.into_iter().map(|(_, reason, _)| reason).collect::<String>()
        };
        assert_eq!(reason(&open), "");
        assert_eq!(reason(&closed), "NodeNotSchedulable");
        assert_eq!(reason(&closed), "");
        assert_eq!(reason(&open), "NodeSchedulable");
    }
}
