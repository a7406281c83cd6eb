//! What the report of the node is made from.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::{Facts, Loop, ReportInputs};
use crate::model::collection::CollectionNews;
use crate::model::measured::Measured;
use crate::model::memory::Enforcements;
use crate::model::system_kill::SystemKill;
use crate::status::{node as node_status, node_events};

impl Loop {
    /// Begins with the node's addresses and the events of its start.
    pub(super) fn begin(&mut self, addresses: &[IpAddr]) {
        let started = self.started;
        self.take_addresses(addresses, started);
        let events = node_events::starting(self.facts.policy.cgroup.version, &self.facts.machine);
        self.emit_node_events(events, started);
    }

    /// Emits what became of the node's cgroups.
    pub(super) fn take_enforcements(&mut self, new: &Enforcements) {
        let before = std::mem::replace(&mut self.enforcements, new.clone());
        let limited = &self.facts.policy.cgroup.reserved;
        let events = node_events::enforcements(&before, new, limited);
        self.emit_node_events(events, Timestamp::now());
    }

    /// Emits what is told about the collection of images.
    pub(super) fn take_image_news(&mut self, news: &CollectionNews) {
        self.emit_node_events([node_events::collection(news)], Timestamp::now());
    }

    /// Emits that the machine was out of memory.
    pub(super) fn take_system_kill(&mut self, kill: &SystemKill) {
        self.emit_node_events([node_events::system_kill(kill)], Timestamp::now());
    }

    /// Emits that pods are evicted for something from now on. Answers whether the node's conditions changed.
    fn take_pressure(&mut self, now: Timestamp) -> bool {
        let after = self.memory.pressure.clone();
        let before = std::mem::replace(&mut self.pressure, after);
        let (attempt, has_changed) = (self.pressure.attempt, self.pressure.short_of != before.short_of);
        if let Some((starved, _)) = attempt.filter(|_| attempt != before.attempt) {
            self.emit_node_events([node_events::eviction(starved)], now);
        }
        has_changed
    }

    /// Takes which volumes are in use, whether the machine is shutting down, and what the node is short of. Answers whether
    /// any of it changed.
    pub(super) fn take_surroundings(&mut self, inputs: &mut ReportInputs, now: Timestamp) -> bool {
        let mounted = [&mut inputs.mounted, &mut inputs.disks];
        let mounted = mounted.map(|all| all.borrow_and_update().clone());
        let node = inputs.node.borrow_and_update();
        let other_volumes = self.volumes_in_use.take(&self.desired, &mounted, &node);
        let has_begun = self.take_shutdown(*inputs.shutting_down.borrow_and_update(), now);
        self.take_pressure(now) || has_begun || other_volumes
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
        let report = node_status::Report {
            facts: machine,
            measured,
            short_of: &self.memory.pressure.short_of,
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
