//! The conversation with one plugin: what it is, what its driver says of the node, and what became of its registration
//! (`pkg/kubelet/pluginmanager/operationexecutor/operation_generator.go`). Nothing is repeated here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::registry::{Answer, Failure};
use super::version::Version;
use super::words;
use crate::counters::Counters;
use crate::csi::messages::{Capability, NodeCapabilities, NodeInfo, PluginInfo, RegistrationStatus};
use crate::csi::{Socket, VOLUME_PATIENCE};
use crate::model::driver::{Ability, Driver, Publications, publication};

/// How long a plugin may take to say what it is.
const INFO: Duration = Duration::from_secs(1);
/// How long it may take to hear what became of it (`notifyTimeoutDuration`).
const NOTIFY: Duration = Duration::from_secs(5);
/// The only kind of plugins that this program works with.
const DRIVER: &str = "CSIPlugin";

/// Asks a plugin what it is and, of a driver, what the node is to it. A plugin that cannot be registered is told so.
pub(super) async fn ask(path: PathBuf, counters: &Arc<Counters>) -> Result<Answer, Failure> {
    let socket = Socket::at(&path);
    let info = socket.plugin_info(INFO).await.map_err(|error| {
        Failure::MaybeDriver(format!(
            "RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {}, err: {error}",
            path.display()
        ))
    })?;
    let asked = match info.kind.as_str() {
        DRIVER => ask_driver(info, &path, counters)
            .await
            .map_err(Failure::MaybeDriver),
        kind => Err(Failure::NoDriver(words::wrong_kind(kind, &path))),
    };
    if let Err(Failure::MaybeDriver(message) | Failure::NoDriver(message)) = &asked {
        refuse(&path, message.clone()).await;
    }
    asked
}

async fn ask_driver(info: PluginInfo, path: &Path, counters: &Arc<Counters>) -> Result<Answer, String> {
    let endpoint = match info.endpoint.as_str() {
        "" => path.to_owned(),
        endpoint => PathBuf::from(endpoint),
    };
    if !words::is_name(&info.name) {
        return Err(words::wrong_name(&info.name, &endpoint));
    }
    let version = Version::highest(&info.supported_versions)
        .map_err(|why| words::no_version(&info.name, &endpoint, &info.supported_versions, &why))?;
    let driver = Socket::at(&endpoint).counting(&info.name, counters);
    let failed = |error: crate::csi::CsiError| words::not_registered(&error.to_string());
    let node = driver.node_info(VOLUME_PATIENCE).await.map_err(failed)?;
    if node.node_id.is_empty() {
        return Err(words::not_registered(words::NO_NODE_ID));
    }
    let capabilities = driver.capabilities(VOLUME_PATIENCE).await.map_err(failed)?;
    Ok(Answer {
        name: info.name,
        version,
        driver: Arc::new(understood(endpoint, node, &capabilities)),
    })
}

/// Asks a registered driver again what the node is to it. What it can do is not asked again.
pub(super) async fn again(name: &str, driver: &Driver, counters: &Arc<Counters>) -> Result<Driver, String> {
    let socket = Socket::at(&driver.endpoint).counting(name, counters);
    let node = socket.node_info(VOLUME_PATIENCE).await;
    let node = node.map_err(|error| error.to_string())?;
    if node.node_id.is_empty() {
        return Err(words::NO_NODE_ID.to_owned());
    }
    let capabilities = NodeCapabilities::default();
    Ok(Driver {
        abilities: driver.abilities.clone(),
        ..understood(driver.endpoint.clone(), node, &capabilities)
    })
}

fn understood(endpoint: PathBuf, node: NodeInfo, capabilities: &NodeCapabilities) -> Driver {
    Driver {
        endpoint,
        node_id: node.node_id,
        topology: node
            .accessible_topology
            .unwrap_or_default()
            .segments
            .into_iter()
            .collect(),
        max_volumes: Some(node.max_volumes_per_node).filter(|most| *most > 0),
        abilities: abilities(capabilities),
    }
}

/// What is unknown is left out: drivers of later versions of the interface have more.
fn abilities(capabilities: &NodeCapabilities) -> BTreeSet<Ability> {
    let rpcs = capabilities.capabilities.iter().filter_map(|one| one.rpc);
    let all = rpcs.filter_map(|rpc| match rpc.kind() {
        Capability::Unknown => None,
        Capability::StageUnstageVolume => Some(Ability::Stage),
        Capability::GetVolumeStats => Some(Ability::Measure),
        Capability::ExpandVolume => Some(Ability::Expand),
        Capability::VolumeCondition => Some(Ability::Condition),
        Capability::SingleNodeMultiWriter => Some(Ability::SingleNodeModes),
        Capability::VolumeMountGroup => Some(Ability::MountGroup),
    });
    all.collect()
}

/// Tells a plugin that it is not registered. It is asked again in any case, so that it need not hear it.
pub(super) async fn refuse(path: &Path, message: String) {
    let status = RegistrationStatus {
        plugin_registered: false,
        error: message,
    };
    if let Err(error) = Socket::at(path).notify(status, NOTIFY).await {
        tracing::debug!(socket = %path.display(), %error, "the plugin did not hear that it is not registered");
    }
}

/// Waits until the API server has what the driver says of the node (`published`; `None` without an API server), and tells
/// the plugin what became of it.
pub(super) async fn settle(
    path: PathBuf,
    published: Option<watch::Receiver<Publications>>,
    name: String,
    driver: Arc<Driver>,
) -> Result<(), String> {
    if let Some(mut published) = published {
        let result = published
            .wait_for(|all| publication(all, &name, &driver).is_some())
            .await
            .map(|all| publication(&all, &name, &driver).cloned());
        // The writer ends with the agent only.
        let Ok(Some(result)) = result else {
            return std::future::pending().await;
        };
        if let Err(why) = result {
            let message = words::not_registered(&why);
            refuse(&path, message.clone()).await;
            return Err(message);
        }
    }
    let status = RegistrationStatus {
        plugin_registered: true,
        error: String::new(),
    };
    let told = Socket::at(&path).notify(status, NOTIFY).await;
    told.map_err(|error| {
        format!(
            "RegisterPlugin error -- failed to send registration status at socket {}, err: {error}",
            path.display()
        )
    })
}
