//! `gantry join`: joins this machine to a cluster created by kubeadm.
//!
//! Everything that can be checked is checked before the first file is written. The files are kubeadm's, so that kubeadm
//! and a kubelet find what they expect. If something fails before the agent has its certificate, the files are removed
//! again.

mod error;
pub mod files;
mod plan;
pub mod service;
mod settings;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;

pub use error::JoinError;
use files::{Places, Written};
pub use plan::Asked;
use plan::Plan;
use service::Systemctl;
use settings::{Settings, readiness};

use crate::config::layers::flag;
use crate::config::surroundings::ConfigContext;
use crate::config::{Role, files as config_files};
use crate::identity::discovery::Cluster;
use crate::identity::store::{self, Store};
use crate::identity::{client, files as identity_files, kubeconfig};

/// How long to wait for the signature of a new token.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the agent's certificate.
const CERTIFICATE: Duration = Duration::from_secs(300);
/// How long to wait for the node to be Ready.
const READY: Duration = Duration::from_secs(240);
/// The interval for checking whether the agent has its certificate.
const LOOK: Duration = Duration::from_millis(250);

/// How the machine is.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where its files are.
    pub places: Places,
    /// Its host name, and its directory.
    pub context: ConfigContext,
    /// This program.
    pub program: PathBuf,
    /// Runs systemctl, if the machine runs systemd.
    pub systemctl: Systemctl,
    /// How long to wait for the token's signature.
    pub patience: Duration,
}

impl Machine {
    /// This one.
    pub fn here() -> anyhow::Result<Machine> {
        Ok(Machine {
            places: Places::here(),
            context: config_files::here()?,
            program: std::env::current_exe()?,
            systemctl: Systemctl::here(),
            patience: PATIENCE,
        })
    }
}

/// Joins the cluster and prints each completed step.
pub async fn run(asked: &Asked, machine: &Machine, out: &mut dyn Write) -> Result<(), JoinError> {
    let plan = Plan::of(asked, &machine.context.hostname)?;
    let places = &machine.places;
    check_machine(machine).await?;
    let (cluster, user) = plan.discover(machine.patience).await?;
    writeln!(out, "found     the cluster at {}", cluster.server)?;
    let bootstrap = cluster.for_user(&user);
    let client = client::of(&bootstrap, &places.bootstrap()).await?;
    settings::check_name(&client, &plan.name).await?;
    let settings = settings::read(&client).await?;
    writeln!(
        out,
        "read      its kubelet configuration; its control plane runs {}",
        settings.version
    )?;
    let mut done = Done::default();
    // On a signal the future is dropped, and the changes are undone as after any failure.
    let joined = tokio::select! {
        joined = join(&plan, machine, (&cluster, &bootstrap, &settings), &mut done, out) => joined,
        _ = tokio::signal::ctrl_c() => Err(JoinError::Interrupted),
    };
    match joined {
        Ok(Joined::Started) => {}
        Ok(Joined::ByHand) => return Ok(()),
        Err(error) => {
            take_back(machine, done, out).await?;
            return Err(error);
        }
    }
    // From here on the machine is a node, whatever happens.
    identity_files::remove(&places.bootstrap())?;
    wait_until_ready(places, &plan.name, READY).await?;
    writeln!(out, "ready     this machine is node {}", plan.name)?;
    Ok(())
}

async fn check_machine(machine: &Machine) -> Result<(), JoinError> {
    let places = &machine.places;
    if places.kubeconfig().exists() {
        return Err(JoinError::Joined(places.kubeconfig()));
    }
    if places.systemd().is_dir() && machine.systemctl.is_active("kubelet.service").await? {
        return Err(JoinError::Kubelet);
    }
    Ok(())
}

/// How far joining went.
enum Joined {
    /// The agent runs and has its certificate.
    Started,
    /// A person has to start it.
    ByHand,
}

async fn join(
    plan: &Plan,
    machine: &Machine,
    (cluster, bootstrap, settings): (&Cluster, &Value, &Settings),
    done: &mut Done,
    out: &mut dyn Write,
) -> Result<Joined, JoinError> {
    let places = &machine.places;
    write_files(plan, machine, (cluster, bootstrap, settings), &mut done.written)?;
    check_configuration(machine, plan)?;
    writeln!(
        out,
        "wrote     {}, {}",
        places.bootstrap().display(),
        places.config().display()
    )?;
    if !places.systemd().is_dir() {
        let arguments = places.arguments().join(" ");
        writeln!(
            out,
            "next      this machine does not run systemd; start the agent with\n          {} kubelet {arguments}{}",
            machine.program.display(),
            match plan.name == machine.context.hostname.trim() {
                true => String::new(),
                false => format!(" --hostname-override={}", plan.name),
            }
        )?;
        return Ok(Joined::ByHand);
    }
    done.service = match machine.systemctl.runs().await? {
        true => Touched::Running,
        false => Touched::Stopped,
    };
    let systemctl = &machine.systemctl;
    systemctl
        .install(places, &machine.program, &mut done.written)
        .await?;
    systemctl.start().await?;
    writeln!(out, "started   gantry.service")?;
    wait_for_certificate(machine).await?;
    writeln!(out, "joined    the cluster has signed the node's certificate")?;
    Ok(Joined::Started)
}

fn write_files(
    plan: &Plan,
    machine: &Machine,
    (cluster, bootstrap, settings): (&Cluster, &Value, &Settings),
    written: &mut Written,
) -> Result<(), JoinError> {
    let places = &machine.places;
    let authority = places.authority();
    match identity_files::read(&authority)? {
        Some(there) if there != cluster.authority.as_bytes() => return Err(JoinError::Authority(authority)),
        Some(_) => {}
        None => written.public(&authority, &cluster.authority)?,
    }
    written.secret(&places.bootstrap(), &kubeconfig::text(bootstrap))?;
    written.public(
        &places.config(),
        &settings::for_machine(&settings.kubelet, places),
    )?;
    let flags = settings::flags(&plan.name, machine.context.hostname.trim());
    written.public(&places.flags(), &flags)?;
    if let Some(version) = settings::reported_version(&settings.version)? {
        written.public(&places.version(), &format!("{version}\n"))?;
    }
    Ok(())
}

/// Otherwise the problem would only appear in the agent's log.
fn check_configuration(machine: &Machine, plan: &Plan) -> Result<(), JoinError> {
    let given = [
        ("config", machine.places.config().display().to_string()),
        ("hostname-override", plan.name.clone()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, text)| Some((flag(name)?, vec![text])));
    let given: Vec<_> = given.collect();
    config_files::load(Role::Kubelet, &given, &machine.context).map_err(JoinError::Config)?;
    Ok(())
}

/// Waits until the agent has written its kubeconfig, which it does once it has its certificate.
async fn wait_for_certificate(machine: &Machine) -> Result<(), JoinError> {
    let kubeconfig = machine.places.kubeconfig();
    let waiting = async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            if kubeconfig.exists() {
                return Ok(());
            }
            if !machine.systemctl.runs().await? {
                return Err(JoinError::Stopped);
            }
        }
    };
    let waited = tokio::time::timeout(CERTIFICATE, waiting).await;
    waited.unwrap_or(Err(JoinError::NoCertificate(CERTIFICATE.as_secs())))
}

/// Waits until the API server reports the node as Ready.
pub async fn wait_until_ready(places: &Places, name: &str, patience: Duration) -> Result<(), JoinError> {
    let client = client::connect(&places.kubeconfig()).await?;
    let mut why = "the API server has no such Node yet".to_owned();
    let waiting = async {
        let mut changes = watcher::watch_object(Api::<Node>::all(client), name)
            .default_backoff()
            .boxed();
        while let Some(next) = changes.next().await {
            match next {
                Ok(Some(node)) => match readiness(&node) {
                    Ok(()) => return,
                    Err(said) => why = said,
                },
                Ok(None) => {}
                // The watch is restarted automatically.
                Err(error) => why = error.to_string(),
            }
        }
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(()) => Ok(()),
        Err(_) => Err(JoinError::NotReady {
            name: name.to_owned(),
            why,
        }),
    }
}

/// The changes made to the machine so far.
#[derive(Debug, Default)]
struct Done {
    written: Written,
    service: Touched,
}

/// The change made to the service.
#[derive(Debug, Default)]
enum Touched {
    /// Nothing.
    #[default]
    Not,
    /// It was started and did not run before.
    Stopped,
    /// It was restarted; before, it ran the static pods of this machine.
    Running,
}

/// Undoes the changes.
async fn take_back(machine: &Machine, done: Done, out: &mut dyn Write) -> Result<(), JoinError> {
    let (places, systemctl) = (&machine.places, &machine.systemctl);
    let mut failures: Vec<JoinError> = Vec::new();
    if !matches!(done.service, Touched::Not) {
        failures.extend(systemctl.stop().await.err());
        failures.extend(
            identity_files::remove(&places.kubeconfig())
                .err()
                .map(JoinError::from),
        );
        let store = Store::new(&places.certificates(), store::CLIENT);
        failures.extend(store.clear().err().map(JoinError::from));
    }
    failures.extend(done.written.undo().into_iter().map(JoinError::from));
    if !matches!(done.service, Touched::Not) {
        failures.extend(service::remove(places).err().map(JoinError::from));
        failures.extend(systemctl.reload().await.err());
    }
    if matches!(done.service, Touched::Running) {
        failures.extend(systemctl.start().await.err());
    }
    for failure in &failures {
        writeln!(out, "left      {failure}")?;
    }
    if failures.is_empty() {
        writeln!(out, "undone    this machine is back in its previous state")?;
    }
    Ok(())
}
