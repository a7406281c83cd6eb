//! `portmap`: forwards host ports to a pod. Runs after the plugin that connected the pod and passes its result on.

pub mod apply;
pub mod conf;
pub mod conditions;
pub mod key;
pub mod rules;
pub mod loopback;

use serde_json::Value;

use crate::netlink::socket::Socket;
use crate::owners::{Claim, is_gone, owner_of};
use crate::portmap::conf::{Conf, pod_addresses};
use crate::request::{Attachment, Request};
use crate::types::{CniResult, Error};

/// Forwards the pod's ports.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let (previous, result) = request.chained("portmap")?;
    add_for(request, &conf, &result).map(|()| previous)
}

/// Forwards the ports of a pod that `result` describes.
pub fn add_for(request: &Request, conf: &Conf, result: &CniResult) -> Result<(), Error> {
    if conf.mappings.is_empty() {
        return Ok(());
    }
    let forwarded = forward(request, conf, result, Claim::Later);
    if forwarded.is_err() {
        // The first error is the one to report.
        let _ = remove(request);
    }
    forwarded
}

/// Forwards the pod's ports again, as far as no other pod has them meanwhile.
pub fn restore(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let (_, result) = request.chained("portmap")?;
    if conf.mappings.is_empty() {
        return Ok(());
    }
    forward(request, &conf, &result, Claim::Present)
}

fn forward(request: &Request, conf: &Conf, result: &CniResult, claim: Claim) -> Result<(), Error> {
    let owner = owner_of(request);
    let mut socket = Socket::netfilter()?;
    for pod in pod_addresses(result, &request.ifname) {
        apply::forward(&mut socket, conf, pod, &owner, claim)?;
        apply::forget_flows(&mut socket, conf, pod)?;
    }
    Ok(())
}

/// Stops forwarding the pod's ports. Finds them by the owner's name, because the configuration may have changed.
pub fn del(request: &Request) -> Result<(), Error> {
    remove(request)
}

fn remove(request: &Request) -> Result<(), Error> {
    let owner = owner_of(request);
    Ok(apply::remove(&mut Socket::netfilter()?, |found| found == owner)?)
}

/// Whether the pod's ports are still forwarded.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let (_, result) = request.chained("portmap")?;
    let owner = owner_of(request);
    let mut socket = Socket::netfilter()?;
    for pod in pod_addresses(&result, &request.ifname) {
        if let Some(difference) = apply::missing(&mut socket, &conf, pod, &owner)? {
            return Err(Error::changed(difference));
        }
    }
    Ok(())
}

/// Whether ADD could work.
pub fn status(request: &Request) -> Result<(), Error> {
    conf::read(request).map(|_| ())
}

/// Stops forwarding the ports of this network's pods that no longer exist.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    Ok(apply::remove(&mut Socket::netfilter()?, is_gone(request, valid))?)
}
