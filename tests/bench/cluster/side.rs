//! The two agents, each of which is the node while it runs: the same certificate, configuration file, containerd and
//! names of CNI plugins. The kubelet's plugins are the Go ones that Debian ships, ours are ours.

use std::path::{Path, PathBuf};

use crate::control_plane::NODE;
use crate::kubelet::Kubelet;
use crate::node::{LONG, MANIFESTS, Node, here};
use crate::runtime;
use crate::wait::wait_for;
use crate::world::{CGROUP, program};

/// Which agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Gantry,
    Kubelet,
}

/// Both, in the order in which they are told of.
pub const SIDES: [Side; 2] = [Side::Gantry, Side::Kubelet];

/// An agent that runs.
pub enum Running {
    Gantry,
    Kubelet(Kubelet),
}

impl Side {
    /// How it is called in the report.
    pub fn name(self) -> &'static str {
        match self {
            Side::Gantry => "gantry",
            Side::Kubelet => "kubelet",
        }
    }

    /// Starts it on a node without pods, and waits until it answers.
    pub fn start(self, node: &mut Node, configuration: &str) -> Running {
        self.place_plugins();
        match self {
            Side::Gantry => {
                node.start_agent();
                // What the kubelet leaves to its garbage collection, one turn a minute, is not measured as ours.
                wait_for(
                    "nothing to be left of the kubelet's pods",
                    LONG,
                    || match runtime::sandboxes()?.len() {
                        0 => Ok(()),
                        left => Err(format!("{left} sandboxes")),
                    },
                );
                Running::Gantry
            }
            Side::Kubelet => {
                let kubeconfig = format!("--kubeconfig={NODE}");
                Running::Kubelet(Kubelet::start_configured(configuration, &[&kubeconfig]))
            }
        }
    }

    fn place_plugins(self) {
        for plugin in ["loopback", "bridge", "host-local", "portmap"] {
            let place = Path::new("/opt/cni/bin").join(plugin);
            let target = match self {
                Side::Gantry => program("gantry-cni"),
                Side::Kubelet => go_plugins().join(plugin),
            };
            assert!(target.exists(), "{}", target.display());
            let new = place.with_extension("new");
            std::os::unix::fs::symlink(&target, &new).expect("a new name in a private directory");
            std::fs::rename(&new, &place).expect("a rename inside one directory");
        }
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self, node: &Node) -> u32 {
        match self {
            Running::Gantry => node.agent_pid(),
            Running::Kubelet(kubelet) => kubelet.pid(),
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self, node: &mut Node) {
        match self {
            Running::Gantry => node.stop_agent(),
            Running::Kubelet(kubelet) => kubelet.stop(),
        }
    }
}

/// Gives our agent the flags that the sitting needs.
pub fn prepare(node: &mut Node, configuration: &str) {
    std::fs::write(here("gantry.yaml"), configuration).expect("a private directory");
    node.flag(&format!("--kubeconfig={NODE}"));
    node.flag(&format!("--config={}", here("gantry.yaml").display()));
    node.flag("--pod-network=own");
}

/// What kubeadm writes, what this machine needs, and room for all pods; how much memory has to be free, and more lines; the
/// rest is each agent's default.
pub fn configuration(more: &str, free: &str) -> String {
    let cgroup = std::env::var(CGROUP).expect("the outside names the cgroup");
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: {MANIFESTS}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {{x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}}}
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
failCgroupV1: false
failSwapOn: false
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
maxPods: 250
# How full the machine's disk is shall decide nothing here.
evictionHard: {{imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: {free}}}
imageGCHighThresholdPercent: 100
# A long log is read as a whole.
containerLogMaxSize: 1Gi
{more}"#
    )
}

fn go_plugins() -> PathBuf {
    PathBuf::from(std::env::var_os("GO_PLUGINS").expect("make bench sets it"))
}
