//! Wires what looks at the pods and the machine: the observer, the probes, the rotation of logs, the measurements.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::tasks::{Tasks, or_left};
use super::values::Values;
use crate::act::rotate;
use crate::ask::Names;
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::cri::Runtime;
use crate::model::system_kill::SystemKill;
use crate::observe;
use crate::observe::measure::{Measuring, Places};

/// How often everything is listed even without an event.
pub(super) const RELIST: Duration = Duration::from_secs(10);
/// How often the images are listed even without an event.
const LIST_IMAGES: Duration = Duration::from_secs(300);
/// The kernel's log.
pub(super) const KERNEL_LOG: &str = "/dev/kmsg";
/// How many kills may wait for loop 2; more wait in the kernel's log.
const KILLS_WAITING: usize = 10;

/// The observer's settings.
pub fn observation(config: &Config, cgroups: &Cgroups) -> observe::Settings {
    observe::Settings {
        pods_dir: config.paths.root.join("pods"),
        pod_logs_dir: config.paths.pod_logs.clone(),
        relist: RELIST,
        list_images: LIST_IMAGES,
        cgroups: cgroups.clone(),
        counters: Arc::default(),
    }
}

/// The observer, the probes and the rotation of logs. Pods in the host's network are probed at the first of `addresses`.
pub(super) fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    runtime: &Runtime,
    settings: observe::Settings,
    addresses: watch::Receiver<Arc<[IpAddr]>>,
) -> observe::Handle {
    let (handle, inbox) = observe::requests();
    let probes = observe::probes::ProbeInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        addresses,
        names: Names::default(),
        counters: settings.counters.clone(),
    };
    let (snapshot, cancel) = (values.snapshot.0.clone(), tasks.cancel.clone());
    tasks.spawn(
        "observe",
        observe::run(runtime.clone(), inbox, snapshot, settings, cancel),
    );
    tasks.spawn(
        "probes",
        observe::probes::run(probes, runtime.clone(), handle.clone(), tasks.cancel.clone()),
    );
    spawn_rotation(tasks, config, values, runtime);
    handle
}

/// Follows the kernel's log from now on: the processes that are killed because the machine is out of memory.
pub(super) fn spawn_kernel_log(tasks: &mut Tasks, log: PathBuf) -> mpsc::Receiver<SystemKill> {
    let (out, kills) = mpsc::channel(KILLS_WAITING);
    let following = observe::kernel_log::run(log, out, tasks.cancel.clone());
    tasks.spawn("kernel log", following);
    kills
}

fn spawn_rotation(tasks: &mut Tasks, config: &Config, values: &Values, runtime: &Runtime) {
    let rotation = rotate::Rotation {
        max_bytes: u64::try_from(config.pods.log_max_size.0).unwrap_or(u64::MAX),
        max_files: config.pods.log_max_files as usize,
        interval: config.pods.log_check,
        workers: config.pods.log_workers as usize,
    };
    let (snapshot, runtime, end) = (values.snapshot.1.clone(), runtime.clone(), tasks.cancel.clone());
    tasks.spawn("rotate", async move {
        let reopen = |id: String| {
            let runtime = runtime.clone();
            async move { runtime.reopen_container_log(&id).await }
        };
        // If interrupted between renaming and reopening, the first check after a start repairs it.
        tokio::select! {
            () = end.cancelled() => {}
            () = rotate::run(snapshot, rotation, reopen) => {}
        }
    });
}

/// How often the machine is measured at least (`evictionMonitoringPeriod` in `pkg/kubelet`).
const LONGEST_UNMEASURED: Duration = Duration::from_secs(10);

/// Measures this machine from now on.
pub(super) fn spawn_measuring(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    runtime: Runtime,
    places: Places,
) {
    let measuring = Measuring {
        places,
        runtime,
        every: config.node.status_update.min(LONGEST_UNMEASURED),
        policy: config.eviction_policy(),
        wanted: values.wanted.1.clone(),
        out: values.measured.0.clone(),
    };
    let cancel = tasks.cancel.clone();
    let measuring = measuring.run(cancel.clone());
    tasks.spawn("measure", async move {
        or_left(&cancel, measuring).await;
    });
}
