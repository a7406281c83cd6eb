//! Wires the rooms: builds the channels, spawns the tasks, and ends when one of them ends.
//!
//! This file and those below it are the only ones that know all rooms. They make no decisions about pods. [`run`] takes
//! the parts from this machine: sockets and ports, credentials, the network, the runtime. [`wiring`] makes an agent of
//! parts, from here and from the test suite alike.

mod tasks;
mod values;
pub mod wiring;
mod sources;
mod statistics;
mod drivers;
mod manifest_context;
mod member;
mod storing;
mod observation;
mod loops;
mod machine;
mod own_process;
mod serving;
mod credentials;
mod kubectl;
mod network;
mod shutdown;
mod answers;
mod image_imports;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use loops::NodeParts;
pub use machine::{ETC, KERNEL, KERNEL_NOTE};
pub(crate) use manifest_context::manifest_context;
pub use member::Cluster;
pub use observation::observation;
pub use storing::Storing;

use answers::{RuntimeAnswers, check_driver_later, sandbox_image};
use credentials::Credentials;
use machine::{host_dns, init, kernel_settings, node_addresses, project_ids};
use observation::{KERNEL_LOG, RELIST};
use wiring::Wiring;

use crate::act::ActContext;
use crate::act::credential_provider::Providers;
use crate::act::files::FilePlaces;
use crate::act::pull_records::PullRecords;
use crate::act::pulls::{PullRate, Pulls};
use crate::act::registry::DockerConfig;
use crate::act::tmpfs;
use crate::act::turn::Turns;
use crate::act::user_ranges::PodUsers;
use crate::ask::Names;
use crate::cgroup::{self, Cgroups};
use crate::config::{Config, credential_providers};
use crate::cri::{self, Runtime};
use crate::model::node::{CgroupLayout, CgroupName, MachineFacts, NodePolicy};
use crate::model::outcome::StepStarted;
use crate::model::pod::DnsConfig;
use crate::model::resources::Bytes;
use crate::model::shutdown::ShutdownProgress;
use crate::observe::measure::Places;
use crate::serve::health::Health;
use crate::{logind, observe, serve};

/// The sandbox image in labels of metrics while its name is not known: dashboards leave out what has none, and containerd 2 does
/// not report it.
const UNNAMED_SANDBOX_IMAGE: &str = "registry.k8s.io/pause";

/// What the process tells its service manager.
pub struct Running {
    /// The health of the loops.
    pub health: Health,
    /// How far the end of all pods has come, while the machine is shutting down.
    pub shutdown: watch::Receiver<Option<ShutdownProgress>>,
}

/// Runs the agent until `cancel`; the pods keep running. `ready` is called once the agent serves. Callers of the node's
/// port may change the `verbosity` of the log.
pub async fn run(
    config: Config,
    verbosity: serve::Verbosity,
    cancel: CancellationToken,
    ready: impl FnOnce(Running) + Send,
) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut machine = observe::machine::machine_facts(Path::new("/"))?;
    let version = cgroup::detect(Path::new(cgroup::MOUNT_POINT));
    config.check_machine(&machine, version)?;
    if let Some(warning) = config.machine_warnings(version) {
        tracing::warn!("{warning}");
    }
    machine.swaps_tmpfs = machine.swap > Bytes(0) && !tmpfs::is_kept_in_memory();
    kernel_settings(&config)?;
    own_process::limit(&config.process);
    let providers = providers(&config)?;
    let root = &config.paths.root;
    std::fs::create_dir_all(root)
        .with_context(|| format!("cannot create the directory {}", root.display()))?;
    let socket = serve::socket::bind(&config.serve.socket)?;
    let runtime = Runtime::new(&cri::Settings {
        runtime: config.runtime.endpoint.clone(),
        images: config.runtime.image_endpoint.clone(),
        timeout: config.runtime.request_timeout,
    });
    let mut agent = Wiring::new(config, cancel);
    let addresses = node_addresses(&mut agent.tasks, &agent.config).await;
    let runtime = runtime.counting(agent.counters.clone());
    spawn_outside(
        &mut agent,
        socket,
        &runtime,
        (&machine.boot_id, addresses.clone()),
        verbosity,
    )
    .await?;

    agent
        .join_shutdowns(logind::Dial::system(), logind::DROP_INS.into())
        .await;
    let asked = RuntimeAnswers::ask(&runtime, &agent.tasks.cancel).await;
    let (parts, places) = node_parts(&mut agent, (machine, addresses), &runtime, providers, asked).await?;
    tracing::info!(
        node = agent.config.node.name,
        cgroup = ?parts.policy.cgroup.version,
        driver = ?parts.policy.cgroup.driver,
        manifests = ?agent.config.manifests.path,
        "the agent is running"
    );
    agent.spawn_loops(parts);
    observation::spawn_measuring(&mut agent.tasks, &agent.config, &agent.values, runtime, places);
    ready(Running {
        health: agent.health.clone(),
        shutdown: agent.values.shutdown.1.clone(),
    });
    agent.finish().await
}

fn providers(config: &Config) -> anyhow::Result<Providers> {
    Ok(match &config.images.credential_providers {
        Some((file, programs)) => Providers::new(credential_providers::read(file, programs)?),
        None => Providers::default(),
    })
}

/// Spawns what connects pods, serves, and says what is desired. None of it needs the runtime.
async fn spawn_outside(
    agent: &mut Wiring,
    socket: serve::socket::Bound,
    runtime: &Runtime,
    (boot, addresses): (&str, watch::Receiver<Arc<[IpAddr]>>),
    verbosity: serve::Verbosity,
) -> anyhow::Result<()> {
    let (config, values) = (&agent.config, &agent.values);
    let world = serving::world(
        config,
        values,
        (&agent.health, &agent.counters),
        &agent.statistics,
        runtime,
        verbosity,
    );
    // The guard of the host's loopback is in place before anything is served.
    network::connect(&mut agent.tasks, &agent.config, &agent.values, addresses.clone()).await?;
    serving::spawn(&mut agent.tasks, &agent.config, socket, &world).await?;
    kubectl::spawn(&mut agent.tasks, &agent.config, &agent.values, &world).await?;
    let credentials = Credentials::read(&agent.config, boot, &agent.counters).await?;
    agent.spawn_sources(credentials.as_ref().map(|credentials| &credentials.cluster));
    if let Some(credentials) = credentials {
        credentials.spawn(&mut agent.tasks, &agent.config, &agent.values);
        let joined = credentials.cluster.joined.1.clone();
        let addresses = addresses.borrow().clone();
        serving::spawn_node_api(&mut agent.tasks, &agent.config, &addresses, joined, world).await?;
    }
    Ok(())
}

/// What pods run on, on this machine, and what to measure of it. `asked` is `None` if the runtime has not answered.
async fn node_parts(
    agent: &mut Wiring,
    (machine, addresses): (MachineFacts, watch::Receiver<Arc<[IpAddr]>>),
    runtime: &Runtime,
    providers: Providers,
    asked: Option<RuntimeAnswers>,
) -> anyhow::Result<(NodeParts, Places)> {
    let imports = agent.imports.take().expect("they are taken once");
    let (tasks, config) = (&mut agent.tasks, &agent.config);
    let sandbox_image = sandbox_image(config, asked.as_ref());
    let named = config.images.pause.clone();
    let sandbox_image_name = named.or_else(|| asked.as_ref()?.sandbox_image.clone());
    let is_late = asked.is_none();
    let answers = asked.unwrap_or_default();
    let layout = cgroup_layout(config, &machine, &answers);
    if is_late {
        check_driver_later(tasks, config, runtime, layout.driver, layout.version);
    }
    let cgroups = Cgroups::new(&layout).await.context("cgroups cannot be used")?;
    for limited in &layout.reserved {
        let name = CgroupName::at(&limited.path, layout.driver);
        cgroups
            .require(&name)
            .map_err(|error| anyhow::anyhow!(limited.failure(&error)))?;
    }
    // Only now: the agent's own cgroup may be below one of those.
    own_process::join(&config.process, &cgroups).await;
    let host_dns = host_dns(config.paths.resolv_conf.as_deref());
    // The loops take the addresses from the watched value.
    let policy = config.node_policy(&machine, layout, Vec::new(), host_dns);
    let settings = config.node_settings(&machine, Vec::new());
    let (imported, provided) = image_imports::spawn(tasks, config, runtime, sandbox_image, imports).await;
    let places = Places {
        root: PathBuf::from("/"),
        root_dir: config.paths.root.clone(),
        images: answers.images_dir,
        containers: answers.containers_dir,
        cgroups: config.cgroups.per_qos.then(|| cgroups.clone()),
    };
    let measured = places.measure()?;
    let (beginnings_in, beginnings) = mpsc::unbounded_channel();
    let parts = NodeParts {
        act: act_context(config, runtime, cgroups, providers, beginnings_in),
        beginnings,
        addresses,
        machine,
        policy,
        settings,
        measured,
        sandbox_image: sandbox_image_name.unwrap_or_else(|| UNNAMED_SANDBOX_IMAGE.to_owned()),
        imported,
        provided,
        relist: RELIST,
        kernel_log: PathBuf::from(KERNEL_LOG),
    };
    Ok((parts, places))
}

fn act_context(
    config: &Config,
    runtime: &Runtime,
    cgroups: Cgroups,
    providers: Providers,
    beginnings: mpsc::UnboundedSender<StepStarted>,
) -> ActContext {
    let rate = config.images.pulls_per_second.map(|per_second| PullRate {
        per_second,
        burst: config.images.pull_burst,
    });
    ActContext {
        runtime: runtime.clone(),
        cgroups,
        pulls: Pulls::new(config.images.parallel_pulls, rate),
        turns: Turns::of_machine(),
        docker_config: DockerConfig::places(&config.paths.root, std::env::home_dir().as_deref()),
        providers,
        records: PullRecords::new(&config.paths.root, config.images.verification.clone()),
        names: Names::default(),
        files: FilePlaces::default(),
        projects: project_ids(config),
        csi: Default::default(),
        at_work: Default::default(),
        mounts: Default::default(),
        local: Default::default(),
        disks: Default::default(),
        users: PodUsers::of_machine(&config.paths.root, config.pods.ids_per_pod, config.node.max_pods),
        network_cache: Default::default(),
        beginnings,
        counters: Arc::default(),
    }
}

/// The cgroups of this machine, as far as the runtime has answered.
fn cgroup_layout(config: &Config, machine: &MachineFacts, answers: &RuntimeAnswers) -> CgroupLayout {
    let version = cgroup::detect(Path::new(cgroup::MOUNT_POINT));
    let driver = config.cgroup_driver(
        answers.reported_driver,
        answers.configured_driver,
        init(),
        version,
    );
    config.cgroup_layout(machine, version, driver, cgroup::limits_swap(version))
}

/// What removing pods needs to know about a node whose agent does not run.
pub async fn policy_for_removal(config: &Config, runtime: &Runtime) -> anyhow::Result<(NodePolicy, Cgroups)> {
    let machine = observe::machine::machine_facts(Path::new("/"))?;
    let answers = RuntimeAnswers::ask(runtime, &CancellationToken::new())
        .await
        .unwrap_or_default();
    let layout = cgroup_layout(config, &machine, &answers);
    let cgroups = Cgroups::new(&layout).await.context("cgroups cannot be used")?;
    Ok((
        config.node_policy(&machine, layout, Vec::new(), DnsConfig::default()),
        cgroups,
    ))
}
