//! The configuration of `type: firewall`, as written and as parsed. <https://www.cni.dev/plugins/current/meta/firewall/>

use serde::Deserialize;

use crate::request::Request;
use crate::types::Error;

/// The chain in which an administrator overrides the rules, unless the configuration names another one.
const ADMIN_CHAIN: &str = "CNI-ADMIN";

/// The parsed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// Who may reach the pods.
    pub policy: Policy,
    /// A chain of the table `filter` that is walked first, if it exists.
    pub admin_chain: String,
    /// The zone of firewalld that the bridge is meant to be in.
    pub zone: String,
}

impl Conf {
    /// Whether the pods' bridge must be known.
    pub fn needs_bridge(&self) -> bool {
        self.policy != Policy::Open
    }
}

/// Who may reach the pods (`ingressPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Everybody.
    Open,
    /// No pod of another bridge with a policy.
    SameBridge,
    /// No other pod at all.
    Isolated,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    backend: String,
    iptables_admin_chain_name: String,
    firewalld_zone: String,
    ingress_policy: String,
}

/// Reads and checks the configuration.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    if !matches!(written.backend.as_str(), "" | "nftables") {
        request.note(format!(
            "backend {}: rules are added by nftables instead, with the same result",
            written.backend
        ));
    }
    let policy = match written.ingress_policy.as_str() {
        "" | "open" => Policy::Open,
        "same-bridge" => Policy::SameBridge,
        "isolated" => Policy::Isolated,
        other => {
            return Err(Error::invalid(format!(
                "ingressPolicy {other:?} is not supported; use open, same-bridge or isolated"
            )));
        }
    };
    let or = |written: String, default: &str| {
        if written.is_empty() {
            default.to_string()
        } else {
            written
        }
    };
    let admin_chain = or(written.iptables_admin_chain_name, ADMIN_CHAIN);
    // linux/netfilter/nf_tables.h `NFT_CHAIN_MAXNAMELEN`; iptables takes 28.
    if admin_chain.len() > 255 || !admin_chain.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(
            "iptablesAdminChainName must be the name of a chain: visible ASCII characters, 255 at most",
        ));
    }
    Ok(Conf {
        policy,
        admin_chain,
        zone: or(written.firewalld_zone, "trusted"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::sample as request;

    #[test]
    fn every_configuration_of_the_original_is_taken() {
        for (config, policy, admin_chain, notes) in [
            (json!({}), Policy::Open, "CNI-ADMIN", 0),
            (json!({"backend": "iptables"}), Policy::Open, "CNI-ADMIN", 1),
            (
                json!({"backend": "firewalld", "firewalldZone": "public", "ingressPolicy": "same-bridge"}),
                Policy::SameBridge,
                "CNI-ADMIN",
                1,
            ),
            (
                json!({"iptablesAdminChainName": "MINE", "ingressPolicy": "isolated"}),
                Policy::Isolated,
                "MINE",
                0,
            ),
        ] {
            let request = request(config.clone());
            let conf = read(&request).unwrap();
            assert_eq!(
                (conf.policy, conf.admin_chain.as_str()),
                (policy, admin_chain),
                "{config}"
            );
            assert_eq!(request.notes.take().len(), notes, "{config}");
        }
        let error = read(&request(json!({"ingressPolicy": "closed"}))).unwrap_err();
        assert!(error.msg.contains("ingressPolicy"), "{}", error.msg);
    }
}
