//! The agent, by its own wiring, over a fake runtime, a fake API server and directories of a test's own. What needs root
//! is left out: no cgroup of the machine's is planned, no network is set up, nothing is listened on.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry::act::ActContext;
use gantry::act::credential_provider::Providers;
use gantry::act::files::FilePlaces;
use gantry::act::mount_tools::MountTools;
use gantry::act::network_cache::NetworkCache;
use gantry::act::pull_records::PullRecords;
use gantry::act::pulls::{PullRate, Pulls};
use gantry::act::registry::DockerConfig;
use gantry::act::turn::Turns;
use gantry::act::user_ranges::PodUsers;
use gantry::act::volume::network_disk::node_disks::NodeDisks;
use gantry::agent::wiring::Wiring;
use gantry::agent::{Cluster, NodeParts, Storing};
use gantry::cgroup;
use gantry::config::files::load_without_file;
use gantry::config::surroundings::ConfigContext;
use gantry::config::{Config, Role};
use gantry::counters::{Label, Sample};
use gantry::cri::Runtime;
use gantry::identity::clients::Clients;
use gantry::model::api::{CutOffStart, TrustBundles};
use gantry::model::collection::Provided;
use gantry::model::collector::Collector;
use gantry::model::eviction::EvictionPolicy;
use gantry::model::image_policy::ImagePolicy;
use gantry::model::measured::{FsUsage, Measured};
use gantry::model::memory::Memory;
use gantry::model::node::{CgroupDriver, CgroupLayout, MachineFacts, NodePolicy, NodeSettings};
use gantry::model::pod::{Desired, DnsConfig, PodName, PodUid};
use gantry::model::pods_use::{PodUse, PodsUse, Wanted};
use gantry::model::pull_policy::Verification;
use gantry::model::pull_work::PullWork;
use gantry::model::report::PodsReport;
use gantry::model::resources::Bytes;
use gantry::model::runtime::Snapshot;
use gantry::model::shutdown::{ShutdownPeriods, ShutdownProgress};
use gantry::model::user_range::IdPool;
use gantry::source::checkpoint::seal::Keyhole;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::fake_api::FakeApi;
use crate::fake_cri::{Call, FakeCri};
use crate::fake_logind::FakeLogind;
use crate::pods::{Directories, name};

/// Every condition becomes true long before this, or the test has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How often values are polled that announce no change.
const STEP: Duration = Duration::from_millis(2);
/// The suffix of every pod's name.
const NODE: &str = "node";
const GIB: i64 = 1 << 30;

/// A machine with a runtime, a manifests directory, and an agent that can be killed.
pub(crate) struct Machine {
    pub fake: FakeCri,
    pub at: Directories,
    /// How often everything is listed though nothing was heard. An hour: a story sees what it sees because of
    /// an event or a request.
    pub relist: Duration,
    /// The API server whose node this is, where there is one.
    pub api: Option<FakeApi>,
    /// Which life of the machine this is.
    pub boot: String,
    /// What the agent speaks to the API server with when it starts.
    pub credentials: Credentials,
    /// The programs that have credentials for registries.
    pub providers: Providers,
    /// For which images credentials are verified.
    pub verification: Option<Verification>,
    /// File operations that may hang.
    pub files: FilePlaces,
    /// The programs that mount.
    pub mounts: MountTools,
    /// The disks of storage networks, and where the kernel shows them.
    pub disks: NodeDisks,
    /// How long the API server may be silent before what was stored is used.
    pub patience: Duration,
    /// Whether the kernel enforces AppArmor profiles.
    pub apparmor: bool,
    /// Whether the feature gate `ContainerStopSignals` is on.
    pub stop_signals: bool,
    /// Whether the feature gate `PodCertificateRequest` is on.
    pub pod_certificates: bool,
    /// What says that the machine shuts down.
    pub logind: Option<FakeLogind>,
    /// How much time pods get then.
    pub shutdown: ShutdownPeriods,
    /// When pods have to make room.
    pub eviction: EvictionPolicy,
    /// Where traces go.
    pub collector: Option<Collector>,
    /// How often images may be pulled.
    pub pull_rate: Option<PullRate>,
    /// When unused images are removed.
    pub image_policy: ImagePolicy,
    /// The images that something on the node provides.
    pub provided: Provided,
    /// The file system of the images, if the runtime reports it.
    pub imagefs: Option<FsUsage>,
    agent: Option<Agent>,
    _stopwatch: Stopwatch,
}

/// Notes how long a story took, where `STORY_TIMES` names a file for that: cargo prints no times.
struct Stopwatch(Instant);

impl Drop for Stopwatch {
    fn drop(&mut self) {
        // A test's thread has the test's name.
        let thread = std::thread::current();
        let (Some(file), Some(name)) = (std::env::var_os("STORY_TIMES"), thread.name()) else {
            return;
        };
        let word = if std::thread::panicking() { "FAILED" } else { "ok" };
        let line = format!(
            "story {name} ... {word} ({:.1} s)\n",
            self.0.elapsed().as_secs_f64()
        );
        let noted = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&file)
            .and_then(|mut times| std::io::Write::write_all(&mut times, line.as_bytes()));
        // A second panic would end all tests.
        if !std::thread::panicking() {
            noted.expect("the file of the stories' times can be written");
        }
    }
}

/// What the agent speaks to the API server with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    Had,
    /// There are none until it is given some.
    Lacking,
}

/// One life of the agent.
struct Agent {
    pods: watch::Receiver<Arc<PodsReport>>,
    memory: watch::Receiver<Arc<Memory>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    imported: watch::Sender<u64>,
    addresses: watch::Sender<Arc<[IpAddr]>>,
    /// The clients, on a node of an API server.
    joined: Option<watch::Sender<Option<Clients>>>,
    wiring: Wiring,
}

impl Machine {
    /// The machine before the agent's first start.
    pub(crate) fn new() -> Machine {
        let at = Directories::new();
        std::fs::create_dir(at.root.path().join("manifests")).unwrap();
        let fake = FakeCri::start(at.root.path());
        // Its tag is not `latest`, so that it is not asked of a registry.
        fake.world().add_image("demo:1");
        Machine {
            fake,
            at,
            relist: Duration::from_secs(3600),
            api: None,
            boot: "first".to_owned(),
            credentials: Credentials::Had,
            providers: Providers::default(),
            verification: Some(Verification::default()),
            files: FilePlaces::default(),
            mounts: MountTools::default(),
            disks: NodeDisks::default(),
            patience: Duration::from_millis(100),
            apparmor: true,
            stop_signals: false,
            pod_certificates: true,
            logind: None,
            shutdown: ShutdownPeriods::default(),
            eviction: EvictionPolicy::default(),
            collector: None,
            pull_rate: None,
            image_policy: ImagePolicy::default(),
            provided: Provided::default(),
            imagefs: None,
            agent: None,
            _stopwatch: Stopwatch(Instant::now()),
        }
    }

    /// A machine on which the agent runs and hears the runtime's events.
    pub(crate) async fn started() -> Machine {
        let mut machine = Machine::new();
        machine.start().await;
        machine
            .becomes("a subscriber to events", |fake| fake.has_subscriber())
            .await;
        machine
    }

    /// The same as a node of an API server.
    pub(crate) async fn joined() -> Machine {
        let mut machine = Machine::new();
        machine.api = Some(FakeApi::start().await);
        machine.start().await;
        machine
            .becomes("a subscriber to events", |fake| fake.has_subscriber())
            .await;
        machine
    }

    /// The API server.
    pub(crate) fn api(&self) -> &FakeApi {
        self.api.as_ref().expect("a node of an API server")
    }

    /// A file in the manifests directory, renamed into place.
    pub(crate) fn write(&self, file: &str, content: &str) {
        let path = self.manifest(file);
        let temporary = self.manifest(&format!(".{file}"));
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    pub(crate) fn delete(&self, file: &str) {
        std::fs::remove_file(self.manifest(file)).unwrap();
    }

    pub(crate) fn manifest(&self, file: &str) -> PathBuf {
        self.at.root.path().join("manifests").join(file)
    }

    pub(crate) async fn start(&mut self) {
        self.agent = Some(Agent::start(self).await);
    }

    /// The machine is measured as it was at first but for this.
    pub(crate) fn measures(&self, change: impl FnOnce(&mut Measured)) {
        let (_, machine, _) = self.agent().wiring.measurements();
        let mut new = measured();
        new.at = Timestamp::now();
        change(&mut new);
        machine.send_replace(Arc::new(new));
    }

    /// What loop 1 needs to have measured.
    pub(crate) fn wanted(&self) -> Wanted {
        self.agent().wiring.measurements().0.borrow().clone()
    }

    /// What pods use is measured when it is wanted.
    pub(crate) async fn uses(&self, pods: &[(&str, PodUse)]) {
        let is_wanted = |machine: &Machine| machine.wanted().pods_since.is_some();
        self.until("what pods use is wanted", is_wanted).await;
        let (_, _, out) = self.agent().wiring.measurements();
        let pods = pods
            .iter()
            .map(|(uid, used)| (PodUid((*uid).to_owned()), used.clone()));
        out.send_replace(Arc::new(PodsUse {
            at: Timestamp::now(),
            pods: pods.collect(),
        }));
    }

    /// Gives an agent credentials that has none.
    pub(crate) fn give_credentials(&self) {
        let joined = self.agent().joined.as_ref().expect("a node of an API server");
        joined.send_replace(Some(watch::channel(self.api().client()).1));
    }

    /// Ends the agent as SIGKILL does: nothing is finished, calls under way lose their caller.
    pub(crate) async fn kill(&mut self) {
        let agent = self.agent.take().expect("an agent runs");
        agent.wiring.abort().await;
    }

    /// Says that an image was imported, as the agent's importer does.
    pub(crate) fn say_imported(&self) {
        self.agent().imported.send_modify(|count| *count += 1);
    }

    /// Asks the agent for pulls.
    pub(crate) fn images(&self) -> gantry::model::image_work::ImageWorker {
        self.agent().wiring.images()
    }

    /// Which images are being pulled for pods.
    pub(crate) fn pulls(&self) -> watch::Receiver<PullWork> {
        self.agent().wiring.pulls()
    }

    /// Gives the node other addresses, or none.
    pub(crate) fn set_addresses(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        self.agent().addresses.send_replace(addresses.collect());
    }

    /// What is reported about the pods now.
    pub(crate) fn report(&self) -> Arc<PodsReport> {
        self.agent().pods.borrow().clone()
    }

    /// What is reported about one now.
    pub(crate) fn pod(&self, pod: &str) -> Option<Arc<api::Pod>> {
        self.report().pods.get(&full_name(pod)).cloned()
    }

    pub(crate) fn memory(&self) -> Arc<Memory> {
        self.agent().memory.borrow().clone()
    }

    /// What the agent has counted under a name of its metrics, for the children with these label values.
    pub(crate) fn counted(&self, name: &str, labels: &[&str]) -> f64 {
        let counters = self.agent().wiring.counters();
        let mut families = counters.sample();
        families.extend(counters.probes.sample());
        let family = families.iter().find(|family| family.name == name);
        let family = family.unwrap_or_else(|| panic!("there is no {name}"));
        let has = |values: &[Label]| {
            labels
                .iter()
                .all(|label| values.iter().any(|value| value == label))
        };
        let samples = family.samples.iter().filter(|(values, _)| has(values));
        let numbers = samples.map(|(_, sample)| match sample {
            Sample::Count(count) => *count as f64,
            Sample::Level(level) => *level,
            Sample::Distribution(histogram) => histogram.count() as f64,
        });
        numbers.sum()
    }

    /// What the agent's socket answers about volumes from.
    pub(crate) fn volumes(
        &self,
    ) -> (
        gantry::serve::volumes::VolumeSources,
        watch::Receiver<Arc<Desired>>,
    ) {
        let wiring = &self.agent().wiring;
        (wiring.volumes(), wiring.desired())
    }

    /// What is reported about the pods, as it changes.
    pub(crate) fn reports(&self) -> watch::Receiver<Arc<PodsReport>> {
        self.agent().pods.clone()
    }

    /// How far a shutdown of the machine has come.
    pub(crate) fn shutdown_progress(&self) -> Option<ShutdownProgress> {
        *self.agent().wiring.shutdown_progress().borrow()
    }

    /// Waits until the report is so.
    pub(crate) async fn reported<T>(&self, what: &str, mut look: impl FnMut(&PodsReport) -> Option<T>) -> T {
        let mut pods = self.agent().pods.clone();
        let waiting = async {
            loop {
                let found = look(&pods.borrow_and_update());
                if let Some(found) = found {
                    return found;
                }
                pods.changed().await.expect("it is reported");
            }
        };
        let found = tokio::time::timeout(DEADLINE, waiting).await;
        found.unwrap_or_else(|_| panic!("waited for {what}; {}", self.seen()))
    }

    /// Waits until one pod is reported so.
    pub(crate) async fn pod_told(
        &self,
        pod: &str,
        what: &str,
        mut holds: impl FnMut(&api::Pod) -> bool,
    ) -> Arc<api::Pod> {
        let name = full_name(pod);
        let look = |report: &PodsReport| report.pods.get(&name).filter(|pod| holds(pod)).cloned();
        self.reported(&format!("{pod}: {what}"), look).await
    }

    /// Waits until a pod runs and is ready.
    pub(crate) async fn running(&self, pod: &str) -> Arc<api::Pod> {
        self.pod_told(pod, "running and ready", is_ready).await
    }

    /// Waits for an event about the pod `web` of that reason; its message and how often it came.
    pub(crate) async fn event(&self, reason: &str) -> (String, u32) {
        self.reported(reason, |report| {
            let events = report.events.get(&full_name("web"))?;
            let event = events.iter().find(|event| event.what.reason == reason)?;
            Some((event.what.message.clone(), event.count))
        })
        .await
    }

    /// Waits until a container of the pod `web` runs for the nth time, counted from 0.
    pub(crate) async fn runs_again(&self, of: &str, times: i32) {
        let what = format!("{of} running with {times} restarts");
        self.pod_told("web", &what, |pod| {
            state(pod, of) == "running" && restarts(pod, of) == times
        })
        .await;
    }

    /// Waits for something about the runtime.
    pub(crate) async fn becomes(&self, what: &str, mut holds: impl FnMut(&FakeCri) -> bool) {
        self.until(what, |machine| holds(&machine.fake)).await;
    }

    /// Waits for a value that announces no change.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Machine) -> bool) {
        let waiting = async {
            let mut looks = tokio::time::interval(STEP);
            while !holds(self) {
                looks.tick().await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, waiting).await;
        done.unwrap_or_else(|_| panic!("waited for {what}; {}", self.seen()));
    }

    /// Waits until so many calls of that name have come.
    pub(crate) async fn called(&self, call: &str, times: usize) {
        self.becomes(&format!("{times} × {call}"), |fake| fake.count(call) >= times)
            .await;
    }

    /// Whether the agent believes that the runtime answers; `None` before it knows.
    pub(crate) fn reaches_runtime(&self) -> Option<bool> {
        self.agent()
            .snapshot
            .borrow()
            .runtime
            .reachable
            .as_ref()
            .map(Result::is_ok)
    }

    /// The calls that change something, in their order.
    pub(crate) fn deeds(&self) -> Vec<Call> {
        let reads = [
            "Version",
            "Status",
            "PodSandboxStatus",
            "ContainerStatus",
            "ImageStatus",
        ];
        let mut calls = self.fake.calls();
        calls.retain(|call| !reads.contains(&call.call) && !call.call.starts_with("List"));
        calls
    }

    /// The configuration: its defaults, in the directories of the test.
    fn config(&self) -> Config {
        let root = self.at.root.path();
        let context = ConfigContext {
            hostname: NODE.to_owned(),
            directory: root.to_owned(),
            version: String::new(),
        };
        let mut config = load_without_file(Role::Run, &[], &context).unwrap();
        config.manifests.path = Some(root.join("manifests"));
        // A change is seen because of an event.
        config.manifests.check = Duration::from_secs(3600);
        config.paths.root = root.to_owned();
        config.paths.pod_logs = self.at.logs();
        config.paths.container_logs = self.at.links();
        config.paths.state = root.join("state");
        config.paths.kubeconfig = self.api.as_ref().map(|_| self.kubeconfig());
        config.images.verification = self.verification.clone();
        config.shutdown = self.shutdown.clone();
        config.pods.stop_signals = self.stop_signals;
        config.traces = self.collector.clone();
        config.member.lease = Duration::from_secs(2);
        config.member.cut_off_start = CutOffStart::Tolerated;
        config.member.trust_bundles = TrustBundles::Projected;
        config.member.pod_certificates = self.pod_certificates;
        config
    }

    /// Where the kernel's log is.
    pub(crate) fn kernel_log(&self) -> PathBuf {
        self.at.root.path().join("kmsg")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.at.root.path().join("kubelet.conf")
    }

    /// The directory of what is stored of the API server.
    pub(crate) fn store(&self) -> PathBuf {
        self.at.root.path().join("state/cluster")
    }

    /// The connection to the API server.
    async fn cluster(&self, server: &FakeApi) -> Cluster {
        let kubeconfig = self.kubeconfig();
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let clients = match self.credentials {
            Credentials::Had => Some(watch::channel(server.client()).1),
            Credentials::Lacking => None,
        };
        let key = keyhole(&self.store());
        let storing = Storing::new(&kubeconfig, &self.config(), &self.boot, key, self.patience).await;
        Cluster {
            joined: watch::channel(clients),
            storing: storing.unwrap(),
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("an agent runs")
    }

    /// All that helps to understand why something did not happen.
    pub(crate) fn seen(&self) -> String {
        let mut text = String::from("seen:\n");
        let Some(agent) = &self.agent else { return text };
        let report = self.report();
        for (name, pod) in &report.pods {
            let _ = writeln!(text, "pod {name}: {}", outline(pod));
        }
        for problem in &report.problems {
            let _ = writeln!(text, "problem: {problem}");
        }
        let _ = writeln!(text, "memory: {:#?}", agent.memory.borrow().pods);
        let snapshot = agent.snapshot.borrow().clone();
        let _ = writeln!(text, "runtime: {:?}", snapshot.runtime);
        for (name, observed) in &snapshot.pods {
            let states = observed.uids.values().flat_map(|pod| &pod.containers);
            let states: Vec<_> = states.map(|c| (&c.name, c.restart_count, &c.state)).collect();
            let _ = writeln!(text, "observed {name}: {} UIDs, {states:?}", observed.uids.len());
        }
        let calls = self.fake.calls();
        for call in calls.iter().skip(calls.len().saturating_sub(60)) {
            let _ = writeln!(text, "call: {} {}", call.call, call.about);
        }
        text
    }
}

impl Agent {
    async fn start(machine: &Machine) -> Agent {
        let root = machine.at.root.path();
        let mut wiring = Wiring::new(machine.config(), CancellationToken::new());
        let (imported_in, imported) = watch::channel(0);
        let (addresses_in, addresses) = watch::channel(Arc::from(["192.0.2.1".parse().unwrap()]));
        let cluster = match &machine.api {
            Some(server) => Some(machine.cluster(server).await),
            None => None,
        };
        wiring.spawn_sources(cluster.as_ref());
        if let Some(logind) = &machine.logind {
            wiring.join_shutdowns(logind.dial(), logind.drop_ins()).await;
        }
        let (beginnings_in, beginnings) = mpsc::unbounded_channel();
        let act = ActContext {
            runtime: Runtime::new(&machine.fake.settings()),
            cgroups: machine.at.cgroups(),
            pulls: Pulls::new(Some(1), machine.pull_rate),
            turns: Turns::new(1),
            docker_config: DockerConfig::places(root, None),
            providers: machine.providers.clone(),
            records: PullRecords::new(root, machine.verification.clone()),
            names: Default::default(),
            files: machine.files.clone(),
            projects: Default::default(),
            csi: Default::default(),
            at_work: Default::default(),
            mounts: machine.mounts.clone(),
            local: Default::default(),
            disks: machine.disks.clone(),
            users: PodUsers::of_pool(root, IdPool::whole(65_536)),
            network_cache: NetworkCache(root.join("cni-results")),
            beginnings: beginnings_in,
            counters: Arc::default(),
        };
        wiring.spawn_loops(NodeParts {
            act,
            beginnings,
            machine: MachineFacts {
                cores: 4,
                memory: Bytes(8 * GIB),
                boot_id: machine.boot.clone(),
                ..MachineFacts::default()
            },
            policy: NodePolicy {
                apparmor: machine.apparmor,
                stop_signals: machine.stop_signals,
                shutdown: machine.shutdown.clone(),
                eviction: machine.eviction.clone(),
                images: machine.image_policy.clone(),
                ..policy(root)
            },
            settings: NodeSettings {
                name: NODE.to_owned(),
                max_pods: 110,
                ..NodeSettings::default()
            },
            measured: Measured {
                imagefs: machine.imagefs,
                ..measured()
            },
            sandbox_image: "registry.k8s.io/pause:3.6".to_owned(),
            imported,
            provided: watch::channel(Some(Arc::new(machine.provided.clone()))).1,
            addresses,
            relist: machine.relist,
            kernel_log: machine.kernel_log(),
        });
        Agent {
            pods: wiring.pods(),
            memory: wiring.memory(),
            snapshot: wiring.snapshot(),
            imported: imported_in,
            addresses: addresses_in,
            joined: cluster.map(|cluster| cluster.joined.0),
            wiring,
        }
    }
}

/// Where the key of the store in this directory is.
pub(crate) fn keyhole(store: &Path) -> Keyhole {
    Keyhole {
        file: store.with_extension("key"),
        credentials: None,
    }
}

/// Pods have no cgroup of ours: the machine's own are left alone.
fn layout() -> CgroupLayout {
    CgroupLayout {
        version: cgroup::detect(Path::new(cgroup::MOUNT_POINT)),
        driver: CgroupDriver::Cgroupfs,
        root: Vec::new(),
        per_qos: false,
        cfs_quota: true,
        cfs_period: Duration::from_millis(100),
        pod_pids: None,
        enforce_pods: false,
        hugepage_sizes: Vec::new(),
        cores: 4,
        swap: None,
        memory: Default::default(),
        reserved: Vec::new(),
    }
}

fn policy(root: &Path) -> NodePolicy {
    NodePolicy {
        name: NODE.to_owned(),
        root_dir: root.to_owned(),
        pod_logs_dir: root.join("logs"),
        container_logs_dir: root.join("links"),
        cgroup: layout(),
        host_dns: DnsConfig::default(),
        cluster_dns: Vec::new(),
        cluster_domain: String::new(),
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        memory: Bytes(8 * GIB),
        seccomp_default: false,
        seccomp_dir: root.join("seccomp"),
        max_restart_backoff: Duration::from_secs(300),
        limited_swap: false,
        stop_signals: false,
        pod_level_resize: true,
        apparmor: true,
        masked_paths: Vec::new(),
        republish: Duration::from_secs(60),
        shutdown: Default::default(),
        eviction: Default::default(),
        images: Default::default(),
    }
}

fn measured() -> Measured {
    let nodefs = FsUsage {
        capacity: Bytes(100 * GIB),
        available: Bytes(90 * GIB),
        inodes: 1_000_000,
        inodes_free: 900_000,
    };
    Measured {
        memory: Bytes(8 * GIB),
        memory_available: Bytes(6 * GIB),
        nodefs,
        pids_max: 32768,
        pids_used: 100,
        ..Measured::default()
    }
}

/// The name that a static pod gets on this node.
pub(crate) fn full_name(pod: &str) -> PodName {
    name(&format!("{pod}-{NODE}"))
}

/// A pod of that name; each container is a line in YAML's flow style without its braces.
pub(crate) fn manifest(pod: &str, spec: &str, containers: &[&str]) -> String {
    let mut text = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {pod}\nspec:\n");
    if !spec.is_empty() {
        let _ = writeln!(text, "  {spec}");
    }
    text.push_str("  containers:\n");
    for container in containers {
        let _ = writeln!(text, "  - {{{container}}}");
    }
    text
}

/// A pod with the one container `c`.
pub(crate) fn simple(pod: &str) -> String {
    manifest(pod, "", &["name: c, image: demo:1"])
}

pub(crate) fn phase(pod: &api::Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The status of a condition: `True`, `False`, or empty where there is none.
pub(crate) fn condition<'a>(pod: &'a api::Pod, kind: &str) -> &'a str {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == kind);
    found.map_or("", |condition| &condition.status)
}

pub(crate) fn is_ready(pod: &api::Pod) -> bool {
    phase(pod) == "Running" && condition(pod, "Ready") == "True"
}

/// What is reported about a container, init containers too.
pub(crate) fn container<'a>(pod: &'a api::Pod, container: &str) -> Option<&'a api::ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    all.into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == container)
}

/// `running`, `Waiting: CrashLoopBackOff`, `Terminated: Error 1`.
pub(crate) fn state(pod: &api::Pod, of: &str) -> String {
    let Some(state) = container(pod, of).and_then(|status| status.state.as_ref()) else {
        return "nothing".to_owned();
    };
    match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => format!("Waiting: {}", waiting.reason.as_deref().unwrap_or_default()),
        (None, Some(end)) => format!(
            "Terminated: {} {}",
            end.reason.as_deref().unwrap_or_default(),
            end.exit_code
        ),
        (None, None) => "running".to_owned(),
    }
}

/// Why a container waits, at length.
pub(crate) fn message(pod: &api::Pod, of: &str) -> String {
    let state = container(pod, of).and_then(|status| status.state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    waiting
        .and_then(|waiting| waiting.message.clone())
        .unwrap_or_default()
}

pub(crate) fn restarts(pod: &api::Pod, of: &str) -> i32 {
    container(pod, of).map_or(0, |status| status.restart_count)
}

fn outline(pod: &api::Pod) -> String {
    let mut text = format!("{} ready={}", phase(pod), condition(pod, "Ready"));
    let status = pod.status.iter();
    let all = status.flat_map(|status| [&status.init_container_statuses, &status.container_statuses]);
    for status in all.flatten().flatten() {
        let name = &status.name;
        let _ = write!(
            text,
            "; {name}#{} {} {:?}",
            status.restart_count,
            state(pod, name),
            message(pod, name)
        );
    }
    text
}
