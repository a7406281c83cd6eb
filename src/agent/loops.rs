//! Wires the loops that work on pods: loop 1 carries out plans, loop 2 reports.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::tasks::Tasks;
use super::values::Values;
use crate::act::ActContext;
use crate::counters::Counters;
use crate::model::collection::{CollectionNews, Provided};
use crate::model::image_work::CollectRequest;
use crate::model::measured::Measured;
use crate::model::memory::{Enforcements, Executed};
use crate::model::mounted::MountedVolumes;
use crate::model::node::{CgroupVersion, MachineFacts, NodeLimits, NodePolicy, NodeSettings};
use crate::model::outcome::StepStarted;
use crate::model::report::StatusWritten;
use crate::model::system_kill::SystemKill;
use crate::serve::health::Health;
use crate::{observe, reconcile, report};

/// What pods run on.
pub struct NodeParts {
    /// The resources of the steps. Its runtime and its cgroups are observed, too.
    pub act: ActContext,
    /// Receives what is sent to `act.beginnings`.
    pub beginnings: mpsc::UnboundedReceiver<StepStarted>,
    /// The facts of the machine.
    pub machine: MachineFacts,
    /// What plans depend on.
    pub policy: NodePolicy,
    /// What the node reports about itself.
    pub settings: NodeSettings,
    /// The first measurement.
    pub measured: Measured,
    /// The name of the sandbox image.
    pub sandbox_image: String,
    /// Grows whenever an image was imported.
    pub imported: watch::Receiver<u64>,
    /// The images that something on the node provides; `None` until that is known.
    pub provided: watch::Receiver<Option<Arc<Provided>>>,
    /// The node's addresses, the primary first; those of `policy` and `settings` are not read.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// How often everything is listed even without an event.
    pub relist: Duration,
    /// The kernel's log.
    pub kernel_log: PathBuf,
}

/// What connects the loops with other tasks.
pub(super) struct Channels {
    /// The requests to the observer.
    pub(super) observe: observe::Handle,
    /// The statuses that the API server has taken.
    pub(super) written: mpsc::UnboundedReceiver<StatusWritten>,
    /// Grows whenever somebody had an image pulled.
    pub(super) pulled: watch::Receiver<u64>,
    /// What people ask about images that nothing uses.
    pub(super) collections: mpsc::Receiver<CollectRequest>,
    /// The processes that are killed because the machine is out of memory.
    pub(super) system_kills: mpsc::Receiver<SystemKill>,
}

/// What loop 1, the API publisher and the kernel's log send to loop 2.
struct Sent {
    addresses: watch::Receiver<Arc<[IpAddr]>>,
    written: mpsc::UnboundedReceiver<StatusWritten>,
    beginnings: mpsc::UnboundedReceiver<StepStarted>,
    outcomes: mpsc::UnboundedReceiver<Executed>,
    enforcements: watch::Receiver<Enforcements>,
    /// The volumes of drivers, and the disks of storage networks.
    mounted: [watch::Receiver<Arc<MountedVolumes>>; 2],
    image_news: mpsc::UnboundedReceiver<CollectionNews>,
    system_kills: mpsc::Receiver<SystemKill>,
}

/// Spawns both.
pub(super) fn spawn(
    tasks: &mut Tasks,
    values: &Values,
    parts: NodeParts,
    channels: Channels,
    (health, counters): (&Health, &Arc<Counters>),
) {
    let (outcomes_in, outcomes) = mpsc::unbounded_channel();
    let (enforcements_in, enforcements) = watch::channel(Enforcements::default());
    let (image_news_in, image_news) = mpsc::unbounded_channel();
    let policy = Arc::new(parts.policy);
    let capacity = parts.machine.capacity(&parts.measured.nodefs);
    let mounted = [parts.act.csi.mounted(), parts.act.disks.mounted()];
    let left_volumes = parts.act.csi.left();
    let rooms = reconcile::Rooms {
        policy: policy.clone(),
        limits: NodeLimits::new(capacity, &parts.settings, parts.measured.pids_max),
        act: Arc::new(parts.act),
        observe: channels.observe,
        counters: counters.clone(),
    };
    let beat = health.register("reconcile", reconcile::LONGEST_SLEEP);
    let outputs = reconcile::Outputs {
        enforcements: enforcements_in,
        memory: values.memory.0.clone(),
        shutdown: values.shutdown.0.clone(),
        wanted: values.wanted.0.clone(),
        outcomes: outcomes_in,
        image_news: image_news_in,
        beat: Box::new(move || beat.beat()),
    };
    let counts = (parts.imported, channels.pulled, left_volumes);
    let images = (parts.provided, channels.collections);
    let inputs = reconcile_inputs(values, counts, images, parts.addresses.clone());
    tasks.spawn(
        "reconcile",
        reconcile::run(inputs, rooms, outputs, tasks.cancel.clone()),
    );
    let sent = Sent {
        addresses: parts.addresses,
        written: channels.written,
        beginnings: parts.beginnings,
        outcomes,
        enforcements,
        mounted,
        image_news,
        system_kills: channels.system_kills,
    };
    let facts = report::Facts {
        policy: policy.clone(),
        settings: parts.settings,
        machine: parts.machine,
    };
    let version = match policy.cgroup.version {
        CgroupVersion::V1 => 1,
        CgroupVersion::V2 => 2,
    };
    counters.cgroups.has_version(version);
    spawn_report(tasks, values, sent, facts, (health, counters));
}

fn reconcile_inputs(
    values: &Values,
    (imported, pulled, left_volumes): (watch::Receiver<u64>, watch::Receiver<u64>, watch::Receiver<u64>),
    (provided, collections): (
        watch::Receiver<Option<Arc<Provided>>>,
        mpsc::Receiver<CollectRequest>,
    ),
    addresses: watch::Receiver<Arc<[IpAddr]>>,
) -> reconcile::ReconcileInputs {
    reconcile::ReconcileInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        imported,
        pulled,
        drivers: values.drivers.1.clone(),
        left_volumes,
        services: values.services.1.clone(),
        node: values.api_node.1.clone(),
        addresses,
        shutting_down: values.shutting_down.1.clone(),
        measured: values.measured.1.clone(),
        pods_use: values.pods_use.1.clone(),
        provided,
        collections,
    }
}

fn spawn_report(
    tasks: &mut Tasks,
    values: &Values,
    sent: Sent,
    facts: report::Facts,
    (health, counters): (&Health, &Arc<Counters>),
) {
    let [mounted, disks] = sent.mounted;
    let inputs = report::ReportInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        memory: values.memory.1.clone(),
        beginnings: sent.beginnings,
        outcomes: sent.outcomes,
        written: sent.written,
        measured: values.measured.1.clone(),
        mounted,
        disks,
        node: values.api_node.1.clone(),
        network: values.network.1.clone(),
        shutting_down: values.shutting_down.1.clone(),
        enforcements: sent.enforcements,
        image_news: sent.image_news,
        system_kills: sent.system_kills,
        addresses: sent.addresses,
    };
    let beat = health.register("report", report::LONGEST_SLEEP);
    let outputs = report::Outputs {
        pods: values.pods.0.clone(),
        node: values.node.0.clone(),
        events: values.events.clone(),
        beat: Box::new(move || beat.beat()),
        counters: counters.clone(),
    };
    tasks.spawn(
        "report",
        report::run(inputs, facts, outputs, tasks.cancel.clone()),
    );
}
