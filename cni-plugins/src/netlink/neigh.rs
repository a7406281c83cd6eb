//! Who is where on a link: neighbours of the host, and what a bridge has learned (man 7 rtnetlink, `RTM_*NEIGH`).

use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;

use super::addr::{family_of, ip_bytes};
use super::link::{Link, Mac};
use super::message::{Message, find};
use super::socket::{NetlinkError, Socket};

/// linux/neighbour.h
const DESTINATION: u16 = 1;
const HARDWARE_ADDRESS: u16 = 2;
const REACHABLE: u16 = 2;
/// The entry is the bridge's, not the port's own.
const MASTER: u8 = 4;

/// The hardware address that the host knows for `address` on `link`; `None` if it knows none. Kernels before 5.0 refuse to
/// say.
pub fn known(socket: &mut Socket, link: &Link, address: IpAddr) -> Result<Option<Mac>, NetlinkError> {
    let mut message = Message::new(libc::RTM_GETNEIGH, 0, &body(family_of(address), link, 0, 0));
    message.attr(DESTINATION, &ip_bytes(address));
    match socket.get(&format!("look up neighbor {address} on {}", link.name), message) {
        Ok(reply) => {
            let found = find(reply.body.get(12..).unwrap_or_default(), HARDWARE_ADDRESS);
            Ok(found.and_then(|mac| mac.try_into().ok()).map(Mac))
        }
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the bridge of `port` know that `mac` is behind it, as if a frame had come from there.
pub fn learn(socket: &mut Socket, port: &Link, mac: Mac) -> Result<(), NetlinkError> {
    let family = u8::try_from(libc::AF_BRIDGE).expect("the address family fits into one byte");
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = Message::new(libc::RTM_NEWNEIGH, flags, &body(family, port, REACHABLE, MASTER));
    message.attr(HARDWARE_ADDRESS, &mac.0);
    socket.execute(
        &format!("tell the bridge that {mac} is behind {}", port.name),
        message,
    )
}

/// `struct ndmsg`: family, padding, interface, state, flags, type.
fn body(family: u8, link: &Link, state: u16, flags: u8) -> [u8; 12] {
    let mut body = [0; 12];
    body[0] = family;
    body[4..8].copy_from_slice(&link.index.to_ne_bytes());
    body[8..10].copy_from_slice(&state.to_ne_bytes());
    body[10] = flags;
    body
}
