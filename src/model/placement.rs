//! Pod placement: which nodes a pod may run on, and the node properties that decide it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

/// What a pod requires of its node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// `spec.os.name`
    pub os: Option<String>,
    /// `spec.nodeSelector`
    pub selector: BTreeMap<String, String>,
    /// The required node affinity: one of the terms must hold. `None`: not stated.
    pub affinity: Option<Vec<Term>>,
    /// `spec.tolerations`
    pub tolerations: Vec<Toleration>,
}

/// Requirements that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Term {
    /// `matchExpressions`
    pub labels: Vec<Requirement>,
    /// `matchFields`
    pub fields: Vec<Requirement>,
}

/// What is required of one label or field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's or the field's name.
    pub key: String,
    /// The condition on a label's value.
    pub test: Test,
}

/// A condition on a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// It is one of these.
    In(Vec<String>),
    /// It is none of these, or does not exist.
    NotIn(Vec<String>),
    /// There is one.
    Exists,
    /// There is none.
    Absent,
    /// It is a number above this one.
    Above(i64),
    /// It is a number below this one.
    Below(i64),
    /// The condition as written can never hold.
    Never,
}

/// One entry of `spec.tolerations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; `None`: any.
    pub key: Option<String>,
    /// The taint's effect; `None`: any.
    pub effect: Option<String>,
    /// The taint's value.
    pub value: Tolerated,
}

/// Which values of a taint are tolerated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tolerated {
    /// This one.
    Value(String),
    /// Every one.
    Any,
    /// `None`: a comparison that the kubelet does not support by default.
    Nothing,
}

/// A taint that evicts pods that do not tolerate it (`NoExecute`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value, may be empty.
    pub value: String,
}

/// The taint effect that the node itself enforces.
pub const NO_EXECUTE: &str = "NoExecute";

/// The taint effect that keeps new pods away.
pub const NO_SCHEDULE: &str = "NoSchedule";

/// The node properties that pods are matched against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeMarks {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints that end pods.
    pub taints: Vec<Taint>,
}

impl NodeMarks {
    /// Those of the object.
    pub fn of(node: &Node) -> NodeMarks {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taints = taints.filter(|taint| taint.effect == NO_EXECUTE);
        NodeMarks {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints
                .map(|taint| Taint {
                    key: taint.key.clone(),
                    value: taint.value.clone().unwrap_or_default(),
                })
                .collect(),
        }
    }
}
