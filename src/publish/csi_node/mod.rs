//! The CSINode object, and what storage drivers say of the node in the Node object: written while drivers come and go.
//!
//! The CSINode cannot be watched by a node. What was last read or written is compared, and a write that meets a newer
//! version is answered with a conflict.

mod next;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::next::{About, Known, Next};
use super::retry::{self, ApiFailure, Backoff};
use crate::model::api::ApiNode;
use crate::model::driver::{Drivers, Publication, Publications, Told, publication};
use crate::model::last_logged::LastLogged;

/// How often the CSINode is read again although nothing has changed.
const READ_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What the task reads.
pub struct CsiNodeInputs {
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// The node's name.
    pub name: String,
    /// The registered drivers.
    pub drivers: watch::Receiver<Arc<Drivers>>,
    /// What they have said of the node since.
    pub told: watch::Receiver<Told>,
    /// The Node as the API server has it.
    pub node: watch::Receiver<ApiNode>,
}

/// What a request has answered.
enum Answer {
    /// The CSINode; `None`: there is none.
    CsiNode(Option<Box<CSINode>>),
    Node(Box<Node>),
}

struct Task {
    inputs: CsiNodeInputs,
    out: watch::Sender<Publications>,
    drivers: Arc<Drivers>,
    /// Every driver that was registered since the start.
    former: BTreeSet<String>,
    /// The CSINode as last read or written, and when that was.
    csi_node: Option<(Option<Box<CSINode>>, Timestamp)>,
    /// The Node as last written: the watch may be behind.
    node: Option<Node>,
    wait: Option<Backoff>,
    logged: LastLogged<String>,
}

/// Maintains both until canceled.
pub async fn run(inputs: CsiNodeInputs, out: watch::Sender<Publications>, cancel: CancellationToken) {
    let mut task = Task {
        drivers: Arc::default(),
        inputs,
        out,
        former: BTreeSet::new(),
        csi_node: None,
        node: None,
        wait: None,
        logged: LastLogged::default(),
    };
    loop {
        let now = Timestamp::now();
        match task.next(now) {
            Next::Nothing => {
                let next = task.wake_at(now);
                // Every arm may be dropped: watches keep what was not taken.
                tokio::select! {
                    () = cancel.cancelled() => return,
                    Ok(()) = task.inputs.drivers.changed() => {}
                    Ok(()) = task.inputs.told.changed() => {}
                    Ok(()) = task.inputs.node.changed() => {}
                    () = tokio::time::sleep(retry::sleep(next, Timestamp::now())) => {}
                }
            }
            Next::Publish(name, result) => task.publish(name, result),
            next => {
                let client = task.inputs.clients.borrow_and_update().clone();
                // Aborting a request loses nothing: the state is compared again.
                let answer = tokio::select! {
                    () = cancel.cancelled() => return,
                    answer = carry_out(client, &task.inputs.name, &next) => answer,
                };
                match answer {
                    Ok(answer) => task.take(answer, Timestamp::now()),
                    Err(error) => task.fail(next, &error, Timestamp::now()),
                }
            }
        }
    }
}

impl Task {
    fn next(&mut self, now: Timestamp) -> Next {
        self.drivers = self.inputs.drivers.borrow_and_update().clone();
        self.former.extend(self.drivers.by_name.keys().cloned());
        self.forget_former_registrations();
        let theirs = self.inputs.node.borrow_and_update().clone();
        let ApiNode::Present(theirs) = theirs else {
            return Next::Nothing;
        };
        if self.wait.is_some_and(|wait| wait.until() > now) {
            return Next::Nothing;
        }
        let node = newest(self.node.as_ref(), &theirs);
        let csi_node = self.csi_node.as_ref().filter(|(_, at)| *at + READ_AGAIN > now);
        let Some((csi_node, _)) = csi_node else {
            return Next::Read;
        };
        let told = self.inputs.told.borrow_and_update();
        let known = Known {
            told: &told,
            node,
            csi_node: csi_node.as_deref(),
            drivers: &self.drivers,
            publications: &self.out.borrow(),
            former: &self.former,
        };
        known.next()
    }

    /// What became of a registration is forgotten with it.
    fn forget_former_registrations(&self) {
        let drivers = &self.drivers.by_name;
        self.out.send_if_modified(|all| {
            let before = all.len();
            all.retain(|name, one| {
                drivers
                    .get(name)
                    .is_some_and(|driver| Arc::ptr_eq(driver, &one.driver))
            });
            all.len() < before
        });
    }

    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let read = self.csi_node.as_ref().map(|(_, at)| *at + READ_AGAIN);
        let wait = self.wait.map(Backoff::until);
        wait.into_iter().chain(read).filter(|at| *at > now).min()
    }

    fn publish(&self, name: String, result: Result<(), String>) {
        let Some(driver) = self.drivers.by_name.get(&name).cloned() else {
            return;
        };
        self.out.send_modify(|all| {
            all.insert(name, Publication { driver, result });
        });
    }

    fn take(&mut self, answer: Answer, now: Timestamp) {
        self.wait = None;
        self.logged.clear();
        match answer {
            Answer::CsiNode(csi_node) => self.csi_node = Some((csi_node, now)),
            Answer::Node(node) => self.node = Some(*node),
        }
    }

    /// A refusal is the result of the driver that the write was about, or of all that wait; everything else is tried again.
    fn fail(&mut self, next: Next, error: &kube::Error, now: Timestamp) {
        let text = retry::text(error);
        let (about, what): (About, _) = match next {
            Next::Patch(_, about) => (
                about,
                "Node object with CSI driver node info: error updating node",
            ),
            Next::Replace(_, about) => (about, CSI_NODE),
            _ => (None, CSI_NODE),
        };
        let trouble = ApiFailure::of(error);
        // What was read is not what there is.
        self.csi_node = None;
        if trouble == ApiFailure::Refused {
            let refused: Vec<String> = self.unpublished(about.as_deref());
            for name in &refused {
                self.publish(name.clone(), Err(format!("error updating {what}: {text}")));
            }
            // Whoever asked for the registration logs that it has failed.
            if about.is_some() && !refused.is_empty() {
                return;
            }
            if self.logged.is_news(&text) {
                tracing::warn!("the API server rejected the CSINode, or what it lists on the Node: {text}");
            }
        } else {
            tracing::debug!("cannot publish the CSINode; retrying: {text}");
        }
        self.wait = Some(Backoff::next(self.wait, now, retry::salt(&self.inputs.name)));
    }

    /// The drivers of which nothing is known yet: this one, or all.
    fn unpublished(&self, about: Option<&str>) -> Vec<String> {
        let all = self.out.borrow();
        let drivers = self.drivers.by_name.iter();
        let waiting = drivers.filter(|(name, driver)| publication(&all, name, driver).is_none());
        let names = waiting.map(|(name, _)| name);
        let names = names.filter(|name| about.is_none_or(|about| about == *name));
        names.cloned().collect()
    }
}

/// What could not be updated, as the kubelet says it.
const CSI_NODE: &str = "CSINode object with CSI driver node info: error updating CSINode";

/// The newer of what was written and what the watch has shown of the same Node.
fn newest<'n>(written: Option<&'n Node>, shown: &'n Node) -> &'n Node {
    let version = |node: &Node| node.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    written
        .filter(|written| written.metadata.uid == shown.metadata.uid && version(written) > version(shown))
        .unwrap_or(shown)
}

async fn carry_out(client: kube::Client, name: &str, next: &Next) -> Result<Answer, kube::Error> {
    let nodes: kube::Api<Node> = kube::Api::all(client.clone());
    let csi_nodes: kube::Api<CSINode> = kube::Api::all(client);
    let post = PostParams::default();
    match next {
        Next::Create(csi_node) => {
            let made = csi_nodes.create(&post, csi_node).await?;
            Ok(Answer::CsiNode(Some(Box::new(made))))
        }
        Next::Replace(csi_node, _) => {
            let replaced = csi_nodes.replace(name, &post, csi_node).await?;
            Ok(Answer::CsiNode(Some(Box::new(replaced))))
        }
        Next::Delete { uid } => {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            csi_nodes.delete(name, &params).await?;
            read(&csi_nodes, name).await
        }
        Next::Patch(patch, _) => {
            let patched = nodes
                .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
            Ok(Answer::Node(Box::new(patched)))
        }
        Next::Read | Next::Nothing | Next::Publish(..) => read(&csi_nodes, name).await,
    }
}

async fn read(csi_nodes: &kube::Api<CSINode>, name: &str) -> Result<Answer, kube::Error> {
    let found = csi_nodes.get_opt(name).await?;
    Ok(Answer::CsiNode(found.map(Box::new)))
}
