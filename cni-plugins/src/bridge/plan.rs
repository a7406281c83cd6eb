//! Turns the configuration and the allocated addresses into everything that will be done: pure.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;

use super::conf::{Conf, Gateway, Ipam};
use crate::host_local::allocate::step;
use crate::netlink::link::Mac;
use crate::netlink::route::Route;
use crate::request::Request;
use crate::text::hash;
use crate::types::{CniResult, Error, IpConfig, RouteConfig};

/// Everything ADD does for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The pod's addresses.
    pub addresses: Vec<IpNet>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// The addresses of the bridge.
    pub gateways: Vec<IpNet>,
    /// The subnets to masquerade.
    pub masquerade: Vec<IpNet>,
    /// The pod's hardware address, if it follows from its address.
    pub mac: Option<Mac>,
    /// The result without the interfaces.
    pub result: CniResult,
}

/// Completes the IPAM plugin's result. The pod's interface will be number 2 of the result, after the bridge and the
/// host's end of the veth pair.
pub fn plan(conf: &Conf, given: CniResult) -> Result<Plan, Error> {
    if conf.ipam.is_some() && given.ips.is_empty() {
        return Err(Error::invalid("ipam: the plugin returned no address"));
    }
    let mut ips = given.ips;
    for ip in &mut ips {
        ip.interface = Some(2);
        if ip.gateway.is_none() && conf.gateway != Gateway::None {
            ip.gateway = Some(first_of(ip.address)?);
        }
    }
    let next_hops = NextHops::of(&ips);
    let mut routes = given.routes;
    if conf.gateway == Gateway::DefaultRoute {
        add_default_routes(&mut routes, &ips, &next_hops);
    }
    let mut seen = HashSet::new();
    routes.retain(|route| seen.insert(next_hops.kernel_route(route)));
    let gateways = match conf.gateway {
        Gateway::None => Vec::new(),
        Gateway::Address | Gateway::DefaultRoute => ips.iter().filter_map(gateway_address).collect(),
    };
    let masquerade = if conf.masquerade {
        ips.iter().map(|ip| ip.address.trunc()).collect()
    } else {
        Vec::new()
    };
    Ok(Plan {
        addresses: ips.iter().map(|ip| ip.address).collect(),
        routes: routes.iter().map(|route| next_hops.kernel_route(route)).collect(),
        gateways,
        masquerade,
        mac: mac_of(conf, &ips),
        result: CniResult {
            interfaces: Vec::new(),
            ips,
            routes,
            dns: if conf.dns.is_empty() {
                given.dns
            } else {
                conf.dns.clone()
            },
        },
    })
}

/// A hardware address made from the IPv4 address, where that is the host's to give and so unique on the link. Whoever gets the
/// address next has the same one: nobody must be told of a new pod by a broadcast, which each pod of the node has to process
/// before an ADD is done.
fn mac_of(conf: &Conf, ips: &[IpConfig]) -> Option<Mac> {
    if conf.mac.is_some() || !allocates_itself(conf) || conf.gateway == Gateway::None {
        return None;
    }
    let mut addresses = ips.iter().filter_map(|ip| match ip.address.addr() {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    });
    match (addresses.next(), addresses.next()) {
        // Locally administered and unicast, as 0a:58 of containernetworking was, which once did the same.
        (Some([a, b, c, d]), None) => Some(Mac([0x0a, 0x58, a, b, c, d])),
        _ => None,
    }
}

/// One default route per family, by the gateway unless the IPAM plugin gave it another next hop. A default route from
/// the IPAM plugin without a next hop is a duplicate of this one.
fn add_default_routes(routes: &mut Vec<RouteConfig>, ips: &[IpConfig], next_hops: &NextHops) {
    for v4 in [true, false] {
        if !ips.iter().any(|ip| ip.address.addr().is_ipv4() == v4) {
            continue;
        }
        let mut found = false;
        for route in routes
            .iter_mut()
            .filter(|route| route.dst.trunc() == everything(v4))
        {
            let in_main = route
                .table
                .is_none_or(|table| table == u32::from(libc::RT_TABLE_MAIN));
            if route.gw.is_none() && in_main {
                route.gw = next_hops.of_family(v4);
            }
            found |= route.gw.is_some();
        }
        if !found {
            routes.push(RouteConfig {
                dst: everything(v4),
                gw: next_hops.of_family(v4),
                mtu: None,
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            });
        }
    }
}

/// The gateways: that of the first address with one, for each family.
struct NextHops {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl NextHops {
    fn of(ips: &[IpConfig]) -> Self {
        let first = |v4: bool| {
            ips.iter()
                .filter_map(|ip| ip.gateway)
                .find(|gateway| gateway.is_ipv4() == v4)
        };
        NextHops {
            v4: first(true),
            v6: first(false),
        }
    }

    fn of_family(&self, v4: bool) -> Option<IpAddr> {
        if v4 { self.v4 } else { self.v6 }
    }

    /// A route without a next hop uses the gateway of its family.
    fn kernel_route(&self, route: &RouteConfig) -> Route {
        Route {
            destination: route.dst.trunc(),
            gateway: route.gw.or(self.of_family(route.dst.addr().is_ipv4())),
            priority: route.priority,
            table: route.table,
            scope: route.scope,
            mtu: route.mtu,
            advmss: route.advmss,
        }
    }
}

/// The routes that ADD has left in the pod, for CHECK.
pub fn routes_of(result: &CniResult) -> Vec<Route> {
    let next_hops = NextHops::of(&result.ips);
    result
        .routes
        .iter()
        .map(|route| next_hops.kernel_route(route))
        .collect()
}

/// What the bridge must have for the pods to reach their gateway.
pub fn gateway_address(ip: &IpConfig) -> Option<IpNet> {
    IpNet::new(ip.gateway?, ip.address.prefix_len()).ok()
}

fn first_of(address: IpNet) -> Result<IpAddr, Error> {
    step(address.network())
        .ok_or_else(|| Error::invalid(format!("ipam: {address} leaves no address for a gateway")))
}

fn everything(v4: bool) -> IpNet {
    let zero = if v4 {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    IpNet::new(zero, 0).expect("zero is a valid prefix length")
}

/// How many names the host's end may have.
pub const NAMES: u32 = 8;

/// The name of the host's end of the veth pair: the same for every ADD of one attachment, so that leftovers of a killed
/// plugin are recognized. `attempt` changes the name if another attachment has the same one.
pub fn host_end(request: &Request, attempt: u32) -> String {
    let identity = format!("{} {attempt}", request.attachment());
    format!("veth{:08x}", hash(identity.as_bytes()) >> 32)
}

/// Whether this binary allocates the addresses itself.
pub fn allocates_itself(conf: &Conf) -> bool {
    conf.ipam == Some(Ipam::HostLocal)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::bridge::conf::{ContainerInterface, Reflection};
    use crate::types::Dns;

    fn conf(gateway: Gateway) -> Conf {
        Conf {
            bridge: "cni0".into(),
            gateway,
            force_address: false,
            masquerade: true,
            mtu: None,
            reflection: Reflection::None,
            mac: None,
            container_interface: ContainerInterface::Up,
            duplicate_detection: false,
            isolated: false,
            checks_senders: false,
            vlans: None,
            ipam: Some(Ipam::HostLocal),
            dns: Dns::default(),
            included: BTreeSet::new(),
        }
    }

    fn given(value: serde_json::Value) -> CniResult {
        CniResult::from_json(&value, "test").unwrap()
    }

    #[test]
    fn a_default_gateway_gets_an_address_and_a_route() {
        let plan = plan(
            &conf(Gateway::DefaultRoute),
            given(json!({"ips": [{"address": "10.1.0.5/24"}]})),
        )
        .unwrap();
        assert_eq!(plan.gateways, ["10.1.0.1/24".parse().unwrap()]);
        assert_eq!(
            plan.routes,
            [Route::new(
                "0.0.0.0/0".parse().unwrap(),
                Some("10.1.0.1".parse().unwrap())
            )]
        );
        assert_eq!(plan.result.ips[0].interface, Some(2));
        assert_eq!(plan.result.routes.len(), 1);
        assert_eq!(plan.masquerade, ["10.1.0.0/24".parse().unwrap()]);
    }

    #[test]
    fn a_default_route_of_the_ipam_plugin_is_not_doubled() {
        let given = given(json!({
            "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.254"}, {"address": "fd00::5/64"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.7"}],
        }));
        let plan = plan(&conf(Gateway::DefaultRoute), given).unwrap();
        let written: Vec<_> = plan
            .routes
            .iter()
            .map(|r| (r.destination.to_string(), r.gateway.unwrap().to_string()))
            .collect();
        assert_eq!(
            written,
            [
                ("0.0.0.0/0".into(), "10.1.0.7".into()),
                ("::/0".to_string(), "fd00::1".to_string())
            ]
        );
        assert_eq!(plan.gateways[0].to_string(), "10.1.0.254/24");
    }

    #[test]
    fn a_default_route_that_is_said_twice_is_one_by_the_gateway() {
        let given = |routes: serde_json::Value| {
            given(json!({
                "ips": [{"address": "10.1.0.5/24"}, {"address": "fd00::5/64"}], "routes": routes,
            }))
        };
        let check = |routes: serde_json::Value, expected: &[(&str, &str)]| {
            let plan = plan(&conf(Gateway::DefaultRoute), given(routes.clone())).unwrap();
            let written: Vec<_> = plan
                .routes
                .iter()
                .map(|r| (r.destination.to_string(), r.gateway.unwrap().to_string()))
                .collect();
            let written: Vec<_> = written
                .iter()
                .map(|(to, by)| (to.as_str(), by.as_str()))
                .collect();
            assert_eq!(written, expected, "{routes}");
            let described: Vec<_> = plan
                .result
                .routes
                .iter()
                .map(|route| route.gw.unwrap().to_string())
                .collect();
            assert_eq!(
                described,
                expected.iter().map(|(_, by)| *by).collect::<Vec<_>>(),
                "{routes}"
            );
        };
        let (four, six) = (("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00::1"));
        check(json!([]), &[four, six]);
        check(json!([{"dst": "0.0.0.0/0"}]), &[four, six]);
        check(
            json!([{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0"}, {"dst": "::/0"}]),
            &[four, six],
        );
        check(
            json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "0.0.0.0/0"}]),
            &[four, six],
        );
        check(
            json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}]),
            &[("0.0.0.0/0", "10.1.0.9"), six],
        );
    }

    #[test]
    fn a_hardware_address_follows_from_an_address_that_is_the_host_s_to_give() {
        let given = || given(json!({"ips": [{"address": "fd00::5/64"}, {"address": "10.1.2.255/16"}]}));
        let mac = |conf: &Conf| plan(conf, given()).unwrap().mac.map(|mac| mac.to_string());
        let usual = conf(Gateway::DefaultRoute);
        assert_eq!(mac(&usual).as_deref(), Some("0a:58:0a:01:02:ff"));
        // Of two addresses each may have been another pod's, with another hardware address.
        let two = json!({"ips": [{"address": "10.1.2.5/24"}, {"address": "10.2.0.5/16"}]});
        let two = CniResult::from_json(&two, "test").unwrap();
        assert_eq!(plan(&usual, two).unwrap().mac, None);
        for other in [
            conf(Gateway::None),
            Conf {
                ipam: Some(Ipam::Plugin("dhcp".into())),
                ..usual.clone()
            },
            Conf {
                mac: Mac::parse("02:00:00:00:00:01"),
                ..usual
            },
        ] {
            assert_eq!(mac(&other), None);
        }
    }

    #[test]
    fn without_a_gateway_nothing_is_invented() {
        let given = given(json!({"ips": [{"address": "10.1.0.5/24"}], "routes": [{"dst": "10.9.0.0/16"}]}));
        let plan = plan(&conf(Gateway::None), given).unwrap();
        assert!(plan.gateways.is_empty() && plan.result.ips[0].gateway.is_none());
        assert_eq!(plan.routes, [Route::new("10.9.0.0/16".parse().unwrap(), None)]);
    }

    #[test]
    fn an_ipam_plugin_without_an_address_is_an_error() {
        assert!(
            plan(&conf(Gateway::None), CniResult::default())
                .unwrap_err()
                .msg
                .contains("no address")
        );
    }
}
