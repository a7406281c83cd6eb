//! `bridge`: each pod gets one end of a veth pair; the other end is a port of a bridge on the host.

pub mod apply;
pub mod check;
pub mod conf;
pub mod masquerade;
pub mod plan;

use serde_json::Value;

use crate::bridge::apply::Nets;
use crate::bridge::conf::{Conf, Ipam};
use crate::netlink::socket::Socket;
use crate::request::{Attachment, Request};
use crate::types::{CniResult, Error};
use crate::{host_local, ipam};

/// Connects a pod.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let mut nets = Nets::open(request.netns()?)?;
    // Before anything is allocated: what a second ADD fails at must not be given back.
    apply::ensure_free(request, &mut nets)?;
    let given = match &conf.ipam {
        None => CniResult::default(),
        Some(Ipam::HostLocal) => host_local::allocate(request)?,
        Some(Ipam::Plugin(name)) => ipam::add(request, name)?,
    };
    let connected = plan::plan(&conf, given).and_then(|plan| apply::connect(request, &conf, plan, &mut nets));
    if connected.is_err() {
        // The addresses were allocated by this very call; the first error is the one to report.
        let _ = give_back(request, &conf);
    }
    Ok(connected?.to_json(request.version))
}

/// Disconnects a pod: first the interface, then its addresses, so that no address is allocated again while in use.
/// Continues after a failure, and succeeds if there is nothing left.
pub fn del(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let disconnected = match &request.netns {
        None => Ok(()),
        Some(path) => apply::disconnect(path, &request.ifname),
    };
    let given_back = give_back(request, &conf);
    match (disconnected, given_back) {
        (Err(mut first), Err(second)) => {
            first.details = second.to_string();
            Err(first)
        }
        (first, second) => first.and(second),
    }
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
    check::check(request, &conf, &result, &mut nets)
}

/// Sets the network's masquerading up again, for a pod that is connected.
pub fn restore(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let result = request.previous_result()?.unwrap_or_default();
    if !conf.masquerade {
        return Ok(());
    }
    let subnets: Vec<_> = result.ips.iter().map(|ip| ip.address.trunc()).collect();
    Ok(masquerade::ensure(
        &mut Socket::netfilter()?,
        &request.network,
        &subnets,
    )?)
}

/// Whether ADD could work.
pub fn status(request: &Request) -> Result<(), Error> {
    match conf::read(request)?.ipam {
        None => Ok(()),
        Some(Ipam::HostLocal) => host_local::status(request),
        Some(Ipam::Plugin(name)) => ipam::call(request, &name, "STATUS"),
    }
}

/// Releases the addresses of attachments that no longer exist. Their interfaces disappeared with their namespaces.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    match conf::read(request)?.ipam {
        None => Ok(()),
        Some(Ipam::HostLocal) => host_local::collect_garbage(request, valid),
        Some(Ipam::Plugin(name)) => ipam::call(request, &name, "GC"),
    }
}
