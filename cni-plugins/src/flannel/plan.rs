//! The configuration of the delegate: pure.

use serde_json::{Map, Value, json};

use super::conf::Conf;
use super::subnet::Subnet;
use crate::request::Request;
use crate::types::Error;

/// The delegate if none is named.
pub const BRIDGE: &str = "bridge";

/// The configuration for the delegate: what the network's configuration says of it, completed by the subnet. `name`,
/// `cniVersion` and `ipam` are always set here.
pub fn config(request: &Request, conf: &Conf, subnet: &Subnet) -> Result<Value, Error> {
    let mut delegate = conf.delegate.clone();
    if let Some(runtime) = &conf.runtime {
        delegate.insert("runtimeConfig".into(), runtime.clone());
    }
    delegate.insert("name".into(), json!(request.network));
    delegate.insert("cniVersion".into(), json!(request.version.as_str()));
    let mut default = |field: &str, value: Value| {
        delegate.entry(field).or_insert(value);
    };
    default("type", json!(BRIDGE));
    default("ipMasq", json!(!subnet.masquerades));
    default("mtu", json!(subnet.mtu));
    if delegate.get("type").and_then(Value::as_str) == Some(BRIDGE) {
        delegate.entry("isGateway").or_insert(json!(true));
    }
    delegate.insert("ipam".into(), Value::Object(ipam(&conf.ipam, subnet)?));
    Ok(Value::Object(delegate))
}

/// One range set for each family, and a route to all nodes' networks.
fn ipam(given: &Map<String, Value>, subnet: &Subnet) -> Result<Map<String, Value>, Error> {
    let mut ipam = given.clone();
    ipam.entry("type").or_insert(json!("host-local"));
    let ranges: Vec<_> = subnet
        .subnets
        .iter()
        .map(|subnet| json!([{ "subnet": subnet }]))
        .collect();
    ipam.insert("ranges".into(), json!(ranges));
    let mut routes = match given.get("routes") {
        None => Vec::new(),
        Some(Value::Array(routes)) => routes.clone(),
        Some(_) => return Err(Error::invalid("ipam.routes must be a list")),
    };
    routes.extend(subnet.networks.iter().map(|network| json!({ "dst": network })));
    ipam.insert("routes".into(), json!(routes));
    Ok(ipam)
}

/// The name of the plugin that a configuration made here is for.
pub fn delegate_of(config: &Value) -> &str {
    config.get("type").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flannel::conf;
    use crate::request::Subject;
    use crate::skel;

    fn check(written: Value, env: &str, expected: Value) {
        let mut whole = json!({"cniVersion": "1.0.0", "name": "cbr0", "type": "flannel"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(written.as_object().unwrap().clone());
        let request = skel::parse(&|_| None, Subject::Network, whole.to_string(), |_| Ok(())).unwrap();
        let conf = conf::read(&request).unwrap();
        let config = config(&request, &conf, &Subnet::parse(env).unwrap()).unwrap();
        assert_eq!(config, expected, "{written}");
    }

    const V4: &str =
        "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn the_subnet_completes_what_the_delegate_has_not_set() {
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.1.17.0/24"}]],
            "routes": [{"dst": "10.1.0.0/16"}]});
        check(
            json!({}),
            V4,
            json!({"name": "cbr0", "cniVersion": "1.0.0", "type": "bridge", "ipMasq": false, "mtu": 1472,
                "isGateway": true, "ipam": ipam}),
        );
        check(
            json!({"delegate": {"type": "ipvlan", "master": "eth0", "mtu": 9000, "ipMasq": true},
                "runtimeConfig": {"mac": "02:00:00:00:00:01"}}),
            V4,
            json!({"name": "cbr0", "cniVersion": "1.0.0", "type": "ipvlan", "master": "eth0", "ipMasq": true,
                "mtu": 9000, "runtimeConfig": {"mac": "02:00:00:00:00:01"}, "ipam": ipam}),
        );
        // The configuration of flannel's own DaemonSet.
        check(
            json!({"delegate": {"hairpinMode": true, "isDefaultGateway": true, "isGateway": false}}),
            V4,
            json!({"name": "cbr0", "cniVersion": "1.0.0", "type": "bridge", "ipMasq": false, "mtu": 1472,
                "isGateway": false, "isDefaultGateway": true, "hairpinMode": true, "ipam": ipam}),
        );
    }

    #[test]
    fn both_families_and_the_network_s_own_ipam_are_merged() {
        let env = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_IPV6_NETWORK=fd00::/56\n\
                   FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";
        check(
            json!({"ipam": {"type": "host-local", "dataDir": "/d", "routes": [{"dst": "10.96.0.0/12"}]}}),
            env,
            json!({"name": "cbr0", "cniVersion": "1.0.0", "type": "bridge", "ipMasq": true, "mtu": 1450,
                "isGateway": true, "ipam": {"type": "host-local", "dataDir": "/d",
                    "ranges": [[{"subnet": "10.1.17.0/24"}], [{"subnet": "fd00:0:0:1::/64"}]],
                    "routes": [{"dst": "10.96.0.0/12"}, {"dst": "10.1.0.0/16"}, {"dst": "fd00::/56"}]}}),
        );
    }

    #[test]
    fn what_flannel_sets_itself_is_refused() {
        for (written, field) in [
            (json!({"delegate": {"name": "x"}}), "delegate.name"),
            (json!({"delegate": {"ipam": {}}}), "delegate.ipam"),
            (json!({"delegate": {"type": 5}}), "delegate.type"),
            (json!({"delegate": {"type": "../x"}}), "delegate.type"),
            (json!({"ipam": {"type": "a/b"}}), "ipam.type"),
            (json!({"delegate": []}), "delegate"),
        ] {
            let mut whole = json!({"cniVersion": "1.0.0", "name": "cbr0"});
            whole
                .as_object_mut()
                .unwrap()
                .extend(written.as_object().unwrap().clone());
            let request = skel::parse(&|_| None, Subject::Network, whole.to_string(), |_| Ok(())).unwrap();
            let error = conf::read(&request).unwrap_err();
            assert!(error.msg.contains(field), "{written}: {}", error.msg);
        }
    }
}
