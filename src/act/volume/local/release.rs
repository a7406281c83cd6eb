//! Takes down what pods have of `local` PersistentVolumes, and what the node has of them for no pod any more. Who uses a
//! device is what the kernel's table of mounts says, so a killed agent loses nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::act::context::{ActContext, Work};
use crate::act::files::{REMOVAL_PATIENCE, Whose};
use crate::act::off_thread::off_thread;
use crate::act::volume::csi::{data, device};
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
        let failed = names.into_iter().filter_map(|name| {
            let why = undoing(&name).err()?;
            Some(format!(
                "UnmapVolume.UnmapBlockVolume failed for volume {name:?} : {why}"
            ))
        });
        Ok(failed.collect::<Vec<_>>())
    });
    let failed = done.await.map_err(|error| error.to_string())?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ")),
    }
}

/// The link goes last: it says that the pod has the device.
fn unmap(map: &Path, link: &Path) -> io::Result<()> {
    device::detach_loop_devices(map)?;
    unmount(map)?;
    remove_if_there(map)?;
    if let Some(dir) = map.parent() {
        // Other pods may have it, too.
        data::remove_if_empty(dir)?;
    }
    remove_if_there(link)
}

/// Unmounts the devices that are mounted for the node and that no pod has. One that is busy stays until the next time: that
/// is when a pod is removed, or the agent starts.
pub async fn sweep(context: &ActContext, root: &Path) {
    let dir = global_mounts(root);
    let listed = dir.clone();
    let names = off_thread(move || data::names(&listed)).await;
    let Ok(names) = names.inspect_err(|error| {
        tracing::warn!(dir = %dir.display(), %error, "cannot list the devices that are mounted for the node");
    }) else {
        return;
    };
    let owner = PodUid("the node".to_owned());
    for name in names {
        let global = dir.join(&name);
        let _turn = context.local.turn(&global).await;
        let (dir, name_of_it, pods) = (dir.clone(), name.clone(), root.join("pods"));
        let taking_down = move || {
            // The table of mounts has no links; an administrator may have moved the directory.
            let dir = fs::canonicalize(dir)?;
            let pods = fs::canonicalize(&pods).unwrap_or(pods);
            take_down(&dir.join(name_of_it), &pods)
        };
        let done = context
            .files
            .run(Whose::Pod, &owner, &global, REMOVAL_PATIENCE, taking_down)
            .await;
        if let Err(error) = done {
            tracing::warn!(
                volume = name,
                "UnmountDevice failed for a volume that no pod uses: {error}"
            );
        }
    }
}

fn take_down(global: &Path, pods: &Path) -> io::Result<()> {
    let is_used = |points: &Vec<PathBuf>| points.iter().any(|point| point.starts_with(pods));
    let table = fs::read(mount_points::TABLE)?;
    if mount_points::of_same(&table, global).is_some_and(|points| is_used(&points)) {
        return Ok(());
    }
    unmount(global)?;
    data::remove_mount_dir(global)?.refused(global)
}

/// Unmounts what is mounted at exactly this path, if anything is.
fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The directory of the node's state, of a pod's in it.
pub(in crate::act) fn root_of(pod: &Path) -> Option<PathBuf> {
    pod.parent()?.parent().map(Path::to_owned)
}
