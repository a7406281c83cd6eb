//! Makes the rules in the kernel.

use super::conf::{Conf, Policy};
use super::rules::{Bridges, TABLE, known, table, with};
use super::way::Way;
use crate::forwarding::{self, Passage};
use crate::netlink::link;
use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::family::Family;
use crate::nftables::transaction::{Transaction, comments, look_and_change};
use crate::request::Request;
use crate::types::{CniResult, Error};

/// The host's rules and interfaces, for one call.
#[derive(Debug)]
pub struct Host<'a> {
    request: &'a Request,
    conf: &'a Conf,
    rules: Socket,
    links: Socket,
}

impl<'a> Host<'a> {
    /// Opens both.
    pub fn open(request: &'a Request, conf: &'a Conf) -> Result<Self, Error> {
        Ok(Host {
            request,
            conf,
            rules: Socket::netfilter()?,
            links: Socket::route()?,
        })
    }

    fn passage<'b>(&self, interface: &'b str) -> Passage<'b>
    where
        'a: 'b,
    {
        Passage {
            interface,
            network: Some(&self.request.network),
            admin_chain: Some(&self.conf.admin_chain),
        }
    }

    /// Lets packets from and to the interface through the FORWARD chains of iptables. Chains of other firewalls are not
    /// touched; what they need is noted.
    pub fn open_forward(&mut self, interface: &str) -> Result<(), Error> {
        let passage = self.passage(interface);
        let forwarding = forwarding::allow_for(&mut self.rules, &passage)?;
        for chain in &forwarding.closed {
            self.request.note(format!(
    "{chain} may drop forwarded packets and belongs to another program; add rules for {interface} there"
            ));
        }
        if forwarding.firewalld {
            let zone = &self.conf.zone;
            self.request.note(format!(
                "firewalld is running and its zones are not changed; unless it is there already, put {interface} into \
                 one: firewall-cmd --zone={zone} --add-interface={interface}"
            ));
        }
        Ok(())
    }

    /// Keeps the bridge apart from others, and the pod from others on it, as the policy says.
    pub fn keep_apart(&mut self, way: &Way<'_>, result: &CniResult) -> Result<(), Error> {
        let policy = self.conf.policy;
        if policy == Policy::Open {
            return Ok(());
        }
        for family in families(result) {
            change(&mut self.rules, family, |bridges| {
                with(bridges, way.interface, policy)
            })?;
        }
        if policy == Policy::Isolated {
            self.isolate_port(way.first, result)?;
        }
        Ok(())
    }

    /// What stays within a bridge passes no rule for forwarded packets, unless `br_netfilter` is loaded; so the bridge
    /// itself is told.
    fn isolate_port(&mut self, bridge: &str, result: &CniResult) -> Result<(), Error> {
        let Some(bridge) = link::by_name(&mut self.links, bridge)? else {
            return Ok(());
        };
        for interface in result.interfaces.iter().filter(|one| one.sandbox.is_empty()) {
            if let Some(port) = link::by_name(&mut self.links, &interface.name)?
                && port.master == Some(bridge.index)
            {
                link::isolate(&mut self.links, &port)?;
            }
        }
        Ok(())
    }

    /// The first rule that is missing.
    pub fn difference(&mut self, interface: &str, result: &CniResult) -> Result<Option<String>, Error> {
        let passage = self.passage(interface);
        if let Some(chain) = forwarding::missing(&mut self.rules, &passage)? {
            return Ok(Some(format!("{chain} lacks the rules for {interface}")));
        }
        if self.conf.policy == Policy::Open {
            return Ok(None);
        }
        for family in families(result) {
            let found = comments(&mut self.rules, family, TABLE)?;
            let wanted = table(family, &with(known(&found), interface, self.conf.policy));
            if let Some(chain) = wanted.differing_chains(&found).next() {
                return Ok(Some(format!(
                    "the rules of chain {} in table {TABLE} differ from those that ADD created",
                    chain.name
                )));
            }
        }
        Ok(None)
    }

    /// Removes the rules of an interface that belongs to one pod, or to none any more.
    pub fn close_unless_shared(&mut self, way: &Way<'_>) -> Result<(), Error> {
        match link::by_name(&mut self.links, way.interface)? {
            Some(found) if found.kind == "bridge" || way.interface != way.first => Ok(()),
            _ => self.close(|name| name == way.interface),
        }
    }

    /// Removes the rules of this network's interfaces that are not there.
    pub fn close_missing(&mut self) -> Result<(), Error> {
        let there: Vec<String> = link::list(&mut self.links)?
            .into_iter()
            .map(|link| link.name)
            .collect();
        self.close(|name| !there.iter().any(|there| there == name))
    }

    fn close(&mut self, is_gone: impl Fn(&str) -> bool) -> Result<(), Error> {
        forwarding::remove_of(&mut self.rules, &self.request.network, &is_gone)?;
        Ok(keep_together(&mut self.rules, is_gone)?)
    }
}

/// Stops keeping bridges apart, and removes the table with the last of them.
pub fn keep_together(socket: &mut Socket, is_gone: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    for family in Family::ALL {
        change(socket, family, |mut bridges| {
            bridges.retain(|name, _| !is_gone(name));
            bridges
        })?;
    }
    Ok(())
}

fn change(
    socket: &mut Socket,
    family: Family,
    edit: impl Fn(Bridges) -> Bridges,
) -> Result<(), NetlinkError> {
    look_and_change(socket, "keep bridges apart", |socket| {
        let found = comments(socket, family, TABLE)?;
        let bridges = edit(known(&found));
        let mut change = Transaction::default();
        let wanted = table(family, &bridges);
        if bridges.is_empty() {
            if !found.is_empty() {
                change.delete_table(family, TABLE);
            }
        } else if wanted.differing_chains(&found).next().is_some() {
            change.ensure(&wanted, &found);
        }
        Ok(Some(change).filter(|change| !change.is_empty()))
    })
}

/// The families of the pod's addresses.
fn families(result: &CniResult) -> impl Iterator<Item = Family> {
    let has = |family| {
        let of = result.ips.iter().map(|ip| Family::of(ip.address.addr()));
        of.into_iter().any(|found| found == family)
    };
    Family::ALL.into_iter().filter(move |family| has(*family))
}
