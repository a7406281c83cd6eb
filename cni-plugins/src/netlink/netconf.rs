//! Settings of the IP stack that netlink shows, too (linux/netconf.h, `RTM_*NETCONF`).

use super::message::{Message, find, read_u32};
use super::socket::{NetlinkError, Socket};
use crate::nftables::family::Family;

/// linux/rtnetlink.h
const GET: u16 = 82;
const INTERFACE: u16 = 1;
const FORWARDING: u16 = 2;
/// `NETCONFA_IFINDEX_ALL`
const ALL: u32 = (-1i32).cast_unsigned();

/// Whether the host forwards packets of a family (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).
pub fn forwards(socket: &mut Socket, family: Family) -> Result<bool, NetlinkError> {
    let mut message = Message::new(GET, 0, &[family.number()]);
    message.attr_u32(INTERFACE, ALL);
    let reply = socket.get("look up whether the host forwards packets", message)?;
    let setting = find(reply.body.get(4..).unwrap_or_default(), FORWARDING);
    Ok(setting
        .and_then(|value| read_u32(value, 0))
        .is_some_and(|value| value != 0))
}
