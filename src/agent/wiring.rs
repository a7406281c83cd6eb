//! The agent while it is put together: the sources first, the loops that work on pods as soon as there is a runtime to
//! work with.
//!
//! [`super::run`] wires this machine's parts; the stories of the test suite wire fakes in the same way.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::drivers;
use super::loops::{self, Channels, NodeParts};
use super::member::{Cluster, Member};
use super::observation::{self, observation};
use super::serving;
use super::sources;
use super::statistics::Statistics;
use super::tasks::Tasks;
use super::values::Values;
use crate::act::ActContext;
use crate::act::pull_records::PullRecords;
use crate::act::requested_pull;
use crate::act::volume::csi::{CsiVolumes, unstage};
use crate::act::volume::local::release;
use crate::act::volume::network_disk;
use crate::config::Config;
use crate::counters::Counters;
use crate::cri::Runtime;
use crate::model::changes::{ChangeRequests, changes};
use crate::model::event::Event;
use crate::model::image_work::{CollectRequest, ImageWorker, ImportRequest, PullRequest, image_worker};
use crate::model::measured::Measured;
use crate::model::memory::Memory;
use crate::model::pod::Desired;
use crate::model::pods_use::{PodsUse, Wanted};
use crate::model::pull_work::PullWork;
use crate::model::report::{PodsReport, StatusWritten};
use crate::model::runtime::Snapshot;
use crate::model::shutdown::ShutdownProgress;
use crate::serve::health::Health;
use crate::serve::volumes::VolumeSources;
use crate::trace;

/// The values that the rooms share, and the tasks so far. Dropped, it ends its tasks.
pub struct Wiring {
    pub(super) config: Config,
    pub(super) values: Values,
    pub(super) tasks: Tasks,
    pub(super) health: Health,
    pub(super) counters: Arc<Counters>,
    pub(super) statistics: Statistics,
    /// What people ask of static pods, until their sources take it.
    requests: Option<ChangeRequests>,
    /// What people ask of images, until the rooms that do it take it.
    pulls: Option<mpsc::Receiver<PullRequest>>,
    pub(super) imports: Option<mpsc::Receiver<ImportRequest>>,
    collections: Option<mpsc::Receiver<CollectRequest>>,
    /// The events, until it is known whether there is an API server to publish them to.
    events: Option<mpsc::UnboundedReceiver<Event>>,
    /// The statuses that the API server has taken, until loop 2 receives them.
    written: Option<mpsc::UnboundedReceiver<StatusWritten>>,
}

impl Wiring {
    /// An agent without tasks. They run until `cancel`.
    pub fn new(config: Config, cancel: CancellationToken) -> Wiring {
        let (events_in, events) = mpsc::unbounded_channel();
        let (written_in, written) = mpsc::unbounded_channel();
        let (changes, requests) = changes();
        let (images, image_requests) = image_worker();
        Wiring {
            config,
            values: Values::new(events_in, written_in, changes, images),
            tasks: Tasks::new(cancel),
            health: Health::default(),
            counters: Arc::default(),
            statistics: Statistics::new(),
            requests: Some(requests),
            pulls: Some(image_requests.pulls),
            imports: Some(image_requests.imports),
            collections: Some(image_requests.collections),
            events: Some(events),
            written: Some(written),
        }
    }

    /// Spawns the sources of pods and, for a node of a cluster, the writers of the API server. To be called once.
    pub fn spawn_sources(&mut self, cluster: Option<&Cluster>) {
        let member = cluster.map(|cluster| Member::new(cluster.clone(), self.counters.clone()));
        let (tasks, config, values) = (&mut self.tasks, &self.config, &self.values);
        let requests = self.requests.take().expect("the sources are spawned once");
        sources::spawn(tasks, config, values, requests, member.as_ref());
        let published = member.is_some().then(|| values.driver_publications.1.clone());
        drivers::spawn(tasks, config, values, &self.counters, published);
        self.statistics
            .spawn_mounted(tasks, config, values, &self.counters);
        // Without an API server there is no receiver, so that no events pile up.
        if let (Some(events), Some(member)) = (self.events.take(), &member) {
            member.spawn_publishing(tasks, config, values, (events, &self.counters));
        }
    }

    /// Spawns what observes pods, works on them and reports them. To be called once.
    pub fn spawn_loops(&mut self, mut parts: NodeParts) {
        let counters = &self.counters;
        parts.act.runtime = parts.act.runtime.counting(counters.clone());
        parts.act.cgroups = parts.act.cgroups.counting(counters.clone());
        parts.act.counters = counters.clone();
        let (tasks, config, values) = (&mut self.tasks, &self.config, &self.values);
        parts.act.at_work = values.at_work.clone();
        parts.act.pulls = parts.act.pulls.said_at(values.pulls_at_work.clone());
        parts.act.csi = CsiVolumes::open(
            &config.paths.root,
            values.drivers.1.clone(),
            values.at_work.clone(),
            counters.clone(),
        );
        let unstaging = unstage::run(parts.act.csi.clone(), tasks.cancel.clone());
        tasks.spawn("unstaging of volumes", unstaging);
        spawn_releases(tasks, config, &parts.act);
        values.measured.0.send_replace(Arc::new(parts.measured.clone()));
        self.statistics.spawn(tasks, config, values, &parts);
        let runtime = parts.act.runtime.clone();
        let settings = crate::observe::Settings {
            relist: parts.relist,
            counters: counters.clone(),
            ..observation(config, &parts.act.cgroups)
        };
        let handle = observation::spawn(tasks, config, values, &runtime, settings, parts.addresses.clone());
        tend_pull_records(tasks, parts.act.records.clone(), runtime, counters.clone());
        // A second call would have nothing to receive.
        let written = self.written.take();
        let written = written.unwrap_or_else(|| mpsc::unbounded_channel().1);
        let (pulled_in, pulled) = watch::channel(0);
        if let Some(pulls) = self.pulls.take() {
            let pulling = requested_pull::run(pulls, parts.act.clone(), pulled_in, tasks.cancel.clone());
            tasks.spawn("requested pulls", pulling);
        }
        let collections = self.collections.take();
        let kernel_log = std::mem::take(&mut parts.kernel_log);
        let channels = Channels {
            observe: handle,
            written,
            pulled,
            collections: collections.unwrap_or_else(|| mpsc::channel(1).1),
            system_kills: observation::spawn_kernel_log(tasks, kernel_log),
        };
        loops::spawn(tasks, values, parts, channels, (&self.health, counters));
        if let Some(collector) = &config.traces {
            let source = trace::Source {
                node: config.node.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let (reports, cancel) = (values.pods.1.clone(), tasks.cancel.clone());
            tasks.spawn("traces", trace::run(collector.clone(), source, reports, cancel));
        }
    }

    /// What is observed of the runtime.
    pub fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.values.snapshot.1.clone()
    }

    /// What loop 1 remembers.
    pub fn memory(&self) -> watch::Receiver<Arc<Memory>> {
        self.values.memory.1.clone()
    }

    /// What loop 2 reports of pods.
    pub fn pods(&self) -> watch::Receiver<Arc<PodsReport>> {
        self.values.pods.1.clone()
    }

    /// What should run.
    pub fn desired(&self) -> watch::Receiver<Arc<Desired>> {
        self.values.desired.1.clone()
    }

    /// Which images are being pulled for pods.
    pub fn pulls(&self) -> watch::Receiver<PullWork> {
        self.values.pulls_at_work.read()
    }

    /// What is known of volumes alone.
    pub fn volumes(&self) -> VolumeSources {
        serving::volumes(&self.config, &self.values)
    }

    /// How far the end of all pods has come, while the machine is shutting down.
    pub fn shutdown_progress(&self) -> watch::Receiver<Option<ShutdownProgress>> {
        self.values.shutdown.1.clone()
    }

    /// What loop 1 needs to have measured, and where measurements of the machine and of what pods use are published: by
    /// whoever runs an agent on a machine that only seems to be there.
    pub fn measurements(
        &self,
    ) -> (
        watch::Receiver<Wanted>,
        watch::Sender<Arc<Measured>>,
        watch::Sender<Arc<PodsUse>>,
    ) {
        let values = &self.values;
        (
            values.wanted.1.clone(),
            values.measured.0.clone(),
            values.pods_use.0.clone(),
        )
    }

    /// What the agent counts of its own work.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Asks for pulls and imports of images.
    pub fn images(&self) -> ImageWorker {
        self.values.images.clone()
    }

    /// Waits until the agent is canceled or one of its tasks ends, which ends all of them.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.tasks.finish().await
    }

    /// Ends all tasks wherever they wait, as far as a process can do to itself what SIGKILL does.
    pub async fn abort(self) {
        self.tasks.abort().await;
    }
}

/// Takes down what pods have left of the node's devices and of disks of storage networks.
fn spawn_releases(tasks: &mut Tasks, config: &Config, act: &ActContext) {
    let root = &config.paths.root;
    let unmounting = release::run(
        act.files.clone(),
        act.local.clone(),
        root.clone(),
        tasks.cancel.clone(),
    );
    tasks.spawn("unmounting of local volumes", unmounting);
    act.disks.find(root);
    let releasing = network_disk::release::Releasing {
        disks: act.disks.clone(),
        files: act.files.clone(),
        tools: act.mounts.clone(),
        root: root.clone(),
    };
    let detaching = network_disk::release::run(releasing, tasks.cancel.clone());
    tasks.spawn("detaching of disks", detaching);
}

/// Keeps the pull records.
fn tend_pull_records(tasks: &mut Tasks, records: PullRecords, runtime: Runtime, counters: Arc<Counters>) {
    let end = tasks.cancel.clone();
    tasks.spawn("pull records", async move {
        // If interrupted between two records, the next start continues.
        tokio::select! {
            () = end.cancelled() => {}
            () = records.tend(runtime, counters) => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::config::files::load_without_file;
    use crate::config::surroundings::ConfigContext;

    #[tokio::test]
    async fn without_an_api_server_no_events_pile_up() {
        let context = ConfigContext {
            hostname: "node".to_owned(),
            directory: "/".into(),
            version: String::new(),
        };
        let mut config = load_without_file(Role::Run, &[], &context).unwrap();
        config.manifests.path = None;
        let mut wiring = Wiring::new(config, CancellationToken::new());
        assert!(!wiring.values.events.is_closed(), "they may be published yet");
        wiring.spawn_sources(None);
        assert!(wiring.values.events.is_closed());
        wiring.abort().await;
    }
}
