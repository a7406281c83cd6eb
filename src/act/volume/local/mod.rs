//! `local` PersistentVolumes (`pkg/volume/local`).
//!
//! - this file: a directory, or a device that has been mounted for the node, is mounted in the pod's directory;
//! - `device`: a device that containers have as one;
//! - [`node_devices`]: who works on a device that is mounted for the node;
//! - [`release`]: what nobody uses any more is taken down.

mod device;
pub mod node_devices;
pub mod release;

pub(super) use device::ensure as ensure_device;

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::set_up::shown_until_abandoned;
use super::{bind, format};
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::failure;
use crate::act::files::Whose;
use crate::act::mount_tools::Mounting;
use crate::act::off_thread::off_thread;
use crate::model::access::Access;
use crate::model::local_volume::LocalVolume;
use crate::model::outcome::StepError;
use crate::model::reason::pod::FAILED_MOUNT;
use crate::model::request::set_up_failed;
use crate::model::volume_work::Awaited;

/// What a volume's path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Directory,
    Device,
}

/// Mounts it unless it is mounted.
pub(super) async fn ensure(work: &Work<'_>, called: &str, volume: &LocalVolume) -> Result<Effect, StepError> {
    let waits = (FAILED_MOUNT, Awaited::OfNode(volume.source.clone()));
    let mounting = mounted(work, called, volume);
    shown_until_abandoned(work, (called, &volume.path), waits, mounting).await?;
    Ok(Effect::PLAIN)
}

async fn mounted(work: &Work<'_>, called: &str, volume: &LocalVolume) -> Result<(), StepError> {
    let source = volume.source.clone();
    let patience = work.context.files.patience;
    let looking = move || look(&source);
    let found = work
        .in_place(Whose::Host, &volume.source, patience, looking)
        .await;
    let found = found.map_err(|error| {
        error.of_step(FAILED_MOUNT, |error| {
            let path = volume.source.display().to_string();
            let why = match error.kind() {
                io::ErrorKind::NotFound => format!("path {path:?} does not exist"),
                _ => error.to_string(),
            };
            format!("MountVolume.NewMounter initialization failed for volume {called:?} : {why}")
        })
    })?;
    // Until the pod's mount is there, nobody may take down the node's.
    let _turn = match found {
        Source::Directory => None,
        Source::Device => Some(work.context.local.turn(&volume.global).await),
    };
    let from = match found {
        Source::Directory => &volume.source,
        Source::Device => {
            format::mount(work, volume)
                .await
                .map_err(|why| mount_failed(called, volume, &why))
                .map_err(|message| failure(FAILED_MOUNT, message))?;
            &volume.global
        }
    };
    bound(work, called, volume, from).await
}

/// Follows links: the path is the administrator's choice.
fn look(source: &Path) -> io::Result<Source> {
    let found = fs::metadata(source)?.file_type();
    match () {
        () if found.is_dir() => Ok(Source::Directory),
        () if found.is_block_device() => Ok(Source::Device),
        () => Err(io::Error::other("only directory and block device are supported")),
    }
}

fn mount_failed(called: &str, volume: &LocalVolume, why: &str) -> String {
    format!(
        "MountVolume.MountDevice failed for volume {called:?} : local: failed to mount device {} at {} (fstype: {}), error \
         {why}",
        volume.source.display(),
        volume.global.display(),
        volume.fs_type,
    )
}

/// Mounts a directory in the pod's, with the volume's options.
pub(in crate::act::volume) async fn bound(
    work: &Work<'_>,
    called: &str,
    volume: &LocalVolume,
    from: &Path,
) -> Result<(), StepError> {
    let patience = match volume.group {
        Some(_) => bind::GROUP_PATIENCE,
        None => work.context.files.patience,
    };
    let (source, path, access, group) = (from.to_owned(), volume.path.clone(), volume.access, volume.group);
    let binding = move || {
        bind::mount(&source, &path, access, group)?;
        bind::flags(&source)
    };
    let flags = work.in_place(Whose::Host, from, patience, binding).await;
    let flags = flags.map_err(|error| error.of_step(FAILED_MOUNT, |error| set_up_failed(called, error)))?;
    if volume.options.is_empty() {
        return Ok(());
    }
    // Again where it was mounted before: an agent may have been killed between the two.
    let mounting = Mounting {
        kind: None,
        options: remount_options(volume, &flags),
        source: from.as_os_str(),
        target: &volume.path,
    };
    let tools = &work.context.mounts;
    let Err(why) = tools.mount((&work.context.files, work.uid), &mounting).await else {
        return Ok(());
    };
    let path = volume.path.clone();
    // The pod's directory is removed with all that is mounted below it, so a mount that stays is not lost.
    let _ = off_thread(move || bind::undo(&path)).await;
    Err(failure(FAILED_MOUNT, set_up_failed(called, why)))
}

/// The options of a bind mount: the kernel takes them when it is mounted once more, and then has to be told again what the
/// source has (`bindMountSensitive` in `k8s.io/mount-utils`).
fn remount_options(volume: &LocalVolume, of_source: &[&str]) -> Vec<String> {
    let mut options = vec!["bind".to_owned(), "remount".to_owned()];
    let own = volume.options.iter().map(String::as_str);
    let access = (volume.access == Access::ReadOnly).then_some("ro");
    for option in of_source.iter().copied().chain(own).chain(access) {
        if !options.iter().any(|had| had == option) {
            options.push(option.to_owned());
        }
    }
    options
}

#[cfg(test)]
mod tests;
