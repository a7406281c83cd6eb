//! The inputs of a plan, as its parts hand them on.

use std::net::IpAddr;

use jiff::Timestamp;

use super::PlanView;
use super::content::Origin;
use crate::model::memory::PodMemory;
use crate::model::node::NodePolicy;
use crate::model::pod::Pod;
use crate::model::runtime::ObservedPod;

/// The inputs of a plan.
#[derive(Clone, Copy)]
pub(super) struct PlanContext<'a> {
    pub(super) pod: &'a Pod,
    pub(super) seen: &'a ObservedPod,
    pub(super) memory: &'a PodMemory,
    pub(super) policy: &'a NodePolicy,
    pub(super) view: &'a PlanView<'a>,
    pub(super) now: Timestamp,
}

impl<'a> PlanContext<'a> {
    /// The sources of the values in the pod's volumes and environments.
    pub(super) fn origin(&self, ips: &'a [IpAddr]) -> Origin<'a> {
        Origin {
            pod: self.pod,
            policy: self.policy,
            objects: self.view.objects,
            services: self.view.services,
            allocatable: self.view.allocatable,
            node: self.view.node,
            ips,
        }
    }
}
