//! Takes down what pods have of `local` PersistentVolumes, and what the node has of them for no pod any more. Who uses a
//! device is what the kernel's table of mounts says, so a killed agent loses nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::node_devices::NodeDevices;
use crate::act::context::Work;
use crate::act::failure::all_done;
use crate::act::files::{FilePlaces, REMOVAL_PATIENCE, Whose};
use crate::act::mount;
use crate::act::off_thread::off_thread;
use crate::act::volume::csi::data;
use crate::act::volume::device_files::remove_map;
use crate::act::volume::sweep::{Left, keep_swept};
use crate::disk::mount_points;
use crate::disk::write::remove_if_there;
use crate::model::local_volume::{device_maps, global_mounts, of_pod};
use crate::model::pod::PodUid;

/// Takes down the devices of a pod, before its directory is removed. The error is for people.
pub(in crate::act) async fn release_devices(work: &Work<'_>, pod: &Path) -> Result<(), String> {
    let (_, devices) = of_pod(pod);
    let Some(root) = root_of(pod) else {
        return Ok(());
    };
    let (maps, uid) = (device_maps(&root), work.uid.clone());
    let (listed, undoing) = (devices.clone(), move |name: &str| {
        unmap(&maps.join(name).join(&uid.0), &devices.join(name))
    });
    let done = off_thread(move || {
        let names = data::names(&listed)?;
        let undone = names.into_iter().map(|name| {
            let failed = |why| format!("UnmapVolume.UnmapBlockVolume failed for volume {name:?} : {why}");
            undoing(&name).map_err(failed)
        });
        Ok(undone.collect::<Vec<_>>())
    });
    all_done(done.await.map_err(|error| error.to_string())?)
}

/// The link goes last: it says that the pod has the device.
fn unmap(map: &Path, link: &Path) -> io::Result<()> {
    remove_map(map)?;
    if let Some(dir) = map.parent() {
        // Other pods may have it, too.
        data::remove_if_empty(dir)?;
    }
    remove_if_there(link)
}

/// Unmounts the devices that are mounted for the node and that no pod has, until canceled.
pub async fn run(files: FilePlaces, devices: NodeDevices, root: PathBuf, cancel: CancellationToken) {
    keep_swept(|| sweep(&files, &devices, &root), || devices.some_left(), cancel).await;
}

async fn sweep(files: &FilePlaces, devices: &NodeDevices, root: &Path) -> Left {
    let dir = global_mounts(root);
    let (listed, pods) = (dir.clone(), root.join("pods"));
    let unused = off_thread(move || unused_in(&listed, &pods)).await;
    let Ok(unused) = unused.inspect_err(|error| {
        tracing::warn!(dir = %dir.display(), %error, "cannot list the devices that are mounted for the node");
    }) else {
        return Left::Busy;
    };
    let owner = PodUid("the node".to_owned());
    let mut left = Left::Nothing;
    for name in unused {
        let global = dir.join(&name);
        let Some(turn) = devices.try_turn(&global) else {
            left = Left::Busy;
            continue;
        };
        let (dir, of, pods) = (dir.clone(), name.clone(), root.join("pods"));
        let taking_down = move || {
            // Until the call has returned, however long that takes.
            let _turn = turn;
            match unused_in(&dir, &pods)?.contains(&of) {
                true => take_down(&dir.join(of)),
                false => Ok(()),
            }
        };
        let done = files
            .run(Whose::Pod, &owner, &global, REMOVAL_PATIENCE, taking_down)
            .await;
        if let Err(error) = done {
            left = Left::Busy;
            tracing::warn!(
                volume = name,
                "UnmountDevice failed for a volume that no pod uses: {error}"
            );
        }
    }
    left
}

/// The names of those that no pod has mounted.
fn unused_in(dir: &Path, pods: &Path) -> io::Result<Vec<String>> {
    let mut names = data::names(dir)?;
    if names.is_empty() {
        return Ok(names);
    }
    // The table of mounts has no links; an administrator may have moved the directory.
    let dir = fs::canonicalize(dir)?;
    let pods = fs::canonicalize(pods).unwrap_or_else(|_| pods.to_owned());
    let table = fs::read(mount_points::TABLE)?;
    names.retain(|name| {
        let points = mount_points::of_same(&table, &dir.join(name)).unwrap_or_default();
        !points.iter().any(|point| point.starts_with(&pods))
    });
    Ok(names)
}

fn take_down(global: &Path) -> io::Result<()> {
    mount::unmount(global)?;
    data::remove_mount_dir(global)?.refused(global)
}

/// The directory of the node's state, of a pod's in it.
pub(in crate::act) fn root_of(pod: &Path) -> Option<PathBuf> {
    pod.parent()?.parent().map(Path::to_owned)
}
