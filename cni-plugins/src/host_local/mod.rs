//! `host-local`: allocates addresses from ranges, recorded in a directory of the node.

pub mod allocate;
pub mod conf;
pub mod store;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::host_local::allocate::Allocation;
use crate::host_local::conf::Conf;
use crate::host_local::store::{Owner, Store, StoreError};
use crate::request::{Attachment, Request};
use crate::types::{CniResult, Code, Dns, Error, IpConfig};

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::new(Code::Io, error.to_string())
    }
}

/// Allocates one address from each range set. As the specification requires, a second ADD for an attachment is an error
/// and does not affect the first one's addresses.
pub fn add(request: &Request) -> Result<CniResult, Error> {
    let conf = conf::read(request)?;
    let store = Store::open(&conf.dir)?;
    let owners = store.owners()?;
    if let Some((address, _)) = owners
        .iter()
        .find(|(_, owner)| owner.is(&request.container_id, &request.ifname))
    {
        let msg = format!(
            "{address} is already allocated to {}: ADD was called twice for {}; call DEL first",
            request.container_id, request.ifname
        );
        return Err(Error::invalid(msg));
    }
    allocate_from(request, conf, &store)
}

/// Like [`add`], for a caller that finds out by itself whether this is the attachment's first ADD, and [`release`]s what it
/// got if not.
pub fn allocate(request: &Request) -> Result<CniResult, Error> {
    let conf = conf::read(request)?;
    let store = Store::open(&conf.dir)?;
    allocate_from(request, conf, &store)
}

fn allocate_from(request: &Request, conf: Conf, store: &Store) -> Result<CniResult, Error> {
    let dns = conf
        .resolv_conf
        .as_deref()
        .map(read_resolv_conf)
        .transpose()?
        .unwrap_or_default();
    let last = |set| store.last(set);
    let chosen = choose(&conf, |address| store.is_recorded(address), last).or_else(|_| {
        // Reading the records removes those that belong to nobody.
        let owners = store.owners()?;
        choose(&conf, |address| owners.contains_key(&address), last)
    })?;
    let mut done: Vec<IpAddr> = Vec::new();
    for (set, allocation) in chosen.iter().enumerate() {
        let address = allocation.address.addr();
        let reserved = store.reserve(address, &request.container_id, &request.ifname, set);
        if !matches!(reserved, Ok(true)) {
            for address in done {
                let _ = store.release(address);
            }
            reserved?;
            return Err(Error::new(
                Code::TryAgainLater,
                format!("{address} was allocated by a plugin that does not take the lock"),
            ));
        }
        done.push(address);
    }
    let ips = chosen.into_iter().map(|allocation| IpConfig {
        interface: None,
        address: allocation.address,
        gateway: Some(allocation.gateway),
    });
    Ok(CniResult {
        interfaces: Vec::new(),
        ips: ips.collect(),
        routes: conf.routes,
        dns,
    })
}

/// One allocation per range set: the requested address if the set has one, the next free one otherwise.
fn choose(
    conf: &Conf,
    taken: impl Fn(IpAddr) -> bool,
    last: impl Fn(usize) -> Option<IpAddr>,
) -> Result<Vec<Allocation>, Error> {
    let (mut wanted_of, unplaced) = conf.requests_by_set();
    let mut chosen = Vec::new();
    for (number, set) in conf.sets.iter().enumerate() {
        let allocation = match wanted_of.remove(&number) {
            None => set.next_free(&taken, last(number)).ok_or_else(|| {
                let msg = format!("ipam: no free address is left in {set}; remove pods or widen the range");
                Error::new(Code::TryAgainLater, msg)
            })?,
            Some(address) if taken(address) => {
                return Err(Error::invalid(format!(
                    "the requested address {address} is already allocated; request another one"
                )));
            }
            Some(address) => set
                .allocation_of(address)
                .filter(|allocation| allocation.gateway != address)
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "the requested address {address} is the gateway's address"
                    ))
                })?,
        };
        chosen.push(allocation);
    }
    if let Some(address) = unplaced {
        return Err(Error::invalid(format!(
            "the requested address {address} is outside every range of ipam, or its range set already has a \
             requested address"
        )));
    }
    Ok(chosen)
}

/// Releases all addresses of the attachment. Having none is not an error.
pub fn del(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let Some(store) = Store::open_existing(&conf.dir)? else {
        return Ok(());
    };
    for (address, owner) in store.owners()? {
        if owner.is(&request.container_id, &request.ifname) {
            store.release(address)?;
        }
    }
    Ok(())
}

/// Releases these addresses of the attachment, and no other one.
pub fn release(request: &Request, addresses: &[IpAddr]) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let Some(store) = Store::open_existing(&conf.dir)? else {
        return Ok(());
    };
    let owners = store.owners()?;
    for address in addresses {
        let is_own = |owner: &Owner| owner.is(&request.container_id, &request.ifname);
        if owners.get(address).is_some_and(is_own) {
            store.release(*address)?;
        }
    }
    Ok(())
}

/// Whether the attachment has an address.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let owners = Store::open_existing(&conf.dir)?
        .map(|store| store.owners())
        .transpose()?
        .unwrap_or_default();
    if owners
        .values()
        .any(|owner| owner.is(&request.container_id, &request.ifname))
    {
        return Ok(());
    }
    let msg = format!(
        "{} has no address recorded in {}",
        request.container_id,
        conf.dir.display()
    );
    Err(Error::new(Code::UnknownContainer, msg))
}

/// Whether ADD could work: the configuration is valid and the records can be opened.
pub fn status(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    Store::open(&conf.dir)?;
    Ok(())
}

/// Releases the addresses of attachments that are not in `valid`.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let Some(store) = Store::open_existing(&conf.dir)? else {
        return Ok(());
    };
    let valid = valid
        .iter()
        .map(|one| (one.container_id.as_str(), one.ifname.as_str()))
        .collect();
    for (address, owner) in store.owners()? {
        if !owner.is_one_of(&valid) {
            store.release(address)?;
        }
    }
    Ok(())
}

/// Parses a resolver configuration (man 5 resolv.conf).
fn read_resolv_conf(path: &Path) -> Result<Dns, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::new(
            Code::Io,
            format!("ipam.resolvConf: cannot read {}: {error}", path.display()),
        )
    })?;
    Ok(parse_resolv_conf(&text))
}

fn parse_resolv_conf(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
    {
        let mut words = line.split_whitespace().map(str::to_string);
        match (words.next().as_deref(), words.next()) {
            (Some("nameserver"), Some(address)) => dns.nameservers.push(address),
            (Some("domain"), Some(domain)) => dns.domain = domain,
            (Some("search"), Some(first)) => dns.search.extend(std::iter::once(first).chain(words)),
            (Some("options"), Some(first)) => dns.options.extend(std::iter::once(first).chain(words)),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_settings_are_read_like_the_resolver_does() {
        let dns = parse_resolv_conf(
            "# no\nnameserver 10.0.0.1 x\n nameserver ::1\nsearch a b\noptions ndots:5\ndomain d\nfoo\n",
        );
        assert_eq!(dns.nameservers, ["10.0.0.1", "::1"]);
        assert_eq!(
            (dns.search, dns.options, dns.domain),
            (vec!["a".into(), "b".into()], vec!["ndots:5".into()], "d".into())
        );
    }
}
