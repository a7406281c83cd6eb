//! Which lists of an object are merged by which field: the patch strategies that the API's types state
//! (`patchStrategy` and `patchMergeKey` in `k8s.io/api/core/v1/types.go`). Pure.

/// The part of an object that a map is, as far as its lists differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole object: a Pod, a ConfigMap or a Secret.
    Whole,
    Metadata,
    PodSpec,
    Container,
    /// Any other: its lists are replaced as a whole.
    Other,
}

/// How a list is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// As a whole.
    Replaced,
    /// Item by item; the items are known by this field.
    Keyed(&'static str),
    /// By adding what it has not.
    Set,
}

impl Shape {
    /// What a field of it is, and how it is patched if it is a list.
    pub(super) fn field(self, name: &str) -> (Lists, Shape) {
        use Lists::{Keyed, Replaced, Set};
        match (self, name) {
            (Shape::Whole, "metadata") => (Replaced, Shape::Metadata),
            (Shape::Whole, "spec") => (Replaced, Shape::PodSpec),
            (Shape::Metadata, "finalizers") => (Set, Shape::Other),
            (Shape::Metadata, "ownerReferences") => (Keyed("uid"), Shape::Other),
            (Shape::PodSpec, "containers" | "initContainers" | "ephemeralContainers") => {
                (Keyed("name"), Shape::Container)
            }
            (Shape::PodSpec, "volumes" | "imagePullSecrets" | "resourceClaims" | "schedulingGates") => {
                (Keyed("name"), Shape::Other)
            }
            (Shape::PodSpec, "hostAliases") => (Keyed("ip"), Shape::Other),
            (Shape::PodSpec, "topologySpreadConstraints") => (Keyed("topologyKey"), Shape::Other),
            (Shape::Container, "env") => (Keyed("name"), Shape::Other),
            (Shape::Container, "ports") => (Keyed("containerPort"), Shape::Other),
            (Shape::Container, "volumeMounts") => (Keyed("mountPath"), Shape::Other),
            (Shape::Container, "volumeDevices") => (Keyed("devicePath"), Shape::Other),
            _ => (Replaced, Shape::Other),
        }
    }
}
