//! Services, as needed for the environment variables of containers.

use std::collections::BTreeMap;

/// A Service that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `spec.clusterIP`
    pub address: String,
    /// `spec.ports`, in order.
    pub ports: Vec<ServicePort>,
}

/// One entry of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`, empty where unstated.
    pub name: String,
    /// `port`
    pub port: i32,
    /// `protocol`: `TCP` where unstated.
    pub protocol: String,
}

/// Services by name.
pub type ByName = BTreeMap<String, Service>;

/// What is known about the Services of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Services {
    /// The node has no cluster.
    #[default]
    NoCluster,
    /// They were requested and there is no answer yet.
    Asked,
    /// They could not be read yet.
    Unread,
    /// These, by namespace.
    Known(BTreeMap<String, ByName>),
}

impl Services {
    /// Whether they have been read at least once.
    pub fn are_known(&self) -> bool {
        matches!(self, Services::Known(_))
    }

    /// The Services of a namespace; `None` while they are unknown.
    pub fn of_namespace(&self, namespace: &str) -> Option<&ByName> {
        match self {
            Services::Known(all) => all.get(namespace),
            Services::NoCluster | Services::Asked | Services::Unread => None,
        }
    }
}
