//! `gantry reset`: removes this machine from its cluster.

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

/// Stops the service and removes the pods and everything that joining wrote. Returns an error if something is left; a
/// second run has less to do.
pub async fn run(places: &Places, systemctl: &Systemctl, out: &mut dyn Write) -> anyhow::Result<()> {
    if places.authority_key().exists() {
        anyhow::bail!(
            "{} exists: this is a control plane; use `kubeadm reset` for it",
            places.authority_key().display()
        );
    }
    let node = node_name(places);
    let config = configuration(places, out)?;
    stop_service(places, systemctl, out).await?;
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
        anyhow::bail!(
            "the credentials are not removed while pods are left; fix what is listed above, then run this \
         again"
        );
    }
    clear(places, out)?;
    let networks = &config.network.cni_conf_dir;
    for path in conflist::foreign(networks).with_context(|| format!("cannot read {}", networks.display()))? {
        // It would still connect the pods of a later agent.
        writeln!(
            out,
            "left      {}, which belongs to another program's network",
            path.display()
        )?;
    }
    if let Some(node) = node {
        writeln!(
            out,
            "next      the cluster still has the Node: on the control plane, run kubectl delete node {node}"
        )?;
    }
    Ok(())
}

/// Stops the service and removes its files, where the machine runs systemd.
pub(super) async fn stop_service(
    places: &Places,
    systemctl: &Systemctl,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if places.systemd().is_dir() {
        if systemctl.runs().await? {
            systemctl.stop().await?;
            writeln!(out, "stopped   gantry.service")?;
        }
        remove_service(places, systemctl).await?;
    }
    Ok(())
}

/// Removes the files of joining and prints each.
pub fn clear(places: &Places, out: &mut dyn Write) -> anyhow::Result<()> {
    for path in places.clear()? {
        writeln!(out, "removed   {}", path.display())?;
    }
    Ok(())
}

/// The node name in the client certificate.
fn node_name(places: &Places) -> Option<String> {
    let store = crate::identity::store::Store::new(&places.certificates(), crate::identity::store::CLIENT);
    let certificate = store.read().ok().flatten()?;
    certificate
        .common_name
        .strip_prefix("system:node:")
        .map(str::to_owned)
}

/// The configuration that the agent ran with, including its flags, as far as it can be read; most of what must be
/// removed is in the default places.
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
        load(&[]).context("cannot run with the default configuration")
    })
}

/// Restores the service of a standalone machine, or removes it if joining installed it.
pub async fn remove_service(places: &Places, systemctl: &Systemctl) -> anyhow::Result<()> {
    let had_drop_in = service::remove(places)?;
    // A unit in this place is gantry's only if joining wrote it.
    let is_ours =
        had_drop_in && identity_files::read(&places.unit())?.is_some_and(|unit| service::is_own(&unit));
    if is_ours {
        identity_files::remove(&places.unit())?;
    }
    systemctl.reload().await?;
    Ok(())
}
