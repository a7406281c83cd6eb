//! From configuration and allocated addresses to everything that will be done: pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::conf::{Conf, Gateway, Ipam};
use crate::host_local::allocate::step;
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
    /// The result, but for the interfaces.
    pub result: CniResult,
}

/// Completes what the IPAM plugin gave. The pod's interface will be number 2 of the result, after the bridge and
/// the host's end of the veth.
pub fn plan(conf: &Conf, given: CniResult) -> Result<Plan, Error> {
    if conf.ipam.is_some() && given.ips.is_empty() {
        return Err(Error::invalid("ipam: the plugin gave no address"));
    }
    let mut ips = given.ips;
    for ip in &mut ips {
        ip.interface = Some(2);
        if ip.gateway.is_none() && conf.gateway != Gateway::None {
            ip.gateway = Some(first_of(ip.address)?);
        }
    }
    let mut routes = given.routes;
    if conf.gateway == Gateway::DefaultRoute {
        routes.extend(default_routes(&ips, &routes));
    }
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
        routes: routes.iter().map(|route| kernel_route(route, &ips)).collect(),
        gateways,
        masquerade,
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

/// One default route per family that has none.
fn default_routes(ips: &[IpConfig], routes: &[RouteConfig]) -> Vec<RouteConfig> {
    let mut added: Vec<RouteConfig> = Vec::new();
    for ip in ips {
        let v4 = ip.address.addr().is_ipv4();
        let is_default = |route: &RouteConfig| {
            route.gw.is_some() && route.dst.prefix_len() == 0 && route.dst.addr().is_ipv4() == v4
        };
        if !routes.iter().chain(&added).any(is_default) {
            added.push(RouteConfig {
                dst: everything(v4),
                gw: ip.gateway,
                mtu: None,
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            });
        }
    }
    added
}

/// A route without a next hop goes by the gateway of the first address of its family.
fn kernel_route(route: &RouteConfig, ips: &[IpConfig]) -> Route {
    let v4 = route.dst.addr().is_ipv4();
    let gateway = ips
        .iter()
        .filter_map(|ip| ip.gateway)
        .find(|gateway| gateway.is_ipv4() == v4);
    Route {
        destination: route.dst,
        gateway: route.gw.or(gateway),
        priority: route.priority,
        table: route.table,
        scope: route.scope,
        mtu: route.mtu,
        advmss: route.advmss,
    }
}

/// The routes a finished ADD has left in the pod, for CHECK.
pub fn routes_of(result: &CniResult) -> Vec<Route> {
    result
        .routes
        .iter()
        .map(|route| kernel_route(route, &result.ips))
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
    IpNet::new(zero, 0).expect("zero is a prefix")
}

/// The name of the host's end of the veth: the same for every ADD of one attachment, so that what a killed plugin
/// left behind is known again. `attempt` is for the case that another attachment's name is the same.
pub fn host_end(request: &Request, attempt: u32) -> String {
    let identity = format!("{} {attempt}", request.attachment());
    format!("veth{:08x}", hash(identity.as_bytes()) >> 32)
}

/// Whether addresses are given by this very binary.
pub fn allocates_itself(conf: &Conf) -> bool {
    conf.ipam == Some(Ipam::HostLocal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bridge::conf::Reflection;
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
            ipam: Some(Ipam::HostLocal),
            dns: Dns::default(),
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
