//! What the report of the node is made from.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::{Facts, Loop, ReportInputs};
use crate::model::collection::CollectionNews;
use crate::model::memory::QosCgroups;
use crate::model::node::Measured;
use crate::status::{node as node_status, node_events};

impl Loop {
    /// Begins with the node's addresses and the events of its start.
    pub(super) fn begin(&mut self, addresses: &[IpAddr]) {
        let started = self.started;
        self.take_addresses(addresses, started);
        let events = node_events::starting(self.facts.policy.cgroup.version);
        self.emit_node_events(events, started);
    }

    /// Emits what became of the cgroups above the pods.
    pub(super) fn take_qos_cgroups(&mut self, new: &QosCgroups) {
        self.emit_node_events(node_events::qos_cgroups(new), Timestamp::now());
    }

    /// Emits what is told about the collection of images.
    pub(super) fn take_image_news(&mut self, news: &CollectionNews) {
        self.emit_node_events([node_events::collection(news)], Timestamp::now());
    }

    /// Takes which volumes are in use, and whether the machine is shutting down. Answers whether either changed.
    pub(super) fn take_surroundings(&mut self, inputs: &mut ReportInputs, now: Timestamp) -> bool {
        let mounted = inputs.mounted.borrow_and_update();
        let node = inputs.node.borrow_and_update();
        let other_volumes = self.volumes_in_use.take(&self.desired, &mounted, &node);
        self.take_shutdown(*inputs.shutting_down.borrow_and_update(), now) || other_volumes
    }

    /// Takes whether the machine is shutting down. Answers whether that changed.
    fn take_shutdown(&mut self, new: Option<Timestamp>, now: Timestamp) -> bool {
        let before = std::mem::replace(&mut self.shutting_down, new);
        if before == new {
            return false;
        }
        self.emit_node_events([node_events::shutdown(new.is_some())], now);
        true
    }

    /// The node now, and the events of what changed since the previous report.
    pub(super) fn report_node(
        &mut self,
        measured: &Measured,
        previous: Option<&Node>,
        now: Timestamp,
    ) -> Node {
        let Facts {
            machine, settings, ..
        } = &self.facts;
        self.pressure = self.pressure.after(measured, machine.memory, settings, now);
        let report = node_status::Report {
            facts: machine,
            measured,
            pressure: &self.pressure,
            runtime: &self.snapshot.runtime,
            images: &self.snapshot.images,
            settings,
            volumes_in_use: &self.volumes_in_use.names,
            is_shutting_down: self.shutting_down.is_some(),
            started: self.started,
        };
        let node = node_status::node(&report, previous, now);
        self.emit_node_events(node_events::changes(previous, &node), now);
        node
    }
}
