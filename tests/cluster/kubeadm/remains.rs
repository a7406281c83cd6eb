//! What is left on a machine that is no node any more.

use std::path::{Path, PathBuf};

use super::host::Host;

impl Host {
    /// Nothing is there that `kubeadm reset` takes away: containers, mounts and files of pods, credentials, processes in
    /// the pods' cgroups, the pods' links and addresses.
    #[track_caller]
    pub fn assert_reset(&self) {
        let containers = self.run(&["ctr", "--namespace=k8s.io", "containers", "list", "--quiet"]);
        assert_eq!(containers, "", "containers of {}", self.name);
        let mounts = self.run(&["cat", "/proc/self/mounts"]);
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains("/pods/")).collect();
        assert!(left.is_empty(), "{left:?}");
        for directory in [
            "/var/lib/kubelet",
            "/etc/kubernetes/manifests",
            "/etc/kubernetes/pki",
        ] {
            assert_empty(&self.path(directory));
        }
        let links = self.run(&["ip", "-o", "link", "show", "type", "veth"]);
        let links: Vec<&str> = links.lines().filter(|line| !line.contains(" eth0@")).collect();
        assert!(links.is_empty(), "{links:?}");
        let connected = self.connected();
        assert!(connected.is_empty(), "{connected:?} are connected still");
        let processes = processes_below(&self.cgroup());
        assert!(
            processes.is_empty(),
            "in the cgroups of {}: {processes:?}",
            self.name
        );
    }

    /// Nor what an agent of ours has made beside that: its network, its cgroups, what it keeps.
    #[track_caller]
    pub fn assert_as_new(&self) {
        let links = self.run(&["ip", "-o", "link"]);
        assert!(!links.contains("gantry0"), "{links}");
        let cgroups = hierarchies(&format!("{}/kubepods", self.cgroup()));
        let left: Vec<PathBuf> = cgroups.into_iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
        for directory in ["/var/lib/gantry", "/etc/cni/net.d", "/run/gantry"] {
            assert_empty(&self.path(directory));
        }
    }
}

/// No file is below a directory; empty directories may be.
#[track_caller]
fn assert_empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        assert!(path.is_dir() && !path.is_symlink(), "{} stays", path.display());
        assert_empty(&path);
    }
}

/// The cgroups of that path, one a hierarchy.
fn hierarchies(cgroup: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let all = std::fs::read_dir(root).expect("cgroups are mounted").flatten();
    let all = all.map(|entry| entry.path()).chain([root.to_owned()]);
    all.map(|hierarchy| hierarchy.join(&cgroup[1..])).collect()
}

/// The processes in a cgroup and below it, in every hierarchy.
fn processes_below(cgroup: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = hierarchies(cgroup);
    while let Some(directory) = left.pop() {
        let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let here = directory.display();
        found.extend(processes.lines().map(|pid| format!("{here} {pid}")));
        let below = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        left.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found
}
