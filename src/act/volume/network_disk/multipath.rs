//! Disks that are reached in several ways, which multipathd(8) makes one device of; and how a disk is taken from the node.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::node::Node;
use super::sysfs::DiskPlaces;
use crate::act::mount_tools::NotRun;

/// How often it is looked whether there is such a device.
const LOOK: Duration = Duration::from_millis(500);

/// The device above these links, once there is one; after a while the first of them (`waitForMultiPathToExist`).
pub(super) async fn wait(node: &Node<'_>, links: Vec<PathBuf>, patience: Duration) -> io::Result<PathBuf> {
    let deadline = Instant::now() + patience;
    let first = links.first().cloned().unwrap_or_default();
    loop {
        let (own, about) = (links.clone(), first.display().to_string());
        let found = node.ask(&about, move |places| above(places, &own)).await?;
        match found {
            Some(device) => return Ok(device),
            None if Instant::now() >= deadline => return Ok(first),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The device above one of these links.
pub(super) fn above(places: &DiskPlaces, links: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    for link in links {
        // What is no device has none above it.
        let Ok(name) = places.name_behind(link) else {
            continue;
        };
        if name.starts_with("dm-") {
            return Ok(Some(places.device(&name)));
        }
        if let Some(device) = places.multipath_of(&name)? {
            return Ok(Some(places.device(&device)));
        }
    }
    Ok(None)
}

/// Takes a disk, which is known by these names, from the node. One that something has for itself stays, and the error says
/// which.
pub(super) async fn remove(node: &Node<'_>, disks: BTreeSet<String>) -> Result<(), String> {
    if disks.is_empty() {
        return Ok(());
    }
    let about = Vec::from_iter(disks.iter().cloned()).join(" ");
    let names = disks.clone();
    let looking = move |places: &DiskPlaces| {
        let mut devices = BTreeSet::new();
        for disk in &names {
            devices.extend(places.multipath_of(disk)?);
        }
        Ok(devices)
    };
    let devices = node
        .ask(&about, looking)
        .await
        .map_err(|error| error.to_string())?;
    for device in &devices {
        flush(node, device).await?;
    }
    for disk in disks {
        write_out(node, &disk).await;
        let own = disk.clone();
        let removing = move |places: &DiskPlaces| match places.is_held(&own) {
            true => Err(io::Error::from(io::ErrorKind::ResourceBusy)),
            false => places.delete(&own),
        };
        let removed = node.ask(&disk, removing).await;
        removed.map_err(|error| format!("removing the disk {disk} from the node: {error}"))?;
    }
    Ok(())
}

/// Ends a device of several ways.
async fn flush(node: &Node<'_>, device: &str) -> Result<(), String> {
    let path = node.disks.places().device(device).display().to_string();
    let why = match node.run(&path, ("multipath", &["-f", &path])).await {
        Ok(ran) if ran.status.success() => return Ok(()),
        Ok(ran) => format!("{}\n{}", ran.how(), ran.output),
        Err(not_run) => not_run.why(),
    };
    Err(format!("failed to flush multipath device {path}: {why}"))
}

/// Has the kernel write what a disk is still to be told (`flushDevice` in `pkg/volume/fc`).
async fn write_out(node: &Node<'_>, disk: &str) {
    let path = node.disks.places().device(disk).display().to_string();
    let why = match node.run(&path, ("blockdev", &["--flushbufs", &path])).await {
        Ok(ran) if ran.status.success() => return,
        Ok(ran) => format!("{}: {}", ran.how(), ran.output),
        Err(NotRun::Missing(_)) => return,
        Err(not_run) => not_run.why(),
    };
    tracing::warn!(disk, "cannot flush a disk that is taken from the node: {why}");
}
