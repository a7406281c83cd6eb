//! A node by itself: its pods are those of the manifests directory.

use serde_json::Value;

use crate::node::{Node, USUAL};
use crate::storm::faults::Fault;
use crate::storm::pods::{From, Wanted};
use crate::storm::{World, disk};

/// Starts the node on a disk of its own.
pub fn start() -> Node {
    disk::make();
    let mut node = Node::new(USUAL);
    node.start_agent();
    node
}

impl World for Node {
    fn node(&self) -> &Node {
        self
    }

    fn node_mut(&mut self) -> &mut Node {
        self
    }

    fn add(&mut self, pod: &Wanted) {
        self.manifest(&pod.file(), &pod.object().to_string());
    }

    fn remove(&mut self, pod: &Wanted) {
        Node::remove(self, &pod.file());
    }

    fn draws(&self, _number: usize) -> From {
        From::File
    }

    fn can_change(&self, _from: From) -> bool {
        true
    }

    fn agrees(&self, _reported: &[Value]) -> Result<(), String> {
        Ok(())
    }

    fn own_faults() -> Vec<Fault<Node>> {
        Vec::new()
    }
}
