//! The cgroups above the pods: a task of their own writes what the node's plan says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::ActContext;
use crate::model::memory::QosCgroups;
use crate::model::node::CgroupName;
use crate::model::request::CgroupSetting;

/// How soon a QoS cgroup that could not be set is retried.
const QOS_CGROUPS_RETRY: Duration = Duration::from_secs(10);

/// Writes the QoS cgroups whenever their settings change.
pub(super) async fn run_qos_cgroups(
    act: Arc<ActContext>,
    mut qos_cgroups: watch::Receiver<Vec<CgroupSetting>>,
    published: watch::Sender<QosCgroups>,
    cancel: CancellationToken,
) {
    let mut written: BTreeMap<CgroupName, CgroupSetting> = BTreeMap::new();
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
                    written.insert(setting.name.clone(), setting);
                    if !failed {
                        done = QosCgroups::Set;
                    }
                }
                Err(error) => {
                    failed = true;
                    done = QosCgroups::Failed {
                        cgroup: setting.name.0.clone(),
                        why: error.to_string(),
                    };
                    tracing::warn!(cgroup = ?setting.name, %error, "cannot update a QoS cgroup; retrying");
                }
            }
        }
        // Neither a repeated failure nor an unchanged cgroup is logged.
        let is_news = |before: &mut QosCgroups| {
            let differs = done != QosCgroups::Unset && *before != done;
            if differs {
                *before = done;
            }
            differs
        };
        published.send_if_modified(is_news);
    }
}
