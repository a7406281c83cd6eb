//! What a manifest is read against.

/// What of the node's configuration a manifest is read against.
#[derive(Debug, Clone, Default)]
pub struct ManifestContext {
    /// The node's name: the suffix of its pods' names.
    pub node_name: String,
    /// Whether containers may be privileged. The kubelet has no setting against it any more.
    pub privileged_allowed: bool,
    /// `allowedUnsafeSysctls`: kernel parameters, or with a `*` at the end their beginnings.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Where the RuntimeClasses of static pods are.
    pub classes: RuntimeClasses,
}

/// Where the RuntimeClasses of static pods are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeClasses {
    /// The API server is asked for them.
    Asked,
    /// There is no API server.
    #[default]
    Nowhere,
}
