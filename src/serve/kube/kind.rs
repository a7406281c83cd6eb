//! The kinds of objects that are served. Pure.

use crate::model::manifest_edit::ManifestKind;

/// A kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    ConfigMap,
    Event,
    Namespace,
    Node,
    Pod,
    Secret,
    /// There are none without a cluster; `kubectl cluster-info` asks for them.
    Service,
}

/// Whether objects of a kind are in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespaced,
}

/// The names of a kind.
#[derive(Debug)]
pub(super) struct Names {
    /// `Pod`
    pub(super) kind: &'static str,
    /// `pods`, as in paths.
    pub(super) plural: &'static str,
    /// `pod`
    pub(super) singular: &'static str,
    /// `po`
    pub(super) short: &'static [&'static str],
}

impl From<ManifestKind> for Kind {
    fn from(kind: ManifestKind) -> Kind {
        match kind {
            ManifestKind::Pod => Kind::Pod,
            ManifestKind::ConfigMap => Kind::ConfigMap,
            ManifestKind::Secret => Kind::Secret,
        }
    }
}

impl Kind {
    /// All, in the order of their plural names.
    pub(super) const ALL: [Kind; 7] = [
        Kind::ConfigMap,
        Kind::Event,
        Kind::Namespace,
        Kind::Node,
        Kind::Pod,
        Kind::Secret,
        Kind::Service,
    ];

    /// What it is called.
    pub(super) fn names(self) -> &'static Names {
        match self {
            Kind::ConfigMap => &Names {
                kind: "ConfigMap",
                plural: "configmaps",
                singular: "configmap",
                short: &["cm"],
            },
            Kind::Event => &Names {
                kind: "Event",
                plural: "events",
                singular: "event",
                short: &["ev"],
            },
            Kind::Namespace => &Names {
                kind: "Namespace",
                plural: "namespaces",
                singular: "namespace",
                short: &["ns"],
            },
            Kind::Node => &Names {
                kind: "Node",
                plural: "nodes",
                singular: "node",
                short: &["no"],
            },
            Kind::Pod => &Names {
                kind: "Pod",
                plural: "pods",
                singular: "pod",
                short: &["po"],
            },
            Kind::Secret => &Names {
                kind: "Secret",
                plural: "secrets",
                singular: "secret",
                short: &[],
            },
            Kind::Service => &Names {
                kind: "Service",
                plural: "services",
                singular: "service",
                short: &["svc"],
            },
        }
    }

    /// The kind of that plural name.
    pub(super) fn of_plural(plural: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.names().plural == plural)
    }

    pub(super) fn scope(self) -> Scope {
        match self {
            Kind::Namespace | Kind::Node => Scope::Cluster,
            _ => Scope::Namespaced,
        }
    }
}
