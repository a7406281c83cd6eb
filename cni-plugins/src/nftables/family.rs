//! The two address families, and the families of tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `table ip`
    V4,
    /// `table ip6`
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// The bytes of an address.
    pub fn address_length(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// The registers an address takes.
    pub fn address_registers(self) -> u32 {
        self.address_length() / 4
    }

    /// The host's own address, `127.0.0.1` or `::1`.
    pub fn loopback(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// How many bits the addresses that never leave a host have in common (RFC 1122 3.2.1.3, RFC 4291 2.5.3).
    pub fn loopback_prefix(self) -> u8 {
        match self {
            Family::V4 => 8,
            Family::V6 => 128,
        }
    }

    /// The netmask with the first `prefix` bits set.
    pub fn mask(self, prefix: u8) -> Vec<u8> {
        let all = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        match self {
            Family::V4 => u32::MAX
                .checked_shl(32 - u32::from(prefix))
                .unwrap_or(0)
                .to_be_bytes()
                .to_vec(),
            Family::V6 => all.to_be_bytes().to_vec(),
        }
    }
}

/// What the packets of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFamily {
    /// Those of an address family.
    Packets(Family),
    /// `table bridge`: frames that a bridge takes.
    Frames,
}

impl TableFamily {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6` or `NFPROTO_BRIDGE`.
    pub fn number(self) -> u8 {
        match self {
            TableFamily::Packets(family) => family.number(),
            TableFamily::Frames => 7,
        }
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        TableFamily::Packets(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_right_at_the_ends() {
        assert_eq!(Family::V4.mask(0), [0; 4]);
        assert_eq!(Family::V4.mask(24), [255, 255, 255, 0]);
        assert_eq!(Family::V4.mask(32), [255; 4]);
        assert_eq!(Family::V6.mask(0), [0; 16]);
        assert_eq!(Family::V6.mask(128), [255; 16]);
    }
}
