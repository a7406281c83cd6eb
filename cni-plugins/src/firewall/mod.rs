//! `firewall`: lets packets of pods through the host's FORWARD chain, and keeps bridges apart where `ingressPolicy` asks for
//! it. Runs after the plugin that connected the pod and passes its result on.
//!
//! The rules are those of interfaces, not of pods: the first pod of a bridge makes them, and they stay with the bridge.

pub mod apply;
pub mod conf;
pub mod rules;
pub mod way;

use serde_json::Value;

use crate::firewall::apply::Host;
use crate::firewall::way::way;
use crate::request::{Attachment, Request};
use crate::types::Error;

/// Lets the pod's packets through.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let (previous, result) = request.chained("firewall")?;
    if let Some(way) = way(&conf, &result)? {
        let mut host = Host::open(request, &conf)?;
        host.open_forward(way.interface)?;
        host.keep_apart(&way, &result)?;
    }
    Ok(previous)
}

/// Removes the rules of the pod's own interface. Those of a bridge stay: it may have other pods.
pub fn del(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let result = request.previous_result()?.unwrap_or_default();
    match way(&conf, &result) {
        Ok(Some(way)) => Host::open(request, &conf)?.close_unless_shared(&way),
        // Then ADD has done nothing.
        _ => Ok(()),
    }
}

/// Whether the rules are those that ADD has made.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let (_, result) = request.chained("firewall")?;
    let Some(way) = way(&conf, &result)? else {
        return Ok(());
    };
    let difference = Host::open(request, &conf)?.difference(way.interface, &result)?;
    difference.map_or(Ok(()), |difference| Err(Error::changed(difference)))
}

/// Whether ADD could work.
pub fn status(request: &Request) -> Result<(), Error> {
    conf::read(request).map(|_| ())
}

/// Removes the rules of interfaces that no longer exist. Those that do are a bridge's, or of pods that are still there: a
/// pod's interface goes with its namespace.
pub fn collect_garbage(request: &Request, _: &[Attachment]) -> Result<(), Error> {
    let conf = conf::read(request)?;
    Host::open(request, &conf)?.close_missing()
}
