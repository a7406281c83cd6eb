//! `make test-skew`: a control plane that is older than we are. `KUBERNETES` says which was built.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::api::Api;
use crate::control_plane::{ADMIN, ControlPlane, kubectl, wait_node_ready};
use crate::joining;
use crate::node::{LONG, Node, SOON, USUAL, here, is_ready};
use crate::objects::{condition, holds, name, spec, web, workload};
use crate::process::run;
use crate::runner::{self, Choice};
use crate::world::program;

/// The node's directories are as full as the machine's, and its cgroups are what they are.
const CONFIG: &str = "cgroupDriver: cgroupfs
failCgroupV1: false
evictionHard: {imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 0%}
imageGCHighThresholdPercent: 100
";

type Story = (&'static str, fn() -> Result<(), String>);

/// Inside the namespaces: the one story.
pub fn inside() -> ExitCode {
    let stories: &[Story] = &[("skew::an_older_cluster_is_joined_and_runs_pods", || {
        let reported = std::panic::catch_unwind(an_older_cluster_is_joined_and_runs_pods);
        reported.map_err(|_| {
            let logs = ["agent.log", "apiserver.log", "controllers.log"];
            format!(
                "it failed, as told above{}",
                crate::world::log_ends(&here(""), &logs)
            )
        })
    })];
    let choice = Choice::from_args(std::iter::empty());
    runner::run(&choice, stories, |story| story.0, |story| (story.1)())
}

fn an_older_cluster_is_joined_and_runs_pods() {
    let mut node = Node::new(USUAL);
    let _plane = ControlPlane::start();
    let api = Api::new(Path::new(ADMIN));
    let version = api.get("/version").expect("the API server answers")["gitVersion"].clone();
    let version = version.as_str().expect("a version");
    let release = std::env::var("KUBERNETES").expect("make test-skew names a release");
    assert!(
        version.starts_with(&format!("{release}.")),
        "{version} is no {release}"
    );
    joining::prepare(CONFIG);
    // kubeadm has written it for the control plane's own node; this one has none before it joins.
    std::fs::remove_file("/etc/kubernetes/kubelet.conf").expect("kubeadm has written it");

    let line = joining::line();
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let printed = node.prints(&words);
    assert!(
        printed.contains(&format!("its control plane runs {version}")),
        "{printed}"
    );
    let reported = kubelet_version();
    assert!(
        is_version(reported.trim().trim_start_matches("Kubernetes "), version),
        "{reported}"
    );
    // What it says to type, as there is no systemd here.
    let next = printed
        .lines()
        .map(str::trim)
        .find(|line| line.contains(" kubelet --"));
    let arguments = next
        .expect("it says how the agent is started")
        .split_whitespace()
        .skip(2);
    node.flag("--pod-network=own");
    arguments.for_each(|argument| node.flag(argument));
    node.as_kubelet();
    node.start_agent();
    wait_node_ready(&api);
    let reported = api.get("/api/v1/nodes/node-1").expect("it is there");
    let of_node = reported["status"]["nodeInfo"]["kubeletVersion"]
        .as_str()
        .unwrap_or_default();
    assert!(is_version(of_node, version), "{of_node}");
    assert!(holds(&reported, "Ready"), "{}", condition(&reported, "Ready"));

    runs_a_deployment(&api);
    node.stop_agent();
}

/// Whether it is that version, with our own behind it as what semantic versions do not compare.
fn is_version(reported: &str, version: &str) -> bool {
    reported
        .strip_prefix(version)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// What kubeadm reads, by the name under which it calls.
fn kubelet_version() -> String {
    let kubelet = here("kubelet");
    std::os::unix::fs::symlink(program("gantry"), &kubelet).expect("a private directory");
    run(&[&kubelet.display().to_string(), "--version"])
}

fn runs_a_deployment(api: &Api) {
    const ALL: &str = "/api/v1/namespaces/default/pods";
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    api.wait(account, "there", SOON, |_| true);
    let mut object = workload("web", spec(&web("first")), json!({"replicas": 3}));
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    api.create("/apis/apps/v1/namespaces/default/deployments", &object);
    let wait_pods = |what: &str, asked: &dyn Fn(&[Value]) -> bool| {
        crate::wait::wait_for(what, LONG, || match api.list(ALL)? {
            pods if asked(&pods) => Ok(pods),
            pods => Err(format!("{pods:?}")),
        })
    };
    let pods = wait_pods("three pods to run", &|pods| {
        pods.len() == 3 && pods.iter().all(is_ready)
    });
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    // The API server comes to the node's port.
    kubectl(&["logs", &name(&pods[0])]);
    kubectl(&["rollout", "restart", "deployment/web"]);
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    kubectl(&["delete", "deployment", "web"]);
    wait_pods("the pods to be gone", &<[Value]>::is_empty);
}
