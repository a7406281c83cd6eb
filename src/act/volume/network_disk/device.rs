//! A disk that containers have as a device: a link in the pod's directory, and a mount that keeps the device busy for as long as
//! the pod has it (`MapBlockVolume` in `pkg/volume/util`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::attach::{attached, make_dir};
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::failure;
use crate::act::files::Whose;
use crate::act::off_thread::off_thread;
use crate::act::volume::device_files::{make_link, make_map};
use crate::act::volume::set_up::shown_until_abandoned;
use crate::model::network_disk::NetworkDiskDevice;
use crate::model::outcome::{Done, StepError};
use crate::model::reason::pod::FAILED_MAP;
use crate::model::volume_work::Awaited;

/// Makes link and mount, or finds them made.
pub(in crate::act::volume) async fn ensure(
    work: &Work<'_>,
    called: &str,
    device: &NetworkDiskDevice,
) -> Result<Effect, StepError> {
    let waits = (FAILED_MAP, Awaited::Disk(device.disk.disk.text()));
    let mapping = mapped(work, called, device);
    shown_until_abandoned(work, (called, &device.link), waits, mapping).await
}

async fn mapped(work: &Work<'_>, called: &str, device: &NetworkDiskDevice) -> Result<Effect, StepError> {
    let failed = |step: &str, why: &dyn std::fmt::Display| {
        format!("MapVolume.{step} failed for volume {called:?} : {why}")
    };
    let dir = parent(&device.map);
    let links = parent(&device.link);
    // As for a disk with a file system.
    let prepared = off_thread(move || make_dir(&links)).await;
    prepared.map_err(|error| failure(FAILED_MAP, failed("MapBlockVolume", &error)))?;
    let _turn = work.context.disks.turn(&dir).await;
    let found = attached(work, &device.disk, &dir).await;
    let found = found.map_err(|why| failure(FAILED_MAP, failed("WaitForAttach", &why)))?;
    let (link, map) = (device.link.clone(), device.map.clone());
    let making = move || {
        let real = fs::canonicalize(found)?;
        make_link(&link, &real)?;
        make_map(&map, &real)
    };
    let patience = work.context.files.patience;
    let made = work.in_place(Whose::Pod, &device.link, patience, making).await;
    made.map_err(|error| error.of_step(FAILED_MAP, |error: io::Error| failed("MapBlockVolume", &error)))?;
    Ok(Effect {
        done: Done::DeviceMapped {
            volume: called.to_owned(),
            global: dir,
            pod: parent(&device.link),
        },
        fact: None,
    })
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
