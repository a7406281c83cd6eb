//! What the loop begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::image_requests::Collecting;
use super::{Loop, Message, Outputs, ReconcileInputs, Rooms};
use crate::model::memory::Memory;
use crate::model::node_cgroups::NodeCgroups;
use crate::plan::node::NodeDecisions;

impl Loop {
    /// Knows nothing yet.
    pub(super) fn new(
        inputs: &ReconcileInputs,
        rooms: Rooms,
        outputs: &Outputs,
        (cgroups, to_loop): (watch::Sender<NodeCgroups>, mpsc::UnboundedSender<Message>),
    ) -> Loop {
        Loop {
            desired: Arc::default(),
            desired_now: inputs.desired.clone(),
            provided: None,
            collecting: Collecting::default(),
            image_news: outputs.image_news.clone(),
            snapshot: Arc::default(),
            services: inputs.services.clone(),
            node: inputs.node.clone(),
            shutting_down: None,
            measured: Arc::default(),
            pods_use: Arc::default(),
            memory: Memory::default(),
            decisions: NodeDecisions::default(),
            orphans: BTreeSet::new(),
            dirty: BTreeSet::new(),
            busy: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            cgroups,
            progress: outputs.shutdown.clone(),
            wanted: outputs.wanted.clone(),
            workers: JoinSet::new(),
            to_loop,
            rooms,
        }
    }
}
