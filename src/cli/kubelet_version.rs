//! What `kubelet --version` prints; kubeadm and others read it.

/// The version of this program.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// The output of `--version` for a node that reports this version.
pub fn kubelet(reported: &str) -> String {
    format!("Kubernetes {}", git_version(reported))
}

fn git_version(reported: &str) -> String {
    format!("{reported}+gantry.{OWN}")
}

/// The output of `--version=raw`: a value of Go's `version.Info`, as far as this build has its fields.
pub fn kubelet_raw(reported: &str) -> String {
    let (major, minor) = major_minor(reported);
    format!(
        "version.Info{{Major:{major:?}, Minor:{minor:?}, EmulationMajor:\"\", EmulationMinor:\"\", \
         MinCompatibilityMajor:\"\", MinCompatibilityMinor:\"\", GitVersion:{:?}, GitCommit:\"\", \
         GitTreeState:\"\", BuildDate:\"\", GoVersion:\"\", Compiler:\"rustc\", Platform:\"linux/{}\"}}",
        git_version(reported),
        architecture()
    )
}

fn major_minor(reported: &str) -> (&str, &str) {
    let mut parts = reported.trim_start_matches('v').split('.');
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
        assert_eq!(kubelet("v1.34.2"), format!("Kubernetes v1.34.2+gantry.{OWN}"));
        assert!(kubelet_raw("v1.34.2").contains("GitVersion:\"v1.34.2+gantry."));
    }
}
