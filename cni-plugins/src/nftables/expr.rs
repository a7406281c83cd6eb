//! The expressions of rules. Each loads something into a register, compares one, or ends in a verdict.
//!
//! Registers are the 32 bit ones, numbered from 0 here: an IPv4 address takes one, an IPv6 address four.

use nix::libc;

use super::family::Family;
use crate::netlink::message::Message;

/// `NFT_PAYLOAD_LL_HEADER`
const LINK_HEADER: u32 = 0;
/// `NFT_PAYLOAD_NETWORK_HEADER`
pub(super) const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_TRANSPORT_PROTOCOL: u32 = 16;
/// The kind of the interface the packet came in by, as `ip link add type` names it; since Linux 5.1.
const META_INPUT_KIND: u32 = 26;
const CONNTRACK_DIRECTION: u32 = 1;
const CONNTRACK_STATUS: u32 = 2;
/// `IP_CT_DIR_REPLY`
const REPLY: u8 = 1;
/// `NFT_PAYLOAD_CSUM_INET`, and where IPv4 has that checksum.
const INTERNET_CHECKSUM: u32 = 1;
const IPV4_CHECKSUM: u32 = 10;
/// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`: the checksums of TCP and UDP count the addresses, too.
const TRANSPORT_CHECKSUM: u32 = 1;
/// `IPS_DST_NAT`: the connection's destination was translated.
const DESTINATION_TRANSLATED: u32 = 1 << 5;
/// linux/rtnetlink.h `RTN_LOCAL`
const LOCAL: u32 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const JUMP: u32 = (-3i32).cast_unsigned();

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Loads bytes of a header.
    Payload {
        /// Which header.
        base: u32,
        /// Where in it.
        offset: u32,
        /// How many bytes.
        length: u32,
        /// Where to.
        register: u32,
    },
    /// Loads the number of the transport protocol.
    TransportProtocol {
        /// Where to.
        register: u32,
    },
    /// Loads the name of the interface the packet came in by, sixteen bytes.
    InputName {
        /// Where to.
        register: u32,
    },
    /// Loads the name of the interface the packet leaves by, sixteen bytes.
    OutputName {
        /// Where to.
        register: u32,
    },
    /// Loads the kind of the interface the packet came in by, sixteen bytes; ends the rule where it has none.
    InputKind {
        /// Where to.
        register: u32,
    },
    /// Loads a constant.
    Constant {
        /// Where to.
        register: u32,
        /// What.
        value: Vec<u8>,
    },
    /// Loads the destination that the connection's first packet had before it was translated.
    OriginalDestination {
        /// The family of the address.
        family: Family,
        /// Where to.
        register: u32,
    },
    /// Loads the source of the packets that answer the connection's first one, before it is translated back.
    AnswerSource {
        /// The family of the address.
        family: Family,
        /// Where to.
        register: u32,
    },
    /// Goes on if the packet answers the connection's first one.
    IsReply,
    /// Replaces an address of the packet and updates its checksums. Connection tracking does not see the change.
    WriteAddress {
        /// The family of the address.
        family: Family,
        /// Where in the network header.
        offset: u32,
        /// The new address.
        register: u32,
    },
    /// Cuts an address to its network.
    Mask {
        /// What and where to.
        register: u32,
        /// The bits to keep.
        mask: Vec<u8>,
    },
    /// Goes on if equal.
    Equal {
        /// What.
        register: u32,
        /// To what.
        value: Vec<u8>,
    },
    /// Goes on if not equal.
    Differs {
        /// What.
        register: u32,
        /// From what.
        value: Vec<u8>,
    },
    /// Goes on if the packet's destination is an address of this host.
    DestinationIsLocal,
    /// Goes on if the destination was translated.
    DestinationTranslated,
    /// Goes on if the registers are a key of the set.
    InSet {
        /// The set.
        set: String,
        /// The key's first register.
        register: u32,
    },
    /// Continues if the registers are a key of the map, and replaces them with its value.
    FromMap {
        /// The map.
        map: String,
        /// The key's and the value's first register.
        register: u32,
    },
    /// Sends the connection to the address and the port in registers.
    Dnat {
        /// The family of the address.
        family: Family,
        /// The address.
        address: u32,
        /// The port.
        port: u32,
    },
    /// Gives the connection the address of the interface it leaves by.
    Masquerade,
    /// Walks another chain and comes back.
    Jump(String),
    /// Ends the walk through this chain and all it was jumped to from; later ones may still drop the packet.
    Accept,
    /// Ends the packet.
    Drop,
}

impl Expr {
    /// Loads the destination port (the same place in TCP, UDP and SCTP).
    pub fn destination_port(register: u32) -> Expr {
        Expr::Payload {
            base: TRANSPORT_HEADER,
            offset: 2,
            length: 2,
            register,
        }
    }

    /// Loads the hardware address that a frame says it comes from, which takes two registers.
    pub fn hardware_source(register: u32) -> Expr {
        Expr::Payload {
            base: LINK_HEADER,
            offset: 6,
            length: 6,
            register,
        }
    }

    /// Appends the expression, as an element of `NFTA_RULE_EXPRESSIONS`; some need two of the kernel's.
    pub fn encode(&self, list: &mut Message) {
        match self {
            Expr::Payload {
                base,
                offset,
                length,
                register,
            } => payload(list, (*base, *offset, *length), *register),
            Expr::TransportProtocol { register } => meta(list, META_TRANSPORT_PROTOCOL, *register),
            Expr::InputName { register } => meta(list, META_INPUT_NAME, *register),
            Expr::OutputName { register } => meta(list, META_OUTPUT_NAME, *register),
            Expr::InputKind { register } => meta(list, META_INPUT_KIND, *register),
            Expr::Constant { register, value } => one(list, "immediate", |data| {
                data.attr_be32(1, reg(*register)).nest(2, |constant| {
                    constant.attr(1, value);
                });
            }),
            Expr::OriginalDestination { family, register } => original_destination(list, *family, *register),
            Expr::AnswerSource { family, register } => answer_source(list, *family, *register),
            Expr::IsReply => {
                conntrack(list, CONNTRACK_DIRECTION);
                compare(list, 0, 0, &[REPLY]);
            }
            Expr::WriteAddress {
                family,
                offset,
                register,
            } => write_address(list, *family, *offset, *register),
            Expr::Mask { register, mask } => bitwise(list, *register, mask),
            Expr::Equal { register, value } => compare(list, *register, 0, value),
            Expr::Differs { register, value } => compare(list, *register, 1, value),
            Expr::DestinationIsLocal => destination_is_local(list),
            Expr::DestinationTranslated => {
                conntrack(list, CONNTRACK_STATUS);
                bitwise(list, 0, &DESTINATION_TRANSLATED.to_ne_bytes());
                compare(list, 0, 1, &[0; 4]);
            }
            Expr::InSet { set, register } => one(list, "lookup", |data| {
                data.attr_str(1, set).attr_be32(2, reg(*register));
            }),
            Expr::FromMap { map, register } => one(list, "lookup", |data| {
                data.attr_str(1, map)
                    .attr_be32(2, reg(*register))
                    .attr_be32(3, reg(*register));
            }),
            Expr::Dnat {
                family,
                address,
                port,
            } => one(list, "nat", |data| {
                data.attr_be32(1, 1).attr_be32(2, u32::from(family.number()));
                data.attr_be32(3, reg(*address)).attr_be32(5, reg(*port));
            }),
            Expr::Masquerade => one(list, "masq", |_| {}),
            Expr::Jump(chain) => verdict(list, JUMP, Some(chain)),
            Expr::Accept => verdict(list, ACCEPT, None),
            Expr::Drop => verdict(list, DROP, None),
        }
    }
}

/// `NFT_REG32_00` is 8.
fn reg(register: u32) -> u32 {
    8 + register
}

/// Loads `length` bytes at `offset` of a header.
fn payload(list: &mut Message, (base, offset, length): (u32, u32, u32), register: u32) {
    one(list, "payload", |data| {
        data.attr_be32(1, reg(register))
            .attr_be32(2, base)
            .attr_be32(3, offset)
            .attr_be32(4, length);
    });
}

/// Loads something that is known of the connection.
fn conntrack(list: &mut Message, key: u32) {
    one(list, "ct", |data| {
        data.attr_be32(1, reg(0)).attr_be32(2, key);
    });
}

fn original_destination(list: &mut Message, family: Family, register: u32) {
    // `NFT_CT_DST_IP` and `NFT_CT_DST_IP6`, of direction 0.
    let key = if family == Family::V4 { 20 } else { 22 };
    one(list, "ct", |data| {
        data.attr_be32(1, reg(register)).attr_be32(2, key).attr(3, &[0]);
    });
}

fn answer_source(list: &mut Message, family: Family, register: u32) {
    // `NFT_CT_SRC_IP` and `NFT_CT_SRC_IP6`, of the direction of replies.
    let key = if family == Family::V4 { 19 } else { 21 };
    one(list, "ct", |data| {
        data.attr_be32(1, reg(register))
            .attr_be32(2, key)
            .attr(3, &[REPLY]);
    });
}

fn destination_is_local(list: &mut Message) {
    // Result 3 is the kind of address (NFT_FIB_RESULT_ADDRTYPE), flag 2 means the destination's.
    one(list, "fib", |data| {
        data.attr_be32(1, reg(0)).attr_be32(2, 3).attr_be32(3, 2);
    });
    compare(list, 0, 0, &LOCAL.to_ne_bytes());
}

/// `NFTA_LIST_ELEM` holding `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
fn one(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nest(1, |expression| {
        expression.attr_str(1, name).nest(2, data);
    });
}

fn meta(list: &mut Message, key: u32, register: u32) {
    one(list, "meta", |data| {
        data.attr_be32(1, reg(register)).attr_be32(2, key);
    });
}

fn write_address(list: &mut Message, family: Family, offset: u32, register: u32) {
    one(list, "payload", |data| {
        data.attr_be32(2, NETWORK_HEADER)
            .attr_be32(3, offset)
            .attr_be32(4, family.address_length())
            .attr_be32(5, reg(register));
        if family == Family::V4 {
            data.attr_be32(6, INTERNET_CHECKSUM).attr_be32(7, IPV4_CHECKSUM);
        }
        data.attr_be32(8, TRANSPORT_CHECKSUM);
    });
}

fn bitwise(list: &mut Message, register: u32, mask: &[u8]) {
    let length = u32::try_from(mask.len()).expect("an address is short");
    one(list, "bitwise", |data| {
        data.attr_be32(1, reg(register))
            .attr_be32(2, reg(register))
            .attr_be32(3, length);
        data.nest(4, |value| {
            value.attr(1, mask);
        });
        data.nest(5, |value| {
            value.attr(1, &vec![0; mask.len()]);
        });
    });
}

fn compare(list: &mut Message, register: u32, operation: u32, value: &[u8]) {
    one(list, "cmp", |data| {
        data.attr_be32(1, reg(register))
            .attr_be32(2, operation)
            .nest(3, |operand| {
                operand.attr(1, value);
            });
    });
}

/// An immediate into register 0, the verdict.
fn verdict(list: &mut Message, code: u32, chain: Option<&str>) {
    one(list, "immediate", |data| {
        data.attr_be32(1, 0).nest(2, |value| {
            value.nest(2, |verdict| {
                verdict.attr_be32(1, code);
                if let Some(chain) = chain {
                    verdict.attr_str(2, chain);
                }
            });
        });
    });
}

/// The name or the kind of an interface as it stands in a register.
pub fn interface_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// The number of a transport protocol as a key of a set.
pub fn transport_number(protocol: &str) -> Option<u8> {
    let number = match protocol {
        "tcp" => libc::IPPROTO_TCP,
        "udp" => libc::IPPROTO_UDP,
        "sctp" => libc::IPPROTO_SCTP,
        _ => return None,
    };
    u8::try_from(number).ok()
}
