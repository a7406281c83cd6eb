//! The kubelet itself, which tests/control-plane/build.sh builds: the peer that pods are handed over to and from.

use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::Value;

use crate::node::{NODE_IP, SOON, here, http};
use crate::process::{kill, logged, run, stop};
use crate::wait::wait_for;
use crate::world::{CGROUP, control_plane};

/// Where it serves its list of pods.
const PODS: &str = "127.0.0.1:10255";
const HEALTH: &str = "127.0.0.1:10248";

/// Settings of the whole kernel that the kubelet makes at its start: it finds them made already, in files of the
/// story's own, so that nothing is set on the machine.
const KERNEL: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A running kubelet. If a story fails, it is killed and holds no port that the next story needs.
pub struct Kubelet(Option<Child>);

impl Drop for Kubelet {
    fn drop(&mut self) {
        if self.0.is_some() {
            kill(self.0.take());
        }
    }
}

impl Kubelet {
    /// Starts it on the directories and the containerd that the agent uses, and waits until it is healthy.
    pub fn start(flags: &[&str]) -> Kubelet {
        let cgroup = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        Kubelet::start_configured(&configuration(&cgroup), flags)
    }

    /// The same with another configuration file.
    pub fn start_configured(configuration: &str, flags: &[&str]) -> Kubelet {
        prepare(&std::env::var(CGROUP).expect("the outside names the story's cgroup"));
        let config = here("kubelet.yaml");
        std::fs::write(&config, configuration).expect("a private directory");
        let mut command = Command::new(control_plane("kubelet"));
        // Otherwise it asks name servers for its own name, and none answers.
        let address = format!("--node-ip={NODE_IP}");
        command.arg("--config").arg(&config).arg(address).args(flags);
        let mut child = logged(&mut command, "kubelet.log");
        wait_for("the kubelet to be healthy", SOON, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the kubelet ended with {status}: see kubelet.log");
            }
            let answer = http(HEALTH, "/healthz")?;
            if answer.ends_with("ok") {
                Ok(())
            } else {
                Err(answer)
            }
        });
        Kubelet(Some(child))
    }

    /// Its process.
    #[allow(dead_code)] // asked for by the bench alone
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("only `stop` takes it").id()
    }

    /// Asks it to end, as systemd does, and waits for it.
    pub fn stop(mut self) {
        let child = self.0.take().expect("only this takes it");
        stop(child, nix::sys::signal::Signal::SIGTERM);
    }

    /// Every pod that it reports.
    pub fn pods(&self) -> Result<Vec<Value>, String> {
        let answer = http(PODS, "/pods")?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
        let list: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

/// Makes what the kubelet wants of the machine.
pub fn prepare(cgroup: &str) {
    pretend_kernel_settings();
    make_cgroup(cgroup);
}

pub fn configuration(cgroup: &str) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: {manifests}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
failCgroupV1: false
failSwapOn: false
address: 127.0.0.1
readOnlyPort: 10255
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
# How full the machine's disk is shall decide nothing here.
evictionHard: {{imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 0%}}
imageGCHighThresholdPercent: 100
"#,
        manifests = crate::node::MANIFESTS
    )
}

fn pretend_kernel_settings() {
    for (name, value) in KERNEL {
        let path = format!("/proc/sys/{name}");
        let ours = here(&name.replace('/', "-"));
        if ours.exists() {
            continue;
        }
        std::fs::write(&ours, format!("{value}\n")).expect("a private directory");
        run(&["mount", "--bind", &ours.display().to_string(), &path]);
    }
}

/// The kubelet wants its cgroup to be there, in each hierarchy.
fn make_cgroup(cgroup: &str) {
    let root = PathBuf::from("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return make_directory(&root.join(&cgroup[1..]));
    }
    let hierarchies = std::fs::read_dir(&root).expect("cgroups are mounted");
    for hierarchy in hierarchies.flatten().map(|entry| entry.path()) {
        if hierarchy.join("cgroup.procs").exists() {
            make_directory(&hierarchy.join(&cgroup[1..]));
        }
    }
}

fn make_directory(path: &std::path::Path) {
    std::fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
