//! What the kernel has of the node: cgroups, processes, mounts, links, addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::world::CGROUP;

/// The names in a directory; none where it is not there.
pub fn names(directory: &Path) -> Result<BTreeSet<String>, String> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(format!("{}: {error}", directory.display())),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// The story's own cgroup in each hierarchy that has it; on v1 one for each controller.
pub fn hierarchies() -> Vec<PathBuf> {
    let own = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let root = Path::new("/sys/fs/cgroup");
    let below = names(root)
        .unwrap_or_default()
        .into_iter()
        .map(|name| root.join(name));
    let own = own.trim_start_matches('/');
    below
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(own))
        .filter(|path| path.is_dir())
        .collect()
}

/// The cgroups of pods, in every hierarchy: the pods' UIDs, and where.
pub fn pod_cgroups() -> Result<Vec<(String, PathBuf)>, String> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let all = hierarchy.join("kubepods");
        for class in [all.clone(), all.join("burstable"), all.join("besteffort")] {
            for name in names(&class)? {
                if let Some(uid) = name.strip_prefix("pod") {
                    found.push((uid.to_owned(), class.join(&name)));
                }
            }
        }
    }
    Ok(found)
}

/// A cgroup and all below it, the lowest first.
pub fn with_below(cgroup: &Path) -> Vec<PathBuf> {
    let children = names(cgroup)
        .unwrap_or_default()
        .into_iter()
        .map(|name| cgroup.join(name));
    let mut found: Vec<PathBuf> = children
        .filter(|path| path.is_dir())
        .flat_map(|path| with_below(&path))
        .collect();
    found.push(cgroup.to_owned());
    found
}

/// The processes in a cgroup itself.
pub fn processes_in(cgroup: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    // What is of another process namespace is listed as 0.
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect()
}

/// The processes of a container or sandbox.
pub fn processes_of(id: &str) -> Vec<i32> {
    let of_pods = pod_cgroups().unwrap_or_default().into_iter();
    let found: BTreeSet<i32> = of_pods
        .flat_map(|(_, path)| with_below(&path))
        .filter(|path| path.ends_with(id))
        .flat_map(|path| processes_in(&path))
        .collect();
    found.into_iter().collect()
}

/// Kills processes; those that have ended meanwhile are as good.
pub fn kill(pids: &[i32]) {
    for pid in pids {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(*pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

/// The words of every process's command line.
pub fn command_lines() -> Vec<(i32, Vec<String>)> {
    let entries = std::fs::read_dir("/proc")
        .expect("the kernel lists processes")
        .flatten();
    let lines = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        Some((pid, words.collect()))
    });
    lines.collect()
}

/// The shims, by the ID of their sandbox.
pub fn shims() -> BTreeMap<String, i32> {
    let of_shims = command_lines().into_iter().filter_map(|(pid, words)| {
        let is_shim = words.first()?.contains("containerd-shim");
        let id = words.iter().skip_while(|word| *word != "-id").nth(1)?;
        // One that cleans up after another has the word `delete` at its end.
        let stays = !words.iter().any(|word| word == "delete" || word == "start");
        (is_shim && stays).then(|| (id.clone(), pid))
    });
    of_shims.collect()
}

/// What containerd has a record of. It is killed while it makes or deletes a sandbox, and then forgets the shim and the cgroup of
/// that one: nobody can ask it to end them. The shim stays; the cgroup goes with its pod.
pub fn recorded() -> BTreeSet<String> {
    let listed = crate::process::run(&["ctr", "--namespace", "k8s.io", "containers", "ls", "--quiet"]);
    listed.lines().map(str::to_owned).collect()
}

/// The sandboxes of shims that containerd has forgotten.
pub fn orphaned_shims() -> BTreeSet<String> {
    // In this order: what is being made has its record first.
    let shims = shims();
    let recorded = recorded();
    shims.into_keys().filter(|id| !recorded.contains(id)).collect()
}

/// Where something is mounted, in the order in which it was.
pub fn mount_points() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the kernel lists the mounts");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(str::to_owned).collect()
}

/// Takes down whatever is mounted below this path, whoever uses it.
pub fn unmount_below(path: &str) {
    for point in mount_points()
        .iter()
        .rev()
        .filter(|point| point.starts_with(path))
    {
        let lazily = nix::mount::MntFlags::MNT_DETACH;
        let _ = nix::mount::umount2(Path::new(point), lazily);
    }
}

/// The node's links of this type, as `ip` shows them, one line each.
pub fn links(kind: &str) -> Vec<String> {
    let shown = crate::process::run(&["ip", "-o", "link", "show", "type", kind]);
    shown.lines().map(str::to_owned).collect()
}

/// The name of a link in a line of [`links`].
pub fn link_name(line: &str) -> Option<&str> {
    line.split(": ").nth(1)?.split('@').next()
}

/// The addresses that are given to pods.
pub fn addresses() -> Result<BTreeSet<String>, String> {
    let networks = Path::new("/var/lib/cni/networks");
    let mut found = BTreeSet::new();
    for network in names(networks)? {
        let files = names(&networks.join(network))?.into_iter();
        found.extend(files.filter(|name| name.parse::<std::net::IpAddr>().is_ok()));
    }
    Ok(found)
}
