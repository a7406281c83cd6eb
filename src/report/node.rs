//! What the report of the node is made from.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::{Facts, Loop};
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

    /// Takes whether the machine is shutting down. Answers whether that changed.
    pub(super) fn take_shutdown(&mut self, new: Option<Timestamp>, now: Timestamp) -> bool {
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
            is_shutting_down: self.shutting_down.is_some(),
            started: self.started,
        };
        let node = node_status::node(&report, previous, now);
        self.emit_node_events(node_events::changes(previous, &node), now);
        node
    }
}
