//! The machine as one comparable value: what a node makes, and what must be gone afterwards.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Directories whose every entry counts.
const WATCHED: &[&str] = &[
    "/etc/cni",
    "/etc/kubernetes",
    "/opt/cni",
    "/run/containerd",
    "/run/gantry",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/gantry",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

/// What was seen, one line a thing, each beginning with its kind.
#[derive(PartialEq, Eq)]
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// Looks at the machine.
    pub fn now() -> Machine {
        let mut seen = BTreeSet::new();
        let mut add =
            |kind: &str, lines: Vec<String>| seen.extend(lines.into_iter().map(|l| format!("{kind}: {l}")));
        add("link", links());
        add("route", printed(&["ip", "route", "show", "table", "all"]));
        add("firewall", printed(&["nft", "-s", "list", "ruleset"]));
        add(
            "iptables",
            printed(&["iptables-save"])
                .into_iter()
                .filter(|line| line.starts_with("-A"))
                .collect(),
        );
        add("mount", mounts());
        add("cgroup", cgroups());
        for directory in WATCHED {
            add("file", tree(Path::new(directory), u32::MAX));
        }
        Machine(seen)
    }

    /// What is there now and was not before, and the other way round.
    pub fn since(&self, before: &Machine) -> Vec<String> {
        let came = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        let went = before.0.difference(&self.0).map(|line| format!("- {line}"));
        came.chain(went).collect()
    }
}

/// The lines that a command prints; none where it cannot be had.
fn printed(command: &[&str]) -> Vec<String> {
    let Ok(output) = Command::new(command[0]).args(&command[1..]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The names of the network links.
fn links() -> Vec<String> {
    printed(&["ip", "-o", "link"])
        .iter()
        .filter_map(|line| line.split(": ").nth(1).map(str::to_owned))
        .collect()
}

/// The mount points, by what is mounted where.
fn mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").expect("the kernel lists the mounts");
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some(format!("{} on {}", fields.next()?, fields.next()?))
        })
        .collect()
}

/// The cgroups that a node makes, in every hierarchy: the upper two levels show them. Those of stories are removed by
/// `world`, and may be another run's.
fn cgroups() -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let ours = |path: &String| path.contains("kubepods") || path.contains("gantry");
    let found = tree(root, 2).into_iter().filter(ours);
    found
        .filter(|path| !path.contains("gantry-test-") && Path::new(path).is_dir())
        .collect()
}

/// Every path below a directory, itself included, so many levels deep.
fn tree(path: &Path, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    if path.symlink_metadata().is_err() {
        return found;
    }
    found.push(path.display().to_string());
    if depth > 0
        && !path.is_symlink()
        && let Ok(entries) = std::fs::read_dir(path)
    {
        for entry in entries.flatten() {
            found.extend(tree(&entry.path(), depth - 1));
        }
    }
    found
}
