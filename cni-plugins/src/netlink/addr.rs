//! Addresses of interfaces (man 7 rtnetlink, `RTM_*ADDR`).

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;

use super::link::Link;
use super::message::{Message, find, read_u32};
use super::socket::{NetlinkError, Socket};

/// How duplicates of an IPv6 address on the link are detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// No detection, and the address is usable at once: the IPAM plugin's addresses are unique by construction, and a
    /// check would delay a pod for a second.
    None,
    /// The kernel checks on the link first (RFC 4862 5.4).
    Kernel,
}

/// The state of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In use.
    Usable,
    /// The kernel is still checking for duplicates.
    Tentative,
    /// The address is already in use on the link.
    Duplicate,
}

/// Adds an address with its network.
pub fn add(
    socket: &mut Socket,
    link: &Link,
    address: IpNet,
    detection: Detection,
) -> Result<(), NetlinkError> {
    let (action, message) = adding(link, address, detection);
    socket.execute(&action, message)
}

/// The request to add an address, for [`Socket::execute_all`].
pub fn adding(link: &Link, address: IpNet, detection: Detection) -> (String, Message) {
    let mut message = request(
        libc::RTM_NEWADDR,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        link,
        address,
        detection,
    );
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        message.attr(libc::IFA_BROADCAST, &net.broadcast().octets());
    }
    (format!("add address {address} to {}", link.name), message)
}

/// Removes an address.
pub fn delete(socket: &mut Socket, link: &Link, address: IpNet) -> Result<(), NetlinkError> {
    let message = request(libc::RTM_DELADDR, 0, link, address, Detection::None);
    socket.execute(&format!("remove address {address} from {}", link.name), message)
}

/// The addresses of an interface, of the address family of `like`.
pub fn list(socket: &mut Socket, link: &Link, like: IpAddr) -> Result<Vec<IpNet>, NetlinkError> {
    let found = found(socket, link, like)?;
    Ok(found.into_iter().map(|(net, _)| net).collect())
}

/// The states of an interface's IPv6 addresses.
pub fn states(socket: &mut Socket, link: &Link) -> Result<HashMap<IpAddr, State>, NetlinkError> {
    let found = found(socket, link, IpAddr::from([0; 16]))?;
    let state = |flags: u32| {
        if flags & libc::IFA_F_DADFAILED != 0 {
            State::Duplicate
        } else if flags & libc::IFA_F_TENTATIVE != 0 {
            State::Tentative
        } else {
            State::Usable
        }
    };
    Ok(found
        .into_iter()
        .map(|(net, flags)| (net.addr(), state(flags)))
        .collect())
}

/// Addresses and their flags; those that matter here are among the first eight.
fn found(socket: &mut Socket, link: &Link, like: IpAddr) -> Result<Vec<(IpNet, u32)>, NetlinkError> {
    let mut body = [0; 8];
    body[0] = family_of(like);
    body[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let message = Message::new(libc::RTM_GETADDR, 0, &body);
    let replies = socket.dump(&format!("list the addresses of {}", link.name), message)?;
    let mut found = Vec::new();
    for reply in replies {
        if read_u32(&reply.body, 4) != Some(link.index) {
            continue;
        }
        let attributes = reply.body.get(8..).unwrap_or_default();
        let value = find(attributes, libc::IFA_LOCAL).or_else(|| find(attributes, libc::IFA_ADDRESS));
        let byte = |at: usize| reply.body.get(at).copied().unwrap_or_default();
        if let Some(net) = value
            .and_then(ip_from)
            .and_then(|ip| IpNet::new(ip, byte(1)).ok())
        {
            found.push((net, u32::from(byte(2))));
        }
    }
    Ok(found)
}

/// `struct ifaddrmsg` (family, prefix, flags, scope, index) and the address twice: `IFA_LOCAL` is the interface's
/// own, `IFA_ADDRESS` the peer's, and on a broadcast link they are the same.
fn request(kind: u16, flags: i32, link: &Link, address: IpNet, detection: Detection) -> Message {
    let mut body = [0; 8];
    body[0] = family_of(address.addr());
    body[1] = address.prefix_len();
    if address.addr().is_ipv6() && detection == Detection::None {
        body[2] = u8::try_from(libc::IFA_F_NODAD).expect("a flag of the first eight");
    }
    body[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let mut message = Message::new(kind, flags, &body);
    let bytes = ip_bytes(address.addr());
    message
        .attr(libc::IFA_LOCAL, &bytes)
        .attr(libc::IFA_ADDRESS, &bytes);
    message
}

/// `AF_INET` or `AF_INET6`.
pub fn family_of(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(family).expect("the address family fits into one byte")
}

/// The bytes of the address in a message.
pub fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address in an attribute of four or sixteen bytes.
pub fn ip_from(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
