//! How many volumes the node can have of a driver changes where other devices take the same places. A driver whose CSIDriver
//! states `nodeAllocatableUpdatePeriodSeconds` is asked again that often, and when a volume found no room on the node
//! (KEP-4876; `pkg/volume/csi/csi_node_updater.go`). A loop of its own: the registration does not change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ask;
use crate::counters::Counters;
use crate::model::driver::{Driver, Drivers, Periods, Told};
use crate::model::last_logged::LastLogged;

/// What the loop needs.
pub struct Settings {
    /// How often they want to be asked.
    pub periods: watch::Receiver<Periods>,
    /// The registered drivers.
    pub drivers: watch::Receiver<Arc<Drivers>>,
    /// The names of drivers of which a volume found no room.
    pub exhausted: mpsc::UnboundedReceiver<String>,
    /// Counts the calls of drivers.
    pub counters: Arc<Counters>,
}

/// A driver that is followed.
struct Followed {
    driver: Arc<Driver>,
    /// It is asked now.
    now: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// Publishes what drivers have said since they registered, until canceled.
pub async fn run(mut settings: Settings, out: watch::Sender<Told>, cancel: CancellationToken) {
    let mut followed: BTreeMap<String, Followed> = BTreeMap::new();
    loop {
        let drivers = settings.drivers.borrow_and_update().clone();
        followed.retain(|name, one| {
            let registered = drivers.by_name.get(name);
            let stays = registered.is_some_and(|driver| Arc::ptr_eq(driver, &one.driver));
            if !stays {
                out.send_if_modified(|told| told.remove(name).is_some());
            }
            stays
        });
        for (name, driver) in &drivers.by_name {
            followed.entry(name.clone()).or_insert_with(|| {
                let now = Arc::new(Notify::new());
                let one = Questions {
                    name: name.clone(),
                    driver: driver.clone(),
                    now: now.clone(),
                    counters: settings.counters.clone(),
                    out: out.clone(),
                };
                Followed {
                    driver: driver.clone(),
                    now,
                    _task: AbortOnDropHandle::new(tokio::spawn(one.ask(settings.periods.clone()))),
                }
            });
        }
        // Every arm may be dropped: the channels keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = settings.drivers.changed() => {}
            Some(name) = settings.exhausted.recv() => if let Some(one) = followed.get(&name) {
                one.now.notify_one();
            },
        }
    }
}

/// The questions to one driver.
struct Questions {
    name: String,
    driver: Arc<Driver>,
    now: Arc<Notify>,
    counters: Arc<Counters>,
    out: watch::Sender<Told>,
}

impl Questions {
    /// Asks as often as the CSIDriver says, until the agent ends.
    async fn ask(self, mut periods: watch::Receiver<Periods>) {
        let mut clock = Clock::default();
        let mut logged = LastLogged::default();
        loop {
            clock.set(periods.borrow_and_update().get(&self.name).copied());
            // Every arm may be dropped: the watch, the clock and the notice keep what was not taken.
            tokio::select! {
                changed = periods.changed() => if changed.is_err() { return },
                () = clock.tick() => self.ask_once(&mut logged).await,
                () = self.now.notified() => if clock.is_set() {
                    self.ask_once(&mut logged).await;
                },
            }
        }
    }

    async fn ask_once(&self, logged: &mut LastLogged<String>) {
        let answer = match ask::again(&self.name, &self.driver, &self.counters).await {
            Ok(answer) => answer,
            Err(error) => {
                if logged.is_news(&error) {
                    tracing::warn!(
                        driver = self.name,
                        error,
                        "cannot ask the storage driver for its volume limit (NodeGetInfo)"
                    );
                }
                return;
            }
        };
        logged.clear();
        self.out.send_if_modified(|told| {
            let before = told.get(&self.name).map_or(&*self.driver, |(_, answer)| answer);
            if *before == answer {
                return false;
            }
            let (former, max_volumes) = (before.max_volumes, answer.max_volumes);
            if former != max_volumes {
                tracing::info!(
                    driver = self.name,
                    former,
                    max_volumes,
                    "the storage driver changed its volume limit"
                );
            }
            told.insert(self.name.clone(), (self.driver.clone(), answer));
            true
        });
    }
}

/// When the driver is asked.
#[derive(Default)]
struct Clock(Option<Interval>);

impl Clock {
    fn set(&mut self, period: Option<Duration>) {
        if self.0.as_ref().map(Interval::period) == period {
            return;
        }
        self.0 = period.map(|period| {
            let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
    }

    fn is_set(&self) -> bool {
        self.0.is_some()
    }

    async fn tick(&mut self) {
        match &mut self.0 {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_driver_is_asked_as_often_as_its_object_says() {
        let mut clock = Clock::default();
        let minute = Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, clock.tick()).await.is_err());
        let began = Instant::now();
        clock.set(Some(minute));
        clock.tick().await;
        // The same again does not begin anew.
        tokio::time::advance(minute / 2).await;
        clock.set(Some(minute));
        clock.tick().await;
        assert_eq!(began.elapsed(), 2 * minute);
        clock.set(None);
        assert!(!clock.is_set());
    }
}
