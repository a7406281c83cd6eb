//! Waits until the kernel has done what it does in its own time.

use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::netlink::addr;
use crate::netlink::link::{self, Link};
use crate::netlink::socket::{HostNet, PodNet};
use crate::types::{Code, Error};

/// How long the kernel may take until the bridge forwards for a new port.
const PORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long duplicate address detection may take; as long as the original plugin waits.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the kernel may take until the host can send into a bridge with its first port.
const BRIDGE_TIMEOUT: Duration = Duration::from_millis(500);

/// The kernel propagates a carrier change from a work queue: until it reaches the port, the bridge forwards nothing for
/// the pod, and until it reaches the bridge, the host sends nothing. The pod's first packets would be lost.
pub(super) fn until_operational(host: &mut HostNet, port: &Link, bridge: &Link) -> Result<(), Error> {
    if !is_operational_within(host, port, PORT_TIMEOUT)? {
        let msg = format!("the bridge does not forward for {}: it has no carrier", port.name);
        return Err(Error::new(Code::Kernel, msg));
    }
    if !bridge.operational {
        // A bridge with the spanning tree protocol takes half a minute; that is its owner's choice.
        is_operational_within(host, bridge, BRIDGE_TIMEOUT)?;
    }
    Ok(())
}

fn is_operational_within(host: &mut HostNet, link: &Link, timeout: Duration) -> Result<bool, Error> {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match link::by_name(&mut host.0, &link.name)? {
            Some(now) if now.operational => return Ok(true),
            Some(_) if begin.elapsed() < timeout => std::thread::sleep(pause),
            _ => return Ok(false),
        }
        // Nearly always it takes less than two milliseconds, for which nobody should wait twice as long.
        if begin.elapsed() > Duration::from_millis(2) {
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Waits until duplicate address detection for the pod's IPv6 addresses is done. It starts when the bridge forwards.
pub(super) fn until_unique(plan: &Plan, pod: &Link, socket: &mut PodNet) -> Result<(), Error> {
    let begin = Instant::now();
    let asked: Vec<_> = plan
        .addresses
        .iter()
        .filter(|address| address.addr().is_ipv6())
        .collect();
    loop {
        let states = addr::states(&mut socket.0, pod)?;
        let of = |wanted: addr::State| {
            asked
                .iter()
                .find(|address| states.get(&address.addr()).is_none_or(|state| *state == wanted))
        };
        if let Some(duplicate) = of(addr::State::Duplicate) {
            return Err(Error::new(
                Code::Kernel,
                format!("{} is already in use on this link", duplicate.addr()),
            ));
        }
        match of(addr::State::Tentative) {
            None => return Ok(()),
            Some(_) if begin.elapsed() < DETECTION_TIMEOUT => std::thread::sleep(Duration::from_millis(10)),
            Some(address) => {
                return Err(Error::new(
                    Code::Kernel,
                    format!(
                        "the kernel did not finish duplicate address detection for {}",
                        address.addr()
                    ),
                ));
            }
        }
    }
}
