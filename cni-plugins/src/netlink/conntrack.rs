//! Connection tracking entries (linux/netfilter/nfnetlink_conntrack.h).
//!
//! A UDP "connection" lives as long as packets keep coming, so the packets of a client that talked to a host port
//! before it was forwarded (or to a pod that is gone) would still be sent there. Entries for such ports are deleted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;

use super::addr::{family_of, ip_from};
use super::message::{Message, find};
use super::socket::{NetlinkError, Socket};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const ADDRESS_V4_DESTINATION: u16 = 2;
const ADDRESS_V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;

/// Deletes the UDP entries whose first packet was sent to one of `ports`; a port with an address means that address
/// only. Returns the number of deleted entries.
pub fn delete_udp(
    socket: &mut Socket,
    like: IpAddr,
    ports: &BTreeSet<(Option<IpAddr>, u16)>,
) -> Result<usize, NetlinkError> {
    let generic = [family_of(like), 0, 0, 0];
    let entries = socket.dump(
        "list tracked connections",
        Message::new(SUBSYSTEM << 8 | GET, 0, &generic),
    )?;
    let mut deleted = 0;
    for entry in entries {
        let attributes = entry.body.get(4..).unwrap_or_default();
        let Some(tuple) = find(attributes, TUPLE_ORIGINAL) else {
            continue;
        };
        let Some((address, port)) = udp_destination(tuple) else {
            continue;
        };
        if !ports.contains(&(None, port)) && !ports.contains(&(Some(address), port)) {
            continue;
        }
        let mut message = Message::new(SUBSYSTEM << 8 | DELETE, 0, &generic);
        message.nest(TUPLE_ORIGINAL, |copy| {
            copy.raw(tuple);
        });
        for kind in [ID, ZONE] {
            if let Some(value) = find(attributes, kind) {
                message.attr(kind, value);
            }
        }
        match socket.execute("delete a tracked connection", message) {
            Ok(()) => deleted += 1,
            Err(error) if error.errno() == Some(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

fn udp_destination(tuple: &[u8]) -> Option<(IpAddr, u16)> {
    let protocol = find(tuple, TUPLE_PROTOCOL)?;
    if i32::from(*find(protocol, PROTOCOL_NUMBER)?.first()?) != libc::IPPROTO_UDP {
        return None;
    }
    let addresses = find(tuple, TUPLE_ADDRESSES)?;
    let address =
        find(addresses, ADDRESS_V4_DESTINATION).or_else(|| find(addresses, ADDRESS_V6_DESTINATION))?;
    let port = find(protocol, PROTOCOL_DESTINATION_PORT)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)?;
    Some((ip_from(address)?, port))
}
