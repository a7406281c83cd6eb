//! What a pod's directory records about the pod, so that it is terminated as it was defined even if its manifest is
//! gone and the agent has restarted.
//!
//! A container's grace period and hook are in its annotations. This file holds what no single container can: which
//! containers wait for which, the deadline of a termination in progress, and which instances were stopped to be
//! restarted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::end::End;
use super::pod::Pod;

/// The name of the file in a pod's directory.
pub const FILE: &str = "gantry-pod.json";

/// The recorded state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// The regular containers, for which sidecars wait at termination; empty without sidecars.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// The sidecars, in the order in which they start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<String>,
    /// The deadline of a termination in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// The pod is being removed because its definition is gone. If the definition comes back meanwhile, the pod starts
    /// afresh after the removal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Why the node ended the pod. Recorded before anything is stopped, so that it holds whatever the clock says later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<End>,
    /// Instances that were stopped to be restarted, alone or with all others, whatever the restart policy says: runtime
    /// id by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub restarting: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The checkpoint of a pod that is desired.
    pub fn of(pod: &Pod) -> Checkpoint {
        let mut sidecars = pod.init_containers.iter().filter(|c| c.sidecar).peekable();
        let containers = match sidecars.peek() {
            Some(_) => pod.containers.iter().map(|c| c.name.clone()).collect(),
            None => Vec::new(),
        };
        Checkpoint {
            containers,
            sidecars: sidecars.map(|c| c.name.clone()).collect(),
            ..Checkpoint::default()
        }
    }

    /// Whether stopping a container waits for the end of another one: a sidecar waits for the regular containers and
    /// for the sidecars that started after it (`newTerminationOrdering` in
    /// `pkg/kubelet/kuberuntime/kuberuntime_termination_order.go`).
    pub fn waits_for(&self, container: &str, other: &str) -> bool {
        let place = |name: &str| self.sidecars.iter().position(|sidecar| sidecar == name);
        let Some(own) = place(container) else {
            return false;
        };
        place(other).is_some_and(|place| place > own) || self.containers.iter().any(|name| name == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample;

    #[test]
    fn a_sidecar_waits_for_the_containers_that_it_serves_and_for_later_sidecars() {
        let pod = sample::pod(RestartPolicy::Always, &["+s1", "i2", "+s3"], &["a", "b"]);
        let saved = Checkpoint::of(&pod);
        let waits = |container: &str| -> Vec<&str> {
            let all = ["s1", "i2", "s3", "a", "b", "debug"];
            all.into_iter()
                .filter(|other| saved.waits_for(container, other))
                .collect()
        };
        assert_eq!(waits("s1"), ["s3", "a", "b"]);
        assert_eq!(waits("s3"), ["a", "b"]);
        for unordered in ["i2", "a", "debug"] {
            assert_eq!(waits(unordered), [""; 0], "{unordered}");
        }
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_is_little() {
        let plain = Checkpoint::of(&sample::pod(RestartPolicy::Always, &["i"], &["c"]));
        assert_eq!(serde_json::to_string(&plain).unwrap(), "{}");
        let saved = Checkpoint {
            ends: Some(sample::at(5)),
            leaving: true,
            ended: Some(End::Deadline),
            restarting: [("c".to_owned(), "id".to_owned())].into(),
            ..Checkpoint::of(&sample::pod(RestartPolicy::Always, &["+s"], &["c"]))
        };
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(
            text,
            r#"{"containers":["c"],"sidecars":["s"],"ends":"2027-01-15T08:00:05Z","leaving":true,"ended":{"why":"deadline"},"restarting":{"c":"id"}}"#
        );
        assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), saved);
    }
}
