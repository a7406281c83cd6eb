//! Sets a plan's queues, in order, and takes them back when a step fails.

use std::collections::BTreeSet;

use super::plan::{IFB_PREFIX, Plan};
use crate::netlink::link::{self, Link};
use crate::netlink::socket::{NetlinkError, Socket};
use crate::netlink::traffic::{self, TokenBucket};
use crate::netns;
use crate::request::Request;
use crate::types::{CniResult, Code, Error};

/// The host's end of a pod's veth, with a socket beside it.
#[derive(Debug)]
pub struct Shaper {
    socket: Socket,
    port: Link,
}

impl Shaper {
    /// Finds the host's end of the interface that this call is about. Only one that the result names counts: the number
    /// of the other end says nothing if that is in a third namespace.
    pub fn open(request: &Request, result: &CniResult) -> Result<Self, Error> {
        let name = request.ifname.as_str();
        let mut pod = netns::open_socket(&netns::open(request.netns()?)?)?;
        let interface = link::by_name(&mut pod.0, name)?
            .ok_or_else(|| Error::new(Code::UnknownContainer, format!("the pod has no interface {name}")))?;
        let mut socket = Socket::route()?;
        let port = match interface.peer {
            Some(index) if interface.kind == "veth" => link::by_index(&mut socket, index)?,
            _ => None,
        };
        let named = |port: &Link| {
            let interfaces = &mut result.interfaces.iter();
            interfaces.any(|one| one.sandbox.is_empty() && one.name == port.name)
        };
        let port = port.filter(named).ok_or_else(|| {
            Error::invalid(format!(
                "{name} is no veth whose other end prevResult names; bandwidth can only limit such interfaces"
            ))
        })?;
        Ok(Shaper { socket, port })
    }

    /// For an interface of which `port` is the host's end.
    pub fn new(port: Link) -> Result<Self, Error> {
        let socket = Socket::route()?;
        Ok(Shaper { socket, port })
    }

    /// Sets the queues, and returns the ifb if there is one.
    pub fn limit(&mut self, plan: &Plan) -> Result<Option<Link>, Error> {
        if let Some(bucket) = plan.ingress {
            traffic::add_token_bucket(&mut self.socket, &self.port, bucket)?;
        }
        let Some(bucket) = plan.egress else {
            return Ok(None);
        };
        let limited = self.limit_sent(plan, bucket);
        if limited.is_err() && plan.ingress.is_some() {
            // The first error is the one to report.
            let _ = traffic::remove(&mut self.socket, &self.port, true);
        }
        Ok(Some(limited?))
    }

    fn limit_sent(&mut self, plan: &Plan, bucket: TokenBucket) -> Result<Link, Error> {
        let (socket, port) = (&mut self.socket, &self.port);
        link::add_ifb(socket, &plan.ifb, port.mtu, plan.group)?;
        let ifb = link::by_name(socket, &plan.ifb)?
            .ok_or_else(|| Error::new(Code::Kernel, format!("{} disappeared during setup", plan.ifb)))?;
        let mut has_ingress = false;
        // The queue comes before the packets: what waits elsewhere is lost.
        let done = traffic::add_token_bucket(socket, &ifb, bucket)
            .and_then(|()| traffic::add_ingress(socket, port))
            .inspect(|()| has_ingress = true)
            .and_then(|()| traffic::redirect(socket, port, &ifb));
        if done.is_err() {
            if has_ingress {
                let _ = traffic::remove(socket, port, false);
            }
            let _ = link::delete(socket, &ifb);
        }
        done?;
        Ok(ifb)
    }

    /// The first difference between the plan and the kernel.
    pub fn difference(&mut self, plan: &Plan) -> Result<Option<String>, Error> {
        let (socket, port) = (&mut self.socket, &self.port);
        if let Some(bucket) = plan.ingress
            && let Some(difference) = queue_difference(socket, port, bucket)?
        {
            return Ok(Some(difference));
        }
        let Some(bucket) = plan.egress else {
            return Ok(None);
        };
        let Some(ifb) = link::by_name(socket, &plan.ifb)? else {
            return Ok(Some(format!("interface {} is gone", plan.ifb)));
        };
        if let Some(difference) = queue_difference(socket, &ifb, bucket)? {
            return Ok(Some(difference));
        }
        let redirected = traffic::redirects(socket, port, &ifb)?;
        Ok((!redirected).then(|| format!("what {} receives is not redirected to {}", port.name, ifb.name)))
    }
}

fn queue_difference(
    socket: &mut Socket,
    link: &Link,
    wanted: TokenBucket,
) -> Result<Option<String>, NetlinkError> {
    let queues = traffic::list(socket, link)?;
    let found = queues.iter().find(|queue| queue.root);
    Ok(match found.and_then(|queue| queue.bucket) {
        Some(bucket) if bucket == wanted => None,
        Some(_) => Some(format!("the limit of {} is another one", link.name)),
        None => Some(format!("{} has no limit", link.name)),
    })
}

/// Removes a container's ifb. A missing one is not an error; an interface of another kind is somebody else's.
pub fn remove_ifb(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    match link::by_name(socket, name)? {
        Some(found) if found.kind == "ifb" => link::delete(socket, &found),
        _ => Ok(()),
    }
}

/// Removes all ifbs of a group but those named.
pub fn remove_others(socket: &mut Socket, group: u32, valid: &BTreeSet<String>) -> Result<(), NetlinkError> {
    for found in link::list(socket)? {
        let is_ours = found.kind == "ifb" && found.group == group && found.name.starts_with(IFB_PREFIX);
        if is_ours && !valid.contains(&found.name) {
            link::delete(socket, &found)?;
        }
    }
    Ok(())
}
