//! Pods that come and go while the agent is killed again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::moments::Moments;
use crate::node::{LONG, container, is_ready, stays};
use crate::objects::{IDLE, name, pod, spec, uid, workload};
use crate::runtime;
use crate::wait::wait_for;

/// How often the agent is killed.
const KILLS: usize = 25;
/// How many pods are left alone.
const CALM: usize = 3;

pub fn the_agent_is_killed_at_random_moments(cluster: &mut Cluster) {
    let mut moments = Moments::new();
    let object = workload("calm", spec(IDLE), json!({"replicas": CALM}));
    cluster.create("apps/v1/deployments", &object);
    let calm = running_by_uid(&cluster.wait_all_running(CALM));

    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for round in 0..KILLS {
        change(cluster, &mut moments, &mut wanted, round);
        std::thread::sleep(moments.next(Duration::from_millis(500))); // the random moment
        cluster.node.kill_agent();
        cluster.node.spawn_agent();
    }
    println!("{} pods are wanted of those that were made", wanted.len());

    // None is lost, doubled or stuck.
    let pods = cluster.wait_pods("those that are wanted, running", LONG, |pods| {
        let own = pods.iter().filter(|pod| !name(pod).starts_with("calm-"));
        own.map(name).collect::<BTreeSet<_>>() == wanted
            && pods.len() == wanted.len() + CALM
            && pods.iter().all(is_ready)
    });
    let told = running_by_uid(&pods);
    for (uid, id) in &calm {
        assert_eq!(told.get(uid), Some(id), "seed {}", moments.seed);
    }
    for pod in &pods {
        assert_eq!(
            container(pod, "main")["restartCount"],
            0,
            "{}, seed {}",
            pod["status"],
            moments.seed
        );
    }
    wait_for("the runtime to have what is told, and nothing else", LONG, || {
        let found = in_runtime()?;
        if found == told {
            Ok(())
        } else {
            Err(format!("{found:?} and not {told:?}, seed {}", moments.seed))
        }
    });
    stays("the end state", Duration::from_secs(2), || {
        let (found, pods) = (in_runtime()?, running_by_uid(&cluster.pods()?));
        if found == told && pods == told {
            Ok(())
        } else {
            Err(format!("{found:?} {pods:?}"))
        }
    });
}

/// Makes a pod, or takes one away: gently, or by force.
fn change(cluster: &Cluster, moments: &mut Moments, wanted: &mut BTreeSet<String>, round: usize) {
    let what = moments.number(5);
    let chosen = wanted.iter().nth(moments.number(wanted.len().max(1))).cloned();
    match chosen.filter(|_| what < 2) {
        Some(name) => {
            wanted.remove(&name);
            let grace = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": what});
            let path = cluster.at("pods", &name);
            cluster
                .api
                .ask("DELETE", &path, Some(&grace))
                .unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
        }
        None => {
            let name = format!("pod{round}");
            cluster.create("pods", &pod(&name, IDLE));
            wanted.insert(name);
        }
    }
}

/// The container of each pod, as the API server has it.
fn running_by_uid(pods: &[Value]) -> BTreeMap<String, String> {
    let id = |pod: &Value| {
        let id = container(pod, "main")["containerID"].as_str().unwrap_or_default();
        id.trim_start_matches("containerd://").to_owned()
    };
    pods.iter().map(|pod| (uid(pod), id(pod))).collect()
}

/// The container of each pod as the runtime has it. `Err` where one has two, or something has ended.
fn in_runtime() -> Result<BTreeMap<String, String>, String> {
    let (sandboxes, containers) = (runtime::sandboxes()?, runtime::containers()?);
    let uids: BTreeMap<&str, &str> = sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .filter_map(|sandbox| {
            Some((
                sandbox.pod.as_str(),
                sandbox.labels.get("io.kubernetes.pod.uid")?.as_str(),
            ))
        })
        .collect();
    let running: Vec<_> = containers.iter().filter(|container| container.running).collect();
    let found: BTreeMap<String, String> = running
        .iter()
        .filter_map(|container| {
            Some((
                (*uids.get(container.pod.as_str())?).to_owned(),
                container.id.clone(),
            ))
        })
        .collect();
    let ready = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    if found.len() == running.len() && found.len() == ready {
        Ok(found)
    } else {
        Err(format!("{sandboxes:?} {containers:?}"))
    }
}
