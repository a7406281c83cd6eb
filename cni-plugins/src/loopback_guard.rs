//! Prevents access to the host's own loopback addresses from the network (CVE-2020-8558).
//!
//! Once `route_localnet` is set, for one interface or for all, the kernel routes packets for 127.0.0.0/8 that arrive
//! from the network: any host on a shared link, a pod or a neighbor, can reach services that listen on 127.0.0.1.
//! kube-proxy sets it, and so does the `portmap` plugin of containernetworking; this one does not need it. The kubelet
//! adds a rule against it (KUBE-FIREWALL in pkg/kubelet/kubelet_network_linux.go). Here the rule comes before
//! connection tracking, so that it needs no exception for established connections, and a connection that got through
//! while the rule was missing ends when it returns.
//!
//! IPv6 needs no rule: the kernel drops packets from and for ::1 that arrive from the network before any rule sees
//! them, and no setting changes that (`ip6_rcv_core` in net/ipv6/ip6_input.c).

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::libc;

use crate::netlink::message::{find, split, text};
use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Hook, Rule, Table};
use crate::nftables::transaction::{
    SUBSYSTEM, TABLE_NAME, Transaction, comments, delete_table, look_and_change,
};

/// The agent's table.
pub const TABLE: &str = "gantry-firewall";
/// linux/netfilter/nfnetlink.h `NFNLGRP_NFTABLES`
const NEWS: u32 = 7;

/// The chain that drops packets for or from 127.0.0.0/8 that arrived from the network.
pub fn chain() -> Chain {
    let family = Family::V4;
    let not_lo = [
        Expr::InputName { register: 0 },
        Expr::Differs {
            register: 0,
            value: interface_name("lo"),
        },
    ];
    let drop_if_loopback = |address: Expr, comment: &str| {
        let mut exprs = not_lo.to_vec();
        exprs.extend(family.loopback_network(address, true));
        exprs.push(Expr::Drop);
        Rule {
            comment: comment.into(),
            exprs,
        }
    };
    // In a VRF the VRF interface takes the role of `lo`.
    let vrf = vec![
        Expr::InputKind { register: 0 },
        Expr::Equal {
            register: 0,
            value: interface_name("vrf"),
        },
        Expr::Accept,
    ];
    Chain {
        name: "loopback".into(),
        hook: Some(Hook::RAW_PREROUTING),
        rules: vec![
            Rule {
                comment: "a VRF has a loopback of its own".into(),
                exprs: vrf,
            },
            drop_if_loopback(family.destination(0), "block packets by wire for localnet"),
            drop_if_loopback(family.source(0), "block packets by wire from localnet"),
        ],
    }
}

/// Ensures the table; returns whether it was missing or different.
pub fn ensure() -> Result<bool, NetlinkError> {
    let wanted = Table {
        family: Family::V4.into(),
        name: TABLE.to_string(),
        sets: Vec::new(),
        chains: vec![chain()],
    };
    let mut changed = false;
    look_and_change(&mut Socket::netfilter()?, "guard the host's loopback", |socket| {
        let found = comments(socket, Family::V4, TABLE)?;
        changed |= wanted.differing_chains(&found).next().is_some();
        let mut change = Transaction::default();
        if wanted.differing_chains(&found).next().is_some() {
            change.ensure(&wanted, &found);
        }
        Ok(Some(change).filter(|change| !change.is_empty()))
    })?;
    Ok(changed)
}

/// Removes the table. A missing table is not an error.
pub fn remove() -> Result<(), NetlinkError> {
    delete_table(&mut Socket::netfilter()?, Family::V4, TABLE)
}

/// Notifications of changes to nftables, by any program, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct RulesetEvents(netlink_sys::Socket);

impl RulesetEvents {
    /// Subscribes to notifications. The descriptor becomes readable when there is one.
    pub fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NEWS)?;
        socket.set_non_blocking(true)?;
        Ok(RulesetEvents(socket))
    }

    /// Reads the pending notifications without waiting; returns whether any may concern the guard's table.
    pub fn take(&self) -> io::Result<bool> {
        let mut concerns = false;
        loop {
            match self.0.recv_from_full() {
                Ok((datagram, _)) => concerns |= is_about_guard(&datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(concerns),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some notifications did not fit into the buffer, so their content is unknown.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => concerns = true,
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for RulesetEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// In a message about tables, chains and rules, the table is the first attribute.
fn is_about_guard(datagram: &[u8]) -> bool {
    split(datagram).iter().any(|message| {
        let [subsystem, _] = message.kind.to_be_bytes();
        u16::from(subsystem) == SUBSYSTEM
            && i32::from(message.body.first().copied().unwrap_or_default()) == libc::AF_INET
            && find(message.body.get(4..).unwrap_or_default(), TABLE_NAME)
                .map(text)
                .as_deref()
                == Some(TABLE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Message;

    #[test]
    fn news_of_other_tables_and_families_are_not_about_the_guard() {
        let about = |family: u8, table: &str| {
            let mut message = Message::new(SUBSYSTEM << 8 | 2, 0, &[family, 0, 0, 0]);
            message.attr_str(TABLE_NAME, table);
            is_about_guard(&message.finish(1))
        };
        assert!(about(2, TABLE));
        assert!(!about(10, TABLE));
        assert!(!about(2, "gantry-hostport"));
        assert!(!is_about_guard(b"cut"));
    }
}
