//! The cgroups above the pods: a task of their own writes what the node's plan says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::ActContext;
use crate::model::memory::Levels;
use crate::model::node::CgroupName;
use crate::model::request::CgroupSetting;

/// How soon a QoS cgroup that could not be set is retried.
const LEVELS_RETRY: Duration = Duration::from_secs(10);

/// Writes the QoS cgroups whenever their settings change.
pub(super) async fn keep_levels(
    act: Arc<ActContext>,
    mut levels: watch::Receiver<Vec<CgroupSetting>>,
    told: watch::Sender<Levels>,
    cancel: CancellationToken,
) {
    let mut written: BTreeMap<CgroupName, CgroupSetting> = BTreeMap::new();
    let mut failed = false;
    loop {
        // All arms only wait; the newest value stays in the watch.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = levels.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LEVELS_RETRY), if failed => {}
        }
        failed = false;
        let mut done = Levels::Unset;
        let wanted = levels.borrow_and_update().clone();
        for setting in wanted {
            if written.get(&setting.name) == Some(&setting) {
                continue;
            }
            match act.cgroups.ensure(&setting).await {
                Ok(()) => {
                    written.insert(setting.name.clone(), setting);
                    if !failed {
                        done = Levels::Set;
                    }
                }
                Err(error) => {
                    failed = true;
                    done = Levels::Failed {
                        cgroup: setting.name.0.clone(),
                        why: error.to_string(),
                    };
                    tracing::warn!(cgroup = ?setting.name, %error, "cannot update a QoS cgroup; retrying");
                }
            }
        }
        // Neither a repeated failure nor an unchanged cgroup is logged.
        let is_news = |before: &mut Levels| {
            let differs = done != Levels::Unset && *before != done;
            if differs {
                *before = done;
            }
            differs
        };
        told.send_if_modified(is_news);
    }
}
