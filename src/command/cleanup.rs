//! `gantry cleanup`: removes everything that the agent created on this machine.
//!
//! First the pods, with the usual plans and nothing desired, while the plugins can still take down their network; then
//! the images that the agent imported; then the network, cgroups, mounts and files. It continues after a failure and
//! reports every one, so that a second run has less to do; but what pods depend on stays as long as a pod is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::act::projects::{Assignment, ProjectIds};
use crate::act::pull_records::PullRecords;
use crate::act::pulls::Pulls;
use crate::act::registry::DockerConfig;
use crate::act::turn::Turns;
use crate::act::user_ranges::PodUsers;
use crate::act::volume::network_disk::release::{self, Releasing};
use crate::act::volume::sweep::Left;
use crate::act::{self, ActContext, kernel};
use crate::agent;
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::config::files::STORE_KEY;
use crate::cri::{self, Runtime};
use crate::disk::tree::{self, Mounts};
use crate::disk::write::remove_if_there;
use crate::images::import;
use crate::model::csi_request;
use crate::model::local_volume;
use crate::model::network_disk::DiskPlugin;
use crate::model::node::{CgroupName, NodePolicy};
use crate::model::object::Objects;
use crate::model::pod::{PodName, PodUid};
use crate::model::resources::Amounts;
use crate::model::runtime::Snapshot;
use crate::model::service::Services;
use crate::model::step::Plan;
use crate::network::{self, conflist};
use crate::plan::{self, PlanView, gc};
use crate::{observe, serve};

/// The timeout for listing what the runtime has.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(10);
/// The maximum number of plans per pod: a stopped pod needs two, a failing one a few more.
const ROUNDS: usize = 5;

/// What was removed: counts for the summary, and one line for each thing that is left.
#[derive(Debug, Default)]
pub struct Summary {
    /// Pods removed.
    pub pods: usize,
    /// Images removed.
    pub images: usize,
    /// What is left, and why.
    pub failures: Vec<String>,
}

impl Summary {
    fn check<T, E: fmt::Display>(&mut self, what: impl fmt::Display, result: Result<T, E>) {
        if let Err(error) = result {
            self.failures.push(format!("{what}: {error}"));
        }
    }
}

/// Removes everything that an agent with this configuration creates. An error means that nothing was removed.
pub async fn run(config: &Config) -> anyhow::Result<Summary> {
    // Holding the socket keeps an agent from starting meanwhile, and detects a running one.
    let socket = serve::socket::bind(&config.serve.socket)?;
    let runtime = Runtime::new(&cri::Settings::at(
        config.runtime.endpoint.clone(),
        config.runtime.request_timeout,
    ));
    let (policy, cgroups) = agent::policy_for_removal(config, &runtime).await?;
    let mut summary = Summary::default();
    remove_pods(config, &policy, &runtime, &cgroups, &mut summary).await;
    if !summary.failures.is_empty() {
        // Without the network configuration the runtime could not take down the remaining pods; a second run needs it.
        return Ok(summary);
    }
    detach_disks(config, &mut summary).await;
    remove_images(&runtime, &mut summary).await;
    let data_dir = Path::new(network::DATA_DIR);
    let removed = gantry_cni::cleanup::cleanup(conflist::NETWORK, conflist::BRIDGE, Some(data_dir));
    summary.check("the pods' network", removed);
    summary.check(
        "the rule that guards the host's loopback",
        gantry_cni::loopback_guard::remove(),
    );
    let left = network::leave(&config.paths.state, &config.serve.socket).await;
    summary.check("the way to other nodes' pods", left);
    let torn_down = network::tear_down(&config.network.cni_conf_dir, &config.paths.state);
    summary.check("the CNI configuration", torn_down);
    let mut root = config.cgroups.root.clone();
    root.push("kubepods".to_owned());
    summary.check("the pods' cgroups", cgroups.remove(&CgroupName(root)).await);
    remove_dirs(config, &mut summary);
    drop(socket);
    if let Some(dir) = config.serve.socket.parent() {
        // The socket's directory is removed if nothing else is in it.
        let _ = tree::remove(&dir.join("exec"), Mounts::Emptied);
        let _ = std::fs::remove_dir(dir);
    }
    Ok(summary)
}

/// Removes pods with plans that desire nothing, then leftovers that exist only on disk.
async fn remove_pods(
    config: &Config,
    policy: &NodePolicy,
    runtime: &Runtime,
    cgroups: &Cgroups,
    summary: &mut Summary,
) {
    let cancel = CancellationToken::new();
    let (out, mut snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let (handle, inbox) = observe::requests();
    let settings = agent::observation(config, cgroups);
    let observation = tokio::spawn(observe::run(
        runtime.clone(),
        inbox,
        out,
        settings,
        cancel.clone(),
    ));
    let listed = tokio::time::timeout(RUNTIME_PATIENCE, snapshot.wait_for(|snapshot| snapshot.listed)).await;
    let listed = listed.ok().and_then(Result::ok).map(|there| there.clone());
    let there = match listed {
        Some(there) => there,
        None => {
            let socket = runtime.socket().display();
            summary.failures.push(format!(
                "the pods: the runtime does not answer at {socket}; start containerd and run this again"
            ));
            cancel.cancel();
            return;
        }
    };
    let context = act_context(config, runtime, cgroups);
    let removals = there
        .pods
        .keys()
        .map(|name| remove_pod(name, policy, &context, &handle, snapshot.clone()));
    let results = join_all(removals).await;
    summary.pods = results.iter().filter(|result| result.is_ok()).count();
    summary
        .failures
        .extend(results.into_iter().filter_map(Result::err));
    let known: BTreeSet<&PodUid> = there.pods.values().flat_map(|name| name.uids.keys()).collect();
    for uid in there.leftovers.iter().filter(|uid| !known.contains(uid)) {
        let name = PodName::new("", uid.0.clone());
        let logs = there.log_dirs.get(uid).map(PathBuf::as_path);
        let result = carry_out(&context, &name, uid, gc::leftover(uid, logs, policy)).await;
        summary.check(format!("leftovers of pod {uid}"), result);
    }
    cancel.cancel();
    // It ends when the token is canceled; a panic in it has been logged already.
    let _ = observation.await;
}

/// What removals need: they pull no image and report no beginning.
fn act_context(config: &Config, runtime: &Runtime, cgroups: &Cgroups) -> ActContext {
    ActContext {
        runtime: runtime.clone(),
        cgroups: cgroups.clone(),
        pulls: Pulls::new(Some(1), None),
        turns: Turns::of_machine(),
        docker_config: DockerConfig::default(),
        providers: Default::default(),
        records: PullRecords::new(&config.paths.root, None),
        names: Default::default(),
        files: Default::default(),
        projects: ProjectIds::new(Path::new(agent::ETC), Assignment::Never),
        csi: Default::default(),
        at_work: Default::default(),
        mounts: Default::default(),
        local: Default::default(),
        disks: Default::default(),
        users: PodUsers::of_machine(&config.paths.root, config.pods.ids_per_pod, 0),
        network_cache: Default::default(),
        beginnings: mpsc::unbounded_channel().0,
        counters: Arc::default(),
    }
}

async fn remove_pod(
    name: &PodName,
    policy: &NodePolicy,
    context: &ActContext,
    handle: &observe::Handle,
    snapshot: watch::Receiver<Arc<Snapshot>>,
) -> Result<(), String> {
    let leftovers = BTreeSet::new();
    let (objects, services, allocatable) = (Objects::default(), Services::NoCluster, Amounts::default());
    let view = PlanView {
        name,
        runtime_ready: true,
        network_ready: true,
        runtime_handlers: &[],
        desired_complete: true,
        unsupported: None,
        images: &[],
        leftovers: &leftovers,
        logs: None,
        objects: &objects,
        services: &services,
        allocatable: &allocatable,
        node: None,
    };
    let mut failure = String::from("it still exists");
    for _ in 0..ROUNDS {
        let there = snapshot.borrow().pods.get(name).cloned();
        let Some(there) = there.filter(|there| !there.uids.is_empty()) else {
            return Ok(());
        };
        let plan = plan::pod::plan(None, &there, None, policy, &view, Timestamp::now());
        let uid = there
            .uids
            .keys()
            .next()
            .cloned()
            .unwrap_or_else(|| PodUid(String::new()));
        if let Err(why) = carry_out(context, name, &uid, plan).await {
            failure = why;
        }
        handle
            .refresh(name.clone(), uid)
            .await
            .map_err(|stopped| stopped.to_string())?;
    }
    Err(format!("pod {name}: {failure}"))
}

async fn carry_out(context: &ActContext, name: &PodName, uid: &PodUid, plan: Plan) -> Result<(), String> {
    let outcome = act::run(context, name, uid, plan, CancellationToken::new()).await;
    let failed = outcome.steps.into_iter().find_map(|step| step.result.err());
    failed.map_or(Ok(()), |error| Err(error.message))
}

/// Removes the images that the agent imported, under every name.
async fn remove_images(runtime: &Runtime, summary: &mut Summary) {
    let channel = cri::connect_lazily(runtime.socket());
    let names = match import::imported(&channel).await {
        Ok(names) => names,
        Err(error) => return summary.check::<(), _>("the images", Err(error)),
    };
    for name in names {
        let removed = runtime.remove_image(&name).await;
        summary.images += usize::from(removed.is_ok());
        summary.check(format!("the image {name}"), removed);
        // CRI removes an image by its id; a name that CRI did not know is removed here.
        summary.check(format!("the image {name}"), import::remove(&channel, &name).await);
    }
}

/// Logs out of the targets of disks, and takes those from the node: no pod is there any more. `kubeadm reset` only unmounts
/// them.
async fn detach_disks(config: &Config, summary: &mut Summary) {
    let releasing = Releasing {
        disks: Default::default(),
        files: Default::default(),
        tools: Default::default(),
        root: config.paths.root.clone(),
    };
    let result = match release::sweep(&releasing).await {
        Left::Nothing => Ok(()),
        Left::Busy => Err("some could not be detached, as the log says"),
    };
    summary.check("iSCSI and Fibre Channel volumes", result);
    for plugin in DiskPlugin::ALL {
        for dir in [
            plugin.device_maps(&config.paths.root),
            plugin.global_mounts(&config.paths.root),
        ] {
            // What is still in it stays.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn remove_dirs(config: &Config, summary: &mut Summary) {
    let note = config.paths.state.join(agent::KERNEL_NOTE);
    let restored = kernel::restore(Path::new(agent::KERNEL), &note);
    summary.check("the kernel settings", restored);
    summary.check(
        "the image pull records",
        remove_whole(&config.paths.root.join("image_manager")),
    );
    // What no driver has taken down is unmounted, as `kubeadm reset` does; nothing within it is removed.
    let volumes = csi_request::plugin_dir(&config.paths.root);
    let unmounted = tree::remove(&volumes, Mounts::Unmounted);
    summary.check("what storage drivers have staged", unmounted);
    for (what, devices) in [
        (
            "the mounts of local volumes",
            local_volume::global_mounts(&config.paths.root),
        ),
        (
            "the devices of local volumes",
            local_volume::device_maps(&config.paths.root),
        ),
    ] {
        let unmounted = tree::remove(&devices, Mounts::Unmounted);
        summary.check(what, unmounted);
        // Something else in it stays.
        let _ = devices.parent().map(std::fs::remove_dir);
    }
    let below = |dir: &str| config.paths.root.join(dir);
    for dir in [
        &below("pods"),
        &below("plugins/kubernetes.io"),
        &below("plugins"),
        &below("plugins_registry"),
        &config.paths.root,
        &config.paths.pod_logs,
        &config.paths.container_logs,
    ] {
        // Files of other programs stay: only an empty directory is removed.
        let _ = std::fs::remove_dir(dir);
    }
    summary.check(config.paths.state.display(), remove_whole(&config.paths.state));
    summary.check(STORE_KEY, remove_if_there(Path::new(STORE_KEY)));
    if let Some(dir) = Path::new(STORE_KEY).parent() {
        // Files of the administrator stay.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Removes a directory and its content. If a file system is mounted on it, the empty directory stays.
fn remove_whole(dir: &Path) -> io::Result<()> {
    let is_empty = || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if std::fs::symlink_metadata(dir).is_ok_and(|about| about.is_symlink()) {
        // The administrator has moved it; what is there is not known to be ours alone.
        return remove_if_there(dir);
    }
    match tree::remove(dir, Mounts::Emptied) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && is_empty() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_all_that_is_in_it() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("state");
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/c"), "").unwrap();
        remove_whole(&dir).unwrap();
        assert!(!dir.exists());
        remove_whole(&dir).unwrap();
    }
}
