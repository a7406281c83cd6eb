//! Disks of Fibre Channel targets, which the adapters find by themselves (`pkg/volume/fc/fc_util.go`).

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::DiskId;
use super::multipath;
use super::node::Node;
use super::others::Others;
use super::sysfs::DiskPlaces;
use crate::model::fc::FcDisk;

/// How long a disk may take to appear after the adapters were asked to look for it. The kubelet looks once, and tries again
/// later.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

/// Finds a disk; returns its device. The error is the kubelet's.
pub(super) async fn find(node: &Node<'_>, disk: &FcDisk) -> Result<PathBuf, String> {
    let about = disk.directory();
    let look = || {
        let own = disk.clone();
        node.ask(&about, move |places| look(places, &own))
    };
    let text = |error: io::Error| error.to_string();
    // One of several ways alone is not enough: others may appear (`searchDisk`).
    if let Found {
        multipath: Some(device),
        ..
    } = look().await.map_err(text)?
    {
        return Ok(device);
    }
    node.ask(&about, DiskPlaces::scan_all).await.map_err(text)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await.map_err(text)? {
            Found {
                multipath: Some(device),
                ..
            }
            | Found {
                plain: Some(device), ..
            } => return Ok(device),
            _ if Instant::now() >= deadline => return Err("no fc disk found".to_owned()),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// What there is of a disk.
struct Found {
    /// The device of several ways.
    multipath: Option<PathBuf>,
    /// One way.
    plain: Option<PathBuf>,
}

fn look(places: &DiskPlaces, disk: &FcDisk) -> io::Result<Found> {
    let links = links(places, disk)?;
    let names = links.iter().filter_map(|link| places.name_behind(link).ok());
    Ok(Found {
        multipath: multipath::above(places, &links)?,
        plain: names.map(|name| places.device(&name)).next(),
    })
}

fn links(places: &DiskPlaces, disk: &FcDisk) -> io::Result<Vec<PathBuf>> {
    places.links(disk.links(), |link| disk.has_link(link))
}

/// Takes a disk from the node, where nothing else needs it.
pub(super) async fn detach(node: &Node<'_>, disk: &FcDisk, others: &Others) -> Result<(), String> {
    if others.any(|id| matches!(id, DiskId::Fc(own) if own.is_also(disk))) {
        return Ok(());
    }
    let own = disk.clone();
    let finding = move |places: &DiskPlaces| {
        let mut names = BTreeSet::new();
        for link in links(places, &own)? {
            let Ok(name) = places.name_behind(&link) else {
                continue;
            };
            match name.starts_with("dm-") {
                true => names.extend(places.ways_of(&name)?),
                false => {
                    // Not every way has a link that says which disk it is.
                    if let Some(device) = places.multipath_of(&name)? {
                        names.extend(places.ways_of(&device)?);
                    }
                    names.insert(name);
                }
            }
        }
        Ok(names)
    };
    let found = node.ask(&disk.directory(), finding).await;
    multipath::remove(node, found.map_err(|error| error.to_string())?).await
}
