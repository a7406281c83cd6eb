//! How often storage drivers want to be asked how many volumes a node can have (`nodeAllocatableUpdatePeriodSeconds` of
//! their CSIDrivers).

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::follow;
use super::pace::Pace;
use super::pods::first_line;
use crate::model::driver::Periods;
use crate::model::last_logged::LastLogged;

/// The longest period, in place of longer ones that no clock can hold.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Watches the CSIDrivers until canceled. While the API server is unreachable, what is known stays.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    out: watch::Sender<Periods>,
    cancel: CancellationToken,
) {
    let mut listed = Periods::new();
    let mut logged = LastLogged::default();
    let watch = |client| {
        let drivers: kube::Api<CSIDriver> = kube::Api::all(client);
        kube::runtime::watcher(drivers, watcher::Config::default())
            .backoff(Pace::new())
            .boxed()
    };
    let take = |event| match event {
        Ok(event) => {
            logged.clear();
            take(event, &mut listed, &out);
        }
        Err(error) => {
            let why = first_line(&error);
            if logged.is_news(&why) {
                tracing::warn!("cannot watch the CSIDrivers; retrying: {why}");
            }
        }
    };
    follow(clients, cancel, watch, take).await;
}

/// `nodeAllocatableUpdatePeriodSeconds`; `None`: the driver is not asked again (`getNodeAllocatableUpdatePeriod` in
/// `pkg/volume/csi/csi_node_updater.go`). The API server sets no upper bound.
pub(in crate::source::api) fn period(driver: &CSIDriver) -> Option<Duration> {
    let seconds = driver.spec.node_allocatable_update_period_seconds?;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// `listed` is a list that is not complete yet.
fn take(event: Event<CSIDriver>, listed: &mut Periods, out: &watch::Sender<Periods>) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(driver) => drop(set(listed, driver)),
        Event::InitDone => {
            let all = std::mem::take(listed);
            out.send_if_modified(|known| {
                let is_news = *known != all;
                *known = all;
                is_news
            });
        }
        Event::Apply(driver) => drop(out.send_if_modified(|known| set(known, driver))),
        Event::Delete(driver) => {
            let name = driver.metadata.name.unwrap_or_default();
            out.send_if_modified(|known| known.remove(&name).is_some());
        }
    }
}

/// Takes what a CSIDriver says; answers whether that is news.
fn set(periods: &mut Periods, driver: CSIDriver) -> bool {
    let period = period(&driver);
    let name = driver.metadata.name.unwrap_or_default();
    let before = match period {
        Some(period) => periods.insert(name, period),
        None => periods.remove(&name),
    };
    before != period
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(name: &str, seconds: Option<i64>) -> CSIDriver {
        let mut driver = CSIDriver::default();
        driver.metadata.name = Some(name.to_owned());
        driver.spec.node_allocatable_update_period_seconds = seconds;
        driver
    }

    #[test]
    fn what_the_objects_say_is_known() {
        let out = watch::Sender::new(Periods::new());
        let mut listed = Periods::new();
        let mut after = |event| {
            take(event, &mut listed, &out);
            let known = out.borrow();
            let known = known
                .iter()
                .map(|(name, period)| format!("{name} {}", period.as_secs()));
            known.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(after(Event::Init), "");
        assert_eq!(after(Event::InitApply(driver("a", Some(10)))), "");
        assert_eq!(after(Event::InitApply(driver("b", None))), "");
        assert_eq!(after(Event::InitDone), "a 10");
        assert_eq!(after(Event::Apply(driver("b", Some(20)))), "a 10, b 20");
        // What no API server takes does not end the agent.
        assert_eq!(after(Event::Apply(driver("b", Some(-1)))), "a 10");
        assert_eq!(after(Event::Apply(driver("a", Some(30)))), "a 30");
        assert_eq!(after(Event::Delete(driver("a", None))), "");
        assert_eq!(after(Event::Apply(driver("d", Some(i64::MAX)))), "d 31622400");
        after(Event::Delete(driver("d", None)));
        // A list replaces what was known once it is complete.
        after(Event::Apply(driver("c", Some(10))));
        assert_eq!(after(Event::Init), "c 10");
        assert_eq!(after(Event::InitDone), "");
    }
}
