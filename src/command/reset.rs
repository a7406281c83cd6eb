//! `gantry reset`: the machine is no node of a cluster any more.

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context as _;

use super::cleanup;
use super::join::files::Places;
use super::join::service::{self, Systemctl};
use crate::cli::{self, Stop};
use crate::config::layers::{FlagValues, flag};
use crate::config::{Config, Role, files};
use crate::identity::files as identity_files;
use crate::network::conflist;

/// Stops the service, removes the pods and all that joining wrote. An error is told where something is left; a second
/// run has less to do.
pub async fn run(places: &Places, systemctl: &Systemctl, out: &mut dyn Write) -> anyhow::Result<()> {
    if places.authority_key().exists() {
        anyhow::bail!(
            "{} is there: this is a control plane; `kubeadm reset` takes that down",
            places.authority_key().display()
        );
    }
    let node = node_name(places);
    let config = configuration(places, out)?;
    if places.systemd().is_dir() {
        if systemctl.runs().await {
            systemctl.stop().await?;
            writeln!(out, "stopped   gantry.service")?;
        }
        remove_service(places, systemctl).await?;
    }
    let summary = cleanup::run(&config).await?;
    writeln!(
        out,
        "removed   {} pods and {} images, the pods' network, cgroups and files",
        summary.pods, summary.images
    )?;
    for failure in &summary.failures {
        writeln!(out, "left      {failure}")?;
    }
    if !summary.failures.is_empty() {
        anyhow::bail!("the credentials stay while there are pods: mend what is left, then run this again");
    }
    clear(places, out)?;
    let networks = &config.network.cni_conf_dir;
    for path in conflist::foreign(networks).with_context(|| format!("cannot read {}", networks.display()))? {
        // Pods of whoever comes next would still be connected by it.
        writeln!(
            out,
            "left      {}, which is of another program's network",
            path.display()
        )?;
    }
    if let Some(node) = node {
        writeln!(
            out,
            "next      the cluster still has the Node: on the control plane, kubectl delete node {node}"
        )?;
    }
    Ok(())
}

/// Removes the files of joining, and tells each.
pub fn clear(places: &Places, out: &mut dyn Write) -> anyhow::Result<()> {
    for path in places.clear()? {
        writeln!(out, "removed   {}", path.display())?;
    }
    Ok(())
}

/// The name that the node's certificate is of.
fn node_name(places: &Places) -> Option<String> {
    let store = crate::identity::store::Store::new(&places.certificates(), crate::identity::store::CLIENT);
    let certificate = store.read().ok().flatten()?;
    certificate
        .common_name
        .strip_prefix("system:node:")
        .map(str::to_owned)
}

/// The configuration that the agent ran with, its flags included, as far as it can be read: what must be removed is mostly
/// where the defaults say.
fn configuration(places: &Places, out: &mut dyn Write) -> anyhow::Result<Config> {
    let here = files::here()?;
    let load = |given: &[FlagValues]| files::load(Role::Kubelet, given, &here);
    let path = places.config();
    let config = path.exists().then(|| format!("--config={}", path.display()));
    let words = config.iter().cloned().chain(service::added_flags(places));
    let given = match cli::parse(
        ["kubelet".to_owned()]
            .into_iter()
            .chain(words)
            .map(OsString::from),
    ) {
        Ok(cli) => cli.given(),
        Err(Stop::Wrong(why) | Stop::Show(why)) => {
            writeln!(out, "ignored   the flags of the service: {why}")?;
            let config = || Some((flag("config")?, vec![path.display().to_string()]));
            path.exists().then(config).flatten().into_iter().collect()
        }
    };
    load(&given).or_else(|error| {
        writeln!(out, "ignored   {error}")?;
        load(&[]).context("the defaults cannot be run with")
    })
}

/// Makes the service the one of a machine of its own again, or removes it where joining brought it.
pub async fn remove_service(places: &Places, systemctl: &Systemctl) -> anyhow::Result<()> {
    let had_drop_in = service::remove(places)?;
    // A unit in that place is ours only where joining wrote it.
    let is_ours =
        had_drop_in && identity_files::read(&places.unit())?.is_some_and(|unit| service::is_own(&unit));
    if is_ours {
        identity_files::remove(&places.unit())?;
    }
    systemctl.reload().await?;
    Ok(())
}
