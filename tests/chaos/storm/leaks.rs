//! What is on the node and belongs to no pod: directories, logs, cgroups, processes, shims, mounts, links, namespaces,
//! addresses, rules of the firewall, half-written files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::kernel::{self, names};
use super::pods::{Kind, Pods};
use super::truth::Settled;
use crate::process::run;
use crate::runtime::{Container, Sandbox};

const PODS: &str = "/var/lib/kubelet/pods";
const LOGS: &str = "/var/log/pods";
const LINKS: &str = "/var/log/containers";

/// What there should be.
pub struct Known<'a> {
    /// The UIDs of all pods.
    uids: BTreeSet<&'a str>,
    /// Those of pods that run.
    running: BTreeSet<&'a str>,
    /// The addresses of pods that have one of their own.
    addresses: BTreeSet<&'a str>,
    /// The ports of the node that lead to a pod.
    ports: BTreeSet<String>,
    /// Sandboxes that are up, those with a network of their own, and all.
    up: BTreeSet<&'a str>,
    connected: usize,
    sandboxes: BTreeSet<&'a str>,
    /// All containers.
    containers: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub fn new(
        pods: &Pods,
        settled: &'a Settled,
        sandboxes: &'a [Sandbox],
        containers: &'a [Container],
    ) -> Known<'a> {
        let lasting = || pods.iter().filter(|pod| !pod.kind.lasting().is_empty());
        let connected = || lasting().filter(|pod| pod.kind != Kind::HostNetwork);
        let object = |name: &str| &settled.reported[name];
        Known {
            uids: settled.reported.values().map(uid).collect(),
            running: lasting().map(|pod| uid(object(&pod.name))).collect(),
            addresses: connected()
                .filter_map(|pod| object(&pod.name)["status"]["podIP"].as_str())
                .collect(),
            ports: lasting()
                .filter(|pod| pod.kind == Kind::Web)
                .map(|pod| pod.port().to_string())
                .collect(),
            up: sandboxes
                .iter()
                .filter(|own| own.ready)
                .map(|own| own.id.as_str())
                .collect(),
            connected: connected().count(),
            sandboxes: sandboxes.iter().map(|own| own.id.as_str()).collect(),
            containers: containers.iter().map(|own| own.id.as_str()).collect(),
        }
    }

    fn is_known(&self, id: &str) -> bool {
        self.sandboxes.contains(id) || self.containers.contains(id)
    }
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Looks at everything. `Err` says the first thing that is too much, or missing.
pub fn look(known: &Known<'_>) -> Result<(), String> {
    on_disk(known)?;
    logs(known)?;
    cgroups(known)?;
    shims(known)?;
    mounts(known)?;
    network(known)?;
    firewall(known)?;
    unfinished()
}

fn on_disk(known: &Known<'_>) -> Result<(), String> {
    let there = names(Path::new(PODS))?;
    let strange = there.iter().find(|uid| !known.uids.contains(uid.as_str()));
    let lacking = known.running.iter().find(|uid| !there.contains(**uid));
    match (strange, lacking) {
        (None, None) => Ok(()),
        found => Err(format!("directories of pods, too many and too few: {found:?}")),
    }
}

fn logs(known: &Known<'_>) -> Result<(), String> {
    for name in names(Path::new(LOGS))? {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if !known.uids.contains(uid) {
            return Err(format!("logs of nobody: {name}"));
        }
    }
    for name in names(Path::new(LINKS))? {
        let target = std::fs::read_link(Path::new(LINKS).join(&name)).unwrap_or_default();
        let directory = target
            .strip_prefix(LOGS)
            .ok()
            .and_then(|rest| rest.iter().next()?.to_str());
        let uid = directory.and_then(|name| name.rsplit('_').next());
        // The log of a container that was removed by hand stays as long as its pod.
        if !uid.is_some_and(|uid| known.uids.contains(uid)) {
            return Err(format!("a link to a log of nobody: {name}"));
        }
    }
    Ok(())
}

fn cgroups(known: &Known<'_>) -> Result<(), String> {
    let mut hierarchies: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (uid, path) in kernel::pod_cgroups()? {
        if !known.running.contains(uid.as_str()) {
            return Err(format!("the cgroup of nobody: {}", path.display()));
        }
        let class = path.parent().unwrap_or(&path).to_owned();
        hierarchies.entry(class).or_default().insert(uid);
        for below in names(&path)?.into_iter().filter(|name| path.join(name).is_dir()) {
            // Runtimes name the cgroups of containers by their IDs, and one of the agent's own may have another name.
            if below.len() == 64 && !known.is_known(&below) && kernel::recorded().contains(&below) {
                return Err(format!("the cgroup of no container: {}/{below}", path.display()));
            }
        }
    }
    let found: BTreeSet<&str> = hierarchies.values().flatten().map(String::as_str).collect();
    match found == known.running {
        true => Ok(()),
        false => Err(format!(
            "pods with a cgroup: {found:?}, pods: {:?}",
            known.running
        )),
    }
}

fn shims(known: &Known<'_>) -> Result<(), String> {
    let (shims, orphans) = (kernel::shims(), kernel::orphaned_shims());
    let found = shims.keys().filter(|id| !orphans.contains(*id));
    let found: BTreeSet<&str> = found.map(String::as_str).collect();
    match found == known.up {
        true => Ok(()),
        false => Err(format!("shims of {found:?}, sandboxes {:?}", known.up)),
    }
}

fn mounts(known: &Known<'_>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for point in kernel::mount_points() {
        if let Some(rest) = point.strip_prefix(PODS).and_then(|rest| rest.strip_prefix('/')) {
            let uid = rest.split('/').next().unwrap_or_default();
            if !known.running.contains(uid) {
                return Err(format!("a mount of nobody: {point}"));
            }
            if !seen.insert(point.clone()) {
                return Err(format!("mounted twice: {point}"));
            }
        }
        if point.starts_with("/run/containerd/") {
            let id = point.split('/').find(|part| part.len() == 64).unwrap_or_default();
            if !known.is_known(id) {
                return Err(format!("a mount of no container: {point}"));
            }
        }
    }
    Ok(())
}

fn network(known: &Known<'_>) -> Result<(), String> {
    let addresses = kernel::addresses()?;
    if !addresses
        .iter()
        .map(String::as_str)
        .eq(known.addresses.iter().copied())
    {
        return Err(format!(
            "addresses taken: {addresses:?}, of pods: {:?}",
            known.addresses
        ));
    }
    let ports = kernel::links("veth")
        .into_iter()
        .filter(|line| line.contains(" master "));
    let ports: Vec<String> = ports.collect();
    if ports.len() != known.connected {
        return Err(format!("{} pods are connected by {ports:?}", known.connected));
    }
    // The node's own link is a veth, too.
    let all = kernel::links("veth").len();
    if all != known.connected + 1 {
        return Err(format!("{} pods are connected, of {all} veths", known.connected));
    }
    let namespaces = names(Path::new("/run/netns"))?;
    let of_pods = namespaces.iter().filter(|name| name.starts_with("cni-")).count();
    if of_pods != known.connected {
        return Err(format!(
            "{} pods are connected, of {of_pods} namespaces",
            known.connected
        ));
    }
    for record in names(Path::new("/var/lib/cni/results"))? {
        if !record.split('-').any(|part| known.sandboxes.contains(part)) {
            return Err(format!("a record of a network for nobody: {record}"));
        }
    }
    Ok(())
}

/// The ports of the node that lead somewhere are those of pods.
fn firewall(known: &Known<'_>) -> Result<(), String> {
    let rules = run(&["nft", "list", "ruleset"]);
    let is_port = |word: &&str| word.len() == 5 && word.starts_with('2') && word.parse::<u16>().is_ok();
    let found: BTreeSet<String> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(is_port)
        .map(str::to_owned)
        .collect();
    match found == known.ports {
        true => Ok(()),
        false => Err(format!(
            "the firewall has the ports {found:?}, wanted are {:?}",
            known.ports
        )),
    }
}

/// No half-written file of the agent's lies about.
fn unfinished() -> Result<(), String> {
    for directory in [PODS, "/var/lib/gantry"] {
        if let Some(found) = unfinished_below(Path::new(directory), 4) {
            return Err(format!("half-written: {}", found.display()));
        }
    }
    Ok(())
}

fn unfinished_below(directory: &Path, depth: u32) -> Option<PathBuf> {
    let entries = names(directory).unwrap_or_default();
    entries.iter().find_map(|name| {
        let path = directory.join(name);
        if name.starts_with('.') && name.ends_with(".new") {
            return Some(path);
        }
        let is_directory = path.symlink_metadata().is_ok_and(|data| data.is_dir());
        (is_directory && depth > 0).then(|| unfinished_below(&path, depth - 1))?
    })
}
