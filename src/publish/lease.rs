//! The node's Lease, which shows the control plane that the node is alive.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::PostParams;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::retry::{self, ApiFailure, Backoff};
use crate::model::api::ApiNode;

/// The namespace of all nodes' Leases.
const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease four times within `duration` until canceled, and reports the time of each renewal.
pub async fn run(
    mut clients: watch::Receiver<kube::Client>,
    node_name: String,
    duration: Duration,
    node: watch::Receiver<ApiNode>,
    renewals: watch::Sender<Option<Timestamp>>,
    cancel: CancellationToken,
) {
    let every = duration / 4;
    let mut known: Option<Lease> = None;
    let mut trouble: Option<Backoff> = None;
    loop {
        let client = clients.borrow_and_update().clone();
        let api: kube::Api<Lease> = kube::Api::namespaced(client, NAMESPACE);
        let owner = owner(&node.borrow());
        // Aborting a request loses nothing: the next agent continues from what exists.
        let renewed = tokio::select! {
            () = cancel.cancelled() => return,
            renewed = tokio::time::timeout(every, renew(&api, &node_name, duration, known.take(), owner)) => {
                // If the answer takes that long, another connection may succeed while the Lease is still valid.
                renewed.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
            }
        };
        let wait = match renewed {
            Ok(lease) => {
                known = Some(lease);
                renewals.send_replace(Some(Timestamp::now()));
                trouble = None;
                every
            }
            Err(error) => {
                let now = Timestamp::now();
                match ApiFailure::of(&error) {
                    ApiFailure::Refused => {
                        tracing::warn!(
                            "the API server rejected the renewal of the node's Lease: {}",
                            retry::text(&error)
                        );
                    }
                    _ => tracing::debug!("cannot renew the node's Lease; retrying: {}", retry::text(&error)),
                }
                let next = Backoff::next(trouble, now, retry::salt(&node_name));
                trouble = Some(next);
                let wait = Duration::try_from(next.until().duration_since(now)).unwrap_or(every);
                wait.min(every)
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn owner(node: &ApiNode) -> Option<OwnerReference> {
    let ApiNode::Present(node) = node else {
        return None;
    };
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

async fn renew(
    api: &kube::Api<Lease>,
    name: &str,
    duration: Duration,
    known: Option<Lease>,
    owner: Option<OwnerReference>,
) -> Result<Lease, kube::Error> {
    let found = match known {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let params = PostParams::default();
    let Some(mut lease) = found else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        return api.create(&params, &lease).await;
    };
    lease.spec = Some(spec);
    // A Node that was created again becomes the owner, or the Lease would be garbage-collected with the former Node.
    if let Some(owner) = owner {
        lease.metadata.owner_references = Some(vec![owner]);
    }
    api.replace(name, &params, &lease).await
}
