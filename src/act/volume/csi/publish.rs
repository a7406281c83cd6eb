//! Stages a volume for the node, once, and publishes it for a pod.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::entry::{Device, Effect as Came, is_staged};
use super::ledger::CsiVolumes;
use super::{data, device, messages};
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::{abandoned, failure};
use crate::act::files::Whose;
use crate::act::off_thread::off_thread;
use crate::act::volume::at_work::{AtWork, Working};
use crate::act::volume::bind;
use crate::csi::CsiError;
use crate::disk::write::remove_if_there;
use crate::model::csi_request::{
    CsiRequest, DATA_FILE, GLOBAL_MOUNT, Publishing, Shape, VolumeData, device_dir, device_stage, stage_dir,
};
use crate::model::outcome::{Done, StepError};
use crate::model::pod::PodUid;
use crate::model::reason;
use crate::model::request::set_up_slow;
use crate::model::security::GroupChange;
use crate::model::volume_work::{Awaited, Goal};

/// What a volume waits for first that several pods use.
const TURN: &str = "another pod's call about the same volume";

/// Published, for now.
const RECURRING: Effect = Effect {
    done: Done::VolumePublished,
    fact: None,
};

/// What is waited for.
#[derive(Debug)]
pub(super) struct Progress {
    working: Working,
    driver: String,
}

impl Progress {
    /// Begins with the wait for the volume's turn.
    pub(super) fn begin(at_work: &AtWork, pod: &PodUid, request: &CsiRequest) -> Progress {
        let path = request.path();
        let driver = request.driver.clone();
        let goal = match request.publishing {
            Publishing::Again => Goal::Refresh,
            Publishing::Once | Publishing::Recurring => Goal::SetUp,
        };
        let awaited = Awaited::Driver {
            what: TURN,
            driver: driver.clone(),
        };
        Progress {
            working: at_work.begin(pod, &path, goal, awaited),
            driver,
        }
    }

    fn set(&self, what: &'static str) {
        let driver = self.driver.clone();
        self.working.waits_for(Awaited::Driver { what, driver });
    }
}

/// Makes the volume available to the pod, or finds it so.
pub(in crate::act) async fn ensure(work: &Work<'_>, request: CsiRequest) -> Result<Effect, StepError> {
    let progress = Progress::begin(&work.context.at_work, work.uid, &request);
    let what = || set_up_slow(&request.name, &progress.working.awaited());
    let working = published(work, &request, &progress);
    let reason = match request.shape {
        Shape::Block => reason::pod::FAILED_MAP,
        Shape::FileSystem { .. } => reason::pod::FAILED_MOUNT,
    };
    let working = work.announced(reason, what, working);
    // What a dropped call may have done is written down before it is made.
    match work.unless_abandoned(working).await {
        Some(result) => result.map_err(|message| failure(reason, message)),
        None => Err(abandoned(reason)),
    }
}

/// The error is the kubelet's message.
async fn published(work: &Work<'_>, request: &CsiRequest, progress: &Progress) -> Result<Effect, String> {
    let volumes = &work.context.csi;
    bring(volumes, work.uid, request, progress).await?;
    match &request.shape {
        // There is an event for the first time only.
        Shape::Block if request.publishing == Publishing::Again => Ok(RECURRING),
        Shape::Block => Ok(Effect {
            done: Done::DeviceMapped {
                volume: request.name.clone(),
                global: device_dir(volumes.root(), &request.name).join("dev"),
                pod: parent(&request.places.device_link(&request.name)),
            },
            fact: None,
        }),
        Shape::FileSystem { group, .. } => {
            if let Some(group) = group {
                progress.set("the files that are given to the group, on a volume");
                let given = give(work, request, *group).await;
                given.map_err(|why| failed("SetUp", request, why))?;
            }
            Ok(match request.publishing {
                Publishing::Once => Effect::PLAIN,
                Publishing::Recurring | Publishing::Again => RECURRING,
            })
        }
    }
}

/// Stages a volume and publishes it for a pod, where that is not done.
pub(super) async fn bring(
    volumes: &CsiVolumes,
    pod: &PodUid,
    request: &CsiRequest,
    progress: &Progress,
) -> Result<(), String> {
    let set_up_failed = |why: String| failed("SetUp", request, why);
    let device = Device::of(request);
    let turn = volumes.enter(request, pod).map_err(set_up_failed)?;
    let _held = turn.take().await;
    progress.set("NodeStageVolume");
    let staged = stage(volumes, &device, request)
        .await
        .map_err(|why| failed("MountDevice", request, why))?;
    progress.set("NodePublishVolume");
    publish(volumes, &device, request, staged.as_deref(), pod)
        .await
        .map_err(set_up_failed)?;
    if request.shape == Shape::Block {
        let mapped = device::map(request).await;
        mapped.map_err(|error| failed("MapVolume", request, error.to_string()))?;
    }
    Ok(())
}

/// The kubelet's message about a step of a volume's way (`pkg/volume/util/operationexecutor`).
fn failed(step: &str, request: &CsiRequest, why: String) -> String {
    let name = &request.name;
    let operation = match (&request.shape, step) {
        (Shape::Block, "MountDevice") => "MapVolume.SetUpDevice",
        (Shape::Block, "SetUp") => "MapVolume.MapPodDevice",
        (Shape::Block, _) => "MapVolume.MapBlockVolume",
        (Shape::FileSystem { .. }, "MountDevice") => "MountVolume.MountDevice",
        (Shape::FileSystem { .. }, _) => "MountVolume.SetUp",
    };
    format!("{operation} failed for volume {name:?} : {why}")
}

/// Stages it unless it is staged; answers where.
async fn stage(
    volumes: &CsiVolumes,
    device: &Device,
    request: &CsiRequest,
) -> Result<Option<PathBuf>, String> {
    if !is_staged(request) {
        if request.shape == Shape::Block {
            // There are directories to be removed once no pod has it.
            volumes.set_staged(device, Came::Unsure);
        }
        return Ok(None);
    }
    let (dir, at, data) = stage_place(volumes, request);
    let before = volumes.staged(device);
    if before == Came::Done {
        return Ok(Some(at));
    }
    let socket = volumes.socket(&request.driver)?;
    let (mount, saved) = (at.clone(), dir.clone());
    // Of what no data file speaks, nobody knows after a crash.
    let prepare = move || {
        data::save(&saved, &data)?;
        make_dir(&mount)
    };
    off_thread(prepare)
        .await
        .map_err(|error| failed_in(&dir, &error))?;
    volumes.set_staged(device, Came::Unsure);
    match socket.stage(messages::stage(request, &at)).await {
        Ok(()) => {
            volumes.set_staged(device, Came::Done);
            Ok(Some(at))
        }
        Err(error) => {
            if error.is_final() && before == Came::None {
                let above = (request.shape == Shape::Block).then(|| parent(&dir));
                undo(at, dir, above).await.map_err(|error| error.to_string())?;
                volumes.set_staged(device, Came::None);
            }
            Err(error.to_string())
        }
    }
}

/// Where a volume is staged: the directory of its data file, the place itself, and what the file says.
fn stage_place(volumes: &CsiVolumes, request: &CsiRequest) -> (PathBuf, PathBuf, VolumeData) {
    let root = volumes.root();
    match request.shape {
        Shape::Block => {
            let dir = device_dir(root, &request.name).join("data");
            (dir, device_stage(root, &request.name), of_pod(request))
        }
        Shape::FileSystem { .. } => {
            let data = VolumeData {
                driver_name: request.driver.clone(),
                volume_handle: request.handle.clone(),
                ..VolumeData::default()
            };
            let dir = stage_dir(root, &request.driver, &request.handle);
            let at = dir.join(GLOBAL_MOUNT);
            (dir, at, data)
        }
    }
}

/// Publishes it for the pod unless it is published.
async fn publish(
    volumes: &CsiVolumes,
    device: &Device,
    request: &CsiRequest,
    staged: Option<&Path>,
    pod: &PodUid,
) -> Result<(), String> {
    let before = volumes.published(device, pod);
    if before == Came::Done && request.publishing != Publishing::Again {
        return Ok(());
    }
    let socket = volumes.socket(&request.driver)?;
    let (name, places) = (&request.name, &request.places);
    let (dir, at) = match request.shape {
        Shape::Block => (
            device_dir(volumes.root(), name).join("data"),
            places.device_target(name),
        ),
        Shape::FileSystem { .. } => (places.of_pod(name), places.target(name)),
    };
    let data = of_pod(request);
    let (above, saved) = (parent(&at), dir.clone());
    let prepare = move || {
        make_dir(&above)?;
        data::save(&saved, &data)
    };
    off_thread(prepare)
        .await
        .map_err(|error| failed_in(&dir, &error))?;
    if request.shape == Shape::Block {
        // What says of a device that the pod has it, should the agent end now.
        device::link(places, name)
            .await
            .map_err(|error| failed_in(&at, &error))?;
    }
    volumes.set_published(device, pod, Came::Unsure);
    match socket.publish(messages::publish(request, staged, &at)).await {
        Ok(()) => {
            volumes.set_published(device, pod, Came::Done);
            Ok(())
        }
        Err(error) => {
            forget_failed(volumes, device, request, (before, &error), pod)
                .await
                .map_err(|error| error.to_string())?;
            Err(error.to_string())
        }
    }
}

/// After a call that has done nothing for certain, nothing is to be taken down.
async fn forget_failed(
    volumes: &CsiVolumes,
    device: &Device,
    request: &CsiRequest,
    (before, error): (Came, &CsiError),
    pod: &PodUid,
) -> io::Result<()> {
    if !error.is_final() || before != Came::None {
        return Ok(());
    }
    match request.shape {
        // What else there is of it goes when it is unstaged.
        Shape::Block => device::unlink(&request.places, &request.name).await?,
        Shape::FileSystem { .. } => {
            let dir = request.places.of_pod(&request.name);
            undo(request.places.target(&request.name), dir, None).await?;
        }
    }
    volumes.set_published(device, pod, Came::None);
    Ok(())
}

/// Removes the directory of a mount that is not there, the data file that spoke of it, its directory, and the one `above`
/// that.
async fn undo(mount: PathBuf, dir: PathBuf, above: Option<PathBuf>) -> io::Result<()> {
    off_thread(move || {
        if data::remove_mount_dir(&mount)? == data::Left::Mounted {
            return Ok(());
        }
        remove_if_there(&dir.join(DATA_FILE))?;
        data::remove_if_empty(&dir)?;
        above.map_or(Ok(()), |above| data::remove_if_empty(&above))
    })
    .await
}

/// Gives the files to the group (`fsGroup`), which may take long and may hang.
async fn give(work: &Work<'_>, request: &CsiRequest, group: (i64, GroupChange)) -> Result<(), String> {
    let target = request.places.target(&request.name);
    let path = target.clone();
    let giving = move || bind::give(&path, group);
    let given = work
        .in_place(Whose::Pod, &target, bind::GROUP_PATIENCE, giving)
        .await;
    given.map_err(|error| {
        let error = error.of_step(reason::pod::FAILED_MOUNT, |error| error.to_string());
        format!(
            "applyFSGroup failed for vol {}: {}",
            request.handle, error.message
        )
    })
}

/// The data file of a pod's volume, or of a device, whose lifecycle the kubelet leaves out.
fn of_pod(request: &CsiRequest) -> VolumeData {
    VolumeData {
        attachment: request.attachment.clone(),
        driver_name: request.driver.clone(),
        node_name: request.node.clone(),
        spec_name: request.name.clone(),
        volume_handle: request.handle.clone(),
        volume_lifecycle_mode: match request.shape {
            Shape::Block => String::new(),
            Shape::FileSystem { .. } => request.lifecycle.as_str().to_owned(),
        },
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn failed_in(dir: &Path, error: &io::Error) -> String {
    format!("{}: {error}", dir.display())
}
