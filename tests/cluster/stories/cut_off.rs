//! A machine that starts again while the API server is away, and a pod that asks for another handler.

use std::process::Command;
use std::time::Duration;

use gantry::config::files::STORE_KEY;
use gantry::source::checkpoint::seal::Keyhole;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::wait_node_ready;
use crate::node::{LONG, SOON, here, is_ready, stays};
use crate::objects::{IDLE, name, pod, spec, uid, workload};
use crate::process::run;
use crate::runtime;
use crate::wait::wait_for;

/// Where the agent stores the pods of the API server.
const STORE: &str = "/var/lib/gantry/cluster/pods";
/// What the kernel calls this life of the machine.
const LIFE: &str = "/proc/sys/kernel/random/boot_id";

/// Where the key of that is.
fn keyhole() -> Keyhole {
    Keyhole {
        file: STORE_KEY.into(),
        credentials: None,
    }
}

/// A pod that needs no token.
fn plain(name: &str) -> Value {
    let mut object = pod(name, IDLE);
    object["spec"]["automountServiceAccountToken"] = json!(false);
    object
}

fn running() -> Result<Vec<String>, String> {
    let containers = runtime::containers()?.into_iter();
    let mut pods: Vec<_> = containers.filter(|own| own.running).map(|own| own.pod).collect();
    pods.sort();
    Ok(pods)
}

fn wait_running(expected: &[&str]) {
    wait_for(&format!("{expected:?} to run"), LONG, || match running()? {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

pub fn pods_start_with_the_machine_and_without_the_api_server(cluster: &mut Cluster) {
    let map = json!({"metadata": {"name": "page"}, "data": {"index.html": "from the store"}});
    cluster.create("configmaps", &map);
    let mut web = plain("web");
    web["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "page"}}]);
    web["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-1"});
    web["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    web["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "page", "key": "index.html"}}}]);
    cluster.create("pods", &web);
    cluster.create("pods", &pod("proven", IDLE));
    let mut hasty = plain("hasty");
    // The API server gives every pod a toleration of 300 s unless it has one of its own.
    hasty["spec"]["tolerations"] = json!([{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0,
    }]);
    cluster.create("pods", &hasty);
    let mut of_set = spec(IDLE);
    of_set["automountServiceAccountToken"] = json!(false);
    cluster.create("apps/v1/daemonsets", &workload("daemon", of_set, json!({})));
    let reported = cluster.wait_all_running(4);
    let daemon = reported
        .iter()
        .find(|pod| name(pod).starts_with("daemon"))
        .map(name)
        .expect("it is there");
    wait_for("all to be stored", SOON, || {
        let sealed = std::fs::read(STORE).map_err(|error| error.to_string())?;
        let key = keyhole().key().map_err(|error| error.to_string())?;
        let opened = key.ok_or("there is no key")?.open(&sealed);
        let text = String::from_utf8(opened.map_err(|closed| closed.to_string())?).expect("JSON");
        let lacking: Vec<_> = reported
            .iter()
            .filter(|pod| !text.contains(&uid(pod)))
            .map(name)
            .collect();
        if lacking.is_empty() {
            Ok(())
        } else {
            Err(format!("{lacking:?}"))
        }
    });
    // The power goes: nothing runs, and the kernel has another boot ID.
    cluster.plane.kill_server();
    cluster.node.kill_agent();
    let sandboxes = runtime::sandboxes().expect("containerd answers").into_iter();
    let containers = runtime::containers().expect("containerd answers").into_iter();
    for id in sandboxes
        .map(|sandbox| sandbox.id)
        .chain(containers.map(|own| own.id))
    {
        let kill = ["--namespace", "k8s.io", "tasks", "kill", "--all", "--signal", "9"];
        // One that has ended already cannot be killed, and need not be.
        let _ = Command::new("ctr").args(kill).arg(id).output();
    }
    wait_running(&[]);
    std::fs::write(here("life"), "11111111-2222-3333-4444-555555555555\n").expect("a private directory");
    run(&["mount", "--bind", &here("life").display().to_string(), LIFE]);
    cluster.node.start_agent();
    let expected = [daemon.as_str(), "web"];
    wait_running(&expected);
    stays("what waits waits", Duration::from_secs(3), || match running()? {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}")),
    });
    // Back in touch, the rest starts, and nothing is made twice.
    cluster.plane.start_server();
    wait_node_ready(&cluster.api);
    let after = cluster.wait_all_running(4);
    for pod in &after {
        assert!(
            reported.iter().any(|before| uid(before) == uid(pod)),
            "{}",
            pod["metadata"]
        );
    }
    wait_running(&[daemon.as_str(), "hasty", "proven", "web"]);
    run(&["umount", LIFE]);
}

pub fn a_runtime_class_names_the_handler(cluster: &mut Cluster) {
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = |name: &str, handler: &str| json!({"metadata": {"name": name}, "handler": handler});
    cluster.api.create(classes, &class("plain", "runc"));
    cluster.api.create(classes, &class("absent", "nobody"));
    for (name, class) in [("right", "plain"), ("wrong", "absent")] {
        let mut object = pod(name, IDLE);
        object["spec"]["runtimeClassName"] = json!(class);
        cluster.create("pods", &object);
    }
    cluster.wait("pods", "right", "running", is_ready);
    let events = cluster.all("events");
    wait_for("the runtime's word about the handler", SOON, || {
        let events = cluster.api.list(&events)?;
        let said = events.iter().any(|event| {
            event["involvedObject"]["name"] == "wrong"
                && event["reason"] == "FailedCreatePodSandBox"
                && event["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("nobody"))
        });
        if said { Ok(()) } else { Err(format!("{events:?}")) }
    });
    for name in ["plain", "absent"] {
        cluster.api.delete(&format!("{classes}/{name}"));
    }
}
