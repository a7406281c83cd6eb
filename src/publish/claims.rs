//! The sizes of claims: where the node has enlarged a volume, its claim says so once that is published
//! (`MarkNodeExpansionFinishedWithRecovery` in `pkg/volume/util/resize_util.go`).

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::retry::{self, ApiFailure, Backoff};
use crate::model::expansion::Expansion;
use crate::model::memory::Memory;

/// The conditions that speak of a resize.
const OF_RESIZE: [&str; 4] = [
    "FileSystemResizePending",
    "Resizing",
    "ControllerResizeError",
    "NodeResizeError",
];

/// What the task reads.
pub struct ClaimInputs {
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// What was enlarged.
    pub memory: watch::Receiver<Arc<Memory>>,
}

/// Publishes the sizes until canceled.
pub async fn run(mut inputs: ClaimInputs, cancel: CancellationToken) {
    let mut published: BTreeSet<Expansion> = BTreeSet::new();
    let mut wait: Option<Backoff> = None;
    loop {
        let memory = inputs.memory.borrow_and_update().clone();
        let wanted: BTreeSet<Expansion> = memory
            .pods
            .values()
            .flat_map(|memory| memory.expanded.values().cloned())
            .collect();
        published.retain(|expansion| wanted.contains(expansion));
        let now = Timestamp::now();
        let holds = wait.is_some_and(|wait| wait.until() > now);
        let next = wanted.difference(&published).next().filter(|_| !holds);
        if let Some(expansion) = next.cloned() {
            let client = inputs.clients.borrow_and_update().clone();
            // Aborting a request loses nothing: the claim is compared again.
            let written = tokio::select! {
                () = cancel.cancelled() => return,
                written = publish(client, &expansion) => written,
            };
            match written {
                Ok(()) => {
                    wait = None;
                    published.insert(expansion);
                }
                Err(error) => {
                    tracing::debug!(claim = %expansion.claim, "cannot publish the size of a claim; retrying: {}",
                        retry::text(&error));
                    wait = Some(Backoff::next(wait, Timestamp::now(), retry::salt(&expansion.uid)));
                }
            }
            continue;
        }
        let next = wait.map(Backoff::until).filter(|at| *at > now);
        // Every arm may be dropped: the watch keeps what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = inputs.memory.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(retry::sleep(next, Timestamp::now())) => {}
        }
    }
}

async fn publish(client: kube::Client, expansion: &Expansion) -> Result<(), kube::Error> {
    let claims = kube::Api::<PersistentVolumeClaim>::namespaced(client, &expansion.claim.namespace);
    let Some(claim) = claims.get_opt(&expansion.claim.name).await? else {
        return Ok(());
    };
    let Some(patch) = patch(&claim, expansion) else {
        return Ok(());
    };
    let name = &expansion.claim.name;
    let patched = claims
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    match patched {
        // Another claim has the name by now, and knows nothing of this.
        Err(error) if ApiFailure::of(&error) == ApiFailure::Gone => Ok(()),
        result => result.map(drop),
    }
}

/// What the claim's status lacks; `None`: nothing, or it is another claim.
fn patch(claim: &PersistentVolumeClaim, expansion: &Expansion) -> Option<Value> {
    let status = claim.status.as_ref()?;
    let statuses = status.allocated_resource_statuses.as_ref();
    let is_growing = statuses.is_some_and(|all| all.contains_key("storage"));
    if claim.metadata.uid.as_ref() != Some(&expansion.uid) || !is_growing {
        return None;
    }
    let conditions = status.conditions.iter().flatten();
    let others: Vec<_> = conditions
        .filter(|condition| !OF_RESIZE.contains(&condition.type_.as_str()))
        .collect();
    Some(json!({
        // Who has written it meanwhile may have asked for more.
        "metadata": {"resourceVersion": claim.metadata.resource_version},
        "status": {
            "capacity": {"storage": expansion.size},
            "allocatedResourceStatuses": {"storage": null},
            "conditions": others,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::persistent::ClaimKey;

    #[test]
    fn a_claim_that_waits_for_the_node_gets_its_size() {
        let expansion = Expansion {
            claim: ClaimKey {
                namespace: "ns".to_owned(),
                name: "data".to_owned(),
            },
            uid: "u".to_owned(),
            volume: "pv".to_owned(),
            size: "2Mi".to_owned(),
        };
        let claim = |uid: &str, statuses: Value| -> PersistentVolumeClaim {
            serde_json::from_value(json!({
                "metadata": {"name": "data", "uid": uid, "resourceVersion": "7"},
                "status": {
                    "capacity": {"storage": "1Mi"},
                    "allocatedResourceStatuses": statuses,
                    "conditions": [
                        {"type": "FileSystemResizePending", "status": "True"},
                        {"type": "example.com/other", "status": "True"},
                    ],
                },
            }))
            .unwrap()
        };
        let pending = || json!({"storage": "NodeResizePending"});
        assert_eq!(
            patch(&claim("u", pending()), &expansion),
            Some(json!({
                "metadata": {"resourceVersion": "7"},
                "status": {
                    "capacity": {"storage": "2Mi"},
                    "allocatedResourceStatuses": {"storage": null},
                    "conditions": [{"type": "example.com/other", "status": "True"}],
                },
            }))
        );
        assert_eq!(patch(&claim("other", pending()), &expansion), None);
        assert_eq!(patch(&claim("u", json!({})), &expansion), None);
    }
}
