//! The node's first network: its subnet, the CNI configuration, and what forwarding needs.
//!
//! Done once at the agent's start; pods are attached by the CNI plugins, which the runtime calls. Another
//! network's configuration is respected: then this room changes nothing on the machine.

pub mod conflist;
pub mod loopback;
pub mod subnet;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use tokio_util::sync::CancellationToken;

use subnet::{HostRoute, SubnetError};

/// How often the host's firewall is looked at.
const LOOK_AT_FIREWALL: Duration = Duration::from_secs(60);

/// Why the network is not set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No subnet.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// The kernel does not tell its routes.
    #[error("the kernel does not tell this host's routes")]
    Routes(#[source] io::Error),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried: `read`, `write`, `remove`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What the network needs to know.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// The pod network that the node's subnet is taken from.
    pub network: Ipv4Net,
    /// The subnet asked for.
    pub subnet: Option<Ipv4Net>,
    /// The directory of CNI configurations.
    pub conf_dir: PathBuf,
    /// host-local's store.
    pub data_dir: PathBuf,
    /// Where it is kept what forwarding was before.
    pub state_dir: PathBuf,
}

/// Whose network the pods are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Ours, with this subnet.
    Ours(Ipv4Net),
    /// Another one's, by this configuration.
    Foreign(PathBuf),
}

/// Sets the network up, or finds that another one is there.
pub async fn set_up(settings: &NetworkSettings) -> Result<Network, NetworkError> {
    let file = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| NetworkError::File { doing, path, source }
    };
    let ours = settings.conf_dir.join(conflist::FILE);
    let foreign = conflist::foreign(&settings.conf_dir).map_err(file("read", &settings.conf_dir))?;
    if let Some(other) = foreign.into_iter().next() {
        // Two configurations would leave it to their names which one wins.
        remove_if_there(&ours).map_err(file("remove", &ours))?;
        return Ok(Network::Foreign(other));
    }
    let written = match std::fs::read_to_string(&ours) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => Some(text.map_err(file("read", &ours))?),
    };
    let before = written.as_deref().and_then(conflist::subnet_of);
    let routes = host_routes().await.map_err(NetworkError::Routes)?;
    let chosen = subnet::choose(
        settings.network,
        settings.subnet,
        before,
        &routes,
        conflist::BRIDGE,
    )?;
    let text = conflist::render(chosen, &settings.data_dir);
    if written.as_deref() != Some(&text) {
        write_whole(&ours, &text).map_err(file("write", &ours))?;
    }
    let forward = Path::new(FORWARD);
    enable_forwarding(forward, &settings.state_dir).map_err(file("write", forward))?;
    Ok(Network::Ours(chosen))
}

/// Takes our configuration away: from now on another plugin connects the pods. Whether there was one.
pub fn give_way(conf_dir: &Path) -> Result<bool, NetworkError> {
    let ours = conf_dir.join(conflist::FILE);
    let was_there = ours.exists();
    remove_if_there(&ours).map_err(|source| NetworkError::File {
        doing: "remove",
        path: ours,
        source,
    })?;
    Ok(was_there)
}

/// Lets packets of the pods through where the host's own firewall drops what it forwards, now and again later:
/// another program (Docker does) may close it at any time. Runs until cancelled.
pub async fn keep_open(cancel: CancellationToken) {
    let mut told = Vec::new();
    let mut tick = tokio::time::interval(LOOK_AT_FIREWALL);
    loop {
        // Both arms only wait.
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        let allowed = tokio::task::spawn_blocking(|| gantry_cni::forwarding::allow(conflist::BRIDGE)).await;
        match allowed.expect("talking to the kernel does not panic") {
            Ok(forwarding) => {
                for chain in forwarding.opened {
                    tracing::info!(
                        chain,
                        "the firewall dropped what it forwards: the pods' packets are let through"
                    );
                }
                if forwarding.closed != told && !forwarding.closed.is_empty() {
                    tracing::warn!(
                        chains = ?forwarding.closed,
                        "these firewall chains drop what they forward: pods may not reach the outside until they accept \
                         packets from and to {}",
                        conflist::BRIDGE
                    );
                }
                told = forwarding.closed;
            }
            Err(error) => {
                tracing::warn!(%error, "the firewall cannot be read: pods may not reach the outside")
            }
        }
    }
}

/// Undoes [`set_up`]: the configuration and the changed setting; what the plugins made is theirs to remove.
pub fn tear_down(conf_dir: &Path, state_dir: &Path) -> Result<(), NetworkError> {
    give_way(conf_dir)?;
    let kept = state_dir.join(FORWARD_BEFORE);
    if let Ok(before) = std::fs::read_to_string(&kept) {
        let written = std::fs::write(FORWARD, before).and_then(|()| remove_if_there(&kept));
        written.map_err(|source| NetworkError::File {
            doing: "write",
            path: FORWARD.into(),
            source,
        })?;
    }
    Ok(())
}

/// host-local's store of addresses, its own default.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// Routing between devices, without which no packet leaves a pod's network (kernel: *ip-sysctl*).
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD_BEFORE: &str = "ip_forward.before";

fn enable_forwarding(setting: &Path, state_dir: &Path) -> io::Result<()> {
    let before = std::fs::read_to_string(setting)?;
    if before.trim() == "1" {
        return Ok(());
    }
    std::fs::create_dir_all(state_dir)?;
    std::fs::write(state_dir.join(FORWARD_BEFORE), &before)?;
    std::fs::write(setting, "1\n")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file so that a reader sees all of it or none: the runtime watches the directory.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

/// The IPv4 unicast routes of the main table.
async fn host_routes() -> io::Result<Vec<HostRoute>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let result = async {
        let mut names = std::collections::HashMap::new();
        let mut links = handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(io::Error::other)? {
            for attribute in link.attributes {
                if let netlink_packet_route::link::LinkAttribute::IfName(name) = attribute {
                    names.insert(link.header.index, name);
                }
            }
        }
        let query = rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let mut found = Vec::new();
        let mut routes = handle.route().get(query).execute();
        while let Some(route) = routes.try_next().await.map_err(io::Error::other)? {
            found.extend(host_route(&route, &names));
        }
        Ok(found)
    }
    .await;
    connection.abort();
    result
}

fn host_route(route: &RouteMessage, names: &std::collections::HashMap<u32, String>) -> Option<HostRoute> {
    const MAIN: u8 = 254;
    if route.header.kind != RouteType::Unicast || route.header.table != MAIN {
        return None;
    }
    let mut address = std::net::Ipv4Addr::UNSPECIFIED;
    let mut device = String::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = *to,
            RouteAttribute::Oif(index) => device = names.get(index).cloned().unwrap_or_default(),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(address, route.header.destination_prefix_length).ok()?;
    Some(HostRoute { destination, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forwarding_was_is_kept_only_when_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let setting = dir.path().join("ip_forward");
        std::fs::write(&setting, "0\n").unwrap();
        enable_forwarding(&setting, dir.path()).unwrap();
        enable_forwarding(&setting, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&setting).unwrap(), "1\n");
        assert_eq!(
            std::fs::read_to_string(dir.path().join(FORWARD_BEFORE)).unwrap(),
            "0\n"
        );
    }

    #[tokio::test]
    async fn another_networks_configuration_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("10-other.conflist");
        std::fs::write(&other, "{}").unwrap();
        std::fs::write(dir.path().join(conflist::FILE), "{}").unwrap();
        let settings = NetworkSettings {
            network: "10.244.0.0/16".parse().unwrap(),
            subnet: None,
            conf_dir: dir.path().to_owned(),
            data_dir: dir.path().join("data"),
            state_dir: dir.path().join("state"),
        };
        assert_eq!(set_up(&settings).await.unwrap(), Network::Foreign(other.clone()));
        assert_eq!(std::fs::read_to_string(other).unwrap(), "{}");
        assert!(!dir.path().join(conflist::FILE).exists());
        assert!(!dir.path().join("state").exists());
    }

    #[tokio::test]
    async fn the_kernel_tells_its_routes() {
        let shown = std::fs::read_to_string("/proc/net/route").unwrap();
        let unicast = shown.lines().skip(1).filter(|line| !line.is_empty()).count();
        assert_eq!(host_routes().await.unwrap().len(), unicast);
    }
}
