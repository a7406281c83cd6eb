//! Faults: the agent killed in the middle of a rollout, the API server away under churn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::churn::Churn;
use crate::cluster::Cluster;
use crate::control_plane::{kubectl, wait_node_ready};
use crate::end_state::assert_is_all;
use crate::manifest;
use crate::node::{LONG, SOON, container, is_ready, stays};
use crate::objects::{IDLE, name, pod, spec, uid, workload};
use crate::runtime::{self, Container};
use crate::seeded_random::SeededRandom;
use crate::wait::wait_for;

/// How often the agent is killed.
const KILLS: usize = 8;
/// How long the API server is away: longer than a Lease lasts.
const OUTAGE: Duration = Duration::from_secs(60);
/// How many pods are left alone in it.
const CALM: usize = 3;

pub fn the_agent_is_killed_during_a_rollout(cluster: &mut Cluster) {
    let mut object = workload("web", spec(IDLE), json!({"replicas": 5}));
    cluster.create("apps/v1/deployments", &object);
    let path = cluster.at("apps/v1/deployments", "web");
    let mut seen = BTreeMap::new();
    for kill in 0..KILLS {
        if kill == KILLS / 2 {
            object["spec"]["template"]["metadata"]["annotations"] = json!({"example.org/version": "2"});
            let template = &object["spec"]["template"];
            cluster.api.patch(&path, &json!({"spec": {"template": template}}));
        }
        // Each moment is another step of the start or end of a pod.
        let before = running().len();
        let _ = changes_within(Duration::from_millis(150 + 50 * kill as u64), before);
        cluster.node.kill_agent();
        seen.extend(running().into_iter().map(|found| (found.id.clone(), found)));
        cluster.node.spawn_agent();
    }
    cluster.wait("apps/v1/deployments", "web", "rolled out", |deployment| {
        let status = &deployment["status"];
        status["observedGeneration"] == deployment["metadata"]["generation"]
            && [
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
            ]
            .iter()
            .all(|count| status[count] == 5)
    });
    let pods = cluster.wait_all_running(5);
    for pod in &pods {
        assert_eq!(container(pod, "main")["restartCount"], 0, "{}", pod["status"]);
    }
    let end = wait_for("one running container a pod", SOON, || {
        let found = running();
        let mut names: Vec<&str> = found.iter().map(|container| container.pod.as_str()).collect();
        names.dedup();
        let wanted = pods.iter().all(|pod| names.contains(&name(pod).as_str()));
        if found.len() == 5 && names.len() == 5 && wanted {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    });
    // Whoever ran under a name that is still there is who runs there now.
    for (id, was) in &seen {
        let is = end.iter().find(|container| container.pod == was.pod);
        assert!(is.is_none_or(|is| is.id == *id), "{was:?} was replaced by {is:?}");
    }
    stays("the end state", Duration::from_secs(2), || {
        let now = running();
        if now == end {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
}

/// The containers that run.
fn running() -> Vec<Container> {
    let all = runtime::containers().unwrap_or_default().into_iter();
    all.filter(|container| container.running).collect()
}

/// Waits until another number of containers runs, for at most the given time.
fn changes_within(longest: Duration, before: usize) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < longest {
        if running().len() != before {
            return true;
        }
        std::thread::sleep(crate::wait::STEP);
    }
    false
}

pub fn the_api_server_is_away_for_a_minute_of_churn(cluster: &mut Cluster) {
    let object = workload("web", spec(IDLE), json!({"replicas": CALM}));
    cluster.create("apps/v1/deployments", &object);
    cluster.create(
        "pods",
        &pod("restarts", "trap 'exit 5' TERM; sleep 1000000 & wait $!"),
    );
    cluster.node.manifest("stays.yaml", &manifest::idle("stays"));
    cluster.node.manifest("goes.yaml", &manifest::idle("goes"));
    let before = cluster.wait_all_running(CALM + 1);
    for name in ["goes", "stays"] {
        cluster.api.wait(&mirror(name), "running", SOON, is_ready);
    }
    let kept = of_deployment(&before);
    // The API server ends while pods start, run and end.
    let mut churn = Churn::new();
    for _ in 0..15 {
        churn.change(cluster);
        std::thread::sleep(churn.random.next(Duration::from_millis(200))); // the random moment
    }
    cluster.plane.kill_server();
    let begun = Instant::now();
    end_container("restarts");
    wait_running_again("restarts");
    let lives = churn_of_manifests(cluster, &mut churn.random, begun, &kept);
    println!("{lives} agents lived in the outage");

    cluster.plane.start_server();
    for (name, is_wanted) in [("goes", false), ("stays", true), ("comes", true)] {
        match is_wanted {
            true => drop(cluster.api.wait(&mirror(name), "running", LONG, is_ready)),
            false => cluster.api.wait_gone(&mirror(name), LONG),
        }
    }
    cluster.wait("pods", "restarts", "told as restarted", |pod| {
        is_ready(pod) && container(pod, "main")["restartCount"] == 1
    });
    wait_node_ready(&cluster.api);
    let after = churn.wait_settled(cluster, CALM + 1);
    assert_eq!(of_deployment(&after), kept, "a pod was made again");
    // And it is the cluster's node again.
    let namespace = format!("--namespace={}", cluster.namespace);
    kubectl(&["scale", "deployment/web", "--replicas=4", &namespace]);
    cluster.api.delete(&cluster.at("pods", "restarts"));
    for name in ["stays", "comes"] {
        cluster.node.remove(&format!("{name}.yaml"));
        cluster.api.wait_gone(&mirror(name), LONG);
    }
    cluster.api.wait_gone(&cluster.at("pods", "restarts"), LONG);
    let end = churn.wait_settled(cluster, CALM + 1);
    assert_is_all(cluster, &end);
}

/// The image of a static pod.
fn mirror(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}-node-1")
}

/// What goes on at a node that is cut off, until the outage is over: static pods come and go, `goes` for good and
/// `comes` to stay, and the agent is killed. An agent that begins without an API server goes on with its files and
/// what it has stored, and stops no process. Returns how many agents there were.
fn churn_of_manifests(
    cluster: &mut Cluster,
    random: &mut SeededRandom,
    begun: Instant,
    kept: &BTreeMap<String, (String, Value)>,
) -> usize {
    cluster.node.remove("goes.yaml");
    cluster.node.wait_gone("goes");
    let mut lives = 1;
    loop {
        cluster.node.manifest("comes.yaml", &manifest::idle("comes"));
        cluster.node.wait_running("comes");
        cluster.node.kill_agent();
        cluster.node.start_agent();
        lives += 1;
        std::thread::sleep(random.next(Duration::from_secs(8))); // the random moment
        let running = running();
        for (pod, (_, id)) in kept {
            let id = id
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("containerd://");
            assert!(
                running.iter().any(|found| found.id == id),
                "{pod} was ended: {running:?}"
            );
        }
        if begun.elapsed() >= OUTAGE {
            return lives;
        }
        cluster.node.remove("comes.yaml");
        cluster.node.wait_gone("comes");
    }
}

/// The names, UIDs and containers of the pods of the deployment.
fn of_deployment(pods: &[Value]) -> BTreeMap<String, (String, Value)> {
    pods.iter()
        .filter(|pod| name(pod).starts_with("web-"))
        .map(|pod| {
            (
                name(pod),
                (uid(pod), container(pod, "main")["containerID"].clone()),
            )
        })
        .collect()
}

/// Waits until the container of a pod runs for the second time.
#[track_caller]
fn wait_running_again(pod: &str) {
    wait_for("the container to run again", LONG, || {
        let found = running();
        let is_second = |found: &Container| found.pod == pod && found.restarts == 1;
        match found.iter().any(is_second) {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
}

/// Ends the process of a pod's container, as a fault of its own would.
fn end_container(pod: &str) {
    let found = running().into_iter().find(|found| found.pod == pod);
    let id = found.expect("it runs").id;
    let arguments = [
        "--namespace",
        "k8s.io",
        "task",
        "kill",
        "--signal",
        "SIGTERM",
        id.as_str(),
    ];
    crate::process::run(&[&["ctr"], arguments.as_slice()].concat());
}

/// What a load balancer that fails over does, and a router that is replaced: neither end learns that the connection is gone.
pub fn connections_that_have_gone_dead_are_noticed(cluster: &mut Cluster) {
    const NODE: &str = "/api/v1/nodes/node-1";
    let ready = |node: &Value| crate::objects::condition(node, "Ready")["lastTransitionTime"].clone();
    let before = ready(&cluster.api.get(NODE).expect("the cluster waited for it"));
    let ports = connections(cluster.node.agent_pid());
    assert!(!ports.is_empty(), "the agent is connected");
    let ports = ports.join(", ");
    let rules = format!(
        "table inet dead {{ chain input {{ type filter hook input priority 0;
            tcp sport {{ {ports} }} tcp dport 6443 drop
            tcp sport 6443 tcp dport {{ {ports} }} drop
        }}
        }}"
    );
    let file = crate::node::here("dead.nft");
    std::fs::write(&file, rules).expect("a private directory");
    crate::process::run(&["nft", "-f", &file.display().to_string()]);
    // Bound to the node while none of its watches sends anything.
    cluster.create("pods", &pod("web", IDLE));
    cluster.wait_running("web");
    crate::process::run(&["nft", "delete", "table", "inet", "dead"]);
    let after = ready(&cluster.api.get(NODE).expect("it is there"));
    assert_eq!(before, after, "the node was not ready for a while");
}

/// The local ports of a process's connections to the API server.
fn connections(pid: u32) -> Vec<String> {
    let table = crate::process::run(&["ss", "-Htnp", "state", "established", "dport", "=", ":6443"]);
    let own = table.lines().filter(|line| line.contains(&format!("pid={pid},")));
    let local = own.filter_map(|line| line.split_whitespace().nth(2)?.rsplit(':').next());
    local.map(str::to_owned).collect()
}
