//! The endpoint for kubectl on a machine without a cluster (`kubectlPort`, `kubectlGroup`). Pure.

use super::checks::Checks;
use super::own::GantryConfiguration;

/// The endpoint for kubectl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubectl {
    /// `kubectlPort`; `None`: it is not set.
    pub(super) port: Option<u16>,
    /// The group whose members may use it; `None`: root alone.
    pub group: Option<String>,
}

/// The configuration section of this name.
pub(super) fn kubectl(own: &GantryConfiguration, own_checks: &mut Checks<'_>) -> Kubectl {
    let port = own.kubectl_port.map(|port| {
        u16::try_from(port).unwrap_or_else(|_| {
            own_checks.wrong("kubectlPort", "must be a port, or 0 for none");
            0
        })
    });
    Kubectl {
        port,
        group: own.kubectl_group.clone().filter(|group| !group.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::layers::Layer;

    fn section(own: Value) -> (Kubectl, usize) {
        let layer = Layer::default();
        let mut checks = Checks::new(&layer);
        let written = serde_json::from_value(own).unwrap();
        let section = kubectl(&written, &mut checks);
        (section, checks.problems.len())
    }

    #[test]
    fn a_group_without_a_name_is_none_and_a_port_is_a_port() {
        let group = |own: Value| section(own).0.group;
        assert_eq!(group(json!({"kubectlGroup": "adm"})).as_deref(), Some("adm"));
        assert_eq!(group(json!({"kubectlGroup": ""})), None);
        assert_eq!(section(json!({"kubectlPort": 65536})).1, 1);
        assert_eq!(section(json!({"kubectlPort": -1})).1, 1);
    }
}
