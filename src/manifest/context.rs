//! What a manifest is read against.

/// The parts of the node's configuration that a manifest is read against.
#[derive(Debug, Clone, Default)]
pub struct ManifestContext {
    /// The node's name, which becomes the suffix of its pods' names.
    pub node_name: String,
    /// Whether containers may be privileged. The kubelet no longer has a setting against it.
    pub privileged_allowed: bool,
    /// `allowedUnsafeSysctls`: names of kernel parameters, or prefixes that end with `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Where the RuntimeClasses of static pods come from.
    pub classes: RuntimeClasses,
    /// Whether containers may state stop signals (the feature gate `ContainerStopSignals`).
    pub stop_signals: bool,
    /// Whether the end of a container may restart all of its pod.
    pub restart_all: RestartAll,
}

/// The feature gate `RestartAllContainersOnContainerExits` (KEP-5532).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartAll {
    /// It is on.
    #[default]
    Enabled,
    /// It is off: a static pod may not ask for it, and in an API pod the container's policy decides.
    Disabled,
}

/// Where the RuntimeClasses of static pods come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeClasses {
    /// In the API server.
    Asked,
    /// There is no API server.
    #[default]
    Nowhere,
}
