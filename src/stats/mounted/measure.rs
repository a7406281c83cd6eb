//! Measures one volume: by its driver, or by asking the kernel for the file system that is mounted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use tokio::sync::{Semaphore, watch};

use super::due::Measured;
use super::found::Found;
use crate::bulkhead::{Bulkhead, Limits};
use crate::counters::Counters;
use crate::csi::Socket;
use crate::csi::messages::{StatsRequest, StatsResponse, Unit};
use crate::model::driver::{Ability, Drivers};
use crate::model::stats::{MountedPlugin, VolumeHealth, VolumeNumbers};
use crate::stats::directories::filesystem;

/// Questions about file systems that have not returned: of all volumes, and of one.
const QUESTIONS: Limits = Limits {
    total: 64,
    per_owner: 1,
};
/// How long the kernel may take for a file system.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many volumes one driver is asked about at once.
const AT_ONCE: usize = 16;
/// How the kubelet calls the question to the kernel (`pkg/volume/metrics_statfs.go`).
const STATFS: &str = "statfs";

/// Whether drivers are asked if volumes are well (`CSIVolumeHealth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthReports {
    /// Those that can tell.
    Asked,
    /// None.
    Ignored,
}

/// What measuring needs. Cloning shares it.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) drivers: watch::Receiver<Arc<Drivers>>,
    pub(super) health: HealthReports,
    pub(super) counters: Arc<Counters>,
    disks: Bulkhead,
    servers: Bulkhead,
}

impl Tools {
    pub(super) fn new(
        drivers: watch::Receiver<Arc<Drivers>>,
        health: HealthReports,
        counters: Arc<Counters>,
    ) -> Tools {
        Tools {
            drivers,
            health,
            counters,
            disks: Bulkhead::new("file systems of volumes", QUESTIONS),
            servers: Bulkhead::new("file systems of servers", QUESTIONS),
        }
    }

    /// Measures a volume; `slots` are those of its driver.
    pub(super) async fn measure(
        &self,
        plugin: MountedPlugin,
        found: &Found,
        slots: Option<Arc<Semaphore>>,
    ) -> (Measured, Duration) {
        // Closed only with the process.
        let _slot = match &slots {
            Some(slots) => slots.acquire().await.ok(),
            None => None,
        };
        let begun = Instant::now();
        let measured = match &found.of_driver {
            Some((driver, handle)) => self.ask_driver(driver, handle, &found.path).await,
            // A server that is gone takes the slots of no disk.
            None if plugin == MountedPlugin::Nfs => self.ask_kernel(&self.servers, &found.path).await,
            None => self.ask_kernel(&self.disks, &found.path).await,
        };
        (measured, begun.elapsed())
    }

    async fn ask_driver(&self, name: &str, handle: &str, path: &Path) -> Measured {
        let Some(driver) = self.drivers.borrow().by_name.get(name).cloned() else {
            return Measured::NotYet;
        };
        if !driver.can(Ability::Measure) {
            return Measured::Nothing;
        }
        let request = StatsRequest {
            volume_id: handle.to_owned(),
            volume_path: path.display().to_string(),
        };
        let (at, begun) = (Timestamp::now(), Instant::now());
        let socket = Socket::at(&driver.endpoint).counting(name, &self.counters);
        let answer = socket.stats(request).await;
        self.counters
            .volumes
            .measured(name.to_owned().into(), begun.elapsed());
        match answer {
            Ok(answer) => {
                let tells = self.health == HealthReports::Asked && driver.can(Ability::Condition);
                numbers(&answer, at, tells).map_or(Measured::Nothing, Measured::Numbers)
            }
            Err(error) => {
                tracing::debug!(driver = name, volume = handle, %error, "cannot measure a volume");
                Measured::Nothing
            }
        }
    }

    async fn ask_kernel(&self, places: &Bulkhead, path: &Path) -> Measured {
        let (subject, place) = (path.display().to_string(), path.to_owned());
        let begun = Instant::now();
        let asked = places
            .run(&subject, &subject, PATIENCE, move || of_mount(&place))
            .await;
        self.counters.volumes.measured(STATFS.into(), begun.elapsed());
        match asked {
            Ok(Ok(numbers)) => Measured::Numbers(numbers),
            Ok(Err(error)) => {
                tracing::debug!(volume = subject, %error, "cannot measure a volume");
                Measured::Nothing
            }
            Err(stuck) => {
                tracing::debug!(volume = subject, error = %stuck, "cannot measure a volume");
                Measured::Nothing
            }
        }
    }
}

/// The slots of each driver.
#[derive(Default)]
pub(super) struct Slots(BTreeMap<String, Arc<Semaphore>>);

impl Slots {
    /// Those for a volume; none is needed without a driver.
    pub(super) fn of(&mut self, found: &Found) -> Option<Arc<Semaphore>> {
        let (driver, _) = found.of_driver.as_ref()?;
        let slots = self
            .0
            .entry(driver.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        Some(slots.clone())
    }

    /// Forgets those that nobody uses.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, slots| Arc::strong_count(slots) > 1);
    }
}

/// What is mounted there: without a mount it would be the node's own file system.
fn of_mount(path: &PathBuf) -> io::Result<VolumeNumbers> {
    // What a server would have to be asked for is not needed.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let found = statx(CWD, path, flags, StatxFlags::empty())?;
    let root = StatxAttributes::MOUNT_ROOT;
    // Kernels before 5.8 do not say.
    if found.stx_attributes_mask.contains(root) && !found.stx_attributes.contains(root) {
        return Err(io::Error::other("nothing is mounted there"));
    }
    let found = filesystem(path).ok_or(io::ErrorKind::NotFound)?;
    Ok(VolumeNumbers {
        at: found.at,
        capacity: found.capacity,
        available: found.available,
        used: found.used,
        inodes: found.inodes,
        inodes_free: found.inodes_free,
        inodes_used: found.inodes.saturating_sub(found.inodes_free),
        health: None,
    })
}

/// What a driver has answered; `None`: nothing (`NodeGetVolumeStats` in `pkg/volume/csi/csi_client.go`).
fn numbers(answer: &StatsResponse, at: Timestamp, tells_health: bool) -> Option<VolumeNumbers> {
    if answer.usage.is_empty() && !tells_health {
        return None;
    }
    let mut numbers = VolumeNumbers {
        at,
        capacity: 0,
        available: 0,
        used: 0,
        inodes: 0,
        inodes_free: 0,
        inodes_used: 0,
        health: None,
    };
    let amount = |value: i64| u64::try_from(value).unwrap_or_default();
    for usage in &answer.usage {
        let (total, available, used) = (amount(usage.total), amount(usage.available), amount(usage.used));
        match usage.unit() {
            Unit::Unknown => {}
            Unit::Bytes => (numbers.capacity, numbers.available, numbers.used) = (total, available, used),
            Unit::Inodes => {
                (numbers.inodes, numbers.inodes_free, numbers.inodes_used) = (total, available, used);
            }
        }
    }
    if tells_health {
        let condition = answer.volume_condition.as_ref();
        numbers.health = Some(match condition.is_some_and(|condition| condition.abnormal) {
            true => VolumeHealth::Abnormal,
            false => VolumeHealth::Normal,
        });
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::messages::{VolumeCondition, VolumeUsage};

    fn usage(unit: Unit, total: i64, available: i64, used: i64) -> VolumeUsage {
        VolumeUsage {
            available,
            total,
            used,
            unit: unit as i32,
        }
    }

    #[test]
    fn a_drivers_answer_is_taken_as_it_is() {
        let at = Timestamp::UNIX_EPOCH;
        let mut answer = StatsResponse {
            usage: vec![
                usage(Unit::Bytes, 100, 60, 40),
                usage(Unit::Inodes, 10, 7, 3),
                usage(Unit::Unknown, 1, 1, 1),
            ],
            volume_condition: Some(VolumeCondition {
                abnormal: true,
                message: "the disk is gone".to_owned(),
            }),
        };
        let mut want = VolumeNumbers {
            at,
            capacity: 100,
            available: 60,
            used: 40,
            inodes: 10,
            inodes_free: 7,
            inodes_used: 3,
            health: None,
        };
        assert_eq!(numbers(&answer, at, false), Some(want.clone()));
        want.health = Some(VolumeHealth::Abnormal);
        assert_eq!(numbers(&answer, at, true), Some(want));
        // Not stated: well, as the kubelet has it.
        answer = StatsResponse::default();
        assert_eq!(numbers(&answer, at, false), None);
        let found = numbers(&answer, at, true).unwrap();
        assert_eq!(found.health, Some(VolumeHealth::Normal));
        // Less than nothing is nothing.
        answer.usage = vec![usage(Unit::Bytes, -1, -1, 5)];
        let found = numbers(&answer, at, false).unwrap();
        assert_eq!((found.capacity, found.available, found.used), (0, 0, 5));
    }

    #[test]
    fn only_what_is_mounted_is_measured() {
        let place = tempfile::tempdir().unwrap();
        assert!(of_mount(&place.path().to_owned()).is_err());
        assert!(of_mount(&place.path().join("nothing")).is_err());
        let found = of_mount(&PathBuf::from("/proc")).unwrap();
        assert_eq!(found.inodes_used, found.inodes - found.inodes_free);
    }
}
