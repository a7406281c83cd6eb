//! Which chains there are, whoever made them.

use nix::errno::Errno;

use super::family::Family;
use super::transaction::{SUBSYSTEM, TABLE_NAME, request};
use crate::netlink::message::{Message, find, text};
use crate::netlink::socket::{NetlinkError, Socket};

const GET_CHAIN: u16 = 4;

/// A base chain, which packets enter by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// The number of its table's family.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// As in [`super::ruleset::Hook`].
    pub hook: u32,
    /// Whether its policy drops packets.
    pub drops: bool,
}

/// All base chains of all tables.
pub fn base_chains(socket: &mut Socket) -> Result<Vec<BaseChain>, NetlinkError> {
    let everything = Message::new(SUBSYSTEM << 8 | GET_CHAIN, 0, &[0; 4]);
    let be32 = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let mut found = Vec::new();
    for reply in socket.dump("list the chains of nftables", everything)? {
        let attributes = reply.body.get(4..).unwrap_or_default();
        let Some(hook) = find(attributes, 4).and_then(|hook| find(hook, 1)).and_then(be32) else {
            continue;
        };
        found.push(BaseChain {
            family: reply.body.first().copied().unwrap_or_default(),
            table: find(attributes, TABLE_NAME).map(text).unwrap_or_default(),
            name: find(attributes, 3).map(text).unwrap_or_default(),
            hook,
            drops: find(attributes, 5).and_then(be32) == Some(0),
        });
    }
    Ok(found)
}

/// Whether a table has a chain of this name.
pub fn has_chain(socket: &mut Socket, family: Family, table: &str, name: &str) -> Result<bool, NetlinkError> {
    let mut message = request(family, GET_CHAIN, 0);
    message.attr_str(TABLE_NAME, table).attr_str(3, name);
    match socket.get(&format!("look up chain {name} of table {table}"), message) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
        other => other.map(|_| true),
    }
}
