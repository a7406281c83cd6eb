//! The cgroups above the pods, and those of the machine's own programs: a task of their own writes what the node's plan
//! says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::ActContext;
use crate::model::error_chain::chain;
use crate::model::last_logged::LastLogged;
use crate::model::memory::{Enforcement, Enforcements};
use crate::model::node::CgroupName;
use crate::model::node_cgroups::NodeCgroups;
use crate::model::request::CgroupSetting;

/// How soon a cgroup that could not be set is retried.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the cgroups whenever their settings change.
pub(super) async fn write_node_cgroups(
    act: Arc<ActContext>,
    mut wanted: watch::Receiver<NodeCgroups>,
    state: watch::Sender<Enforcements>,
    cancel: CancellationToken,
) {
    let (mut above_pods, mut reserved) = (Writer::default(), Writer::default());
    let mut failed = false;
    loop {
        // All arms only wait; the newest value stays in the watch.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
        let NodeCgroups { qos, reserved: own } = wanted.borrow_and_update().clone();
        let mut done = Enforcement::Unset;
        for setting in qos {
            let ensured = above_pods.write(setting, async |it| act.cgroups.ensure(it).await);
            match ensured.await {
                Enforcement::Unset => {}
                Enforcement::Set if matches!(done, Enforcement::Failed { .. }) => {}
                other => done = other,
            }
        }
        failed = matches!(done, Enforcement::Failed { .. });
        let mut all = Enforcements {
            qos: done,
            reserved: BTreeMap::new(),
        };
        for (owner, setting) in own {
            let updated = reserved.write(setting, async |it| act.cgroups.update(it).await);
            let done = updated.await;
            failed |= matches!(done, Enforcement::Failed { .. });
            all.reserved.insert(owner, done);
        }
        // Neither a repeated failure nor an unchanged cgroup is published as an event.
        state.send_if_modified(|before| before.take(all));
    }
}

/// What was written already, and which failure was logged last.
#[derive(Default)]
struct Writer {
    written: BTreeMap<CgroupName, CgroupSetting>,
    logged: BTreeMap<CgroupName, LastLogged<String>>,
}

impl Writer {
    /// Has a setting written, unless it was.
    async fn write<E: std::error::Error>(
        &mut self,
        setting: CgroupSetting,
        write: impl AsyncFnOnce(&CgroupSetting) -> Result<(), E>,
    ) -> Enforcement {
        let name = setting.name.clone();
        if self.written.get(&name) == Some(&setting) {
            return Enforcement::Unset;
        }
        match write(&setting).await {
            Ok(()) => {
                self.logged.remove(&name);
                self.written.insert(name, setting);
                Enforcement::Set
            }
            Err(error) => {
                let why = chain(&error);
                if self.logged.entry(name.clone()).or_default().is_news(&why) {
                    tracing::warn!(cgroup = ?name, error = %why, "cannot update a cgroup of the node; retrying");
                }
                Enforcement::Failed { cgroup: name.0, why }
            }
        }
    }
}
