//! The keys of the maps from a port of the host.

use super::conf::Mapping;
use crate::netlink::addr::ip_bytes;
use crate::nftables::ruleset::padded;

/// The key of a port in the maps: its address, if it has one, protocol, port.
pub fn port_key(mapping: &Mapping) -> Vec<u8> {
    let mut key = mapping.host_ip.map(ip_bytes).unwrap_or_default();
    key.extend(padded(&[mapping.protocol]));
    key.extend(padded(&mapping.host_port.to_be_bytes()));
    key
}
