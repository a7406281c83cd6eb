//! The addresses of the node, chosen as the kubelet chooses them (`pkg/kubelet/nodestatus/setters.go`,
//! `k8s.io/apimachinery/pkg/util/net/interface.go`): those configured; else what the host's name resolves to,
//! if it is an address of this machine; else that of the interface which the default route leaves through.
//! IPv4 comes before IPv6 unless asked otherwise.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

use nix::net::if_::InterfaceFlags;

/// An address of one of the machine's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    interface: String,
    up: bool,
    ip: IpAddr,
}

/// The addresses that the node reports, the primary one first. `configured` are those of `--node-ip`, which win if
/// there are any; `::` alone prefers IPv6 to IPv4, `0.0.0.0` means the default. `name` is the node's name. This may
/// query a name server, so it blocks.
///
/// Empty if the machine has only loopback and link-local addresses: the kubelet would refuse to start, but static pods
/// can run without one.
pub fn addresses(configured: &[IpAddr], name: &str) -> Vec<IpAddr> {
    let stated: Vec<IpAddr> = configured
        .iter()
        .filter(|ip| !ip.is_unspecified())
        .copied()
        .collect();
    if !stated.is_empty() {
        return stated;
    }
    let preferred = match configured.first() {
        Some(IpAddr::V6(_)) => Family::V6,
        Some(IpAddr::V4(_)) | None => Family::V4,
    };
    let resolved: Vec<IpAddr> = match name.parse() {
        Ok(address) => return vec![address],
        Err(_) => (name, 0)
            .to_socket_addrs()
            .map(|found| found.map(|address| address.ip()).collect())
            .unwrap_or_default(),
    };
    let routes = [
        ("/proc/net/route", default_v4 as fn(&str) -> Option<&str>),
        ("/proc/net/ipv6_route", default_v6),
    ];
    let routes: Vec<String> = routes
        .iter()
        .flat_map(|(path, default)| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .filter_map(|line| default(line).map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect();
    choose(preferred, &resolved, &routes, &locals())
        .into_iter()
        .collect()
}

/// The choice, from what the name resolves to, the interfaces of default routes, and the machine's addresses.
fn choose(preferred: Family, resolved: &[IpAddr], routes: &[String], locals: &[Local]) -> Option<IpAddr> {
    let families = match preferred {
        Family::V4 => [Family::V4, Family::V6],
        Family::V6 => [Family::V6, Family::V4],
    };
    let usable = |family: Family, local: &Local| local.up && family.has(local.ip) && is_global(local.ip);
    let named = |family: Family| {
        let ours = |ip: IpAddr| is_global(ip) && locals.iter().any(|local| local.ip == ip);
        resolved.iter().copied().find(|&ip| family.has(ip) && ours(ip))
    };
    let on = |family, interface: &str| {
        let local = locals
            .iter()
            .find(|local| local.interface == interface && usable(family, local));
        local.map(|local| local.ip)
    };
    // Where routers use link-local addresses only, the node's own address is on the loopback interface (RFC 5549).
    let routed = |family| {
        routes
            .iter()
            .find_map(|route| on(family, route).or_else(|| on(family, "lo")))
    };
    // The kubelet gives up here. A machine without a default route still has pods that need its address.
    let any = |family| {
        locals
            .iter()
            .find(|local| usable(family, local))
            .map(|local| local.ip)
    };
    let first = |choice: &dyn Fn(Family) -> Option<IpAddr>| families.into_iter().find_map(choice);
    first(&named).or_else(|| first(&routed)).or_else(|| first(&any))
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Family::V4)
    }
}

/// An address that a node may report: not loopback, link-local, multicast or unspecified.
fn is_global(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
}

/// The addresses of all interfaces.
fn locals() -> Vec<Local> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
            Some(Local {
                ip: v4.or_else(v6)?,
                up: interface.flags.contains(InterfaceFlags::IFF_UP),
                interface: interface.interface_name,
            })
        })
        .collect()
}

/// The flag of a reject route (`linux/route.h`).
const RTF_REJECT: u32 = 0x200;

/// The interface of a line of /proc/net/route, if it is a default route: hexadecimal
/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`.
fn default_v4(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
    let is_default = Ipv4Addr::from(number(1)?).is_unspecified() && number(7)? == 0;
    (is_default && number(3)? & RTF_REJECT == 0).then(|| fields[0])
}

/// The interface of a line of /proc/net/ipv6_route, if it is a default route: hexadecimal
/// `destination length source length gateway metric refcount use flags interface`.
fn default_v6(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let destination = u128::from_str_radix(fields.first()?, 16).ok()?;
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let is_default = Ipv6Addr::from(destination).is_unspecified() && *fields.get(1)? == "00";
    (is_default && flags & RTF_REJECT == 0)
        .then(|| fields.get(9).copied())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(interface: &str, ip: &str) -> Local {
        Local {
            interface: interface.to_owned(),
            up: true,
            ip: ip.parse().unwrap(),
        }
    }

    fn check(resolved: &[&str], routes: &[&str], locals: &[Local], expected: Option<&str>) {
        let resolved: Vec<IpAddr> = resolved.iter().map(|ip| ip.parse().unwrap()).collect();
        let routes: Vec<String> = routes.iter().map(|&route| route.to_owned()).collect();
        let chosen = choose(Family::V4, &resolved, &routes, locals);
        assert_eq!(
            chosen,
            expected.map(|ip| ip.parse().unwrap()),
            "{resolved:?} {routes:?}"
        );
    }

    #[test]
    fn choices() {
        let machine = [
            local("lo", "127.0.0.1"),
            local("lo", "::1"),
            local("eth0", "2001:db8::2"),
            local("eth0", "192.0.2.2"),
            local("eth0", "fe80::1"),
            local("eth1", "198.51.100.2"),
        ];
        // The name resolves to an address of the machine, IPv4 before IPv6.
        check(
            &["2001:db8::2", "198.51.100.2"],
            &["eth0"],
            &machine,
            Some("198.51.100.2"),
        );
        check(&["2001:db8::2"], &["eth0"], &machine, Some("2001:db8::2"));
        // Debian's 127.0.1.1 and another machine's address do not count.
        check(
            &["127.0.1.1", "203.0.113.9"],
            &["eth0"],
            &machine,
            Some("192.0.2.2"),
        );
        check(&[], &["eth1", "eth0"], &machine, Some("198.51.100.2"));
        // A default route over IPv6 only.
        let v6_only = [local("eth0", "2001:db8::2"), local("eth0", "fe80::1")];
        check(&[], &["eth0"], &v6_only, Some("2001:db8::2"));
        // Link-local routers, the node's address on the loopback interface.
        let unnumbered = [
            local("lo", "127.0.0.1"),
            local("lo", "192.0.2.7"),
            local("eth0", "169.254.1.1"),
        ];
        check(&[], &["eth0"], &unnumbered, Some("192.0.2.7"));
        let preferring_v6 = choose(Family::V6, &[], &["eth1".to_owned(), "eth0".to_owned()], &machine);
        assert_eq!(preferring_v6, Some("2001:db8::2".parse().unwrap()));
        // No default route; an interface that is down does not count.
        check(&[], &[], &machine, Some("192.0.2.2"));
        let down = Local {
            up: false,
            ..local("eth0", "192.0.2.2")
        };
        check(&[], &["eth0"], &[down, local("lo", "127.0.0.1")], None);
    }

    #[test]
    fn default_routes() {
        let v4 = |line| default_v4(line);
        assert_eq!(
            v4("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"),
            Some("eth0")
        );
        assert_eq!(
            v4("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"),
            None
        );
        assert_eq!(
            v4("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0"),
            None
        );
        assert_eq!(
            v4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask"),
            None
        );
        let zero = "0".repeat(32);
        let v6 = |destination: &str, flags: &str| {
            let line = format!("{destination} {zero} 00 {zero} 00000400 00000002 00000000 {flags} eth0");
            default_v6(&line).map(str::to_owned)
        };
        assert_eq!(v6(&format!("{zero} 00"), "00000003"), Some("eth0".to_owned()));
        assert_eq!(v6(&format!("{zero} 00"), "00200200"), None);
        assert_eq!(v6(&format!("fd{} 40", "0".repeat(30)), "00000001"), None);
    }

    #[test]
    fn configured_addresses_win() {
        let configured: Vec<IpAddr> = vec!["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
        assert_eq!(addresses(&configured, "any"), configured);
        assert_eq!(
            addresses(&[], "192.0.2.3"),
            ["192.0.2.3".parse::<IpAddr>().unwrap()]
        );
    }
}
