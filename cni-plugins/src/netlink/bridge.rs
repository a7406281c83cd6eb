//! Settings of bridges, and the VLANs of their ports (linux/if_link.h `IFLA_BR_*`, linux/if_bridge.h).

use std::ops::RangeInclusive;

use nix::libc;

use super::link::{Link, VLAN_FILTERING, info, of_bridge};
use super::message::{Message, attributes, find, read_u16, read_u32};
use super::socket::{NetlinkError, Socket};

/// linux/if_link.h: an attribute of a bridge.
const SWITCHES: u16 = 46;
/// linux/if_bridge.h `BR_BOOLOPT_NO_LL_LEARN`
const NO_LINK_LOCAL_LEARNING: u32 = 1;
/// linux/if_bridge.h: a VLAN of a port, inside `IFLA_AF_SPEC`, and its flags.
const VLAN_INFO: u16 = 2;
const NATIVE: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;
/// linux/rtnetlink.h `RTEXT_FILTER_BRVLAN_COMPRESSED`
const WITH_VLANS: u32 = 1 << 2;

/// The numbers that a VLAN may have.
pub const NUMBERS: RangeInclusive<u16> = 1..=4094;

/// The VLANs that a port is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The VLAN of frames without a tag, in either direction.
    pub native: u16,
    /// The VLANs of frames with a tag: ascending, with gaps between them, without the native one.
    pub tagged: Vec<RangeInclusive<u16>>,
}

/// A VLAN of a port, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundVlan {
    /// Its number.
    pub number: u16,
    /// Whether frames without a tag that come in by the port are of it.
    pub native: bool,
    /// Whether its frames leave by the port without a tag.
    pub untagged: bool,
}

impl Membership {
    /// The numbers of all of them, ascending.
    pub fn numbers(&self) -> Vec<u16> {
        let mut all: Vec<u16> = self.tagged.iter().cloned().flatten().collect();
        all.push(self.native);
        all.sort_unstable();
        all
    }

    /// The numbers of all others.
    pub fn others(&self) -> Vec<RangeInclusive<u16>> {
        let mut gaps = Vec::new();
        let mut next = *NUMBERS.start();
        for number in self.numbers() {
            if next < number {
                gaps.push(next..=number - 1);
            }
            next = number + 1;
        }
        if next <= *NUMBERS.end() {
            gaps.push(next..=*NUMBERS.end());
        }
        gaps
    }
}

/// Has a bridge keep VLANs apart.
pub fn filter_vlans(socket: &mut Socket, bridge: &Link) -> Result<(), NetlinkError> {
    set(socket, bridge, "enable VLAN filtering on", |data| {
        data.attr(VLAN_FILTERING, &[1]);
    })
}

/// Has a bridge learn nothing from frames to the addresses that no bridge passes on: they go past its chains of nftables. Kernels
/// before 5.0 do not know the switch.
pub fn ignore_link_local(socket: &mut Socket, bridge: &Link) -> Result<(), NetlinkError> {
    let (value, mask) = (NO_LINK_LOCAL_LEARNING, NO_LINK_LOCAL_LEARNING);
    set(
        socket,
        bridge,
        "disable learning from link-local frames on",
        |data| {
            data.attr(SWITCHES, &[value.to_ne_bytes(), mask.to_ne_bytes()].concat());
        },
    )
}

fn set(
    socket: &mut Socket,
    bridge: &Link,
    action: &str,
    fill: impl FnOnce(&mut Message),
) -> Result<(), NetlinkError> {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &info(bridge.index, 0, 0));
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.attr_str(libc::IFLA_INFO_KIND, "bridge")
            .nest(libc::IFLA_INFO_DATA, fill);
    });
    socket.execute(&format!("{action} bridge {}", bridge.name), message)
}

/// Puts a port into VLANs.
pub fn joining(port: &Link, vlans: &Membership) -> (String, Message) {
    let mut message = Message::new(libc::RTM_SETLINK, 0, &of_bridge(port.index));
    message.nest(libc::IFLA_AF_SPEC, |list| {
        vlans.tagged.iter().for_each(|range| add_range(list, range));
        add(list, vlans.native, NATIVE | UNTAGGED);
    });
    (format!("put {} into its VLANs", port.name), message)
}

/// Takes a port out of VLANs; those that it is not in do not matter.
pub fn leaving(port: &Link, ranges: &[RangeInclusive<u16>]) -> (String, Message) {
    let mut message = Message::new(libc::RTM_DELLINK, 0, &of_bridge(port.index));
    message.nest(libc::IFLA_AF_SPEC, |list| {
        ranges.iter().for_each(|range| add_range(list, range));
    });
    (format!("take {} out of other VLANs", port.name), message)
}

fn add_range(list: &mut Message, range: &RangeInclusive<u16>) {
    if range.start() == range.end() {
        return add(list, *range.start(), 0);
    }
    add(list, *range.start(), RANGE_BEGIN);
    add(list, *range.end(), RANGE_END);
}

/// `struct bridge_vlan_info`: flags, number.
fn add(list: &mut Message, number: u16, flags: u16) {
    list.attr(VLAN_INFO, &[flags.to_ne_bytes(), number.to_ne_bytes()].concat());
}

/// The VLANs that a port is in. The kernel lists those of all ports.
pub fn vlans_of(socket: &mut Socket, port: &Link) -> Result<Vec<FoundVlan>, NetlinkError> {
    let mut message = Message::new(libc::RTM_GETLINK, 0, &of_bridge(0));
    message.attr_u32(libc::IFLA_EXT_MASK, WITH_VLANS);
    let replies = socket.dump("list the VLANs of ports", message)?;
    let of_port = |body: &&[u8]| read_u32(body, 4) == Some(port.index);
    let bodies = replies.iter().map(|reply| &reply.body[..]).filter(of_port);
    Ok(bodies.flat_map(read_vlans).collect())
}

fn read_vlans(body: &[u8]) -> Vec<FoundVlan> {
    let list = find(body.get(16..).unwrap_or_default(), libc::IFLA_AF_SPEC).unwrap_or_default();
    let (mut found, mut begin) = (Vec::new(), None);
    for (_, value) in attributes(list).filter(|(kind, _)| *kind == VLAN_INFO) {
        let (flags, number) = (read_u16(value, 0).unwrap_or(0), read_u16(value, 2).unwrap_or(0));
        if flags & RANGE_BEGIN != 0 {
            begin = Some(number);
            continue;
        }
        for number in begin.take().unwrap_or(number)..=number {
            found.push(FoundVlan {
                number,
                native: flags & NATIVE != 0,
                untagged: flags & UNTAGGED != 0,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_as_it_is_written() {
        let vlans = Membership {
            native: 5,
            tagged: vec![1..=3, 7..=7],
        };
        let mut body = vec![0; 16];
        let mut list = Message::new(0, 0, &[]);
        list.nest(libc::IFLA_AF_SPEC, |list| {
            vlans.tagged.iter().for_each(|range| add_range(list, range));
            add(list, 5, NATIVE | UNTAGGED);
        });
        body.extend(&list.finish(0)[16..]);
        let found = read_vlans(&body);
        let numbers: Vec<_> = found.iter().map(|vlan| vlan.number).collect();
        assert_eq!(numbers, [1, 2, 3, 7, 5]);
        assert!(found.iter().all(|vlan| vlan.native == (vlan.number == 5)));
        assert!(read_vlans(&[]).is_empty());
    }

    #[test]
    fn what_is_not_a_port_s_is_the_rest() {
        let others = |native, tagged: &[RangeInclusive<u16>]| {
            let tagged = tagged.to_vec();
            Membership { native, tagged }.others()
        };
        assert_eq!(others(1, &[]), [2..=4094]);
        assert_eq!(others(1, &[4094..=4094]), [2..=4093]);
        assert_eq!(
            others(100, &[200..=299, 400..=400]),
            [1..=99, 101..=199, 300..=399, 401..=4094]
        );
        assert_eq!(others(1, &[2..=4094]), []);
    }
}
