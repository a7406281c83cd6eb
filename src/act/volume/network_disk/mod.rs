//! Disks of storage networks: `iscsi` and `fc` volumes (`pkg/volume/iscsi`, `pkg/volume/fc`).
//!
//! - this file: a disk is attached, mounted for the node, and from there in the pod's directory;
//! - `device`: a disk that containers have as a device;
//! - `attach`, `iscsi`, `fc`: how a disk is attached and detached, with `multipath` for one that is reached in several ways, and
//!   [`sysfs`] for what the kernel says of it;
//! - `ledger`: what is written down of disks; [`node_disks`]: who works on them; `node`: with which slots; `others`: what still
//!   needs what one of them has;
//! - [`release`]: what nobody uses any more is taken down.

mod attach;
mod device;
mod fc;
mod iscsi;
mod ledger;
mod multipath;
mod node;
pub mod node_disks;
mod others;
pub mod release;
pub mod sysfs;

pub(super) use device::ensure as ensure_device;

use std::io;
use std::path::PathBuf;

use self::attach::{attached, make_dir};
use super::set_up::shown_until_abandoned;
use super::{format, local};
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::failure;
use crate::act::mount;
use crate::act::off_thread::off_thread;
use crate::model::network_disk::NetworkDiskVolume;
use crate::model::outcome::StepError;
use crate::model::reason::pod::FAILED_MOUNT;
use crate::model::request::set_up_failed;
use crate::model::volume_work::Awaited;

/// Mounts it unless it is mounted.
pub(super) async fn ensure(
    work: &Work<'_>,
    called: &str,
    volume: &NetworkDiskVolume,
) -> Result<Effect, StepError> {
    let waits = (FAILED_MOUNT, Awaited::Disk(volume.disk.disk.text()));
    let mounting = mounted(work, called, volume);
    shown_until_abandoned(work, (called, &volume.path), waits, mounting).await?;
    Ok(Effect::PLAIN)
}

async fn mounted(work: &Work<'_>, called: &str, volume: &NetworkDiskVolume) -> Result<(), StepError> {
    let path = volume.path.clone();
    // It says from now on that the pod may have the disk: when it is removed, it is looked whether another has it.
    let prepared = off_thread(move || make_dir(&path)).await;
    prepared.map_err(|error| failure(FAILED_MOUNT, set_up_failed(called, error)))?;
    // Until the pod's mount is there, nobody may take down the node's.
    let _turn = work.context.disks.turn(&volume.global).await;
    let global = volume.global.clone();
    let looking = off_thread(move || match mount::is_mount_point(&global) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result,
    });
    let is_mounted = looking.await;
    let failed = |step: &str, why: String| {
        failure(
            FAILED_MOUNT,
            format!("MountVolume.{step} failed for volume {called:?} : {why}"),
        )
    };
    let is_mounted = is_mounted.map_err(|error| failed("MountDevice", error.to_string()))?;
    let device = match is_mounted {
        true => {
            // An earlier agent has attached it.
            work.context.disks.enter(&volume.global, &volume.disk);
            PathBuf::new()
        }
        false => attached(work, &volume.disk, &volume.global)
            .await
            .map_err(|why| failed("WaitForAttach", why))?,
    };
    let local = volume.on(device);
    if !is_mounted {
        format::mount(work, &local)
            .await
            .map_err(|why| failed("MountDevice", why))?;
    }
    local::bound(work, called, &local, &volume.global).await
}
