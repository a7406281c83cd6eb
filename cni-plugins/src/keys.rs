//! The keys of configurations. The plugins of containernetworking are written in Go, whose decoder ignores the case of
//! keys (containerd before 2.0 writes `HostPort`); so every known key is changed to its documented spelling before the
//! configuration is read.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// All keys that these plugins read, at any depth: those of the protocol, then those of the plugins.
const KNOWN: &[&str] = &[
    "cniVersion",
    "name",
    "type",
    "args",
    "cni",
    "dns",
    "domain",
    "ipam",
    "nameservers",
    "options",
    "prevResult",
    "runtimeConfig",
    "search",
    "interfaces",
    "ips",
    "routes",
    "address",
    "gateway",
    "interface",
    "mac",
    "mtu",
    "sandbox",
    "advmss",
    "dst",
    "gw",
    "priority",
    "scope",
    "table",
    "cni.dev/valid-attachments",
    "containerID",
    "ifname",
    "bridge",
    "disableContainerInterface",
    "enabledad",
    "forceAddress",
    "hairpinMode",
    "includes",
    "ipMasq",
    "ipMasqBackend",
    "isDefaultGateway",
    "isGateway",
    "macspoofchk",
    "portIsolation",
    "preserveDefaultVlan",
    "promiscMode",
    "vlan",
    "vlanTrunk",
    "id",
    "maxID",
    "minID",
    "dataDir",
    "ipRanges",
    "rangeEnd",
    "rangeStart",
    "ranges",
    "resolvConf",
    "subnet",
    "backend",
    "conditionsV4",
    "conditionsV6",
    "containerPort",
    "externalSetMarkChain",
    "hostIP",
    "hostPort",
    "markMasqBit",
    "masqAll",
    "portMappings",
    "protocol",
    "snat",
    "delegate",
    "subnetFile",
    "bandwidth",
    "egressBurst",
    "egressRate",
    "ingressBurst",
    "ingressRate",
    "shapedSubnets",
    "unshapedSubnets",
    "firewalldZone",
    "ingressPolicy",
    "iptablesAdminChainName",
];

static SPELLINGS: LazyLock<HashMap<String, &str>> =
    LazyLock::new(|| KNOWN.iter().map(|key| (key.to_ascii_lowercase(), *key)).collect());

/// Brings a configuration into the form in which it is read: without nulls, with the documented spelling of keys.
pub fn normalize(config: &mut Value) {
    strip_nulls(config);
    spell(config);
}

/// Removes keys with the value null, which mean the same as missing ones; Go programs write both.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Changes the known keys of `value` to their documented spelling. If a key appears in two spellings, the documented
/// one counts.
pub fn spell(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let others: Vec<String> = map
                .keys()
                .filter(|key| spelling(key).is_some())
                .cloned()
                .collect();
            for key in others {
                let (Some(known), Some(value)) = (spelling(&key), map.remove(&key)) else {
                    continue;
                };
                map.entry(known).or_insert(value);
            }
            map.values_mut().for_each(spell);
        }
        Value::Array(list) => list.iter_mut().for_each(spell),
        _ => {}
    }
}

/// The documented spelling of `key`, if it differs.
fn spelling(key: &str) -> Option<&'static str> {
    let known = SPELLINGS.get(&key.to_ascii_lowercase())?;
    (*known != key).then_some(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_known_key_is_found_in_any_spelling_and_others_are_left_alone() {
        let mut config = json!({
            "IsGateway": true, "IPAM": {"Ranges": [[{"SUBNET": "10.1.0.0/24"}]]}, "Mine": {"HOSTPORT": 1},
            "mtu": 1, "MTU": 2,
        });
        spell(&mut config);
        let expected = json!({
            "isGateway": true, "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}, "Mine": {"hostPort": 1}, "mtu": 1,
        });
        assert_eq!(config, expected);
    }
}
