//! What plugins are told, in the words of the kubelet (`pkg/kubelet/pluginmanager/operationexecutor`,
//! `pkg/volume/csi/csi_plugin.go`). Pure.

use std::path::Path;

use super::version::Version;

/// No part of this program works with plugins of this kind.
pub(super) fn wrong_kind(kind: &str, socket: &Path) -> String {
    format!(
        "RegisterPlugin error -- no handler registered for plugin type: {kind} at socket {}",
        socket.display()
    )
}

/// None of the versions can be spoken.
pub(super) fn no_version(name: &str, endpoint: &Path, versions: &[String], why: &str) -> String {
    let why = match versions {
        [] => format!(
            "ValidatePlugin for CSI driver {name:?} failed. Plugin returned an empty list for supported versions"
        ),
        versions => {
            let versions: Vec<String> = versions.iter().map(|version| format!("{version:?}")).collect();
            format!(
                "ValidatePlugin for CSI driver {name:?} failed. None of the versions specified [{}] are supported. \
                 err={why}",
                versions.join(" ")
            )
        }
    };
    invalid(name, endpoint, &why)
}

/// Another socket has a driver of this name, whose version is no lower.
pub(super) fn name_taken(name: &str, endpoint: &Path, by: &Version) -> String {
    let why = format!(
        "ValidatePlugin for CSI driver {name:?} failed. Another driver with the same name is already registered with a \
         higher supported version: \"{by}\""
    );
    invalid(name, endpoint, &why)
}

/// It cannot be the name of a driver.
pub(super) fn wrong_name(name: &str, endpoint: &Path) -> String {
    let why = format!(
        "the name of CSI driver {name:?} is not a domain name of at most 63 letters, digits, dashes and dots"
    );
    invalid(name, endpoint, &why)
}

fn invalid(name: &str, endpoint: &Path, why: &str) -> String {
    format!(
        "RegisterPlugin error -- plugin validation failed with err: validation failed for CSI Driver {name} at \
         endpoint {}: kubernetes.io/csi: {why}",
        endpoint.display()
    )
}

/// The driver does not answer, or the API server does not take what it says.
pub(super) fn not_registered(why: &str) -> String {
    format!("RegisterPlugin error -- plugin registration failed with err: {why}")
}

/// It has no name for the node.
pub(super) const NO_NODE_ID: &str = "error adding CSI driver node info: driverNodeID must not be empty";

/// Whether a driver may be named so: the name is part of paths and of the names of objects
/// (`ValidateCSIDriverName` in `pkg/apis/storage/validation`).
pub(super) fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter()
            .all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 63 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_lead_elsewhere_is_none() {
        for name in ["csi.example.com", "a", "Ceph.RBD-1", &"a".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a..b",
            "-a",
            "a-",
            ".a",
            "a_b",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
