//! Takes down what is staged and no pod uses any more. A loop of its own: neither the end of a pod waits for it, nor does
//! it need one, as after a restart of the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::entry::{Device, Effect, Place};
use super::ledger::CsiVolumes;
use super::{data, messages};
use crate::act::off_thread::off_thread;
use crate::csi::messages::UndoRequest;
use crate::disk::write::remove_if_there;
use crate::model::backoff::{Doubling, Waits};
use crate::model::csi_request::{DATA_FILE, GLOBAL_MOUNT, device_dir, device_stage, stage_dir};
use crate::model::driver::Ability;
use crate::model::volume_work::{Staged, Unstaging};

/// The waits after failures (`exponentialbackoff` in `pkg/util/goroutinemap`).
const WAITS: Doubling = Doubling::new(Duration::from_millis(500), Duration::from_secs(122));
/// The longest sleep: a safeguard.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A volume whose unstaging failed.
struct Failing {
    waits: Waits,
    until: Instant,
    why: String,
}

/// Unstages until canceled; a call that is being made then is left to the next start.
pub async fn run(volumes: CsiVolumes, cancel: CancellationToken) {
    let Some(mut drivers) = volumes.drivers() else {
        cancel.cancelled().await;
        return;
    };
    let mut left = volumes.left();
    let mut failing: BTreeMap<Device, Failing> = BTreeMap::new();
    let mut busy: BTreeSet<Device> = BTreeSet::new();
    let mut calls: JoinSet<(Device, Result<(), String>)> = JoinSet::new();
    loop {
        left.mark_unchanged();
        drivers.mark_unchanged();
        let unused = volumes.unused();
        failing.retain(|device, _| unused.contains(device));
        volumes
            .at_work()
            .only_unstaging(&unused.iter().map(staged).collect());
        let now = Instant::now();
        for device in unused {
            let waits = failing.get(&device).is_some_and(|failing| failing.until > now);
            if waits || busy.contains(&device) {
                continue;
            }
            // Whether it is known at all, and so whether anything is to be done, only a registration tells.
            if volumes.driver(&device.driver).is_none() {
                volumes.at_work().unstaging(staged(&device), Unstaging::NoDriver);
                continue;
            }
            volumes.at_work().unstaging(staged(&device), Unstaging::Calling);
            busy.insert(device.clone());
            let volumes = volumes.clone();
            calls.spawn(async move {
                let result = unstage(&volumes, &device).await;
                (device, result)
            });
        }
        let next = failing.iter().filter(|(device, _)| !busy.contains(device));
        let next = next.map(|(_, failing)| failing.until).min();
        let next = next.unwrap_or(now + LONGEST_SLEEP).min(now + LONGEST_SLEEP);
        // Every arm may be dropped: the watches and the set keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = left.changed() => {}
            Ok(()) = drivers.changed() => failing.clear(),
            Some(done) = calls.join_next() => {
                if let Ok((device, result)) = done {
                    busy.remove(&device);
                    if let Err(why) = &result {
                        let failed = Unstaging::Failed(why.clone());
                        volumes.at_work().unstaging(staged(&device), failed);
                    }
                    note(&mut failing, device, result);
                }
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn staged(device: &Device) -> Staged {
    Staged {
        driver: device.driver.clone(),
        handle: device.handle.clone(),
    }
}

fn note(failing: &mut BTreeMap<Device, Failing>, device: Device, result: Result<(), String>) {
    let Err(why) = result else {
        failing.remove(&device);
        return;
    };
    let now = Instant::now();
    let entry = failing.entry(device.clone()).or_insert_with(|| Failing {
        waits: WAITS.waits(),
        until: now,
        why: String::new(),
    });
    if entry.why != why {
        tracing::warn!(
            driver = device.driver,
            volume = device.handle,
            "cannot unstage a volume; retrying: {why}"
        );
        entry.why = why;
    }
    entry.until = now + entry.waits.fail();
}

async fn unstage(volumes: &CsiVolumes, device: &Device) -> Result<(), String> {
    let turn = volumes.turn(device);
    let _held = turn.take().await;
    if volumes.is_used(device) {
        return Ok(());
    }
    let Some((driver, socket)) = volumes.driver(&device.driver) else {
        return Ok(());
    };
    let root = volumes.root();
    let (dir, at) = match &device.place {
        Place::Files => {
            let dir = stage_dir(root, &device.driver, &device.handle);
            let at = dir.join(GLOBAL_MOUNT);
            (dir, at)
        }
        Place::Block(name) => (device_dir(root, name), device_stage(root, name)),
    };
    if driver.can(Ability::Stage) {
        let request = UndoRequest {
            volume_id: device.handle.clone(),
            path: messages::text(&at),
        };
        // A call that fails may have had its effect all the same.
        volumes.set_staged(device, Effect::Unsure);
        socket.unstage(request).await.map_err(|error| error.to_string())?;
    }
    let place = device.place.clone();
    off_thread(move || clear(&place, &dir, &at))
        .await
        .map_err(|error| error.to_string())?;
    volumes.set_unstaged(device);
    Ok(())
}

/// Removes what is left of a volume that is not staged any more. Something that is mounted stays, and is an error.
fn clear(place: &Place, dir: &Path, at: &Path) -> io::Result<()> {
    data::remove_mount_dir(at)?.refused(at)?;
    let (data, rest): (PathBuf, Vec<PathBuf>) = match place {
        Place::Files => (dir.to_owned(), vec![dir.to_owned()]),
        Place::Block(name) => {
            let data = dir.join("data");
            // Where nothing was published, though it was about to be.
            data::remove_if_empty(&dir.with_file_name("publish").join(name))?;
            data::remove_dir(&dir.join("dev"))?;
            (data.clone(), vec![data, dir.to_owned()])
        }
    };
    remove_if_there(&data.join(DATA_FILE))?;
    for dir in rest {
        data::remove_dir(&dir)?;
    }
    Ok(())
}
