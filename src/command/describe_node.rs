//! The node described. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::description::{date, pairs};
use super::outline::Outline;
use super::pod_selection;
use super::table::Table;
use crate::model::{age, node_row, pod_row};

/// The text.
pub(super) fn text(node: &Node, pods: &[Pod], now: Timestamp) -> String {
    let meta = &node.metadata;
    let mut outline = Outline::default();
    outline.field("Name", meta.name.as_deref().unwrap_or_default());
    outline.field("Roles", node_row::roles(node));
    outline.fields("Labels", pairs(meta.labels.as_ref(), "="));
    outline.fields("Annotations", pairs(meta.annotations.as_ref(), ": "));
    outline.field("CreationTimestamp", date(meta.creation_timestamp.as_ref()));
    let spec = node.spec.clone().unwrap_or_default();
    let taints = spec.taints.iter().flatten().map(|taint| {
        let value = taint
            .value
            .as_ref()
            .map(|value| format!("={value}"))
            .unwrap_or_default();
        format!("{}{value}:{}", taint.key, taint.effect)
    });
    outline.fields("Taints", taints);
    outline.field("Unschedulable", spec.unschedulable.unwrap_or(false).to_string());
    if let Some(status) = &node.status {
        add_status(&mut outline, status);
    }
    outline.field_if("PodCIDR", spec.pod_cidr);
    outline.table("Pods", &pod_table(pods, now));
    outline.into_text()
}

fn add_status(outline: &mut Outline, status: &NodeStatus) {
    let headings = [
        "Type",
        "Status",
        "LastHeartbeatTime",
        "LastTransitionTime",
        "Reason",
        "Message",
    ];
    let mut table = Table::new(&headings);
    for condition in status.conditions.iter().flatten() {
        table.row([
            condition.type_.clone(),
            condition.status.clone(),
            date(condition.last_heartbeat_time.as_ref()),
            date(condition.last_transition_time.as_ref()),
            condition.reason.clone().unwrap_or_default(),
            condition.message.clone().unwrap_or_default(),
        ]);
    }
    outline.table("Conditions", &table);
    outline.section("Addresses", |outline| {
        for address in status.addresses.iter().flatten() {
            outline.field(&address.type_, &address.address);
        }
    });
    amounts(outline, "Capacity", status.capacity.as_ref());
    amounts(outline, "Allocatable", status.allocatable.as_ref());
    let Some(info) = &status.node_info else { return };
    outline.section("System Info", |outline| {
        outline.field("Machine ID", &info.machine_id);
        outline.field("System UUID", &info.system_uuid);
        outline.field("Boot ID", &info.boot_id);
        outline.field("Kernel Version", &info.kernel_version);
        outline.field("OS Image", &info.os_image);
        outline.field("Operating System", &info.operating_system);
        outline.field("Architecture", &info.architecture);
        outline.field("Container Runtime Version", &info.container_runtime_version);
        outline.field("Kubelet Version", &info.kubelet_version);
    });
}

fn amounts(outline: &mut Outline, heading: &str, amounts: Option<&BTreeMap<String, Quantity>>) {
    outline.section(heading, |outline| {
        for (name, amount) in amounts.into_iter().flatten() {
            outline.field(name, &amount.0);
        }
    });
}

fn pod_table(pods: &[Pod], now: Timestamp) -> Table {
    let mut table = Table::new(&["Namespace", "Name", "Status", "Age"]);
    for pod in pods {
        let age = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| age::since(time.0, now));
        table.row([
            pod_selection::namespace(pod).to_owned(),
            pod_selection::name(pod).to_owned(),
            pod_row::row(pod, now).status,
            age.unwrap_or_default(),
        ]);
    }
    table
}
