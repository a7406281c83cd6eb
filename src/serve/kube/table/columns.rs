//! The columns of each kind. Pure.

use serde::Serialize;

use crate::serve::kube::kind::Kind;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Column {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    format: &'static str,
    description: &'static str,
    /// 0: always shown, 1: with `-o wide`.
    priority: u8,
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, description)
    }
}

const NAME: Column = Column {
    format: "name",
    ..column("Name", "The object's name")
};
const AGE: Column = column("Age", "The time since its creation");

const POD: &[Column] = &[
    NAME,
    column("Ready", "Ready containers, of all"),
    column("Status", "What its containers do"),
    column(
        "Restarts",
        "Restarts of its containers, and the time since the last one",
    ),
    AGE,
    wide("IP", "Its address"),
    wide("Node", "Its node"),
    wide("Nominated Node", "The node that is being freed for it"),
    wide("Readiness Gates", "Readiness gates that hold, of all"),
];

const NODE: &[Column] = &[
    NAME,
    column("Status", "Whether it is ready, and takes pods"),
    column("Roles", "Its roles"),
    AGE,
    column("Version", "The version of its agent"),
    wide("Internal-IP", "Its address inside the cluster"),
    wide("External-IP", "Its address outside"),
    wide("OS-Image", "Its operating system"),
    wide("Kernel-Version", "Its kernel"),
    wide("Container-Runtime", "Its container runtime"),
];

const EVENT: &[Column] = &[
    column("Last Seen", "The time since it happened last"),
    column("Type", "Normal or Warning"),
    column("Reason", "Why, in one word"),
    column("Object", "What it is about"),
    wide("Subobject", "The part of it"),
    wide("Source", "Who reports it"),
    column("Message", "What happened"),
    wide("First Seen", "The time since it happened first"),
    wide("Count", "How often it happened"),
    Column { priority: 1, ..NAME },
];

const NAMESPACE: &[Column] = &[NAME, column("Status", "Its phase"), AGE];

const CONFIG_MAP: &[Column] = &[NAME, column("Data", "The number of its keys"), AGE];

const SECRET: &[Column] = &[
    NAME,
    column("Type", "What it is for"),
    column("Data", "The number of its keys"),
    AGE,
];

const SERVICE: &[Column] = &[
    NAME,
    column("Type", "How it is reached"),
    column("Cluster-IP", "Its address inside the cluster"),
    column("External-IP", "Its address outside"),
    column("Port(s)", "Its ports"),
    AGE,
    wide("Selector", "Which pods it leads to"),
];

/// The columns of a kind, in order.
pub(super) fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::ConfigMap => CONFIG_MAP,
        Kind::Event => EVENT,
        Kind::Namespace => NAMESPACE,
        Kind::Node => NODE,
        Kind::Pod => POD,
        Kind::Secret => SECRET,
        Kind::Service => SERVICE,
    }
}
