//! What `kubelet --version` prints; kubeadm and others read it.

use crate::config::KUBERNETES_VERSION;

/// The version of this program.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints.
pub fn kubelet() -> String {
    format!("Kubernetes {}", git_version())
}

fn git_version() -> String {
    format!("{KUBERNETES_VERSION}+gantry.{OWN}")
}

/// What `--version=raw` prints: a value of Go's `version.Info`, with what a build of ours can tell.
pub fn kubelet_raw() -> String {
    let (major, minor) = major_minor();
    format!(
        "version.Info{{Major:{major:?}, Minor:{minor:?}, EmulationMajor:\"\", EmulationMinor:\"\", \
         MinCompatibilityMajor:\"\", MinCompatibilityMinor:\"\", GitVersion:{:?}, GitCommit:\"\", \
         GitTreeState:\"\", BuildDate:\"\", GoVersion:\"\", Compiler:\"rustc\", Platform:\"linux/{}\"}}",
        git_version(),
        architecture()
    )
}

fn major_minor() -> (&'static str, &'static str) {
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Go's name of the architecture this program was built for.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadm_can_read_the_version() {
        // kubeadm looks for `Kubernetes v<major>.<minor>.<patch>` with build metadata behind a plus sign.
        assert_eq!(kubelet(), format!("Kubernetes v1.36.2+gantry.{OWN}"));
        assert!(kubelet_raw().contains("GitVersion:\"v1.36.2+gantry."));
    }
}
