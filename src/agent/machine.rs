//! What the agent reads of this machine, and sets on it, before its loops run.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use super::tasks::Tasks;
use crate::act::kernel;
use crate::act::projects::{Assignment, ProjectIds};
use crate::config::node::Init;
use crate::config::{Addresses, Config};
use crate::model::pod::DnsConfig;
use crate::observe;
use crate::observe::address::Wanted;
use crate::observe::node_addresses;

/// Where the kernel's settings are.
pub const KERNEL: &str = "/proc/sys";

/// Where the settings' former values are saved, below the state directory.
pub const KERNEL_NOTE: &str = "kernel-before";

/// Sets the kernel settings that pods rely on, or fails if they differ.
pub(super) fn kernel_settings(config: &Config) -> anyhow::Result<()> {
    let root = Path::new(KERNEL);
    let deviations = kernel::deviations(root);
    if config.node.protect_kernel {
        let texts: Vec<_> = deviations.iter().map(ToString::to_string).collect();
        anyhow::ensure!(
            texts.is_empty(),
            "protectKernelDefaults: {}; set them with sysctl, or omit protectKernelDefaults so that the agent sets \
             them",
            texts.join("; ")
        );
        return Ok(());
    }
    std::fs::create_dir_all(&config.paths.state)
        .with_context(|| format!("cannot create the directory {}", config.paths.state.display()))?;
    let failed = kernel::set(root, &deviations, &config.paths.state.join(KERNEL_NOTE));
    if !failed.is_empty() {
        tracing::warn!(
            "cannot set the kernel settings that pods rely on: {}",
            failed.join("; ")
        );
    }
    Ok(())
}

/// Where the lists of project IDs are.
pub const ETC: &str = "/etc";

/// The project IDs of emptyDirs, without those of volumes that are gone.
pub(super) fn project_ids(config: &Config) -> ProjectIds {
    let assignment = match config.node.project_quotas {
        true => Assignment::WhereCounted,
        false => Assignment::Never,
    };
    let ids = ProjectIds::new(Path::new(ETC), assignment);
    ids.sweep(&config.paths.root);
    ids
}

/// Reads the node's addresses, and watches them from now on.
pub(super) async fn node_addresses(tasks: &mut Tasks, config: &Config) -> watch::Receiver<Arc<[IpAddr]>> {
    let given = match &config.node.addresses {
        Addresses::Given(given) => given.clone(),
        Addresses::PreferIpv4 => Vec::new(),
        // The unspecified address chooses the family, as with the kubelet's --node-ip.
        Addresses::PreferIpv6 => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    let mut reader = node_addresses::Reader::new(Wanted::new(&given, &config.node.name));
    let (out, addresses) = watch::channel(reader.read().await.unwrap_or_default());
    tasks.spawn(
        "addresses",
        node_addresses::run(reader, out, tasks.cancel.clone()),
    );
    addresses
}

/// The host's resolver configuration, which pods inherit.
pub(super) fn host_dns(path: Option<&Path>) -> DnsConfig {
    let Some(path) = path else {
        return DnsConfig::default();
    };
    match std::fs::read_to_string(path) {
        Ok(text) => observe::resolv_conf::parse(&text),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "pods get no resolver configuration from the host");
            DnsConfig::default()
        }
    }
}

/// The service manager of this machine.
pub(super) fn init() -> Init {
    if Path::new("/run/systemd/system").is_dir() {
        Init::Systemd
    } else {
        Init::Other
    }
}
