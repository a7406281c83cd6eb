//! A device that containers have as one: a link in the pod's directory, and a mount that keeps the device busy for as long
//! as the pod has it (`MapBlockVolume` in `pkg/volume/util`).

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::files::Whose;
use crate::act::volume::device_files::{make_link, make_map};
use crate::act::volume::set_up::shown;
use crate::model::local_volume::LocalDevice;
use crate::model::outcome::{Done, StepError};
use crate::model::reason::pod::FAILED_MAP;
use crate::model::volume_work::Awaited;

/// Makes link and mount, or finds them made.
pub(in crate::act::volume) async fn ensure(
    work: &Work<'_>,
    called: &str,
    device: &LocalDevice,
) -> Result<Effect, StepError> {
    let waits = (FAILED_MAP, Awaited::OfNode(device.source.clone()));
    shown(work, (called, &device.link), waits, mapped(work, called, device)).await
}

async fn mapped(work: &Work<'_>, called: &str, device: &LocalDevice) -> Result<Effect, StepError> {
    let patience = work.context.files.patience;
    let source = device.source.clone();
    let found = work
        .in_place(Whose::Host, &device.source, patience, move || real(&source))
        .await;
    let failed = |step: &str, error: io::Error| format!("{step} failed for volume {called:?} : {error}");
    let real = found
        .map_err(|error| error.of_step(FAILED_MAP, |error| failed("MapVolume.EvalHostSymlinks", error)))?;
    let (link, map) = (device.link.clone(), device.map.clone());
    let making = move || {
        make_link(&link, &real)?;
        make_map(&map, &real)
    };
    let made = work.in_place(Whose::Pod, &device.link, patience, making).await;
    made.map_err(|error| error.of_step(FAILED_MAP, |error| failed("MapVolume.MapBlockVolume", error)))?;
    Ok(Effect {
        done: Done::DeviceMapped {
            volume: called.to_owned(),
            global: parent(&device.map),
            pod: parent(&device.link),
        },
        fact: None,
    })
}

/// The device behind links, which must be one.
fn real(source: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(source)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", source.display())))?;
    match fs::metadata(&real)?.file_type().is_block_device() {
        true => Ok(real),
        false => Err(io::Error::other(format!(
            "{} is not a block device",
            source.display()
        ))),
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
