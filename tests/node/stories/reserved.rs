//! What is reserved for the machine's own programs, enforced on cgroups of the story's own, and what the agent sets on its own
//! process.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::node::{Node, SOON};
use crate::wait::wait_for;
use crate::world::CGROUP;

/// The directory of a cgroup of the story in the hierarchy of a controller.
fn directory(controller: &str, name: &str) -> PathBuf {
    let story = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let root = Path::new("/sys/fs/cgroup");
    let mount = match root.join("cgroup.controllers").exists() {
        true => root.to_owned(),
        false => root.join(controller),
    };
    mount.join(story.trim_start_matches('/')).join(name)
}

/// Makes a cgroup as another program does: in every hierarchy.
fn make(name: &str) {
    for controller in ["cpu", "cpuacct", "memory", "cpuset", "pids", "hugetlb"] {
        let directory = directory(controller, name);
        let story = directory.parent().expect("it is below the story's");
        let is_mounted = story.parent().is_some_and(Path::exists);
        if is_mounted {
            std::fs::create_dir_all(&directory).expect("root makes cgroups");
        }
    }
}

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Waits until the file of a cgroup holds a value: that of v1, or that of v2.
fn wait_value(controller: &str, name: &str, v1: (&str, &str), v2: (&str, &str)) {
    let (file, value) = if is_v2() { v2 } else { v1 };
    let path = directory(controller, name).join(file);
    wait_for(&format!("{} to hold {value}", path.display()), SOON, || {
        let held = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        match held.trim() == value {
            true => Ok(()),
            false => Err(held),
        }
    });
}

fn of_agent(node: &Node, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", node.agent_pid())).expect("the agent runs")
}

pub fn the_machines_own_programs_are_kept_within_what_is_reserved(node: &mut Node) {
    let story = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let config = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
enforceNodeAllocatable: [pods, kube-reserved, system-reserved-compressible]
kubeReserved: {{cpu: 200m, memory: 512Mi, pid: '5000'}}
kubeReservedCgroup: {story}/kube
kubeletCgroups: {story}/kube/agent
systemReserved: {{cpu: 100m, memory: 256Mi}}
systemReservedCgroup: {story}/system
oomScoreAdj: 321
maxOpenFiles: 10000
"
    );
    std::fs::write("/run/node/config.yaml", config).expect("a private directory");
    node.flag("--config=/run/node/config.yaml");
    make("system");
    refuses_to_start_without_the_cgroup(&story);

    make("kube");
    node.start_agent();
    wait_value("cpu", "kube", ("cpu.shares", "204"), ("cpu.weight", "8"));
    let memory = (512 << 20).to_string();
    let limit = ("memory.limit_in_bytes", memory.as_str());
    wait_value("memory", "kube", limit, ("memory.max", memory.as_str()));
    wait_value("pids", "kube", ("pids.max", "5000"), ("pids.max", "5000"));
    wait_value("cpu", "system", ("cpu.shares", "102"), ("cpu.weight", "4"));
    // Too little of what is not compressible would kill a program.
    let file = if is_v2() {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let unlimited = std::fs::read_to_string(directory("memory", "system").join(file)).expect("it is there");
    assert_ne!(unlimited.trim(), (256 << 20).to_string());

    assert_eq!(of_agent(node, "oom_score_adj").trim(), "321");
    let limits = of_agent(node, "limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let files: Vec<&str> = files.unwrap_or_default().split_whitespace().collect();
    assert_eq!(files[3..5], ["10000", "10000"], "{limits}");
    let cgroups = of_agent(node, "cgroup");
    assert!(cgroups.contains("/kube/agent"), "{cgroups}");
    // What is allocatable follows from the amounts alone.
    let allocatable = node.node().expect("the agent serves")["status"].clone();
    let milli = |part: &str| {
        let cpu = allocatable[part]["cpu"].as_str().unwrap_or_default().to_owned();
        match cpu.strip_suffix('m') {
            Some(milli) => milli.parse::<i64>(),
            None => cpu.parse::<i64>().map(|cores| cores * 1000),
        }
    };
    assert_eq!(milli("capacity").map(|all| all - 300), milli("allocatable"));
}

fn refuses_to_start_without_the_cgroup(story: &str) {
    let output = Command::new(crate::world::program("gantry"))
        .args(["run", "--config=/run/node/config.yaml"])
        .arg(format!("--cgroup-root={story}"))
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let said = crate::process::text(&output);
    let expected = format!("Failed to enforce Kube Reserved Cgroup Limits on \\\"{story}/kube\\\": cgroup [");
    assert!(
        said.contains(&expected) || said.contains(&expected.replace('\\', "")),
        "{said}"
    );
    assert!(said.contains("has some missing paths: /sys/fs/cgroup"), "{said}");
}
