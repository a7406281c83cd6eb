//! `make conformance`: Kubernetes' own conformance specs, on a cluster of two nodes that kubeadm makes, whose network is
//! flannel's.
//!
//! What is run and with which images is Kubernetes' (`tests/control-plane/build.sh` and `conformance-images.sh` build it).
//! The environment chooses among the specs: `FOCUS` and `SKIP` are regular expressions of their names, `PROCS` how many
//! run beside each other. `AGENT=kubelet` runs them for the kubelet.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::{ADMIN, init, logs};
use crate::node::here;
use crate::world::{control_plane, repository};

/// The longest that all of them may take. Those that must be alone take most of it.
pub const LIMIT: Duration = Duration::from_hours(5);

/// The archive of what their pods run.
const IMAGES: &[&str] = &["conformance"];
/// What a cluster has to do to be called conformant.
const ALL: &str = r"\[Conformance\]";
/// Two processors bear four, of which most wait for most of the time.
const PROCS: &str = "4";

/// Inside the namespaces: makes the cluster, and runs the specs in its first node's.
pub fn inside() -> ExitCode {
    let cluster = init::cluster_with(IMAGES);
    // One of the specs runs an etcd of its own.
    let second = cluster.joined(&[IMAGES, &["control-plane/etcd"]].concat());
    cluster.wait_ready(second.name);
    cluster.wait_system(8);
    let directory = reports();
    std::fs::create_dir_all(&directory).expect("target/ can be written");
    let status = specs(&directory).status().expect("ginkgo was built");
    if !status.success() {
        println!("{}", logs());
    }
    for log in ["node-1-agent.log", "node-2-agent.log"] {
        let _ = std::fs::copy(here(log), directory.join(log));
    }
    println!("The reports and the agents' logs are in {}.", directory.display());
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where the reports are kept.
fn reports() -> PathBuf {
    repository().join("target/test-logs/conformance")
}

fn specs(directory: &std::path::Path) -> Command {
    let chosen = |name: &str, default: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => default.to_owned(),
    };
    let mut command = Command::new(control_plane("ginkgo"));
    command
        .arg("run")
        .arg(format!("--procs={}", chosen("PROCS", PROCS)))
        .arg(format!("--focus={}", chosen("FOCUS", ALL)))
        .arg(format!("--timeout={}s", LIMIT.as_secs()))
        .arg("--no-color")
        .arg(format!("--output-dir={}", directory.display()))
        .arg("--json-report=specs.json");
    let skip = chosen("SKIP", "");
    if !skip.is_empty() {
        command.arg(format!("--skip={skip}"));
    }
    command
        .arg(control_plane("e2e.test"))
        .arg("--")
        .arg(format!("--kubeconfig={ADMIN}"))
        .args(["--provider=skeleton", "--num-nodes=2", "--disable-log-dump"])
        .arg(format!("--report-dir={}", directory.display()))
        .env("KUBECONFIG", ADMIN)
        .env("PATH", path())
        .stdin(Stdio::null());
    command
}

/// The specs run kubectl by its name.
fn path() -> String {
    let programs = control_plane("kubectl");
    let programs = programs.parent().expect("a file is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", programs.display())
}
