//! The endpoint for kubectl on a machine without a cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use nix::unistd::Group;

use super::tasks::Tasks;
use super::values::Values;
use crate::config::Config;
use crate::identity::kubectl::{self, KubectlCredentials};
use crate::identity::kubectl_file::{self, KubectlFile, Readers};
use crate::serve::kube::{self, Credentials, Sources};
use crate::serve::{self, port};

/// How long the lookup of a group may take: it may ask a directory service.
const LOOKUP: Duration = Duration::from_secs(10);

/// Serves kubectl where it is configured, and writes the kubeconfig for it.
pub(super) async fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    world: &serve::World,
) -> anyhow::Result<()> {
    let Some(address) = config.kubectl_address() else {
        return Ok(());
    };
    let listener = port::listen(address).with_context(|| {
        let port = address.port();
        format!("port {port} is in use; choose another with `kubectlPort`, or 0 for none")
    })?;
    let credentials = kubectl::ensure(&config.paths.state.join("kubectl"), Timestamp::now())?;
    let readers = readers(config.serve.kubectl.group.as_deref()).await?;
    let file = publish(config, &credentials, (address, readers))?;
    let proof = Credentials {
        token: credentials.token.expose().to_owned(),
        certificate: credentials.certificate,
        key: credentials.key,
    };
    let sources = Sources {
        pods: values.pods.1.clone(),
        node: values.node.1.clone(),
        desired: values.desired.1.clone(),
    };
    let (world, end) = (world.clone(), tasks.cancel.clone());
    tasks.spawn_fallible("kubectl", async move {
        let _file = file;
        let ended = async move { end.cancelled().await };
        Ok(kube::run(listener, proof, world, sources, ended).await?)
    });
    Ok(())
}

fn publish(
    config: &Config,
    credentials: &KubectlCredentials,
    (address, readers): (SocketAddr, Readers),
) -> anyhow::Result<KubectlFile> {
    let directory = config.serve.socket.parent().unwrap_or(Path::new("/run/gantry"));
    let path = directory.join(kubectl_file::NAME);
    let kubeconfig = credentials.kubeconfig(address.port());
    Ok(kubectl_file::publish(&path, &kubeconfig, readers)?)
}

/// Who may use the endpoint.
async fn readers(group: Option<&str>) -> anyhow::Result<Readers> {
    let Some(name) = group else {
        return Ok(Readers::Owner);
    };
    let failed = || format!("cannot look up the group {name:?} of `kubectlGroup`");
    let owned = name.to_owned();
    let lookup = tokio::task::spawn_blocking(move || Group::from_name(&owned));
    let found = tokio::time::timeout(LOOKUP, lookup).await.with_context(failed)?;
    match found.with_context(failed)?.with_context(failed)? {
        Some(group) => Ok(Readers::Group(group.gid.as_raw())),
        None => anyhow::bail!(
            "there is no group {name:?}: create it with `groupadd {name}`, or change `kubectlGroup`"
        ),
    }
}
