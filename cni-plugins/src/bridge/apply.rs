//! Executes a plan, in order, and reverts it when a step fails.

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::errno::Errno;

use super::conf::{Conf, ContainerInterface, Gateway, Reflection};
use super::included::Work;
use super::masquerade;
use super::plan::{Plan, host_end};
use crate::netlink::addr::Detection;
use crate::netlink::link::{self, Link, Mac, NewVeth};
use crate::netlink::socket::{HostNet, PodNet, Socket};
use crate::netlink::{addr, route};
use crate::request::Request;
use crate::types::{CniResult, Code, Error, Interface};
use crate::{netns, sysctl};

/// How long the kernel may take until the bridge forwards for a new port.
const PORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long duplicate address detection may take; as long as the original plugin waits.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the kernel may take until the host can send into a bridge with its first port.
const BRIDGE_TIMEOUT: Duration = Duration::from_millis(500);

/// The pod's namespace and the sockets into both.
#[derive(Debug)]
pub struct Nets {
    /// The host's side.
    pub host: HostNet,
    /// The pod's side.
    pub pod: PodNet,
    /// The pod's namespace itself.
    pub namespace: File,
}

impl Nets {
    /// Opens both sides.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let namespace = netns::open(path)?;
        let pod = netns::open_socket(&namespace)?;
        Ok(Nets {
            host: HostNet(Socket::route()?),
            pod,
            namespace,
        })
    }
}

/// Connects the pod. After a failure the pod has no interface; the bridge, which belongs to the network, stays.
pub fn connect(
    request: &Request,
    conf: &Conf,
    plan: Plan,
    work: &Work,
    nets: &mut Nets,
) -> Result<CniResult, Error> {
    let bridge = ensure_bridge(&mut nets.host, conf)?;
    let port = add_veth(request, conf, nets, &bridge)?;
    let connected = configure(request, conf, &plan, nets, &bridge, &port)
        .and_then(|pod| describe(request, plan, [&bridge, &port, &pod]))
        .and_then(|result| work.add(request, &port, result));
    if connected.is_err() {
        // Deleting one end deletes both. The first error is the one to report.
        let _ = link::delete(&mut nets.host.0, &port);
    }
    connected
}

/// The result of ADD.
fn describe(request: &Request, plan: Plan, [bridge, port, pod]: [&Link; 3]) -> Result<CniResult, Error> {
    let interface = |link: &Link, sandbox: &str| Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(link.mtu),
        sandbox: sandbox.to_string(),
    };
    let sandbox = request.netns()?.to_string_lossy();
    let interfaces = vec![
        interface(bridge, ""),
        interface(port, ""),
        interface(pod, &sandbox),
    ];
    Ok(CniResult {
        interfaces,
        ..plan.result
    })
}

fn configure(
    request: &Request,
    conf: &Conf,
    plan: &Plan,
    nets: &mut Nets,
    bridge: &Link,
    port: &Link,
) -> Result<Link, Error> {
    sysctl::prefer(&format!("net/ipv6/conf/{}/accept_ra", port.name), "0");
    if conf.reflection == Reflection::Hairpin {
        link::set_hairpin(&mut nets.host.0, port)?;
    }
    if conf.isolated {
        link::isolate(&mut nets.host.0, port)?;
    }
    let pod = configure_pod(request, conf, plan, nets)?;
    for gateway in &plan.gateways {
        ensure_address(&mut nets.host, bridge, *gateway, conf.force_address)?;
    }
    if conf.gateway != Gateway::None {
        enable_forwarding(&plan.gateways)?;
    }
    if !plan.masquerade.is_empty() {
        masquerade::ensure(&mut Socket::netfilter()?, &request.network, &plan.masquerade)?;
    }
    if conf.container_interface == ContainerInterface::Up {
        wait_until_operational(&mut nets.host, port, bridge)?;
    }
    if conf.duplicate_detection {
        wait_until_unique(plan, &pod, nets)?;
    }
    Ok(pod)
}

/// Addresses first, then up, then routes: the announcement of `arp_notify` goes out when the interface comes up,
/// and routes need it up.
fn configure_pod(request: &Request, conf: &Conf, plan: &Plan, nets: &mut Nets) -> Result<Link, Error> {
    let name = request.ifname.as_str();
    let has_ipv6 = plan.addresses.iter().any(|address| address.addr().is_ipv6());
    netns::with(&nets.namespace, || {
        sysctl::prefer(&format!("net/ipv4/conf/{name}/arp_notify"), "1");
        let detection = if conf.duplicate_detection { "1" } else { "0" };
        sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_dad"), detection);
        if conf.ipam.is_some() {
            // Addresses and routes come from the IPAM plugin: any pod on the bridge could announce others
            // (CVE-2020-10749). A network without an IPAM plugin may depend on router advertisements.
            sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
        }
        if has_ipv6 {
            sysctl::ensure("net/ipv6/conf/lo/disable_ipv6", "0")?;
            sysctl::ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
            sysctl::ensure(&format!("net/ipv6/conf/{name}/keep_addr_on_down"), "1")?;
        }
        Ok::<(), sysctl::SysctlError>(())
    })??;
    let pod = link::by_name(&mut nets.pod.0, name)?.ok_or_else(|| {
        Error::new(
            Code::Kernel,
            format!("{name} disappeared from the pod during setup"),
        )
    })?;
    let detection = if conf.duplicate_detection {
        Detection::Kernel
    } else {
        Detection::None
    };
    for address in &plan.addresses {
        addr::add(&mut nets.pod.0, &pod, *address, detection)?;
    }
    if conf.container_interface == ContainerInterface::Up {
        link::set_up(&mut nets.pod.0, &pod, true)?;
    }
    for wanted in &plan.routes {
        route::add(&mut nets.pod.0, &pod, wanted)?;
    }
    Ok(pod)
}

fn ensure_bridge(host: &mut HostNet, conf: &Conf) -> Result<Link, Error> {
    let name = conf.bridge.as_str();
    let found = match link::by_name(&mut host.0, name)? {
        Some(found) => found,
        None => {
            let mtu = conf.mtu.or(uplink_mtu(host)?);
            match link::add_bridge(&mut host.0, name, random_mac()?, mtu) {
                Ok(()) => {
                    // Its address is random; duplicate address detection would keep the host from resolving its pods'
                    // addresses for a second or two after the first pod.
                    sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
                }
                // The ADD of another pod was faster.
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            link::by_name(&mut host.0, name)?
                .ok_or_else(|| Error::new(Code::Kernel, format!("bridge {name} disappeared during setup")))?
        }
    };
    if found.kind != "bridge" {
        return Err(Error::invalid(format!(
            "interface {name:?} exists but is not a bridge; choose another bridge name"
        )));
    }
    // Regardless of which program created it: its routes are managed here, and none are accepted from router
    // advertisements of pods (CVE-2020-10749).
    sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    if !found.up {
        link::set_up(&mut host.0, &found, true)?;
    }
    if conf.reflection == Reflection::Promiscuous && found.promiscuity == 0 {
        link::set_promiscuous(&mut host.0, &found)?;
    }
    Ok(found)
}

/// The MTU of the interface by which this host reaches the rest of the world; `None` if it reaches nobody. Packets of pods
/// that are larger would be cut or, worse, lost. The addresses are of networks that only documents have (RFC 5737, RFC
/// 9637), so what leads there is the default route.
fn uplink_mtu(host: &mut HostNet) -> Result<Option<u32>, Error> {
    for anywhere in [
        IpAddr::from([198, 51, 100, 1]),
        IpAddr::from([0x3fff, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        if let Some(index) = route::interface_towards(&mut host.0, anywhere)?
            && let Some(uplink) = link::by_index(&mut host.0, index)?
        {
            // A default route to `lo`, which takes more than other interfaces can, leads nowhere.
            return Ok(Some(uplink.mtu).filter(|mtu| *mtu <= 65535));
        }
    }
    Ok(None)
}

fn add_veth(request: &Request, conf: &Conf, nets: &mut Nets, bridge: &Link) -> Result<Link, Error> {
    for attempt in 0..8 {
        let host_name = host_end(request, attempt);
        let veth = NewVeth {
            host_name: &host_name,
            bridge: bridge.index,
            pod_name: &request.ifname,
            pod_netns: &nets.namespace,
            pod_mac: conf.mac,
            // Larger packets than the other pods take would be lost between them.
            mtu: conf.mtu.or(Some(bridge.mtu)),
        };
        match link::add_veth(&mut nets.host.0, &veth) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(Errno::EEXIST) => {
                ensure_free(request, nets)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        return link::by_name(&mut nets.host.0, &host_name)?
            .ok_or_else(|| Error::new(Code::Kernel, format!("{host_name} disappeared during setup")));
    }
    Err(Error::new(
        Code::TryAgainLater,
        "no free name for the host end of the veth",
    ))
}

/// An error if the pod has the interface already.
pub fn ensure_free(request: &Request, nets: &mut Nets) -> Result<(), Error> {
    match link::by_name(&mut nets.pod.0, &request.ifname)? {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "interface {} already exists in the pod; call DEL first",
            request.ifname
        ))),
    }
}

/// Waits until duplicate address detection for the pod's IPv6 addresses is done. It starts when the bridge forwards.
fn wait_until_unique(plan: &Plan, pod: &Link, nets: &mut Nets) -> Result<(), Error> {
    let begin = Instant::now();
    let asked: Vec<_> = plan
        .addresses
        .iter()
        .filter(|address| address.addr().is_ipv6())
        .collect();
    loop {
        let states = addr::states(&mut nets.pod.0, pod)?;
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

/// Gives the bridge the gateway's address. Another IPv4 address, or an overlapping IPv6 one, conflicts with it.
fn ensure_address(host: &mut HostNet, bridge: &Link, wanted: IpNet, force: bool) -> Result<(), Error> {
    let found = addr::list(&mut host.0, bridge, wanted.addr())?;
    if found.contains(&wanted) {
        return Ok(());
    }
    for other in found {
        if wanted.addr().is_ipv6() && !other.contains(&wanted.addr()) && !wanted.contains(&other.addr()) {
            continue;
        }
        if !force {
            let msg = format!(
                "bridge {:?} has address {other}, not {wanted}: remove it, correct ipam, or set forceAddress",
                bridge.name
            );
            return Err(Error::invalid(msg));
        }
        addr::delete(&mut host.0, bridge, other)?;
    }
    match addr::add(&mut host.0, bridge, wanted, Detection::None) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => return Ok(()),
        other => other?,
    }
    // The address of a bridge that another program created may change with its ports. From now on it is fixed, because
    // the bridge is the gateway.
    if let Some(mac) = bridge.mac {
        link::set_mac(&mut host.0, bridge, mac)?;
    }
    Ok(())
}

fn enable_forwarding(gateways: &[IpNet]) -> Result<(), Error> {
    if gateways.iter().any(|gateway| gateway.addr().is_ipv4()) {
        sysctl::ensure("net/ipv4/ip_forward", "1")?;
    }
    if gateways.iter().any(|gateway| gateway.addr().is_ipv6()) {
        sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// The kernel propagates a carrier change from a work queue: until it reaches the port, the bridge forwards nothing for
/// the pod, and until it reaches the bridge, the host sends nothing. The pod's first packets would be lost.
fn wait_until_operational(host: &mut HostNet, port: &Link, bridge: &Link) -> Result<(), Error> {
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

/// A locally administered unicast address.
fn random_mac() -> Result<Mac, Error> {
    use std::io::Read;
    let mut bytes = [0; 6];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Error::new(Code::Io, format!("cannot read /dev/urandom: {error}")))?;
    bytes[0] = bytes[0] & 0xfe | 0x02;
    Ok(Mac(bytes))
}

/// Deletes the pod's interface, and with it the peer. A missing interface, or a missing pod, is not an error.
pub fn disconnect(path: &Path, ifname: &str) -> Result<(), Error> {
    let namespace = match netns::open(path) {
        Err(netns::NetnsError::Gone { .. }) => return Ok(()),
        other => other?,
    };
    let mut pod = netns::open_socket(&namespace)?;
    if let Some(found) = link::by_name(&mut pod.0, ifname)? {
        link::delete(&mut pod.0, &found)?;
    }
    Ok(())
}
