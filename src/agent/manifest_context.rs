//! What the configuration says about manifests.

use crate::config::Config;
use crate::manifest::{ManifestContext, RestartAll, RuntimeClasses};

/// The parts of the configuration that a pod's manifest is checked against.
pub(crate) fn manifest_context(config: &Config) -> ManifestContext {
    ManifestContext {
        node_name: config.node.name.clone(),
        privileged_allowed: true,
        allowed_unsafe_sysctls: config.pods.allowed_unsafe_sysctls.clone(),
        classes: match config.paths.kubeconfig {
            Some(_) => RuntimeClasses::Asked,
            None => RuntimeClasses::Nowhere,
        },
        stop_signals: config.pods.stop_signals,
        restart_all: match config.pods.restart_all {
            true => RestartAll::Enabled,
            false => RestartAll::Disabled,
        },
    }
}
