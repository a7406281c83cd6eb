//! `bandwidth`: limits how fast a pod receives and sends. Runs after the plugin that connected the pod by a veth.
//!
//! What the pod receives waits in the queue of the veth's host end. What it sends arrives there without a queue, so it is
//! redirected to a device of its own (an ifb) that has one.

pub mod apply;
pub mod conf;
pub mod plan;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bandwidth::apply::Shaper;
use crate::netlink::socket::Socket;
use crate::request::{Attachment, Request};
use crate::types::Error;

/// Limits the pod's bandwidth.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let (mut previous, result) = request.chained("bandwidth")?;
    let plan = plan::plan(&conf, &request.network, &request.container_id);
    if plan.is_empty() {
        return Ok(previous);
    }
    let mut shaper = Shaper::open(request, &result)?;
    if let Some(ifb) = shaper.limit(&plan)? {
        let interface = json!({ "name": ifb.name, "mac": ifb.mac.map(|mac| mac.to_string()) });
        match previous.get_mut("interfaces").and_then(Value::as_array_mut) {
            Some(interfaces) => interfaces.push(interface),
            None => previous["interfaces"] = json!([interface]),
        }
    }
    Ok(previous)
}

/// Removes the pod's ifb. The queues of its veth go with the veth.
pub fn del(request: &Request) -> Result<(), Error> {
    let name = plan::ifb_name(&request.network, &request.container_id);
    Ok(apply::remove_ifb(&mut Socket::route()?, &name)?)
}

/// Whether the limits are what ADD has set.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let (_, result) = request.chained("bandwidth")?;
    let plan = plan::plan(&conf, &request.network, &request.container_id);
    if plan.is_empty() {
        return Ok(());
    }
    let difference = Shaper::open(request, &result)?.difference(&plan)?;
    difference.map_or(Ok(()), |difference| Err(Error::changed(difference)))
}

/// Whether ADD could work.
pub fn status(request: &Request) -> Result<(), Error> {
    conf::read(request).map(|_| ())
}

/// Removes the ifbs of this network's pods that no longer exist.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    let valid: BTreeSet<String> = valid
        .iter()
        .map(|one| plan::ifb_name(&request.network, &one.container_id))
        .collect();
    Ok(apply::remove_others(
        &mut Socket::route()?,
        plan::group(&request.network),
        &valid,
    )?)
}
