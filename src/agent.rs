//! Wires the rooms: builds the channels, spawns the tasks, and ends when one of them ends.
//!
//! The only file that knows all rooms. It makes no decisions about pods.

mod answers;
mod network;
mod member;
mod serving;
mod storing;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use member::Member;

use answers::{RuntimeAnswers, check_driver_later, sandbox_image};

use crate::act::credential_provider::Providers;
use crate::act::files::FilePlaces;
use crate::act::pull_records::PullRecords;
use crate::act::registry::DockerConfig;
use crate::act::turn::Turns;
use crate::act::{ActContext, kernel, rotate};
use crate::ask::Names;
use crate::cgroup::{self, Cgroups};
use crate::config::node::Init;
use crate::config::{Addresses, Config, credential_providers};
use crate::cri::{self, Runtime};
use crate::images::SandboxImage;
use crate::manifest::{ManifestContext, RuntimeClasses};
use crate::model::api::ApiNode;
use crate::model::event::Event;
use crate::model::memory::{Levels, Memory};
use crate::model::node::{MachineFacts, Measured, NodePolicy, NodeSettings};
use crate::model::pod::{Desired, DnsConfig};
use crate::model::report::PodsReport;
use crate::model::runtime::Snapshot;
use crate::model::service::Services;
use crate::observe::measure::{self, Places};
use crate::serve::health::Health;
use crate::serve::metrics::Metrics;
use crate::{images, observe, reconcile, report, serve, source};

/// How often everything is listed even without an event.
const RELIST: Duration = Duration::from_secs(10);
/// How often the images are listed even without an event.
const LIST_IMAGES: Duration = Duration::from_secs(300);
/// How long a start waits for image imports: running pods must be watched again soon.
const IMAGES_PATIENCE: Duration = Duration::from_secs(10);

/// The values that the rooms share; each has one writer.
struct Values {
    desired: (watch::Sender<Arc<Desired>>, watch::Receiver<Arc<Desired>>),
    snapshot: (watch::Sender<Arc<Snapshot>>, watch::Receiver<Arc<Snapshot>>),
    memory: (watch::Sender<Arc<Memory>>, watch::Receiver<Arc<Memory>>),
    services: (watch::Sender<Services>, watch::Receiver<Services>),
    api_node: (watch::Sender<ApiNode>, watch::Receiver<ApiNode>),
    measured: (watch::Sender<Arc<Measured>>, watch::Receiver<Arc<Measured>>),
    pods: (watch::Sender<Arc<PodsReport>>, watch::Receiver<Arc<PodsReport>>),
    node: (
        watch::Sender<Arc<k8s_openapi::api::core::v1::Node>>,
        watch::Receiver<Arc<k8s_openapi::api::core::v1::Node>>,
    ),
    /// The subnet of the node's pods, if this program connects them.
    subnet: (
        watch::Sender<Option<ipnet::IpNet>>,
        watch::Receiver<Option<ipnet::IpNet>>,
    ),
    /// The events, for the task that publishes them.
    events: mpsc::UnboundedSender<Event>,
}

/// The tasks, each with the name that its end is logged with.
struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    cancel: CancellationToken,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok(())
        });
    }

    fn spawn_fallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for the first task that ends, then ends all others.
    async fn finish(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.set.join_next().await {
            let asked = self.cancel.is_cancelled();
            let (name, outcome) = ended.context("a task of the agent panicked")?;
            let outcome = match outcome {
                Ok(()) if !asked => Err(anyhow::anyhow!("the task `{name}` ended unexpectedly")),
                outcome => outcome.with_context(|| format!("the task `{name}` failed")),
            };
            result = result.and(outcome);
            self.cancel.cancel();
        }
        result
    }
}

/// Runs the agent until `cancel`; the pods keep running. `ready` is called once the agent serves.
pub async fn run(
    config: Config,
    cancel: CancellationToken,
    ready: impl FnOnce(Health) + Send,
) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let machine = observe::machine::machine_facts(Path::new("/"))?;
    let version = cgroup::detect(Path::new(cgroup::MOUNT_POINT));
    config.check_machine(&machine, version)?;
    kernel_settings(&config)?;
    let providers = match &config.images.credential_providers {
        Some((file, programs)) => Providers::new(credential_providers::read(file, programs)?),
        None => Providers::default(),
    };
    let root = &config.paths.root;
    std::fs::create_dir_all(root)
        .with_context(|| format!("cannot create the directory {}", root.display()))?;
    let addresses = node_addresses(&config).await;
    let socket = serve::socket::bind(&config.serve.socket)?;
    let runtime = Runtime::new(&cri::Settings {
        runtime: config.runtime.endpoint.clone(),
        images: config.runtime.image_endpoint.clone(),
        timeout: config.runtime.request_timeout,
    });
    let (events, happenings_out) = mpsc::unbounded_channel();
    let values = Values {
        events,
        desired: watch::channel(Arc::default()),
        snapshot: watch::channel(Arc::default()),
        memory: watch::channel(Arc::default()),
        services: watch::channel(Services::NoCluster),
        api_node: watch::channel(ApiNode::Unknown),
        measured: watch::channel(Arc::default()),
        pods: watch::channel(Arc::default()),
        node: watch::channel(Arc::default()),
        subnet: watch::channel(None),
    };
    let health = Health::default();
    let metrics = Arc::new(Metrics::default());
    let mut tasks = Tasks {
        set: JoinSet::new(),
        cancel: cancel.clone(),
    };
    let world = serving::world(&config, &values, &health, &metrics);
    serving::spawn(&mut tasks, &config, socket, &world).await?;
    let member = Member::new(&config, &machine.boot_id).await?;
    network::connect(&mut tasks, &config, &values).await?;
    spawn_source(&mut tasks, &config, &values, member.as_ref());
    if let Some(member) = &member {
        member.spawn_identity(&mut tasks, &config, &values);
        member.spawn_publishing(&mut tasks, &config, &values, happenings_out);
        serving::spawn_node_api(&mut tasks, &config, &addresses, member.joined(), world).await?;
    }

    let asked = RuntimeAnswers::ask(&runtime, &cancel).await;
    let sandbox_image = sandbox_image(&config, asked.as_ref());
    let is_late = asked.is_none();
    let answers = asked.unwrap_or_default();
    let driver = config.cgroup_driver(answers.told_driver, answers.seen_driver, init(), version);
    if is_late {
        check_driver_later(&mut tasks, &config, &runtime, driver, version);
    }
    let layout = config.cgroup_layout(&machine, version, driver, cgroup::limits_swap(version));
    let cgroups = Cgroups::new(&layout).await.context("cgroups cannot be used")?;
    let host_dns = host_dns(config.paths.resolv_conf.as_deref());
    let policy = Arc::new(config.node_policy(&machine, layout, addresses.clone(), host_dns));
    let settings = config.node_settings(&machine, addresses);
    let imported = spawn_images(&mut tasks, &config, &runtime, sandbox_image).await;
    let (handle, inbox) = observe::requests();
    let places = Places {
        root_dir: config.paths.root.clone(),
        images: answers.images_dir.clone(),
    };
    let measured = measure::measure(Path::new("/"), &places.root_dir, places.images.as_deref())?;
    values.measured.0.send_replace(Arc::new(measured));
    let asking = (handle.clone(), inbox, policy.host_ips.first().copied());
    spawn_observation(&mut tasks, &config, &runtime, &cgroups, asking, places, &values);
    let rooms = Rooms {
        config: &config,
        machine,
        policy,
        settings,
        runtime: &runtime,
        cgroups,
        handle,
        providers,
    };
    spawn_loops(&mut tasks, rooms, &values, imported, &health, &metrics);
    tracing::info!(
        node = config.node.name,
        cgroup = ?version,
        driver = ?driver,
        manifests = ?config.manifests.path,
        "the agent is running"
    );
    ready(health);
    tasks.finish().await
}

/// Where the kernel's settings are.
pub const KERNEL: &str = "/proc/sys";

/// Where the settings' former values are saved, below the state directory.
pub const KERNEL_NOTE: &str = "kernel-before";

/// Sets the kernel settings that pods rely on, or fails if they differ.
fn kernel_settings(config: &Config) -> anyhow::Result<()> {
    let root = Path::new(KERNEL);
    let deviations = kernel::deviations(root);
    if config.node.protect_kernel {
        let told: Vec<_> = deviations.iter().map(ToString::to_string).collect();
        anyhow::ensure!(
            told.is_empty(),
            "protectKernelDefaults: {}; set them with sysctl, or omit protectKernelDefaults so that the agent sets \
             them",
            told.join("; ")
        );
        return Ok(());
    }
    std::fs::create_dir_all(&config.paths.state)
        .with_context(|| format!("cannot create the directory {}", config.paths.state.display()))?;
    let failed = kernel::set(root, &deviations, &config.paths.state.join(KERNEL_NOTE));
    if !failed.is_empty() {
        tracing::warn!(
            "cannot set the kernel settings that pods rely on: {}",
            failed.join("; ")
        );
    }
    Ok(())
}

/// How long the agent's shutdown waits for a task that reads a directory.
const LEFT_AFTER: Duration = Duration::from_secs(1);

/// Runs something that reads directories, which may hang: at shutdown it is left to its thread.
async fn or_left<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    let left = async {
        cancel.cancelled().await;
        tokio::time::sleep(LEFT_AFTER).await;
    };
    // Dropping it is safe: it may be killed at each of its steps anyway.
    tokio::select! {
        biased;
        done = work => Some(done),
        () = left => None,
    }
}

/// The parts that the loops are built from.
struct Rooms<'a> {
    config: &'a Config,
    machine: MachineFacts,
    policy: Arc<NodePolicy>,
    settings: NodeSettings,
    runtime: &'a Runtime,
    cgroups: Cgroups,
    handle: observe::Handle,
    providers: Providers,
}

/// The node's addresses. This may query a name server, so it runs in a thread of its own.
async fn node_addresses(config: &Config) -> Vec<IpAddr> {
    let given = match &config.node.addresses {
        Addresses::Given(given) => given.clone(),
        Addresses::PreferIpv4 => Vec::new(),
        // The unspecified address chooses the family, as with the kubelet's --node-ip.
        Addresses::PreferIpv6 => vec![IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)],
    };
    let name = config.node.name.clone();
    let found = tokio::task::spawn_blocking(move || observe::address::addresses(&given, &name)).await;
    found.expect("reading addresses does not panic")
}

/// The host's resolver configuration, which pods inherit.
fn host_dns(path: Option<&Path>) -> DnsConfig {
    let Some(path) = path else {
        return DnsConfig::default();
    };
    match std::fs::read_to_string(path) {
        Ok(text) => observe::resolv_conf::parse(&text),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "pods get no resolver configuration from the host");
            DnsConfig::default()
        }
    }
}

fn spawn_source(tasks: &mut Tasks, config: &Config, values: &Values, member: Option<&Member>) {
    let (files, files_out) = watch::channel(None);
    let cancel = tasks.cancel.clone();
    match config.manifests.path.clone() {
        Some(path) => {
            let context = manifest_context(config);
            let inputs = source::files::ManifestInputs {
                path,
                context,
                rescan: config.manifests.check,
                state: Some(config.paths.state.join("manifests")),
                runtime: values.snapshot.1.clone(),
            };
            tasks.spawn_fallible("files", async move {
                let reading = source::files::run(inputs, files, cancel.clone());
                match or_left(&cancel, reading).await {
                    Some(read) => Ok(read?),
                    None => Ok(()),
                }
            });
        }
        None => {
            files.send_replace(Some(Arc::default()));
            // An event source that ends is a failure, so this one stays open and sends nothing.
            tasks.spawn("files", async move {
                cancel.cancelled().await;
                drop(files);
            });
        }
    }
    let files_out = match member {
        Some(member) => member.spawn_classes(tasks, files_out),
        None => files_out,
    };
    let (desired, cancel) = (values.desired.0.clone(), tasks.cancel.clone());
    let api = member.map(|member| member.spawn_source(tasks, config, values));
    tasks.spawn_fallible("sources", async move {
        Ok(source::merge(files_out, api, desired, cancel).await?)
    });
}

/// The parts of the configuration that a pod's manifest is checked against.
pub(crate) fn manifest_context(config: &Config) -> ManifestContext {
    ManifestContext {
        node_name: config.node.name.clone(),
        privileged_allowed: true,
        allowed_unsafe_sysctls: config.pods.allowed_unsafe_sysctls.clone(),
        classes: match config.paths.kubeconfig {
            Some(_) => RuntimeClasses::Asked,
            None => RuntimeClasses::Nowhere,
        },
    }
}

/// Imports the sandbox image and the archives in the images directory, then keeps watching the directory. The first
/// plan waits for the initial import, for a limited time, so that few pods have to be retried.
async fn spawn_images(
    tasks: &mut Tasks,
    config: &Config,
    runtime: &Runtime,
    sandbox: SandboxImage,
) -> watch::Receiver<u64> {
    let scratch = config.paths.state.join("scratch");
    // Remove what a killed agent had unpacked; holding the socket proves that no other agent runs.
    let _ = std::fs::remove_dir_all(&scratch);
    let (mut importer, imported) =
        images::Importer::new(config.images.dir.clone(), scratch, sandbox, runtime.clone());
    let cancel = tasks.cancel.clone();
    let (first, scanned_once) = oneshot::channel();
    tasks.spawn("images", async move {
        let end = cancel.clone();
        let import = async move {
            let scanned = importer.scan().await;
            // A start that gave up waiting has continued.
            let _ = first.send(());
            importer.run(scanned, cancel).await;
        };
        // An interrupted import leaves what the next one finds, and a lease that expires.
        tokio::select! {
            () = end.cancelled() => {}
            () = import => {}
        }
    });
    // Whichever comes first: the scan is done, the agent is stopping, or the import continues in the background.
    let _ = tokio::time::timeout(IMAGES_PATIENCE, scanned_once).await;
    imported
}

/// The observer's settings.
pub fn observation(config: &Config, cgroups: &Cgroups) -> observe::Settings {
    observe::Settings {
        pods_dir: config.paths.root.join("pods"),
        pod_logs_dir: config.paths.pod_logs.clone(),
        relist: RELIST,
        list_images: LIST_IMAGES,
        cgroups: cgroups.clone(),
    }
}

/// What removing pods needs to know about a node whose agent does not run.
pub async fn policy_for_removal(config: &Config, runtime: &Runtime) -> anyhow::Result<(NodePolicy, Cgroups)> {
    let machine = observe::machine::machine_facts(Path::new("/"))?;
    let version = cgroup::detect(Path::new(cgroup::MOUNT_POINT));
    let answers = RuntimeAnswers::ask(runtime, &CancellationToken::new())
        .await
        .unwrap_or_default();
    let driver = config.cgroup_driver(answers.told_driver, answers.seen_driver, init(), version);
    let layout = config.cgroup_layout(&machine, version, driver, cgroup::limits_swap(version));
    let cgroups = Cgroups::new(&layout).await.context("cgroups cannot be used")?;
    Ok((
        config.node_policy(&machine, layout, Vec::new(), DnsConfig::default()),
        cgroups,
    ))
}

/// The service manager of this machine.
fn init() -> Init {
    if Path::new("/run/systemd/system").is_dir() {
        Init::Systemd
    } else {
        Init::Other
    }
}

fn spawn_observation(
    tasks: &mut Tasks,
    config: &Config,
    runtime: &Runtime,
    cgroups: &Cgroups,
    (handle, inbox, host): (observe::Handle, observe::Inbox, Option<IpAddr>),
    places: Places,
    values: &Values,
) {
    let settings = observation(config, cgroups);
    let (snapshot, cancel) = (values.snapshot.0.clone(), tasks.cancel.clone());
    tasks.spawn(
        "observe",
        observe::run(runtime.clone(), inbox, snapshot, settings, cancel),
    );
    let probes = observe::probes::ProbeInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        host,
        names: Names::default(),
    };
    tasks.spawn(
        "probes",
        observe::probes::run(probes, runtime.clone(), handle, tasks.cancel.clone()),
    );
    let (measured, cancel) = (values.measured.0.clone(), tasks.cancel.clone());
    let measuring = observe::measure::run(places, config.node.status_update, measured, cancel.clone());
    tasks.spawn("measure", async move {
        or_left(&cancel, measuring).await;
    });
    let rotation = rotate::Rotation {
        max_bytes: u64::try_from(config.pods.log_max_size.0).unwrap_or(u64::MAX),
        max_files: config.pods.log_max_files as usize,
        interval: config.pods.log_check,
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

/// Keeps the pull records.
fn tend_pull_records(tasks: &mut Tasks, records: PullRecords, runtime: Runtime) {
    let end = tasks.cancel.clone();
    tasks.spawn("pull records", async move {
        // If interrupted between two records, the next start continues.
        tokio::select! {
            () = end.cancelled() => {}
            () = records.tend(runtime) => {}
        }
    });
}

fn spawn_loops(
    tasks: &mut Tasks,
    rooms: Rooms<'_>,
    values: &Values,
    imported: watch::Receiver<u64>,
    health: &Health,
    metrics: &Arc<Metrics>,
) {
    let Rooms {
        config,
        machine,
        policy,
        settings,
        runtime,
        cgroups,
        handle,
        providers,
    } = rooms;
    let pulls = config
        .images
        .parallel_pulls
        .map_or(Semaphore::MAX_PERMITS, |n| n as usize);
    let records = PullRecords::new(&config.paths.root, config.images.verification.clone());
    let (beginnings, beginnings_out) = mpsc::unbounded_channel();
    let act = ActContext {
        runtime: runtime.clone(),
        cgroups,
        pulls: Arc::new(Semaphore::new(pulls)),
        turns: Turns::of_machine(),
        docker_config: DockerConfig::places(&config.paths.root, std::env::home_dir().as_deref()),
        providers,
        records: records.clone(),
        names: Names::default(),
        files: FilePlaces::default(),
        network_cache: Default::default(),
        beginnings,
    };
    tend_pull_records(tasks, records, runtime.clone());
    let (outcomes, outcomes_in) = mpsc::unbounded_channel();
    let measured = values.measured.1.borrow().clone();
    let capacity = machine.capacity(&measured.nodefs);
    let inputs = reconcile::ReconcileInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        imported,
        services: values.services.1.clone(),
        node: values.api_node.1.clone(),
    };
    let beat = health.register("reconcile", reconcile::LONGEST_SLEEP);
    let (levels, levels_out) = watch::channel(Levels::Unset);
    let outputs = reconcile::Outputs {
        levels,
        memory: values.memory.0.clone(),
        outcomes,
        beat: Box::new(move || beat.beat()),
    };
    let loop_rooms = reconcile::Rooms {
        policy: policy.clone(),
        limits: crate::model::node::NodeLimits::new(capacity, &settings, measured.pids_max),
        act: Arc::new(act),
        observe: handle,
    };
    tasks.spawn(
        "reconcile",
        reconcile::run(inputs, loop_rooms, outputs, tasks.cancel.clone()),
    );

    let inputs = report::ReportInputs {
        desired: values.desired.1.clone(),
        snapshot: values.snapshot.1.clone(),
        memory: values.memory.1.clone(),
        beginnings: beginnings_out,
        outcomes: outcomes_in,
        measured: values.measured.1.clone(),
        subnet: values.subnet.1.clone(),
        levels: levels_out,
    };
    let beat = health.register("report", report::LONGEST_SLEEP);
    let metrics = metrics.clone();
    let outputs = report::Outputs {
        pods: values.pods.0.clone(),
        node: values.node.0.clone(),
        events: values.events.clone(),
        beat: Box::new(move || beat.beat()),
        count: Box::new(move |outcome| outcome.steps.iter().for_each(|step| metrics.record_step(step))),
    };
    let facts = report::Facts {
        policy,
        settings,
        machine,
    };
    tasks.spawn(
        "report",
        report::run(inputs, facts, outputs, tasks.cancel.clone()),
    );
}
