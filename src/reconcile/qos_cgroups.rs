//! The cgroups above the pods: a task of their own writes what the node's plan says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::ActContext;
use crate::model::last_logged::LastLogged;
use crate::model::memory::QosCgroups;
use crate::model::node::CgroupName;
use crate::model::request::CgroupSetting;

/// How soon a QoS cgroup that could not be set is retried.
const QOS_CGROUPS_RETRY: Duration = Duration::from_secs(10);

/// Writes the QoS cgroups whenever their settings change.
pub(super) async fn write_qos_cgroups(
    act: Arc<ActContext>,
    mut qos_cgroups: watch::Receiver<Vec<CgroupSetting>>,
    state: watch::Sender<QosCgroups>,
    cancel: CancellationToken,
) {
    let mut written: BTreeMap<CgroupName, CgroupSetting> = BTreeMap::new();
    let mut logged: BTreeMap<CgroupName, LastLogged<String>> = BTreeMap::new();
    let mut failed = false;
    loop {
        // All arms only wait; the newest value stays in the watch.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = qos_cgroups.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(QOS_CGROUPS_RETRY), if failed => {}
        }
        failed = false;
        let mut done = QosCgroups::Unset;
        let wanted = qos_cgroups.borrow_and_update().clone();
        for setting in wanted {
            if written.get(&setting.name) == Some(&setting) {
                continue;
            }
            match act.cgroups.ensure(&setting).await {
                Ok(()) => {
                    logged.remove(&setting.name);
                    written.insert(setting.name.clone(), setting);
                    if !failed {
                        done = QosCgroups::Set;
                    }
                }
                Err(error) => {
                    failed = true;
                    let why = error.to_string();
                    if logged.entry(setting.name.clone()).or_default().is_news(&why) {
                        tracing::warn!(cgroup = ?setting.name, error = %why, "cannot update a QoS cgroup; retrying");
                    }
                    done = QosCgroups::Failed {
                        cgroup: setting.name.0.clone(),
                        why,
                    };
                }
            }
        }
        // Neither a repeated failure nor an unchanged cgroup is published as an event.
        let is_news = |before: &mut QosCgroups| {
            let differs = done != QosCgroups::Unset && *before != done;
            if differs {
                *before = done;
            }
            differs
        };
        state.send_if_modified(is_news);
    }
}
