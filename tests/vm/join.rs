//! A fresh machine joins a cluster whose control plane is elsewhere, starts again while that is away, and leaves.
//!
//! The control plane runs in network, mount and process namespaces of the story's own (`tests/support/isolate.sh`), and
//! qemu beside it; a tap in there is the wire between them. Nothing of the machine's own network is touched.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use gantry::source::checkpoint::seal::Keyhole;
use serde_json::{Value, json};

use crate::api::Api;
use crate::control_plane::{ADMIN, ControlPlane, kubectl};
use crate::joining;
use crate::node::{SOON, here, ip, is_ready};
use crate::objects::{condition, holds, name, spec, uid, web, workload};
use crate::process::run;
use crate::vm::{Purpose, Vm};
use crate::wait::wait_for;
use crate::world;
use crate::{iscsi, nfs};

/// The longest that the story may take: the machine boots twice in software emulation.
const LIMIT: Duration = Duration::from_secs(1500);
/// Long enough for pods in there.
const PATIENCE: Duration = Duration::from_secs(120);

/// The wire, and the control plane's end of it. The machine has 192.0.2.10, and this for its gateway.
const LINK: &str = "tap0";
const ADDRESS: &str = "192.0.2.1";

const NODE: &str = "/api/v1/nodes/gantry-vm";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REPLICAS: usize = 2;

/// The story: its name, and what it does.
pub const STORY: super::Outside = ("join::a_fresh_machine_joins_starts_again_and_leaves", || {
    world::run("join", LIMIT).map(|said| print!("{said}"))
});

/// The world's inside.
pub fn inside(release: &str) -> ExitCode {
    // The world's own uplink has the address that the machine has.
    run(&["ip", "link", "delete", "eth0"]);
    run(&["ip", "tuntap", "add", LINK, "mode", "tap"]);
    run(&["ip", "address", "add", &format!("{ADDRESS}/24"), "dev", LINK]);
    run(&["ip", "link", "set", LINK, "up"]);
    let mut plane = ControlPlane::start_at(ADDRESS);
    joining::prepare("");
    let mut vm = Vm::boot(release, Purpose::Member(LINK));
    let reported = catch_unwind(AssertUnwindSafe(|| {
        let api = Api::new(Path::new(ADMIN));
        joins(&mut vm, &api);
        let pods = runs_a_deployment(&api);
        starts_again_without_the_api_server(&mut vm, &mut plane, &pods);
        back_in_touch(&mut vm, &api, &pods);
        nfs::a_claim_is_mounted_with_the_options_of_its_volume(&mut vm, &api);
        iscsi::a_claim_is_a_disk_of_a_target(&mut vm, &api);
        leaves(&mut vm, &api);
    }));
    if reported.is_err() {
        println!("{}", vm.diagnosis());
        println!("{}", world::log_ends(&here(""), &["apiserver.log"]));
        return ExitCode::FAILURE;
    }
    match vm.power_off() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the machine did not power off: {error}");
            ExitCode::FAILURE
        }
    }
}

fn joins(vm: &mut Vm, api: &Api) {
    let line = joining::line().join(" ");
    // No other plugin is installed there.
    vm.prints("echo 'KUBELET_EXTRA_ARGS=--pod-network=own' >/etc/default/kubelet");
    let said = vm.prints(&format!("gantry {line}"));
    println!("{said}");
    assert!(
        said.ends_with("ready     this machine is node gantry-vm\n"),
        "{said}"
    );
    is_a_sound_service(vm);
    let node = api.get(NODE).expect("gantry join says that it is Ready");
    assert!(holds(&node, "Ready"), "{}", condition(&node, "Ready"));
    // A second time it says so, and changes nothing.
    let again = vm.run(&format!("gantry {line}"));
    assert!(
        again.code != 0 && again.output.contains("is a node already"),
        "{again:?}"
    );
    let absent = vm.run("ls /etc/kubernetes/bootstrap-kubelet.conf");
    assert_ne!(absent.code, 0, "the token lies on: {absent:?}");
}

/// What `systemctl status` shows a person.
fn is_a_sound_service(vm: &mut Vm) {
    let status = vm.prints("systemctl status gantry --no-pager --lines=0");
    for expected in [
        "enabled",
        "active (running)",
        "gantry.service.d",
        "10-join.conf",
        "gantry kubelet --bootstrap-kubeconfig=",
    ] {
        assert!(status.contains(expected), "no {expected} in:\n{status}");
    }
    let properties = vm.prints("systemctl show gantry --property=Type,NRestarts");
    assert!(
        properties.contains("Type=notify") && properties.contains("NRestarts=0"),
        "{properties}"
    );
    assert_eq!(vm.prints("systemctl --failed --no-legend"), "");
}

#[track_caller]
fn wait_pods(api: &Api, what: &str, asked: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    wait_for(&format!("the pods to be {what}"), PATIENCE, || {
        match api.list(PODS)? {
            pods if asked(&pods) => Ok(pods),
            pods => Err(format!("{pods:?}")),
        }
    })
}

fn runs_a_deployment(api: &Api) -> Vec<Value> {
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    api.wait(account, "there", SOON, |_| true);
    let map = json!({"metadata": {"name": "page"}, "data": {"index.html": "from the cluster"}});
    api.create("/api/v1/namespaces/default/configmaps", &map);
    let mut spec = spec(&web("unused").replace("/srv", "/tmp/srv"));
    // A token is the one thing of a pod that is not stored.
    spec["automountServiceAccountToken"] = json!(false);
    spec["volumes"] = json!([{"name": "page", "configMap": {"name": "page"}}]);
    let main = &mut spec["containers"][0];
    main["command"] = json!(["httpd", "-f", "-p", "8080", "-h", "/page"]);
    main["volumeMounts"] = json!([{"name": "page", "mountPath": "/page"}]);
    main["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    let object = workload("web", spec, json!({"replicas": REPLICAS}));
    api.create("/apis/apps/v1/namespaces/default/deployments", &object);
    let pods = wait_pods(api, "two that run", |pods| {
        pods.len() == REPLICAS && pods.iter().all(is_ready)
    });
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    // The API server comes to the machine's port, with a certificate that it is known by.
    kubectl(&["logs", &name(&pods[0])]);
    pods
}

/// The containers that run in there, without those of sandboxes.
const RUNNING: &str = "ctr --namespace k8s.io tasks list | awk '$3 == \"RUNNING\" { print $1 }' | sort";

/// Waits until the pods run in there and answer.
#[track_caller]
fn wait_answers(vm: &mut Vm, pods: &[Value]) {
    for pod in pods {
        let name = name(pod);
        wait_for(&format!("{name} to answer"), PATIENCE, || {
            let own = vm
                .pods()?
                .into_iter()
                .find(|own| own["metadata"]["name"] == pod["metadata"]["name"]);
            let own = own.ok_or("it is not there")?;
            if uid(&own) != uid(pod) || !is_ready(&own) {
                return Err(format!("{} {}", own["metadata"]["uid"], own["status"]));
            }
            let reported = vm.run(&format!("curl --silent --max-time 10 http://{}:8080/", ip(&own)));
            match reported.output.as_str() {
                "from the cluster" => Ok(()),
                _ => Err(format!("{reported:?}")),
            }
        });
    }
}

fn starts_again_without_the_api_server(vm: &mut Vm, plane: &mut ControlPlane, pods: &[Value]) {
    wait_answers(vm, pods);
    let read = |vm: &mut Vm, path: &str| {
        let text = vm.prints(&format!("base64 --wrap=0 {path}"));
        base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .expect("base64")
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let keyhole = Keyhole {
        file: directory.path().join("key"),
        credentials: None,
    };
    std::fs::write(&keyhole.file, read(vm, "/etc/gantry/store.key")).expect("a private directory");
    let key = keyhole.key().expect("it was just written").expect("a key");
    let opened = key.open(&read(vm, "/var/lib/gantry/cluster/pods"));
    let stored = String::from_utf8(opened.expect("it is the key's")).expect("JSON");
    assert!(pods.iter().all(|pod| stored.contains(&uid(pod))), "{stored}");
    plane.kill_server();
    let boot = vm.prints("cat /proc/sys/kernel/random/boot_id");
    vm.reboot();
    assert_ne!(vm.prints("cat /proc/sys/kernel/random/boot_id"), boot);
    wait_answers(vm, pods);
    println!("the pods run again, without the API server");
    is_a_sound_service(vm);
    plane.start_server();
}

fn back_in_touch(vm: &mut Vm, api: &Api, before: &[Value]) {
    let running = vm.prints(RUNNING);
    // A container and a sandbox of each.
    assert_eq!(running.lines().count(), 2 * REPLICAS, "{running}");
    let is_same = |pod: &Value| before.iter().any(|known| uid(known) == uid(pod));
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    wait_pods(api, "the same two, told as started again", |pods| {
        pods.len() == REPLICAS
            && pods
                .iter()
                .all(|pod| is_ready(pod) && is_same(pod) && restarts(pod))
    });
    api.wait(NODE, "Ready", PATIENCE, |node| {
        holds(node, "Ready") && node["status"]["nodeInfo"]["bootID"] != ""
    });
    kubectl(&["scale", "deployment/web", "--replicas=3"]);
    wait_pods(api, "three that run", |pods| {
        pods.len() == 3
            && pods.iter().all(is_ready)
            && pods.iter().filter(|pod| is_same(pod)).count() == REPLICAS
    });
    let now = vm.prints(RUNNING);
    assert!(
        running.lines().all(|id| now.contains(id)),
        "{running} before, {now} now"
    );
    assert_eq!(now.lines().count(), 2 * 3, "{now}");
}

fn leaves(vm: &mut Vm, api: &Api) {
    kubectl(&["drain", "gantry-vm", "--timeout=60s", "--ignore-daemonsets"]);
    let said = vm.prints("gantry reset --yes");
    println!("{said}");
    assert!(said.contains("kubectl delete node gantry-vm"), "{said}");
    kubectl(&["delete", "node", "gantry-vm"]);
    let state = vm
        .run("systemctl is-enabled gantry; systemctl is-active gantry")
        .output;
    assert_eq!(state, "disabled\ninactive\n");
    let left = vm.prints(
        "ctr --namespace k8s.io containers list --quiet; ip -o link; nft list ruleset
        find /sys/fs/cgroup -name 'kubepods*'; find /etc/kubernetes /var/lib/kubelet -type f; ls -d /etc/systemd/system/gantry.service* 2>/dev/null; true",
    );
    for trace in ["gantry", "veth", "kubepods", "kubelet", "pki"] {
        assert!(!left.contains(trace), "{trace} is left:\n{left}");
    }
    // Nor does it come back as a node.
    vm.prints("systemctl --failed --no-legend");
    assert!(api.get(NODE).is_err_and(|error| error.starts_with("404 ")));
}
