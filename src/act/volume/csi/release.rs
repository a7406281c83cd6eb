//! Takes the volumes of drivers down that a pod has, before its directory is removed.

use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Device, Effect, Place};
use super::found::{self, block};
use super::ledger::CsiVolumes;
use super::{data, device, messages};
use crate::act::failure::all_done;
use crate::act::off_thread::off_thread;
use crate::csi::messages::UndoRequest;
use crate::disk::write::remove_if_there;
use crate::model::csi_request::{CsiPlaces, DATA_FILE};
use crate::model::pod::PodUid;
use crate::model::volume_work::{Awaited, Goal};

/// Takes them down; does nothing to a pod without such volumes. No part of them is mounted any more. The error is for
/// people.
pub(in crate::act) async fn release(volumes: &CsiVolumes, uid: &PodUid, dir: &Path) -> Result<(), String> {
    if volumes.drivers().is_none() {
        return Ok(());
    }
    let (found, devices) = found(dir).await.map_err(|error| error.to_string())?;
    if found.is_empty() && devices.is_empty() {
        volumes.leave_all(uid);
        return Ok(());
    }
    let places = CsiPlaces {
        root: volumes.root().to_owned(),
        pod: uid.0.clone(),
    };
    let files = found.iter().map(|name| unpublish(volumes, uid, &places, name));
    let all = futures::future::join_all(files).await;
    let blocks = devices.iter().map(|name| unmap(volumes, uid, &places, name));
    let all = all.into_iter().chain(futures::future::join_all(blocks).await);
    all_done(all)?;
    volumes.leave_all(uid);
    Ok(())
}

/// The names of the pod's volumes and devices, by what is on the disk.
async fn found(dir: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let dir = dir.to_owned();
    off_thread(move || {
        let files = data::names(&dir.join("volumes/kubernetes.io~csi"))?;
        Ok((files, data::names(&dir.join("volumeDevices/kubernetes.io~csi"))?))
    })
    .await
}

async fn unpublish(volumes: &CsiVolumes, uid: &PodUid, places: &CsiPlaces, name: &str) -> Result<(), String> {
    let (dir, target) = (places.of_pod(name), places.target(name));
    let failed = |why: String| format!("UnmountVolume.TearDown failed for volume {name:?} : {why}");
    let at = dir.clone();
    let data = off_thread(move || Ok(found::load(&at))).await;
    let Some(data) = data.map_err(|error| failed(error.to_string()))? else {
        // Nothing was ever published there, or a power failure has left nothing to read: then nothing is mounted either.
        // The removal of the directory unmounts what is.
        return Ok(());
    };
    let device = Device::new(data, Place::Files);
    let _working = volumes
        .at_work()
        .begin(uid, &target, Goal::TakeDown, unpublishing(&device));
    let turn = volumes.turn(&device);
    let _held = turn.take().await;
    undo(volumes, &device, uid, &target).await.map_err(failed)?;
    let cleared = off_thread(move || clear(&dir, &target)).await;
    cleared.map_err(|error| failed(error.to_string()))?;
    volumes.leave(&device, uid);
    Ok(())
}

async fn unmap(volumes: &CsiVolumes, uid: &PodUid, places: &CsiPlaces, name: &str) -> Result<(), String> {
    let failed = |why: String| format!("UnmapVolume.UnmapPodDevice failed for volume {name:?} : {why}");
    let io = |error: io::Error| failed(error.to_string());
    device::unmap(places, name).await.map_err(io)?;
    let (root, of) = (volumes.root().to_owned(), name.to_owned());
    let device = off_thread(move || Ok(block(&root, &of))).await.map_err(io)?;
    let target = places.device_target(name);
    if let Some(device) = device {
        let link = places.device_link(name);
        let _working = volumes
            .at_work()
            .begin(uid, &link, Goal::TakeDown, unpublishing(&device));
        let turn = volumes.turn(&device);
        let _held = turn.take().await;
        undo(volumes, &device, uid, &target).await.map_err(failed)?;
        remove_target(target).await.map_err(io)?;
        device::unlink(places, name).await.map_err(io)?;
        volumes.leave(&device, uid);
        return Ok(());
    }
    device::unlink(places, name).await.map_err(io)
}

fn unpublishing(device: &Device) -> Awaited {
    Awaited::Driver {
        what: "NodeUnpublishVolume",
        driver: device.driver.clone(),
    }
}

async fn undo(volumes: &CsiVolumes, device: &Device, uid: &PodUid, target: &Path) -> Result<(), String> {
    let socket = volumes.socket(&device.driver);
    let socket = socket.map_err(|why| format!("kubernetes.io/csi: {why}"))?;
    let request = UndoRequest {
        volume_id: device.handle.clone(),
        path: messages::text(target),
    };
    // A call that fails may have had its effect all the same.
    volumes.set_published(device, uid, Effect::Unsure);
    socket.unpublish(request).await.map_err(|error| error.to_string())
}

/// Removes what is left of a volume that is published no more: the driver should have removed the target. Something that
/// is mounted stays, and is an error.
fn clear(dir: &Path, target: &Path) -> io::Result<()> {
    data::remove_mount_dir(target)?.refused(target)?;
    remove_if_there(&dir.join(DATA_FILE))?;
    data::remove_dir(dir)
}

/// Removes what a driver has left of a published device, and the directory for it.
async fn remove_target(target: PathBuf) -> io::Result<()> {
    off_thread(move || {
        remove_if_there(&target)?;
        // Other pods may have it, too.
        target.parent().map_or(Ok(()), data::remove_if_empty)
    })
    .await
}
