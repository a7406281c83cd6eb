//! Takes down what pods have of disks of storage networks, and detaches the disks that no pod has any more. Who uses one is what
//! the kernel's table of mounts and the pods' files say, so a killed agent loses nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::ledger::{self, DiskDir, DiskId, Shape};
use super::node::Node;
use super::node_disks::NodeDisks;
use super::others::Others;
use super::{fc, iscsi};
use crate::act::context::Work;
use crate::act::failure::all_done;
use crate::act::files::{FilePlaces, REMOVAL_PATIENCE, Whose};
use crate::act::mount;
use crate::act::mount_tools::MountTools;
use crate::act::off_thread::off_thread;
use crate::act::volume::csi::data;
use crate::act::volume::device_files::remove_map;
use crate::act::volume::local::release::root_of;
use crate::act::volume::sweep::{Left, keep_swept};
use crate::disk::mount_points;
use crate::disk::write::remove_if_there;
use crate::model::network_disk::DiskPlugin;
use crate::model::pod::PodUid;

/// What detaching a disk needs.
#[derive(Debug, Clone)]
pub struct Releasing {
    /// The disks.
    pub disks: NodeDisks,
    /// Where operations on files have slots.
    pub files: FilePlaces,
    /// The programs.
    pub tools: MountTools,
    /// The directory of the node's state.
    pub root: PathBuf,
}

/// Whether a pod has, or has tried to have, such disks.
pub(in crate::act) fn has_disks(pod: &Path) -> bool {
    DiskPlugin::ALL.iter().any(|plugin| {
        let (volumes, devices) = plugin.of_pod(pod);
        volumes.exists() || devices.exists()
    })
}

/// Takes down the devices of a pod, before its directory is removed. The error is for people.
pub(in crate::act) async fn release_devices(work: &Work<'_>, pod: &Path) -> Result<(), String> {
    let (Some(root), uid) = (root_of(pod), work.uid.0.clone()) else {
        return Ok(());
    };
    let links: Vec<PathBuf> = DiskPlugin::ALL
        .iter()
        .map(|plugin| plugin.of_pod(pod).1)
        .collect();
    let unmapping = move || {
        if !links.iter().any(|dir| dir.exists()) {
            return Ok(Vec::new());
        }
        let mut results = Vec::new();
        for own in ledger::directories(&root)? {
            let map = own.dir.join(&uid);
            if own.shape == Shape::Mapped && map.exists() {
                let failed = |why| {
                    format!(
                        "UnmapVolume.UnmapBlockVolume failed for {} : {why}",
                        map.display()
                    )
                };
                results.push(remove_map(&map).map_err(failed));
            }
        }
        if results.iter().all(Result::is_ok) {
            // They go last: they say that the pod has devices.
            for dir in links {
                for name in data::names(&dir)? {
                    remove_if_there(&dir.join(name))?;
                }
            }
        }
        Ok(results)
    };
    all_done(off_thread(unmapping).await.map_err(|error| error.to_string())?)
}

/// Detaches the disks that no pod has, until canceled.
pub async fn run(releasing: Releasing, cancel: CancellationToken) {
    keep_swept(|| sweep(&releasing), || releasing.disks.some_left(), cancel).await;
}

/// Detaches what no pod has.
pub async fn sweep(releasing: &Releasing) -> Left {
    let owner = PodUid("the node".to_owned());
    let node = Node {
        disks: &releasing.disks,
        files: &releasing.files,
        tools: &releasing.tools,
        owner: &owner,
    };
    let root = releasing.root.clone();
    let unused = off_thread(move || unused_below(&root)).await;
    let unused = match unused {
        Ok(unused) => unused,
        Err(error) => {
            tracing::warn!(%error, "cannot list the iSCSI and Fibre Channel volumes on the node");
            return Left::Busy;
        }
    };
    let mut left = Left::Nothing;
    for own in unused {
        let Some(turn) = node.disks.try_turn(&own.dir) else {
            left = Left::Busy;
            continue;
        };
        if let Err(why) = taken_down(&node, &releasing.root, &own, turn).await {
            left = Left::Busy;
            tracing::warn!(dir = %own.dir.display(), "UnmountDevice failed for an iSCSI or Fibre Channel volume that no pod uses: {why}");
        }
    }
    left
}

/// Detaches one, unless a pod has it by now.
async fn taken_down(
    node: &Node<'_>,
    root: &Path,
    own: &DiskDir,
    turn: OwnedSemaphorePermit,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    // Until the call has returned, however long that takes.
    let turn = Arc::new(turn);
    let (held, at, disk) = (turn.clone(), root.to_owned(), own.clone());
    let unmounting = move || {
        let _turn = held;
        let is_unused = is_unused(&at, &disk)?;
        if is_unused {
            mount::unmount(&disk.dir)?;
        }
        Ok(is_unused)
    };
    let unmounted = node
        .files
        .run(Whose::Pod, node.owner, &own.dir, REMOVAL_PATIENCE, unmounting)
        .await;
    if !unmounted.map_err(text)? {
        return Ok(());
    }
    match &own.id {
        DiskId::Fc(disk) => fc::detach(node, disk, &Others::of(node, root, own).await?).await?,
        DiskId::Iscsi(of_name) => {
            let dir = own.dir.clone();
            let written = off_thread(move || ledger::read(&dir))
                .await
                .unwrap_or_else(|error| {
                    tracing::warn!("{error}: the disk is detached by the name of its directory");
                    None
                });
            // One that says another target is not that of the directory.
            let written = written.filter(|record| record.iqn == of_name.iqn && record.lun == of_name.lun);
            let record = written.unwrap_or_else(|| of_name.clone());
            let Some(_alone) = node.disks.detaching(&record.iqn) else {
                return Err("a disk of the same target is being attached".to_owned());
            };
            let others = Others::of(node, root, own).await?;
            iscsi::detach(node, &record, &others).await?;
        }
    }
    let dir = own.dir.clone();
    off_thread(move || ledger::remove(&dir)).await.map_err(text)?;
    node.disks.leave(&own.dir);
    Ok(())
}

/// Those that no pod has.
fn unused_below(root: &Path) -> io::Result<Vec<DiskDir>> {
    let mut all = ledger::directories(root)?;
    let mut failed = None;
    all.retain(|own| {
        is_unused(root, own).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(all),
    }
}

fn is_unused(root: &Path, own: &DiskDir) -> io::Result<bool> {
    let pods = root.join("pods");
    match own.shape {
        Shape::Mounted => {
            // The table of mounts has no links; an administrator may have moved the directory.
            let dir = match fs::canonicalize(&own.dir) {
                // Its turn was another's meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                dir => dir?,
            };
            let pods = fs::canonicalize(&pods).unwrap_or(pods);
            let table = fs::read(mount_points::TABLE)?;
            let points = mount_points::of_same(&table, &dir).unwrap_or_default();
            Ok(!points.iter().any(|point| point.starts_with(&pods)))
        }
        Shape::Mapped => {
            let mut is_unused = true;
            for uid in ledger::mapped_for(&own.dir)? {
                match pods.join(&uid).exists() {
                    true => is_unused = false,
                    // Its pod went without it.
                    false => remove_map(&own.dir.join(uid))?,
                }
            }
            Ok(is_unused)
        }
    }
}
