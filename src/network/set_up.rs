//! Sets the node's network up, gives way to another one, and takes ours away.

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::routes::host_routes;
use super::subnet::{self, HostRoute, SubnetError};
use super::{conflist, forwarding};
use crate::disk::write::{self, Writing, remove_if_there};
use crate::model::pod_network::of_family;

/// host-local's store of addresses, its own default.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// Why the network is not set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No subnet.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// The host's routes cannot be read.
    #[error("cannot read this host's routes")]
    Routes(#[source] io::Error),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The operation: `read`, `write`, `remove`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The network's settings.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// The pod networks that the node's subnets are taken from, one for each IP family that pods have addresses of.
    pub networks: Vec<IpNet>,
    /// The requested subnets.
    pub subnets: Vec<IpNet>,
    /// The directory of CNI configurations.
    pub conf_dir: PathBuf,
    /// host-local's store.
    pub data_dir: PathBuf,
    /// The file that saves the former forwarding setting.
    pub state_dir: PathBuf,
    /// The MTU of pods if the network has several nodes, in bytes.
    pub between: Option<u32>,
    /// The subnets of other nodes: a node that has none yet chooses another one.
    pub taken: Vec<IpNet>,
}

impl NetworkSettings {
    /// The node keeps these subnets, which the cluster may have assigned from other ranges than the configured ones, and has
    /// no others.
    pub(super) fn keep(&mut self, subnets: &[IpNet]) {
        let range = |subnet: &IpNet| {
            let network = of_family(&self.networks, *subnet);
            network
                .filter(|network| network.contains(subnet))
                .unwrap_or(*subnet)
        };
        self.networks = subnets.iter().map(range).collect();
        self.subnets = subnets.to_vec();
    }
}

/// Which network connects the pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    /// Gantry's own, with these subnets.
    Ours(Vec<IpNet>),
    /// Another plugin's, with this configuration.
    Foreign(PathBuf),
}

/// Sets the network up, or finds that another one is configured.
pub(super) async fn set_up(settings: &NetworkSettings) -> Result<Network, NetworkError> {
    let file = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| NetworkError::File { doing, path, source }
    };
    let ours = settings.conf_dir.join(conflist::FILE);
    let foreign = conflist::foreign(&settings.conf_dir).map_err(file("read", &settings.conf_dir))?;
    if let Some(other) = foreign.into_iter().next() {
        // With two configurations their file names would decide which one wins.
        remove_if_there(&ours).map_err(file("remove", &ours))?;
        return Ok(Network::Foreign(other));
    }
    let written = match std::fs::read_to_string(&ours) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => Some(text.map_err(file("read", &ours))?),
    };
    let before = written.as_deref().map(conflist::subnets_of).unwrap_or_default();
    let routes = host_routes().await.map_err(NetworkError::Routes)?;
    let mut chosen = Vec::new();
    for network in &settings.networks {
        chosen.push(subnet::choose(
            *network,
            of_family(&settings.subnets, *network),
            of_family(&before, *network),
            (&routes, &settings.taken),
            conflist::BRIDGE,
        )?);
    }
    let text = conflist::render(&chosen, &settings.data_dir, settings.between);
    if written.as_deref() != Some(&text) {
        write_whole(&ours, &text).map_err(file("write", &ours))?;
    }
    let of_networks = Path::new(forwarding::SETTINGS);
    let is_uplink = |link: &str| {
        let is_default = |route: &HostRoute| route.destination.prefix_len() == 0 && route.device == link;
        // The links of pods and containers are made of software.
        routes.iter().any(is_default) || Path::new("/sys/class/net").join(link).join("device").exists()
    };
    for subnet in &chosen {
        let setting = match subnet {
            IpNet::V4(_) => forwarding::IPV4,
            IpNet::V6(_) => forwarding::IPV6,
        };
        let path = of_networks.join(setting.path);
        forwarding::enable(&setting, of_networks, &settings.state_dir, is_uplink)
            .map_err(file("write", &path))?;
    }
    Ok(Network::Ours(chosen))
}

/// Removes gantry's CNI configuration: from now on another plugin connects the pods. Returns whether there was one.
pub(super) fn give_way(conf_dir: &Path) -> Result<bool, NetworkError> {
    let ours = conf_dir.join(conflist::FILE);
    let was_there = ours.exists();
    remove_if_there(&ours).map_err(|source| NetworkError::File {
        doing: "remove",
        path: ours,
        source,
    })?;
    Ok(was_there)
}

/// Undoes [`set_up`]: the configuration and the changed setting; the plugins remove what they created.
pub fn tear_down(conf_dir: &Path, state_dir: &Path) -> Result<(), NetworkError> {
    give_way(conf_dir)?;
    forwarding::restore(Path::new(forwarding::SETTINGS), state_dir).map_err(|source| NetworkError::File {
        doing: "write",
        path: forwarding::SETTINGS.into(),
        source,
    })
}

/// Writes a file atomically: the runtime watches the directory. After a power failure it is written again.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    write::write(path, text.as_bytes(), Writing::within_umask())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_networks_configuration_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("10-other.conflist");
        std::fs::write(&other, "{}").unwrap();
        std::fs::write(dir.path().join(conflist::FILE), "{}").unwrap();
        let settings = NetworkSettings {
            networks: vec!["10.244.0.0/16".parse().unwrap()],
            subnets: Vec::new(),
            conf_dir: dir.path().to_owned(),
            data_dir: dir.path().join("data"),
            state_dir: dir.path().join("state"),
            between: None,
            taken: Vec::new(),
        };
        assert_eq!(set_up(&settings).await.unwrap(), Network::Foreign(other.clone()));
        assert_eq!(std::fs::read_to_string(other).unwrap(), "{}");
        assert!(!dir.path().join(conflist::FILE).exists());
        assert!(!dir.path().join("state").exists());
    }
}
