//! What other plugins do after `bridge`, done by `bridge` itself where its configuration says so: `"includes": ["portmap",
//! "bandwidth"]`. A runtime runs every plugin of a list for every pod, and most pods have neither a port of the host nor a
//! limit. The included plugins' keys, and what the runtime passes for their capabilities, are read from the configuration
//! of `bridge`; their rules and devices have the same names as those of the plugins in a list, so that either removes and
//! checks what the other has made.

use std::collections::BTreeSet;

use crate::bandwidth::apply::Shaper;
use crate::netlink::link::Link;
use crate::request::{Attachment, Request};
use crate::types::{CniResult, Error, Interface};
use crate::{bandwidth, portmap};

/// A plugin whose work `bridge` can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Included {
    /// Forwards ports of the host.
    Portmap,
    /// Limits the bandwidth of a pod.
    Bandwidth,
}

/// Reads `includes`.
pub(super) fn read(written: &[String]) -> Result<BTreeSet<Included>, Error> {
    let one = |name: &String| match name.as_str() {
        "portmap" => Ok(Included::Portmap),
        "bandwidth" => Ok(Included::Bandwidth),
        other => Err(Error::invalid(format!(
            "includes: bridge cannot do the work of {other:?}, only that of portmap and bandwidth; add {other:?} to \
             the list of plugins"
        ))),
    };
    written.iter().map(one).collect()
}

/// What ADD does for one pod.
#[derive(Debug)]
pub struct Work {
    ports: Option<portmap::conf::Conf>,
    limits: Option<bandwidth::plan::Plan>,
}

impl Work {
    /// Reads the keys of the included plugins.
    pub fn read(request: &Request, included: &BTreeSet<Included>) -> Result<Self, Error> {
        let (mut ports, mut limits) = (None, None);
        for one in included {
            match one {
                Included::Portmap => ports = Some(portmap::conf::read(request)?),
                Included::Bandwidth => {
                    let read = bandwidth::conf::read(request)?;
                    let plan = || bandwidth::plan::plan(&read, &request.network, &request.container_id);
                    limits = (read != bandwidth::conf::Conf::default()).then(plan);
                }
            }
        }
        Ok(Work { ports, limits })
    }

    /// Does it for a pod that is connected by `port`, and completes the result. After a failure nothing of it is left,
    /// except for queues of the port.
    pub fn add(&self, request: &Request, port: &Link, mut result: CniResult) -> Result<CniResult, Error> {
        if let Some(ports) = &self.ports {
            portmap::add_for(request, ports, &result)?;
        }
        let Some(limits) = &self.limits else {
            return Ok(result);
        };
        let limited = Shaper::new(port.clone()).and_then(|mut shaper| shaper.limit(limits));
        if limited.is_err() && self.ports.is_some() {
            // The first error is the one to report.
            let _ = portmap::del(request);
        }
        result.interfaces.extend(limited?.map(|ifb| Interface {
            name: ifb.name,
            mac: ifb.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            ..Interface::default()
        }));
        Ok(result)
    }
}

/// Undoes what ADD did, each part whatever becomes of the others; returns the failures.
pub fn del(request: &Request, included: &BTreeSet<Included>) -> Vec<Error> {
    let one = |included: &Included| match included {
        Included::Portmap => portmap::del(request),
        Included::Bandwidth => bandwidth::del(request),
    };
    included
        .iter()
        .filter_map(|included| one(included).err())
        .collect()
}

/// Checks that all of it is still there.
pub fn check(request: &Request, included: &BTreeSet<Included>) -> Result<(), Error> {
    included.iter().try_for_each(|included| match included {
        Included::Portmap => portmap::check(request),
        Included::Bandwidth => bandwidth::check(request),
    })
}

/// Whether ADD could do it.
pub fn status(request: &Request, included: &BTreeSet<Included>) -> Result<(), Error> {
    included.iter().try_for_each(|included| match included {
        Included::Portmap => portmap::status(request),
        Included::Bandwidth => bandwidth::status(request),
    })
}

/// Sets up again what a flush of the firewall removes.
pub fn restore(request: &Request, included: &BTreeSet<Included>) -> Result<(), Error> {
    included.iter().try_for_each(|included| match included {
        Included::Portmap => portmap::restore(request),
        // Queues are no part of the firewall.
        Included::Bandwidth => Ok(()),
    })
}

/// Removes what is left of attachments that no longer exist; returns the failures.
pub fn collect_garbage(request: &Request, included: &BTreeSet<Included>, valid: &[Attachment]) -> Vec<Error> {
    let one = |included: &Included| match included {
        Included::Portmap => portmap::collect_garbage(request, valid),
        Included::Bandwidth => bandwidth::collect_garbage(request, valid),
    };
    included
        .iter()
        .filter_map(|included| one(included).err())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bridge_cannot_include_is_refused_by_name() {
        let read = |names: &[&str]| read(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap(), BTreeSet::new());
        assert_eq!(
            read(&["bandwidth", "portmap", "portmap"]).unwrap(),
            [Included::Portmap, Included::Bandwidth].into()
        );
        for name in ["firewall", "", "../portmap", "Portmap"] {
            assert!(
                read(&["portmap", name])
                    .unwrap_err()
                    .msg
                    .contains(&format!("{name:?}"))
            );
        }
    }
}
