//! Limits how many pods are worked on at once, by the machine's processors.
//!
//! Creating a sandbox, starting a container and removing them starts processes and waits for kernel locks, and file
//! operations take a thread each. Running more of that at once than there are processors makes each slower and the
//! total no faster, so a plan waits for its turn. Steps that only wait (a pull, a hook, a grace period) need no turn. A
//! plan that works for very long waits somewhere, too, so that no other plan waits behind it for ever.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::model::request::VolumeKind;
use crate::model::step::{Pace, Step};

/// Turns for each processor. Measured on two: fifty pods start fastest with four to eight.
const PER_PROCESSOR: usize = 3;
/// Turns on the smallest machine.
const LEAST: usize = 4;
/// After this long a turn ends although the work continues.
const PATIENCE: Duration = Duration::from_secs(5);

/// The available turns.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// For a machine with this many processors.
    pub fn new(processors: usize) -> Turns {
        let turns = processors.saturating_mul(PER_PROCESSOR).max(LEAST);
        Turns(Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))))
    }

    /// For this machine.
    pub fn of_machine() -> Turns {
        Turns::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }

    /// For a plan without a turn yet.
    pub(super) fn queue(&self, pace: Pace) -> Turn {
        Turn {
            turns: self.0.clone(),
            pace,
            taken: None,
        }
    }
}

/// The turn of one plan, while it has one.
pub(super) struct Turn {
    turns: Arc<Semaphore>,
    pace: Pace,
    taken: Option<(OwnedSemaphorePermit, Instant)>,
}

impl Turn {
    /// Waits for a turn, unless it has one or needs none. Turns are granted in order of arrival.
    pub(super) async fn take(&mut self) {
        if self.taken.is_none() && self.pace == Pace::InTurn {
            let permit = self.turns.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            self.taken = Some((permit, Instant::now() + PATIENCE));
        }
    }

    /// Gives the turn back.
    pub(super) fn give_up(&mut self) {
        self.taken = None;
    }

    /// Completes when the turn has lasted too long; never if there is none. Dropping it loses nothing.
    pub(super) async fn is_over(&self) {
        match &self.taken {
            Some((_, until)) => tokio::time::sleep_until(*until).await,
            None => std::future::pending().await,
        }
    }
}

/// What limits a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Processes, threads and locks.
    Work,
    /// Only waiting.
    Wait,
}

impl Load {
    pub(super) fn of(step: &Step) -> Load {
        match step {
            Step::StopContainer { .. }
            | Step::EnsureImage(_)
            | Step::EnsureVolumeImage(_)
            | Step::PostStart(_)
            | Step::ExpandVolume(_)
            | Step::RepublishVolume(_) => Load::Wait,
            // A host path, a server, a device or a driver may hang, and thirty pods with one would block the turns of all others.
            Step::EnsureVolume(request)
                if matches!(
                    request.kind,
                    VolumeKind::HostPath { .. }
                        | VolumeKind::Csi(_)
                        | VolumeKind::Nfs(_)
                        | VolumeKind::Local(_)
                        | VolumeKind::LocalDevice(_)
                        | VolumeKind::NetworkDisk(_)
                        | VolumeKind::NetworkDiskDevice(_)
                ) =>
            {
                Load::Wait
            }
            Step::CreateContainer(request) if !request.sub_paths.is_empty() => Load::Wait,
            _ => Load::Work,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_late_waits_until_another_is_done_or_takes_too_long() {
        let turns = Turns::new(1);
        let mut first: Vec<Turn> = Vec::new();
        for _ in 0..LEAST {
            let mut turn = turns.queue(Pace::InTurn);
            turn.take().await;
            turn.take().await; // the same one
            first.push(turn);
        }
        let begun = Instant::now();
        let mut late = turns.queue(Pace::InTurn);
        let wait = async {
            first[0].is_over().await;
            first[0].give_up();
        };
        tokio::join!(late.take(), wait);
        assert_eq!(begun.elapsed(), PATIENCE);
        turns.queue(Pace::AtOnce).take().await;
        let mut later = turns.queue(Pace::InTurn);
        let waits = tokio::time::timeout(Duration::from_secs(1), later.take()).await;
        assert!(waits.is_err(), "there is one more than there are turns");
        drop(late);
        later.take().await;
        assert_eq!(begun.elapsed(), PATIENCE + Duration::from_secs(1));
    }

    #[test]
    fn a_larger_machine_has_more_turns() {
        let check = |processors, want| assert_eq!(Turns::new(processors).0.available_permits(), want);
        check(1, 4);
        check(2, 6);
        check(64, 192);
    }
}
