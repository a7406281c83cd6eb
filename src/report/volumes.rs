//! Which volumes the node has in use: the attach/detach controller detaches no others
//! (documentation: *Node status*, `volumesInUse`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::api::ApiNode;
use crate::model::mounted::MountedVolumes;
use crate::model::object::Reference;
use crate::model::pod::Desired;

/// The volumes in use, and what they were found from.
#[derive(Default)]
pub(super) struct VolumesInUse {
    /// As in the Node's status.
    pub(super) names: Vec<String>,
    desired: Arc<Desired>,
    /// Those of drivers, and the disks of storage networks.
    mounted: [Arc<MountedVolumes>; 2],
    node: ApiNode,
}

impl VolumesInUse {
    /// Takes what uses volumes. Answers whether others are in use than before.
    pub(super) fn take(
        &mut self,
        desired: &Arc<Desired>,
        mounted: &[Arc<MountedVolumes>; 2],
        node: &ApiNode,
    ) -> bool {
        let is_same_node = match (node, &self.node) {
            (ApiNode::Present(now), ApiNode::Present(then)) => Arc::ptr_eq(now, then),
            (now, then) => now == then,
        };
        let mut both = mounted.iter().zip(&self.mounted);
        let is_same_mounted = both.all(|(now, then)| Arc::ptr_eq(now, then));
        if is_same_node && is_same_mounted && Arc::ptr_eq(desired, &self.desired) {
            return false;
        }
        let new = VolumesInUse {
            names: in_use(desired, mounted, node),
            desired: desired.clone(),
            mounted: mounted.clone(),
            node: node.clone(),
        };
        let before = std::mem::replace(self, new);
        before.names != self.names
    }
}

/// Those that pods want, until they are no longer mounted.
fn in_use(desired: &Desired, mounted: &[Arc<MountedVolumes>], node: &ApiNode) -> Vec<String> {
    let objects = desired.api.iter().flat_map(|set| set.objects.keys());
    let wanted = objects.filter_map(|key| match key {
        Reference::Attachment(key) => Some(key.volume()),
        _ => None,
    });
    let former = match node {
        ApiNode::Present(node) => node
            .status
            .as_ref()
            .and_then(|status| status.volumes_in_use.as_deref()),
        ApiNode::Unknown | ApiNode::Absent => None,
    };
    let former = former.unwrap_or_default();
    let mounted = mounted.iter().flat_map(|all| &all.0).filter_map(|volume| {
        let name = volume.name();
        // Whether the control plane attaches what a former agent has mounted, that agent has reported.
        let attaches = volume.attaches.unwrap_or_else(|| former.contains(&name));
        attaches.then_some(name)
    });
    let all: BTreeSet<String> = wanted.chain(mounted).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::csi::AttachmentKey;
    use crate::model::mounted::MountedVolume;
    use crate::model::object::Known;
    use crate::model::pod::SourceSet;

    fn mounted(handle: &str, attaches: Option<bool>) -> MountedVolume {
        MountedVolume {
            driver: "d".to_owned(),
            handle: handle.to_owned(),
            attaches,
        }
    }

    #[test]
    fn what_is_wanted_or_staged_is_in_use() {
        let key = AttachmentKey {
            driver: "d".to_owned(),
            handle: "wanted".to_owned(),
            node: "n".to_owned(),
        };
        let mut set = SourceSet::default();
        set.objects.insert(Reference::Attachment(key), Known::Asked);
        let desired = Desired {
            api: Some(Arc::new(set)),
            ..Desired::default()
        };
        let mounted = MountedVolumes(vec![
            mounted("mounted", Some(true)),
            mounted("local", Some(false)),
            mounted("former", None),
            mounted("unknown", None),
        ]);
        let mounted = [Arc::new(mounted)];
        let node = serde_json::json!({"metadata": {"name": "n"}, "status": {
            "volumesInUse": ["kubernetes.io/csi/d^former", "kubernetes.io/csi/d^gone"],
        }});
        let node = ApiNode::Present(Arc::new(serde_json::from_value(node).unwrap()));
        let name = |handle: &str| format!("kubernetes.io/csi/d^{handle}");
        assert_eq!(
            in_use(&desired, &mounted, &node),
            ["former", "mounted", "wanted"].map(name)
        );
        assert_eq!(
            in_use(&desired, &mounted, &ApiNode::Unknown),
            ["mounted", "wanted"].map(name)
        );
    }
}
