//! The feature gates that gantry follows.

/// How far a feature of Kubernetes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is off unless its gate is set.
    Alpha,
    /// Its gate may still change, whatever its default is.
    Beta,
    /// It stays as it is.
    Stable,
}

impl Stage {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            // As in the kubelet's metrics.
            Stage::Stable => "",
        }
    }
}

/// A gate and its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureGate {
    /// Its name in `featureGates`.
    pub name: &'static str,
    /// The stage of its feature.
    pub stage: Stage,
    /// Whether it is on.
    pub enabled: bool,
}
