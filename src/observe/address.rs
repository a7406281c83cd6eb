//! The addresses of the node, chosen as the kubelet chooses them (`pkg/kubelet/nodestatus/setters.go`,
//! `k8s.io/apimachinery/pkg/util/net/interface.go`): those configured; else what the host's name resolves to,
//! if it is an address of this machine; else that of the interface which the default route leaves through.
//! IPv4 comes before IPv6 unless asked otherwise.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::net::if_::InterfaceFlags;

/// An address of one of the machine's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    interface: String,
    up: bool,
    link: Link,
    ip: IpAddr,
}

/// What an interface leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Other machines, as far as is known.
    Outside,
    /// Pods, containers and virtual machines, or their network on other nodes.
    Inside,
}

/// What names the node's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `--node-ip`, the primary first; at least one.
    Given(Vec<IpAddr>),
    /// The node's name is an address, which the kubelet does not check either.
    Name(IpAddr),
    /// What the node's name resolves to and the machine has, IPv4 (or, with `--node-ip=::`, IPv6) before the other.
    Found {
        /// The node's name.
        name: String,
        /// Whether IPv6 comes first.
        preferred: Family,
    },
}

impl Wanted {
    /// From `--node-ip` and the node's name: `::` alone prefers IPv6 to IPv4, `0.0.0.0` means the default.
    pub fn new(configured: &[IpAddr], name: &str) -> Wanted {
        let stated = configured.iter().filter(|ip| !ip.is_unspecified());
        let stated: Vec<IpAddr> = stated.copied().collect();
        match (stated.is_empty(), name.parse()) {
            (false, _) => Wanted::Given(stated),
            (true, Ok(address)) => Wanted::Name(address),
            (true, Err(_)) => Wanted::Found {
                name: name.to_owned(),
                preferred: match configured.first() {
                    Some(IpAddr::V6(_)) => Family::V6,
                    Some(IpAddr::V4(_)) | None => Family::V4,
                },
            },
        }
    }
}

/// Why the node has no address now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// A node cannot be reached at it (`validateNodeIP` of the kubelet's `kubelet_node_status.go`).
    #[error(
        "--node-ip: {0} is a loopback, link-local, multicast or broadcast address; use an address of this machine"
    )]
    Unusable(IpAddr),
    /// No interface has it.
    #[error("--node-ip: no interface of this machine has the address {0}; waiting until one has it")]
    Elsewhere(IpAddr),
    /// There is none to choose.
    #[error("this machine has only loopback and link-local addresses; waiting for another")]
    OnlyLocal,
}

/// The addresses that the node reports now, the primary one first; at least one. `resolved` is what the node's name
/// resolves to, `last` what was reported last. Reads the kernel's routes and interfaces.
pub(super) fn addresses(
    wanted: &Wanted,
    resolved: &[IpAddr],
    last: &[IpAddr],
) -> Result<Vec<IpAddr>, NoAddress> {
    let preferred = match wanted {
        Wanted::Given(stated) => return confirmed(stated, &locals()),
        Wanted::Name(address) => return Ok(vec![*address]),
        Wanted::Found { preferred, .. } => *preferred,
    };
    let chosen = choose(preferred, resolved, &default_routes(), &locals(), last);
    chosen.map(|address| vec![address]).ok_or(NoAddress::OnlyLocal)
}

/// The configured addresses, if the machine has all of them: the kubelet reports none of two if one is missing.
fn confirmed(stated: &[IpAddr], locals: &[Local]) -> Result<Vec<IpAddr>, NoAddress> {
    for &ip in stated {
        if !is_global(ip) {
            return Err(NoAddress::Unusable(ip));
        }
        if !locals.iter().any(|local| local.ip == ip) {
            return Err(NoAddress::Elsewhere(ip));
        }
    }
    Ok(stated.to_vec())
}

/// The interfaces of default routes, IPv4 first.
fn default_routes() -> Vec<String> {
    let tables = [
        ("/proc/net/route", default_v4 as fn(&str) -> Option<&str>),
        ("/proc/net/ipv6_route", default_v6),
    ];
    let mut interfaces = Vec::new();
    for (path, default) in tables {
        let text = fs::read_to_string(path).unwrap_or_default();
        interfaces.extend(text.lines().filter_map(default).map(str::to_owned));
    }
    interfaces
}

/// The choice, from what the name resolves to, the interfaces of default routes, the machine's addresses, and those that
/// were reported last.
fn choose(
    preferred: Family,
    resolved: &[IpAddr],
    routes: &[String],
    locals: &[Local],
    last: &[IpAddr],
) -> Option<IpAddr> {
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
    // The kubelet gives up here. A machine without a default route still has pods that need its address. The pods'
    // own bridge has an address as soon as there are pods, which is not the machine's. A node that only loses its route
    // does not move.
    let any = |family| {
        let usable = |local: &&Local| local.link == Link::Outside && usable(family, local);
        let mut unmoved = locals
            .iter()
            .filter(usable)
            .filter(|local| last.contains(&local.ip));
        let found = unmoved.next().or_else(|| locals.iter().find(usable));
        found.map(|local| local.ip)
    };
    let first = |choice: &dyn Fn(Family) -> Option<IpAddr>| families.into_iter().find_map(choice);
    first(&named).or_else(|| first(&routed)).or_else(|| first(&any))
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
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
                link: link(Path::new("/sys/class/net"), &interface.interface_name),
                up: interface.flags.contains(InterfaceFlags::IFF_UP),
                interface: interface.interface_name,
            })
        })
        .collect()
}

/// What an interface leads to, by the kernel's description of it.
fn link(interfaces: &Path, name: &str) -> Link {
    let described = fs::read_to_string(interfaces.join(name).join("uevent")).unwrap_or_default();
    match described.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        Some("vxlan" | "geneve") => Link::Inside,
        Some("bridge") if !has_hardware(interfaces, name) => Link::Inside,
        _ => Link::Outside,
    }
}

/// Whether a bridge has a port that is a device of the machine: hosts of virtual machines have their address on one.
fn has_hardware(interfaces: &Path, bridge: &str) -> bool {
    let ports = fs::read_dir(interfaces.join(bridge).join("brif"));
    let mut ports = ports.into_iter().flatten().flatten();
    ports.any(|port| interfaces.join(port.file_name()).join("device").exists())
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
            link: Link::Outside,
            ip: ip.parse().unwrap(),
        }
    }

    fn check(resolved: &[&str], routes: &[&str], locals: &[Local], expected: Option<&str>) {
        let resolved: Vec<IpAddr> = resolved.iter().map(|ip| ip.parse().unwrap()).collect();
        let routes: Vec<String> = routes.iter().map(|&route| route.to_owned()).collect();
        let chosen = choose(Family::V4, &resolved, &routes, locals, &[]);
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
        let preferring_v6 = choose(
            Family::V6,
            &[],
            &["eth1".to_owned(), "eth0".to_owned()],
            &machine,
            &[],
        );
        assert_eq!(preferring_v6, Some("2001:db8::2".parse().unwrap()));
        // No default route; an interface that is down does not count.
        check(&[], &[], &machine, Some("192.0.2.2"));
        let down = Local {
            up: false,
            ..local("eth0", "192.0.2.2")
        };
        check(&[], &["eth0"], &[down, local("lo", "127.0.0.1")], None);
        let last: [IpAddr; 1] = ["198.51.100.2".parse().unwrap()];
        let unmoved = choose(Family::V4, &[], &[], &machine, &last);
        assert_eq!(unmoved, Some(last[0]));
        let routed = choose(Family::V4, &[], &["eth0".to_owned()], &machine, &last);
        assert_eq!(routed, Some("192.0.2.2".parse().unwrap()));
        // The pods' bridge is not the machine's, unless the name or the default route says so.
        let inside = Local {
            link: Link::Inside,
            ..local("cni0", "10.244.0.1")
        };
        check(&[], &[], std::slice::from_ref(&inside), None);
        check(&[], &["cni0"], std::slice::from_ref(&inside), Some("10.244.0.1"));
        check(&[], &[], &[inside, local("eth0", "192.0.2.2")], Some("192.0.2.2"));
    }

    #[test]
    fn bridges_without_hardware_and_overlays_lead_inside() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, description: &str, entries: &[&str]| {
            let interface = directory.path().join(name);
            for entry in entries {
                fs::create_dir_all(interface.join(entry)).unwrap();
            }
            fs::create_dir_all(&interface).unwrap();
            fs::write(interface.join("uevent"), description).unwrap();
        };
        make("eth0", "INTERFACE=eth0\nIFINDEX=2\n", &["device"]);
        make("veth1", "INTERFACE=veth1\n", &[]);
        make(
            "br0",
            "DEVTYPE=bridge\nINTERFACE=br0\n",
            &["brif/eth0", "brif/veth1"],
        );
        make("cni0", "DEVTYPE=bridge\nINTERFACE=cni0\n", &["brif/veth1"]);
        make("docker0", "DEVTYPE=bridge\n", &["brif"]);
        make("flannel.1", "DEVTYPE=vxlan\n", &[]);
        for (name, expected) in [
            ("eth0", Link::Outside),
            ("veth1", Link::Outside),
            ("br0", Link::Outside),
            ("cni0", Link::Inside),
            ("docker0", Link::Inside),
            ("flannel.1", Link::Inside),
            ("gone", Link::Outside),
        ] {
            assert_eq!(link(directory.path(), name), expected, "{name}");
        }
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
    fn what_names_the_addresses() {
        let check = |configured: &[&str], name: &str, expected: Wanted| {
            let configured: Vec<IpAddr> = configured.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(Wanted::new(&configured, name), expected, "{configured:?} {name}");
        };
        let found = |preferred| Wanted::Found {
            name: "any".to_owned(),
            preferred,
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        check(
            &["192.0.2.9", "2001:db8::9"],
            "any",
            Wanted::Given(vec![ip("192.0.2.9"), ip("2001:db8::9")]),
        );
        check(&["192.0.2.9"], "192.0.2.3", Wanted::Given(vec![ip("192.0.2.9")]));
        check(&[], "192.0.2.3", Wanted::Name(ip("192.0.2.3")));
        check(&[], "any", found(Family::V4));
        check(&["0.0.0.0"], "any", found(Family::V4));
        check(&["::"], "any", found(Family::V6));
    }

    #[test]
    fn configured_addresses_count_while_the_machine_has_them() {
        let machine = [
            local("lo", "127.0.0.1"),
            local("eth0", "192.0.2.9"),
            local("eth0", "2001:db8::9"),
        ];
        let check = |stated: &[&str], expected: Result<(), NoAddress>| {
            let stated: Vec<IpAddr> = stated.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(confirmed(&stated, &machine), expected.map(|()| stated.clone()));
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        check(&["192.0.2.9"], Ok(()));
        check(&["2001:db8::9", "192.0.2.9"], Ok(()));
        check(&["192.0.2.8"], Err(NoAddress::Elsewhere(ip("192.0.2.8"))));
        check(
            &["192.0.2.9", "2001:db8::8"],
            Err(NoAddress::Elsewhere(ip("2001:db8::8"))),
        );
        check(&["127.0.0.1"], Err(NoAddress::Unusable(ip("127.0.0.1"))));
        check(&["fe80::1"], Err(NoAddress::Unusable(ip("fe80::1"))));
    }

    #[test]
    fn a_name_that_is_an_address_is_taken_as_it_is() {
        let name: IpAddr = "192.0.2.3".parse().unwrap();
        assert_eq!(addresses(&Wanted::Name(name), &[], &[]), Ok(vec![name]));
    }
}
