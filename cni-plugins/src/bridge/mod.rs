//! `bridge`: each pod gets one end of a veth pair; the other end is a port of a bridge on the host. Where its configuration
//! says so, it does the work of other plugins, too ([`included`]).

pub mod apply;
pub mod check;
pub mod conf;
pub mod included;
pub mod masquerade;
pub mod plan;
pub mod senders;
pub mod vlan;
pub mod gateway;
mod random;
mod pod;
mod restore;
mod wait;

use serde_json::Value;

pub use restore::{is_whole, restore};

use crate::bridge::apply::Nets;
use crate::bridge::conf::{Conf, Ipam};
use crate::bridge::included::Work;
use crate::netlink::socket::Socket;
use crate::request::{Attachment, Request};
use crate::types::{CniResult, Error};
use crate::{host_local, ipam};

/// Connects a pod.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let work = Work::read(request, &conf.included)?;
    let mut nets = Nets::open(request.netns()?)?;
    let given = match &conf.ipam {
        None => CniResult::default(),
        Some(Ipam::HostLocal) => host_local::allocate(request)?,
        Some(Ipam::Plugin(name)) => {
            // Before anything is allocated: what a second ADD fails at must not be given back, and a plugin gives back
            // all that it has given to the attachment.
            apply::ensure_free(request, &nets.namespace)?;
            ipam::add(request, name)?
        }
    };
    let allocated: Vec<_> = given.ips.iter().map(|ip| ip.address.addr()).collect();
    let connected =
        plan::plan(&conf, given).and_then(|plan| apply::connect(request, &conf, plan, &work, &mut nets));
    if connected.is_err() {
        // Only the addresses that were allocated by this very call; the first error is the one to report.
        let _ = match &conf.ipam {
            Some(Ipam::HostLocal) => host_local::release(request, &allocated),
            _ => give_back(request, &conf),
        };
    }
    Ok(connected?.to_json(request.version))
}

/// Disconnects a pod: first what leads to it, then the interface, then its addresses, so that no address is allocated again
/// while in use. Continues after a failure, and succeeds if there is nothing left.
pub fn del(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let mut failures = included::del(request, &conf.included);
    let disconnected = match &request.netns {
        None => Ok(()),
        Some(path) => apply::disconnect(path, &request.ifname),
    };
    failures.extend(disconnected.err());
    if conf.checks_senders {
        failures.extend(stop_checking(request).err());
    }
    failures.extend(give_back(request, &conf).err());
    first_of(failures)
}

/// The first failure, with the others as its details.
fn first_of(failures: Vec<Error>) -> Result<(), Error> {
    let mut failures = failures.into_iter();
    let Some(mut first) = failures.next() else {
        return Ok(());
    };
    let others: Vec<String> = failures.map(|other| other.to_string()).collect();
    if !others.is_empty() {
        first.details = others.join("; ");
    }
    Err(first)
}

fn stop_checking(request: &Request) -> Result<(), Error> {
    Ok(senders::remove(&mut Socket::netfilter()?, request)?)
}

fn give_back(request: &Request, conf: &Conf) -> Result<(), Error> {
    match &conf.ipam {
        None => Ok(()),
        Some(Ipam::HostLocal) => host_local::del(request),
        Some(Ipam::Plugin(name)) => ipam::call(request, name, "DEL"),
    }
}

/// Checks that a pod is still connected as ADD reported.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let result = request
        .previous_result()?
        .ok_or_else(|| Error::invalid("CHECK requires prevResult, the result of ADD"))?;
    let mut nets = Nets::open(request.netns()?)?;
    match &conf.ipam {
        None => {}
        Some(Ipam::HostLocal) => host_local::check(request)?,
        Some(Ipam::Plugin(name)) => ipam::call(request, name, "CHECK")?,
    }
    check::check(request, &conf, &result, &mut nets)?;
    included::check(request, &conf.included)
}

/// Whether ADD could work.
pub fn status(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    included::status(request, &conf.included)?;
    match &conf.ipam {
        None => Ok(()),
        Some(Ipam::HostLocal) => host_local::status(request),
        Some(Ipam::Plugin(name)) => ipam::call(request, name, "STATUS"),
    }
}

/// Removes what is left of attachments that no longer exist, last their addresses. Their interfaces disappeared with their
/// namespaces.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let mut failures = included::collect_garbage(request, &conf.included, valid);
    if conf.checks_senders {
        let checked =
            Socket::netfilter().and_then(|mut socket| senders::collect_garbage(&mut socket, request, valid));
        failures.extend(checked.err().map(Error::from));
    }
    let released = match &conf.ipam {
        None => Ok(()),
        Some(Ipam::HostLocal) => host_local::collect_garbage(request, valid),
        Some(Ipam::Plugin(name)) => ipam::call(request, name, "GC"),
    };
    failures.extend(released.err());
    first_of(failures)
}
