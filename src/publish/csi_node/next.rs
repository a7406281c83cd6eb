//! What is written next, so that the CSINode and the Node say of the registered drivers what the drivers say
//! (`pkg/volume/csi/nodeinfomanager`). Pure.
//!
//! Each write is about one driver, so that what the API server does not take of one is not missing of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

use crate::model::driver::{Driver, Drivers, Publications, Told, publication};

/// The annotation of the Node with what each driver calls it.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// The annotation of the CSINode with the kinds of volumes that used to be Kubernetes' own and are drivers' now.
const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";
/// All of them: the scheduler and the controllers then count and attach such volumes as the drivers'.
const MIGRATED_PLUGINS: &str = "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,\
                                kubernetes.io/cinder,kubernetes.io/gce-pd,kubernetes.io/portworx-volume,\
                                kubernetes.io/vsphere-volume";

/// The driver that a write is about; `None`: those that are gone, or the object itself.
pub(super) type About = Option<String>;

/// What is next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Nothing: everything is written, or must wait.
    Nothing,
    /// The CSINode is read.
    Read,
    /// The CSINode is made.
    Create(Box<CSINode>),
    /// It belongs to a Node that is gone, and is deleted if it is still this one.
    Delete { uid: Option<String> },
    /// It is replaced.
    Replace(Box<CSINode>, About),
    /// The Node's metadata are changed.
    Patch(Value, About),
    /// This became of a driver.
    Publish(String, Result<(), String>),
}

/// What is known.
pub(super) struct Known<'k> {
    pub(super) node: &'k Node,
    /// `None`: there is none.
    pub(super) csi_node: Option<&'k CSINode>,
    pub(super) drivers: &'k Drivers,
    /// What they have said of the node since they registered.
    pub(super) told: &'k Told,
    pub(super) publications: &'k Publications,
    /// Every driver that this agent has registered since its start.
    pub(super) former: &'k BTreeSet<String>,
}

impl Known<'_> {
    /// What is next: the object itself, then what is no longer true, then what is not written yet.
    pub(super) fn next(&self) -> Next {
        let Some(csi_node) = self.csi_node else {
            return Next::Create(Box::new(self.new_csi_node()));
        };
        if !self.owns(csi_node) {
            let uid = csi_node.metadata.uid.clone();
            return Next::Delete { uid };
        }
        let annotations = csi_node.metadata.annotations.as_ref();
        if annotations
            .and_then(|all| all.get(MIGRATED))
            .is_none_or(|value| value != MIGRATED_PLUGINS)
        {
            let mut marked = csi_node.clone();
            let annotations = marked.metadata.annotations.get_or_insert_default();
            annotations.insert(MIGRATED.to_owned(), MIGRATED_PLUGINS.to_owned());
            return Next::Replace(Box::new(marked), None);
        }
        if let Some(next) = self.next_removal(csi_node) {
            return next;
        }
        let drivers = self.drivers.by_name.iter();
        let mut nexts = drivers.filter_map(|(name, driver)| self.next_of(csi_node, name, driver));
        nexts.next().unwrap_or(Next::Nothing)
    }

    /// Whether a driver that the API server knows is not on the node any more. What an earlier life has written stays while
    /// its driver may be behind a socket that has not answered: after a boot the sockets are there before their drivers.
    fn is_gone(&self, name: &str) -> bool {
        !self.drivers.by_name.contains_key(name)
            && (self.former.contains(name) || (self.drivers.are_known && self.drivers.unregistered == 0))
    }

    fn next_removal(&self, csi_node: &CSINode) -> Option<Next> {
        if csi_node
            .spec
            .drivers
            .iter()
            .any(|entry| self.is_gone(&entry.name))
        {
            let mut fewer = csi_node.clone();
            fewer.spec.drivers.retain(|entry| !self.is_gone(&entry.name));
            return Some(Next::Replace(Box::new(fewer), None));
        }
        let mut ids = node_ids(self.node);
        let before = ids.len();
        ids.retain(|name, _| !self.is_gone(name));
        (ids.len() < before).then(|| {
            let value = match ids.is_empty() {
                true => Value::Null,
                false => json!(text(&ids)),
            };
            Next::Patch(json!({"metadata": {"annotations": {NODE_IDS: value}}}), None)
        })
    }

    /// First the Node, then the CSINode, so that whoever sees the driver in this finds its labels in that.
    fn next_of(&self, csi_node: &CSINode, name: &str, driver: &Arc<Driver>) -> Option<Next> {
        let published = publication(self.publications, name, driver);
        if let Some(Err(_)) = published {
            return None;
        }
        if let Some(why) = collision(self.node, driver).filter(|_| published.is_none()) {
            let why =
                format!("error updating Node object with CSI driver node info: error updating node: {why}");
            return Some(Next::Publish(name.to_owned(), Err(why)));
        }
        if let Some(patch) = lacking(self.node, name, driver) {
            return Some(Next::Patch(patch, Some(name.to_owned())));
        }
        let told = self.told.get(name).filter(|(of, _)| Arc::ptr_eq(of, driver));
        let entry = entry(name, told.map_or(driver, |(_, now)| now));
        if !csi_node.spec.drivers.contains(&entry) {
            let mut more = csi_node.clone();
            more.spec.drivers.retain(|other| other.name != name);
            more.spec.drivers.push(entry);
            return Some(Next::Replace(Box::new(more), Some(name.to_owned())));
        }
        published
            .is_none()
            .then(|| Next::Publish(name.to_owned(), Ok(())))
    }

    fn owns(&self, csi_node: &CSINode) -> bool {
        let owners = csi_node.metadata.owner_references.iter().flatten();
        let mut ours = owners
            .filter(|owner| owner.kind == "Node" && Some(&owner.name) == self.node.metadata.name.as_ref());
        ours.any(|owner| Some(&owner.uid) == self.node.metadata.uid.as_ref())
    }

    fn new_csi_node(&self) -> CSINode {
        let name = self.node.metadata.name.clone().unwrap_or_default();
        CSINode {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Node".to_owned(),
                    name,
                    uid: self.node.metadata.uid.clone().unwrap_or_default(),
                    ..OwnerReference::default()
                }]),
                annotations: Some(BTreeMap::from([(
                    MIGRATED.to_owned(),
                    MIGRATED_PLUGINS.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            spec: CSINodeSpec::default(),
        }
    }
}

/// What each driver calls the node, as the Node has it. What nobody can read is nothing.
fn node_ids(node: &Node) -> BTreeMap<String, String> {
    let annotations = node.metadata.annotations.as_ref();
    let value = annotations.and_then(|all| all.get(NODE_IDS));
    value
        .and_then(|value| serde_json::from_str(value).ok())
        .unwrap_or_default()
}

fn text(ids: &BTreeMap<String, String>) -> String {
    json!(ids).to_string()
}

/// A label of the Node that contradicts the driver.
fn collision(node: &Node, driver: &Driver) -> Option<String> {
    let labels = node.metadata.labels.as_ref()?;
    driver.topology.iter().find_map(|(key, value)| {
        let theirs = labels.get(key).filter(|theirs| *theirs != value)?;
        Some(format!(
            "detected topology value collision: driver reported {key:?}:{value:?} but existing label is \
             {key:?}:{theirs:?}"
        ))
    })
}

/// What the Node lacks of a driver. A label that contradicts it stays.
fn lacking(node: &Node, name: &str, driver: &Driver) -> Option<Value> {
    let mut metadata = Map::new();
    let mut ids = node_ids(node);
    if ids.get(name) != Some(&driver.node_id) {
        ids.insert(name.to_owned(), driver.node_id.clone());
        metadata.insert("annotations".to_owned(), json!({ NODE_IDS: text(&ids) }));
    }
    let labels = node.metadata.labels.as_ref();
    let missing: BTreeMap<&String, &String> = driver
        .topology
        .iter()
        .filter(|(key, _)| labels.is_none_or(|labels| !labels.contains_key(*key)))
        .collect();
    if !missing.is_empty() {
        metadata.insert("labels".to_owned(), json!(missing));
    }
    (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
}

/// The driver's entry in the CSINode.
fn entry(name: &str, driver: &Driver) -> CSINodeDriver {
    let keys: Vec<String> = driver.topology.keys().cloned().collect();
    CSINodeDriver {
        name: name.to_owned(),
        node_id: driver.node_id.clone(),
        topology_keys: (!keys.is_empty()).then_some(keys),
        allocatable: driver.max_volumes.map(|most| VolumeNodeResources {
            count: Some(i32::try_from(most).unwrap_or(i32::MAX)),
        }),
    }
}

#[cfg(test)]
mod tests;
