//! The configuration of `type: portmap`, as written and as parsed. <https://www.cni.dev/plugins/current/meta/portmap/>

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::conditions::Conditions;
use crate::nftables::expr::transport_number;
use crate::nftables::family::Family;
use crate::request::Request;
use crate::types::{CniResult, Error};

/// The maximum number of forwarded ports of a pod: as many as an address has for one protocol.
pub const MAX_MAPPINGS: usize = 65_535;

/// The parsed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// The ports to forward.
    pub mappings: Vec<Mapping>,
    /// Which packets get the host's address on their way to the pod.
    pub snat: Snat,
    /// Which packets for the ports are forwarded, of IPv4.
    pub conditions_v4: Conditions,
    /// Which packets for the ports are forwarded, of IPv6.
    pub conditions_v6: Conditions,
}

impl Conf {
    /// Which packets of `family` for the ports are forwarded.
    pub fn conditions(&self, family: Family) -> &Conditions {
        match family {
            Family::V4 => &self.conditions_v4,
            Family::V6 => &self.conditions_v6,
        }
    }
}

/// One forwarded port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// Only this address of the host; all of them otherwise.
    pub host_ip: Option<IpAddr>,
    /// `0.0.0.0` and `::` mean all addresses of that family.
    pub family_of: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the pod.
    pub container_port: u16,
}

/// Which packets get the host's address on their way to the pod (`snat`, `masqAll`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snat {
    /// None. Then neither the host's loopback address nor the pod's own network can use the port.
    None,
    /// Those whose answers would not return otherwise: from the host's loopback, and from the pod's own network.
    Needed,
    /// All.
    All,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    backend: Option<String>,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Option<Vec<String>>,
    conditions_v6: Option<Vec<String>>,
    runtime_config: WrittenRuntime,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenRuntime {
    port_mappings: Option<Vec<WrittenMapping>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// Reads and checks the configuration.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    look_at_backend(request, &written)?;
    let snat = match (written.snat.unwrap_or(true), written.masq_all) {
        (false, _) => Snat::None,
        (true, false) => Snat::Needed,
        (true, true) => Snat::All,
    };
    let conditions_v4 = read_conditions("conditionsV4", written.conditions_v4.as_ref(), Family::V4)?;
    let conditions_v6 = read_conditions("conditionsV6", written.conditions_v6.as_ref(), Family::V6)?;
    let written = written.runtime_config.port_mappings.unwrap_or_default();
    if written.len() > MAX_MAPPINGS {
        let msg = format!(
            "runtimeConfig.portMappings has {} entries; the maximum is {MAX_MAPPINGS}",
            written.len()
        );
        return Err(Error::invalid(msg));
    }
    let mut mappings = Vec::with_capacity(written.len());
    let mut ports = HashMap::new();
    for (number, mapping) in written.iter().enumerate() {
        let mapping = read_mapping(mapping)
            .map_err(|reason| Error::invalid(format!("runtimeConfig.portMappings[{number}]: {reason}")))?;
        let key = (mapping.protocol, mapping.family_of, mapping.host_port);
        match ports.entry(key) {
            Entry::Vacant(new) => {
                new.insert(mapping.container_port);
                mappings.push(mapping);
            }
            Entry::Occupied(first) if *first.get() == mapping.container_port => {}
            Entry::Occupied(first) => request.note(format!(
                "runtimeConfig.portMappings[{number}]: hostPort {} is listed twice; the first entry is used, which \
                 forwards to {}",
                mapping.host_port,
                first.get()
            )),
        }
    }
    Ok(Conf {
        mappings,
        snat,
        conditions_v4,
        conditions_v6,
    })
}

/// Keys that select how the original plugin writes its rules are noted in the log: this plugin writes its rules
/// differently.
fn look_at_backend(request: &Request, written: &Written) -> Result<(), Error> {
    match written.backend.as_deref() {
        None | Some("" | "nftables") => {}
        Some("iptables") => {
            request.note("backend iptables: port forwarding uses nftables instead, with the same result")
        }
        Some(other) => {
            return Err(Error::invalid(format!(
                "backend {other:?} is not supported; use iptables or nftables"
            )));
        }
    }
    if let Some(chain) = written.external_set_mark_chain.as_deref() {
        if written.mark_masq_bit.is_some() {
            return Err(Error::invalid(
                "externalSetMarkChain and markMasqBit are mutually exclusive",
            ));
        }
        request.note(format!(
            "externalSetMarkChain {chain}: packets are masqueraded without a mark, so the chain is not used"
        ));
    }
    if written.mark_masq_bit.is_some_and(|bit| !(0..=31).contains(&bit)) {
        return Err(Error::invalid("markMasqBit must be between 0 and 31"));
    }
    Ok(())
}

fn read_conditions(field: &str, written: Option<&Vec<String>>, family: Family) -> Result<Conditions, Error> {
    Conditions::read(written.map_or(&[], Vec::as_slice), family)
        .map_err(|reason| Error::unsupported(field, &format!("{reason}; use hostIP to narrow a port")))
}

fn read_mapping(written: &WrittenMapping) -> Result<Mapping, String> {
    let port = |field: &str, value: i64| {
        u16::try_from(value)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{field} {value} must be between 1 and 65535"))
    };
    let protocol = written.protocol.to_ascii_lowercase();
    let protocol = transport_number(if protocol.is_empty() { "tcp" } else { &protocol })
        .ok_or_else(|| format!("protocol {:?} must be tcp, udp or sctp", written.protocol))?;
    let given = written.host_ip.as_deref().filter(|ip| !ip.is_empty());
    let given = given
        .map(|ip| {
            ip.parse::<IpAddr>()
                .map_err(|_| format!("hostIP {ip:?} is not an IP address"))
        })
        .transpose()?;
    Ok(Mapping {
        protocol,
        host_ip: given.filter(|ip| !ip.is_unspecified()),
        family_of: given,
        host_port: port("hostPort", written.host_port)?,
        container_port: port("containerPort", written.container_port)?,
    })
}

/// The pod's first address of each family: those of this call's interface, and those without an interface in the
/// result.
pub fn pod_addresses(result: &CniResult, ifname: &str) -> Vec<IpNet> {
    let mut addresses: Vec<IpNet> = Vec::new();
    for ip in &result.ips {
        let interface = ip
            .interface
            .and_then(|index| result.interfaces.get(usize::try_from(index).ok()?));
        let elsewhere =
            interface.is_some_and(|interface| interface.name != ifname || interface.sandbox.is_empty());
        let family_known = addresses
            .iter()
            .any(|known| known.addr().is_ipv4() == ip.address.addr().is_ipv4());
        if !elsewhere && !family_known {
            addresses.push(ip.address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::sample as request;
    use crate::types::Code;

    fn mapping(value: Value) -> Value {
        json!({"runtimeConfig": {"portMappings": [value]}})
    }

    #[test]
    fn mappings_are_read_as_runtimes_write_them() {
        let written = json!({"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "0.0.0.0"});
        let conf = read(&request(mapping(written))).unwrap();
        let zero = Some("0.0.0.0".parse().unwrap());
        let expected = Mapping {
            protocol: 6,
            host_ip: None,
            family_of: zero,
            host_port: 8080,
            container_port: 80,
        };
        assert_eq!((conf.mappings, conf.snat), (vec![expected], Snat::Needed));
        assert!(
            read(&request(json!({"runtimeConfig": {"portMappings": null}})))
                .unwrap()
                .mappings
                .is_empty()
        );
        assert_eq!(
            read(&request(json!({"snat": false, "masqAll": true})))
                .unwrap()
                .snat,
            Snat::None
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let cases = [
            (
                mapping(json!({"hostPort": 0, "containerPort": 80})),
                Code::InvalidConfig,
                "hostPort 0",
            ),
            (
                mapping(json!({"hostPort": 80, "containerPort": 70000})),
                Code::InvalidConfig,
                "containerPort 70000",
            ),
            (
                mapping(json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"})),
                Code::InvalidConfig,
                "icmp",
            ),
            (
                mapping(json!({"hostPort": 80, "containerPort": 80, "hostIP": "x"})),
                Code::InvalidConfig,
                "hostIP",
            ),
            (json!({"backend": "ipfw"}), Code::InvalidConfig, "backend"),
            (
                json!({"externalSetMarkChain": "KUBE-MARK-MASQ", "markMasqBit": 14}),
                Code::InvalidConfig,
                "externalSetMarkChain",
            ),
            (
                json!({"conditionsV4": ["-m", "set"]}),
                Code::UnsupportedField,
                "conditionsV4",
            ),
            (json!({"markMasqBit": 32}), Code::InvalidConfig, "markMasqBit"),
        ];
        for (config, code, field) in cases {
            let error = read(&request(config.clone())).unwrap_err();
            assert_eq!(error.code, code, "{config}");
            assert!(error.msg.contains(field), "{config}: {}", error.msg);
        }
    }

    #[test]
    fn of_a_port_that_is_given_twice_the_first_counts_and_the_log_says_so() {
        let twice = json!({"runtimeConfig": {"portMappings": [
            {"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81},
            {"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 82, "hostIP": "192.0.2.1"}]}});
        let request = request(twice);
        let conf = read(&request).unwrap();
        let ports: Vec<_> = conf
            .mappings
            .iter()
            .map(|mapping| mapping.container_port)
            .collect();
        assert_eq!(ports, [80, 82]);
        let notes = request.notes.take();
        assert!(
            notes.len() == 1 && notes[0].contains("portMappings[1]"),
            "{notes:?}"
        );
    }

    #[test]
    fn more_ports_than_an_address_has_are_refused() {
        let mappings = |count: usize| {
            let one = json!({"hostPort": 80, "containerPort": 80});
            read(&request(
                json!({"runtimeConfig": {"portMappings": vec![one; count]}}),
            ))
        };
        assert!(mappings(MAX_MAPPINGS).is_ok());
        assert!(
            mappings(MAX_MAPPINGS + 1)
                .unwrap_err()
                .msg
                .contains("65536 entries")
        );
    }

    #[test]
    fn the_pod_s_address_is_that_of_its_interface() {
        let result = json!({
            "interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/ns"}],
            "ips": [{"interface": 0, "address": "10.9.0.1/24"}, {"interface": 1, "address": "10.1.0.5/24"},
                    {"interface": 1, "address": "10.1.0.6/24"}, {"address": "fd00::5/64"}],
        });
        let result = CniResult::from_json(&result, "test").unwrap();
        let found: Vec<_> = pod_addresses(&result, "eth0")
            .iter()
            .map(IpNet::to_string)
            .collect();
        assert_eq!(found, ["10.1.0.5/24", "fd00::5/64"]);
    }
}
