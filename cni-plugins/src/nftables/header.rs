//! The addresses in the network header: the offsets of the fields, which each family has elsewhere, as the expressions
//! that load, compare and replace them.

use super::expr::{Expr, NETWORK_HEADER};
use super::family::Family;
use crate::netlink::addr::ip_bytes;

impl Family {
    /// Loads the source address.
    pub fn source(self, register: u32) -> Expr {
        let offset = if self == Family::V4 { 12 } else { 8 };
        Expr::Payload {
            base: NETWORK_HEADER,
            offset,
            length: self.address_length(),
            register,
        }
    }

    /// Loads the destination address.
    pub fn destination(self, register: u32) -> Expr {
        let offset = if self == Family::V4 { 16 } else { 24 };
        Expr::Payload {
            base: NETWORK_HEADER,
            offset,
            length: self.address_length(),
            register,
        }
    }

    /// Goes on if the address that `load` puts into register 0 never leaves a host, or, where `inside` is false, if it
    /// may.
    pub fn loopback_network(self, load: Expr, inside: bool) -> [Expr; 3] {
        let (register, mask) = (0, self.mask(self.loopback_prefix()));
        let address = ip_bytes(self.loopback());
        let value = address
            .iter()
            .zip(&mask)
            .map(|(byte, mask)| byte & mask)
            .collect();
        let compare = if inside {
            Expr::Equal { register, value }
        } else {
            Expr::Differs { register, value }
        };
        [load, Expr::Mask { register, mask }, compare]
    }

    /// Replaces the source address by what is in the register.
    pub fn set_source(self, register: u32) -> Expr {
        let offset = if self == Family::V4 { 12 } else { 8 };
        Expr::WriteAddress {
            family: self,
            offset,
            register,
        }
    }

    /// Replaces the destination address by what is in the register.
    pub fn set_destination(self, register: u32) -> Expr {
        let offset = if self == Family::V4 { 16 } else { 24 };
        Expr::WriteAddress {
            family: self,
            offset,
            register,
        }
    }
}
