//! Network interfaces (man 7 rtnetlink, `RTM_*LINK`).

use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

use super::message::{Message, Reply, find, read_u16, read_u32, text};
use super::socket::{NetlinkError, Socket};

/// linux/veth.h: the attribute that describes the other end.
const VETH_INFO_PEER: u16 = 1;
/// linux/if_link.h: attributes of a bridge's port, inside `IFLA_PROTINFO`.
const BRIDGE_PORT_HAIRPIN: u16 = 4;
const BRIDGE_PORT_ISOLATED: u16 = 33;
/// linux/if_link.h: an attribute of a bridge.
pub(super) const VLAN_FILTERING: u16 = 7;
/// linux/if.h: the interface can pass packets.
const OPERATIONAL_UP: u8 = 6;
/// linux/if_link.h: the IPv6 settings of an interface, inside the attributes of that family, and the place of one of them
/// (linux/ipv6.h); linux/ip.h: one of IPv4's.
const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
const INET6_CONF: u16 = 2;
const ACCEPT_RA: usize = 3;
const INET_CONF: u16 = 1;
const ARP_NOTIFY: u16 = 22;
/// linux/rtnetlink.h `RTEXT_FILTER_SKIP_STATS`: what nobody here reads, and what takes the kernel longest to collect.
const WITHOUT_STATISTICS: u32 = 1 << 3;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Parses the form `0a:58:0a:f4:01:02`.
    pub fn parse(written: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = written.split([':', '-']);
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The kernel's description of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`, ...; empty for physical ones.
    pub kind: String,
    /// Its hardware address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of a veth's other end, in the other namespace.
    pub peer: Option<u32>,
    /// Set up by the administrator.
    pub up: bool,
    /// Able to pass packets.
    pub operational: bool,
    /// How many users have set it to promiscuous mode.
    pub promiscuity: u32,
    /// The number of its group (`ip link set group`); 0 is the default.
    pub group: u32,
    /// Its setting `accept_ra`; `None` without IPv6.
    pub accept_ra: Option<u32>,
    /// Whether a bridge keeps VLANs apart.
    pub filters_vlans: bool,
}

/// The two ends of a veth to be made.
#[derive(Debug)]
pub struct NewVeth<'a> {
    /// Name of the end on the host.
    pub host_name: &'a str,
    /// The index of the bridge that it is attached to.
    pub bridge: u32,
    /// Name of the end in the pod.
    pub pod_name: &'a str,
    /// The pod's namespace.
    pub pod_netns: &'a File,
    /// The pod's hardware address.
    pub pod_mac: Mac,
    /// The MTU of both ends; the kernel's default of 1500 otherwise.
    pub mtu: Option<u32>,
}

/// Looks up an interface; `None` if there is none of this name.
pub fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut message = Message::new(libc::RTM_GETLINK, 0, &info(0, 0, 0));
    message
        .attr_str(libc::IFLA_IFNAME, name)
        .attr_u32(libc::IFLA_EXT_MASK, WITHOUT_STATISTICS);
    match socket.get(&format!("look up interface {name}"), message) {
        Ok(reply) => Ok(Some(parse(&reply))),
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks up an interface by its index.
pub fn by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, NetlinkError> {
    let message = Message::new(libc::RTM_GETLINK, 0, &info(index, 0, 0));
    match socket.get(&format!("look up interface {index}"), message) {
        Ok(reply) => Ok(Some(parse(&reply))),
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All interfaces of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let replies = socket.dump(
        "list interfaces",
        Message::new(libc::RTM_GETLINK, 0, &info(0, 0, 0)),
    )?;
    Ok(replies.iter().map(parse).collect())
}

/// Creates a bridge that is up. The given address is fixed: a bridge without one takes the lowest of its ports' and so
/// changes it as pods come and go, which breaks the pods' neighbor tables.
pub fn add_bridge(socket: &mut Socket, name: &str, mac: Mac, mtu: Option<u32>) -> Result<(), NetlinkError> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Message::new(libc::RTM_NEWLINK, flags, &info(0, libc::IFF_UP, libc::IFF_UP));
    message
        .attr_str(libc::IFLA_IFNAME, name)
        .attr(libc::IFLA_ADDRESS, &mac.0);
    if let Some(mtu) = mtu {
        message.attr_u32(libc::IFLA_MTU, mtu);
    }
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.attr_str(libc::IFLA_INFO_KIND, "bridge");
    });
    socket.execute(&format!("create bridge {name}"), message)
}

/// Creates a veth pair: one request creates both ends, moves the pod's into its namespace, attaches the host's to the
/// bridge and sets it up. The pod's end stays down until it has its addresses. Returns the end on the host as it is when it
/// goes up, before it is attached; kernels before 6.2 do not show it (`NLM_F_ECHO`), and it is looked up.
pub fn add_veth(socket: &mut Socket, veth: &NewVeth<'_>) -> Result<Link, NetlinkError> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ECHO;
    let mut message = Message::new(libc::RTM_NEWLINK, flags, &info(0, libc::IFF_UP, libc::IFF_UP));
    message
        .attr_str(libc::IFLA_IFNAME, veth.host_name)
        .attr_u32(libc::IFLA_MASTER, veth.bridge);
    if let Some(mtu) = veth.mtu {
        message.attr_u32(libc::IFLA_MTU, mtu);
    }
    let namespace = veth.pod_netns.as_raw_fd().cast_unsigned();
    message.nest(libc::IFLA_LINKINFO, |linkinfo| {
        linkinfo
            .attr_str(libc::IFLA_INFO_KIND, "veth")
            .nest(libc::IFLA_INFO_DATA, |data| {
                data.nest_after(VETH_INFO_PEER, &info(0, 0, 0), |peer| {
                    peer.attr_str(libc::IFLA_IFNAME, veth.pod_name)
                        .attr_u32(libc::IFLA_NET_NS_FD, namespace);
                    peer.attr(libc::IFLA_ADDRESS, &veth.pod_mac.0);
                    if let Some(mtu) = veth.mtu {
                        peer.attr_u32(libc::IFLA_MTU, mtu);
                    }
                });
            });
    });
    let action = format!(
        "create veth {} with {} in the pod's namespace",
        veth.host_name, veth.pod_name
    );
    let shown = socket.execute_echoed(&action, message)?;
    if let Some(shown) = shown.iter().find(|reply| reply.kind == libc::RTM_NEWLINK) {
        return Ok(parse(shown));
    }
    by_name(socket, veth.host_name)?.ok_or(NetlinkError::Answer {
        action,
        missing: "interface",
    })
}

/// The other end of a veth that [`add_veth`] has just made, in the pod, still down; its MTU is the same.
pub fn other_end(host_end: &Link, name: &str, mac: Mac) -> Link {
    Link {
        index: host_end.peer.unwrap_or_default(),
        name: name.to_string(),
        kind: host_end.kind.clone(),
        mac: Some(mac),
        mtu: host_end.mtu,
        master: None,
        peer: Some(host_end.index),
        up: false,
        operational: false,
        promiscuity: 0,
        group: 0,
        accept_ra: None,
        filters_vlans: false,
    }
}

/// Has an interface announce its addresses when it comes up (the setting `arp_notify`).
pub fn announce(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &info(link.index, 0, 0));
    message.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(FAMILY_V4, |inet| {
            inet.nest(INET_CONF, |settings| {
                settings.attr_u32(ARP_NOTIFY, 1);
            });
        });
    });
    socket.execute(&format!("set arp_notify of {}", link.name), message)
}

/// Creates an intermediate functional block, up: a device whose queue can delay what is redirected to it from the receiving
/// side of another one.
pub fn add_ifb(socket: &mut Socket, name: &str, mtu: u32, group: u32) -> Result<(), NetlinkError> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Message::new(libc::RTM_NEWLINK, flags, &info(0, libc::IFF_UP, libc::IFF_UP));
    message
        .attr_str(libc::IFLA_IFNAME, name)
        .attr_u32(libc::IFLA_MTU, mtu)
        .attr_u32(libc::IFLA_GROUP, group)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.attr_str(libc::IFLA_INFO_KIND, "ifb");
        });
    socket.execute(&format!("create ifb {name}"), message)
}

/// Sets an interface up or down.
pub fn set_up(socket: &mut Socket, link: &Link, up: bool) -> Result<(), NetlinkError> {
    let (action, message) = setting_up(link, up);
    socket.execute(&action, message)
}

/// The request to set an interface up or down, for [`Socket::execute_all`].
pub fn setting_up(link: &Link, up: bool) -> (String, Message) {
    let message = Message::new(
        libc::RTM_NEWLINK,
        0,
        &info(link.index, if up { libc::IFF_UP } else { 0 }, libc::IFF_UP),
    );
    let action = format!("set {} {}", link.name, if up { "up" } else { "down" });
    (action, message)
}

/// Sets an interface to promiscuous mode.
pub fn set_promiscuous(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    let message = Message::new(
        libc::RTM_NEWLINK,
        0,
        &info(link.index, libc::IFF_PROMISC, libc::IFF_PROMISC),
    );
    socket.execute(&format!("set {} promiscuous", link.name), message)
}

/// Fixes an interface's hardware address to `mac`.
pub fn set_mac(socket: &mut Socket, link: &Link, mac: Mac) -> Result<(), NetlinkError> {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &info(link.index, 0, 0));
    message.attr(libc::IFLA_ADDRESS, &mac.0);
    socket.execute(&format!("set the address of {} to {mac}", link.name), message)
}

/// Makes an interface a port of a bridge.
pub fn set_master(socket: &mut Socket, port: &Link, bridge: &Link) -> Result<(), NetlinkError> {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &info(port.index, 0, 0));
    message.attr_u32(libc::IFLA_MASTER, bridge.index);
    socket.execute(&format!("attach {} to {}", port.name, bridge.name), message)
}

/// Lets a bridge send packets back out of the port they came in by.
pub fn set_hairpin(socket: &mut Socket, port: &Link) -> Result<(), NetlinkError> {
    set_port(socket, port, BRIDGE_PORT_HAIRPIN, "set hairpin mode on")
}

/// Lets a port pass frames to and from ports that are not isolated only.
pub fn isolate(socket: &mut Socket, port: &Link) -> Result<(), NetlinkError> {
    set_port(socket, port, BRIDGE_PORT_ISOLATED, "isolate port")
}

fn set_port(socket: &mut Socket, port: &Link, switch: u16, action: &str) -> Result<(), NetlinkError> {
    let mut message = Message::new(libc::RTM_SETLINK, 0, &of_bridge(port.index));
    message.nest(libc::IFLA_PROTINFO, |data| {
        data.attr(switch, &[1]);
    });
    socket.execute(&format!("{action} {}", port.name), message)
}

/// Deletes an interface. A missing interface is not an error.
pub fn delete(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    let message = Message::new(libc::RTM_DELLINK, 0, &info(link.index, 0, 0));
    match socket.execute(&format!("delete interface {}", link.name), message) {
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(()),
        other => other,
    }
}

/// `struct ifinfomsg`: family, padding, device type, index, flags, mask of flags to change.
pub(super) fn info(index: u32, flags: i32, change: i32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

/// The same, about a port of a bridge.
pub(super) fn of_bridge(index: u32) -> [u8; 16] {
    let mut body = info(index, 0, 0);
    body[0] = u8::try_from(libc::AF_BRIDGE).expect("the address family fits into one byte");
    body
}

fn parse(reply: &Reply) -> Link {
    let body = &reply.body;
    let attributes = body.get(16..).unwrap_or_default();
    let number = |kind| find(attributes, kind).and_then(|value| read_u32(value, 0));
    let mac = find(attributes, libc::IFLA_ADDRESS)
        .and_then(|value| value.try_into().ok())
        .map(Mac);
    let details = find(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    let kind = find(details, libc::IFLA_INFO_KIND).map(text);
    let settings = find(details, libc::IFLA_INFO_DATA).unwrap_or_default();
    let flags = read_u32(body, 8).unwrap_or_default().cast_signed();
    let ipv6 = find(attributes, libc::IFLA_AF_SPEC)
        .and_then(|families| find(families, FAMILY_V6))
        .and_then(|ipv6| find(ipv6, INET6_CONF));
    Link {
        index: read_u32(body, 4).unwrap_or_default(),
        name: find(attributes, libc::IFLA_IFNAME).map(text).unwrap_or_default(),
        filters_vlans: kind.as_deref() == Some("bridge") && find(settings, VLAN_FILTERING) == Some(&[1]),
        kind: kind.unwrap_or_default(),
        mac,
        mtu: number(libc::IFLA_MTU).unwrap_or_default(),
        master: number(libc::IFLA_MASTER),
        peer: number(libc::IFLA_LINK),
        up: flags & libc::IFF_UP != 0,
        operational: find(attributes, libc::IFLA_OPERSTATE) == Some(&[OPERATIONAL_UP]),
        promiscuity: number(libc::IFLA_PROMISCUITY).unwrap_or_default(),
        group: number(libc::IFLA_GROUP).unwrap_or_default(),
        accept_ra: ipv6.and_then(|settings| read_u32(settings, 4 * ACCEPT_RA)),
    }
}

/// Whether the answer describes a bridge's port with hairpin mode on; used by CHECK.
pub fn hairpin(socket: &mut Socket, port: &Link) -> Result<bool, NetlinkError> {
    let message = Message::new(libc::RTM_GETLINK, 0, &info(port.index, 0, 0));
    let reply = socket.get(&format!("look up port {}", port.name), message)?;
    let attributes = reply.body.get(16..).unwrap_or_default();
    let data = find(attributes, libc::IFLA_LINKINFO).and_then(|info| find(info, libc::IFLA_INFO_SLAVE_DATA));
    Ok(data.and_then(|data| find(data, BRIDGE_PORT_HAIRPIN)) == Some(&[1]))
}

/// The address family in the body of an answer; it exists for the address and route files, whose bodies start in the
/// same way.
pub(super) fn family(body: &[u8]) -> i32 {
    i32::from(read_u16(body, 0).unwrap_or_default() & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_and_written_alike() {
        assert_eq!(
            Mac::parse("0a:58:0a:f4:01:02").unwrap().to_string(),
            "0a:58:0a:f4:01:02"
        );
        for bad in [
            "",
            "0a:58:0a:f4:01",
            "0a:58:0a:f4:01:02:03",
            "0a:58:0a:f4:01:zz",
            "0a580af40102",
            "+a:58:0a:f4:01:02",
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad}");
        }
    }
}
