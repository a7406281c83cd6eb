//! The end that every story of faults comes to: the API server, the runtime, the disk and the cgroups know the same
//! pods, and nothing of others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::{LONG, container, stays};
use crate::objects::uid;
use crate::runtime;
use crate::wait::wait_for;
use crate::world::CGROUP;

/// How long the end has to last.
const QUIET: Duration = Duration::from_secs(2);

/// The container of each pod, by the pod's UID.
pub type Running = BTreeMap<String, String>;

/// The container of each pod, as the API server has it.
pub fn reported(pods: &[Value]) -> Running {
    let id = |pod: &Value| {
        let id = container(pod, "main")["containerID"].as_str().unwrap_or_default();
        id.trim_start_matches("containerd://").to_owned()
    };
    pods.iter().map(|pod| (uid(pod), id(pod))).collect()
}

/// Waits until the node has what is reported about these pods and nothing else, and checks that it stays so. The pods are all
/// that the node has, and all of them run; none may have restarted.
#[track_caller]
pub fn assert_is_all(cluster: &Cluster, pods: &[Value]) {
    for pod in pods {
        let restarts = &container(pod, "main")["restartCount"];
        assert_eq!(*restarts, 0, "{} {}", pod["metadata"]["name"], pod["status"]);
    }
    let reported = reported(pods);
    let is_right = || {
        let (found, now) = (in_runtime()?, self::reported(&cluster.pods()?));
        if found != reported || now != reported {
            return Err(format!(
                "the runtime has {found:?}, the API server {now:?}, wanted are {reported:?}"
            ));
        }
        let uids: BTreeSet<&str> = reported.keys().map(String::as_str).collect();
        for (what, there) in [("on the disk", on_disk()?), ("in cgroups", in_cgroups()?)] {
            if there.iter().map(String::as_str).ne(uids.iter().copied()) {
                return Err(format!("{what} are {there:?}, wanted are {uids:?}"));
            }
        }
        match addresses()? {
            count if count == reported.len() => Ok(()),
            count => Err(format!("{count} addresses are taken by {} pods", reported.len())),
        }
    };
    wait_for("the node to have what is told, and nothing else", LONG, is_right);
    stays("the end state", QUIET, is_right);
}

/// The container of each pod as the runtime has it. `Err` where one has two, or something has ended.
fn in_runtime() -> Result<Running, String> {
    let (sandboxes, containers) = (runtime::sandboxes()?, runtime::containers()?);
    let uids: BTreeMap<&str, &str> = sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .filter_map(|sandbox| {
            let uid = sandbox.labels.get("io.kubernetes.pod.uid")?;
            Some((sandbox.pod.as_str(), uid.as_str()))
        })
        .collect();
    let found: Running = containers
        .iter()
        .filter(|container| container.running)
        .filter_map(|container| {
            let uid = *uids.get(container.pod.as_str())?;
            Some((uid.to_owned(), container.id.clone()))
        })
        .collect();
    if found.len() == containers.len() && found.len() == sandboxes.len() {
        Ok(found)
    } else {
        Err(format!("{sandboxes:?} {containers:?}"))
    }
}

fn names(directory: &Path) -> Result<BTreeSet<String>, String> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(format!("{}: {error}", directory.display())),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// The pods that have a directory.
fn on_disk() -> Result<BTreeSet<String>, String> {
    names(Path::new("/var/lib/kubelet/pods"))
}

/// The pods that have a cgroup in any hierarchy.
fn in_cgroups() -> Result<BTreeSet<String>, String> {
    let own = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let root = Path::new("/sys/fs/cgroup");
    let mut found = BTreeSet::new();
    for hierarchy in names(root)?
        .iter()
        .map(|name| root.join(name))
        .chain([root.to_owned()])
    {
        let all = hierarchy.join(own.trim_start_matches('/')).join("kubepods");
        for class in [all.clone(), all.join("burstable"), all.join("besteffort")] {
            let pods = names(&class)?.into_iter();
            found.extend(pods.filter_map(|name| Some(name.strip_prefix("pod")?.to_owned())));
        }
    }
    Ok(found)
}

/// How many addresses are taken: a file each, beside others of the plugin's own.
fn addresses() -> Result<usize, String> {
    let networks = Path::new("/var/lib/cni/networks");
    let mut count = 0;
    for network in names(networks)? {
        let files = names(&networks.join(network))?;
        count += files
            .iter()
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .count();
    }
    Ok(count)
}
