//! The way of a pod's packets to the host, as the result of the plugin that connected it shows it: pure.

use super::conf::Conf;
use crate::bridge::vlan::is_gateway_of;
use crate::request::check_interface_name;
use crate::types::{CniResult, Error};

/// How the pod's packets get to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way<'a> {
    /// The interface that they come from.
    pub interface: &'a str,
    /// The bridge, or the host's end of the pod's own link: the same interface, unless the pod is in a VLAN of the bridge, which
    /// has a gateway of its own.
    pub first: &'a str,
}

/// How the pod's packets get to the host: by the first interface in the result, which is the bridge or the host's end of the
/// pod's own link, or by the bridge's gateway in a VLAN. Other networks (macvlan, ipvlan) have none, and the host does not
/// forward for them.
pub fn way<'a>(conf: &Conf, result: &'a CniResult) -> Result<Option<Way<'a>>, Error> {
    let mut on_host = result
        .interfaces
        .iter()
        .filter(|interface| interface.sandbox.is_empty())
        .map(|interface| interface.name.as_str());
    match on_host.next() {
        None if conf.needs_bridge() => Err(Error::invalid(
            "ingressPolicy requires a bridge, and prevResult names no interface of the host; chain firewall after bridge",
        )),
        Some(name) => match check_interface_name(name) {
            Ok(()) => Ok(Some(Way {
                interface: on_host.find(|other| is_gateway_of(name, other)).unwrap_or(name),
                first: name,
            })),
            Err(reason) => Err(Error::invalid(format!(
                "prevResult has an interface {name:?}: it {reason}"
            ))),
        },
        None => Ok(None),
    }
}
