//! `loopback`: sets `lo` up in the pod.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use crate::netlink::addr;
use crate::netlink::link::{self, Link};
use crate::netlink::socket::PodNet;
use crate::netns::{self, NetnsError};
use crate::request::Request;
use crate::types::{CniResult, Code, Error, Interface, IpConfig};

/// The interface, whatever `CNI_IFNAME` says.
const LOOPBACK: &str = "lo";

/// Sets `lo` up. In a plugin list it returns the result of the previous plugins.
pub fn add(request: &Request) -> Result<Value, Error> {
    let (mut pod, lo) = open(request.netns()?)?;
    link::set_up(&mut pod.0, &lo, true)?;
    let mut ips = Vec::new();
    for like in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        let addresses = addr::list(&mut pod.0, &lo, like)?;
        if let Some(other) = addresses.iter().find(|address| !address.addr().is_loopback()) {
            return Err(Error::invalid(format!(
                "lo in the pod has address {other}, which is not a loopback address"
            )));
        }
        ips.extend(addresses.first().map(|address| IpConfig {
            interface: Some(0),
            address: *address,
            gateway: None,
        }));
    }
    if let Some(previous) = request
        .config
        .get("prevResult")
        .filter(|previous| !previous.is_null())
    {
        return Ok(previous.clone());
    }
    let interface = Interface {
        name: LOOPBACK.to_string(),
        mac: "00:00:00:00:00:00".to_string(),
        mtu: Some(lo.mtu),
        sandbox: request.netns()?.to_string_lossy().into_owned(),
    };
    Ok(CniResult {
        interfaces: vec![interface],
        ips,
        ..CniResult::default()
    }
    .to_json(request.version))
}

/// Sets `lo` down, if the pod still exists.
pub fn del(request: &Request) -> Result<(), Error> {
    let Some(path) = &request.netns else { return Ok(()) };
    let namespace = match netns::open(path) {
        Err(NetnsError::Gone { .. }) => return Ok(()),
        other => other?,
    };
    let mut pod = netns::open_socket(&namespace)?;
    match link::by_name(&mut pod.0, LOOPBACK)? {
        Some(lo) => Ok(link::set_up(&mut pod.0, &lo, false)?),
        None => Ok(()),
    }
}

/// Whether `lo` is up.
pub fn check(request: &Request) -> Result<(), Error> {
    let (_, lo) = open(request.netns()?)?;
    if lo.up {
        Ok(())
    } else {
        Err(Error::changed("lo in the pod is down"))
    }
}

fn open(path: &Path) -> Result<(PodNet, Link), Error> {
    let mut pod = netns::open_socket(&netns::open(path)?)?;
    let lo = link::by_name(&mut pod.0, LOOPBACK)?;
    let lo = lo.ok_or_else(|| Error::new(Code::Kernel, "the pod's network namespace has no lo"))?;
    Ok((pod, lo))
}
