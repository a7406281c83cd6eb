//! Where kubectl is answered, which depends on more than its own settings. Pure.

use std::net::{Ipv4Addr, SocketAddr};

use super::kubectl::Kubectl;
use super::{Config, Role};

/// The port of a machine without a cluster, unless another one is set.
const PORT: u16 = 10247;

impl Kubectl {
    /// Where it is served, always at 127.0.0.1. If the port is not set, it is served by `gantry run` on a machine without
    /// a cluster, where kubectl has no API server to ask.
    fn address(&self, role: Role, membership: Membership) -> Option<SocketAddr> {
        let port = match (self.port, role, membership) {
            (Some(port), _, _) => port,
            (None, Role::Run, Membership::Standalone) => PORT,
            (None, _, _) => 0,
        };
        (port != 0).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

impl Config {
    /// Where kubectl is answered, if it is.
    pub fn kubectl_address(&self) -> Option<SocketAddr> {
        let membership = match self.paths.kubeconfig {
            Some(_) => Membership::Cluster,
            None => Membership::Standalone,
        };
        self.serve.kubectl.address(self.role, membership)
    }
}

/// Whether the node belongs to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// There is an API server.
    Cluster,
    /// There is none.
    Standalone,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::checks::Checks;
    use crate::config::kubectl::kubectl;
    use crate::config::layers::Layer;

    #[test]
    fn it_is_served_on_loopback_where_there_is_no_cluster_and_where_it_is_asked_for() {
        use Membership::{Cluster, Standalone};
        let check = |own: Value, role: Role, membership: Membership, expected: Option<&str>| {
            let layer = Layer::default();
            let mut checks = Checks::new(&layer);
            let written = serde_json::from_value(own.clone()).unwrap();
            let address = kubectl(&written, &mut checks).address(role, membership);
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(address, expected, "{own} {role:?} {membership:?}");
        };
        let usual = Some("127.0.0.1:10247");
        check(json!({}), Role::Run, Standalone, usual);
        check(json!({"kubectlGroup": "adm"}), Role::Run, Standalone, usual);
        check(json!({}), Role::Run, Cluster, None);
        check(json!({}), Role::Kubelet, Standalone, None);
        check(json!({"kubectlPort": 0}), Role::Run, Standalone, None);
        let other = Some("127.0.0.1:7000");
        check(json!({"kubectlPort": 7000}), Role::Run, Cluster, other);
        check(json!({"kubectlPort": 7000}), Role::Kubelet, Cluster, other);
    }
}
