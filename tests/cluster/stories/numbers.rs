//! What is measured of the node and its pods, beside the real kubelet's answers about the same pods: the same fields,
//! names and labels, and the same values where they do not move.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::endpoints;
use crate::cluster::Cluster;
use crate::control_plane::{NODE, kubectl, wait_node_ready};
use crate::kubelet::{self, Kubelet};
use crate::node::LONG;
use crate::objects::{IDLE, pod};
use crate::wait::wait_for;
use crate::world::CGROUP;

/// The lines that say which of the kubelet's names are not served, and why.
const UNSERVED: &str = include_str!("../../../src/serve/metrics/unserved.txt");

/// Everything that was asked.
struct Answers {
    summary: Value,
    brief: Value,
    resource: Metrics,
    cadvisor: Metrics,
}

/// The labels of the samples, by their names.
type Metrics = BTreeMap<String, BTreeSet<String>>;

pub fn pods_and_node_are_measured_as_by_the_kubelet(cluster: &mut Cluster) {
    cluster.node.stop_agent();
    let kubelet = start_kubelet();
    wait_node_ready(&cluster.api);
    let mut measured = pod(
        "measured",
        "echo a line of the log; touch /written; exec sleep 1000000",
    );
    measured["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    let main = &mut measured["spec"]["containers"][0];
    main["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    main["resources"] = json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "500m", "memory": "32Mi"}});
    cluster.create("pods", &measured);
    let mut host = pod("host", IDLE);
    host["spec"]["hostNetwork"] = json!(true);
    cluster.create("pods", &host);
    cluster.wait_running("measured");
    cluster.wait_running("host");
    let theirs = ask();
    let their_endpoints = endpoints::ask(&cluster.namespace);
    kubelet.stop();
    cluster.node.start_agent();
    let ours = ask();
    let our_endpoints = endpoints::ask(&cluster.namespace);

    compare_summaries(
        &theirs.summary,
        &ours.summary,
        &["cpu", "memory", "rootfs", "logs", "network", "volume"],
    );
    compare_summaries(&theirs.brief, &ours.brief, &["cpu", "memory"]);
    assert_eq!(ours.resource, theirs.resource);
    compare_metrics(&theirs.cadvisor, &ours.cadvisor);
    let steady = |summary: &Value| {
        let pod = of_pod(summary, "measured");
        let container = &pod["containers"][0];
        json!([
            pod["podRef"],
            pod["startTime"],
            container["startTime"],
            container["logs"]["usedBytes"],
            container["logs"]["inodesUsed"],
            container["logs"]["capacityBytes"],
            pod["process_stats"],
            pod["volume"][0]["usedBytes"],
            pod["volume"][1]["usedBytes"],
            pod["volume"][1]["capacityBytes"],
            pod["volume"][1]["inodesUsed"],
            summary["node"]["fs"]["capacityBytes"],
            summary["node"]["nodeName"],
            summary["node"]["runtime"]["imageFs"]["capacityBytes"],
            container["swap"],
        ])
        .to_string()
    };
    assert_eq!(
        without_times(&steady(&ours.summary)),
        without_times(&steady(&theirs.summary))
    );
    endpoints::compare(&their_endpoints, &our_endpoints);
    println!(
        "{} names of metrics are equal",
        ours.cadvisor.len() + ours.resource.len()
    );
}

/// As the API server may ask it and with its authorization, as kubeadm configures it, and with volumes counted soon.
fn start_kubelet() -> Kubelet {
    let cgroup = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let authentication = "authentication: {anonymous: {enabled: false}, ";
    let configuration = kubelet::configuration(&cgroup)
        .replace(
            authentication,
            &format!("volumeStatsAggPeriod: 2s\n{authentication}x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}, "),
        )
        .replace("webhook: {enabled: false}", "webhook: {enabled: true}")
        .replace("mode: AlwaysAllow", "mode: Webhook")
        .replace("address: 127.0.0.1", "address: 0.0.0.0");
    Kubelet::start_configured(&configuration, &[&format!("--kubeconfig={NODE}")])
}

/// Asks when everything has been measured twice, so that there are rates.
fn ask() -> Answers {
    let summary = wait_for("everything to be measured", LONG, || {
        let summary = json_of("/stats/summary");
        let pod = of_pod(&summary, "measured");
        let container = &pod["containers"][0];
        let wanted = [
            &container["cpu"]["usageNanoCores"],
            &container["rootfs"]["usedBytes"],
            &container["logs"]["usedBytes"],
            &pod["cpu"]["usageNanoCores"],
            &pod["volume"][1]["usedBytes"],
            &pod["network"]["rxBytes"],
            &of_pod(&summary, "host")["containers"][0]["cpu"]["usageNanoCores"],
            &of_pod(&summary, "host")["volume"][0]["usedBytes"],
            // Until then the kubelet has of this container what the runtime says alone.
            &of_pod(&summary, "host")["process_stats"],
            &pod["process_stats"],
        ];
        match wanted.iter().any(|value| value.is_null()) {
            true => Err(summary.to_string()),
            false => Ok(summary),
        }
    });
    Answers {
        summary,
        brief: json_of("/stats/summary?only_cpu_and_memory=true"),
        resource: metrics_of("/metrics/resource"),
        cadvisor: metrics_of("/metrics/cadvisor"),
    }
}

fn raw(path: &str) -> String {
    kubectl(&["get", "--raw", &format!("/api/v1/nodes/node-1/proxy{path}")])
}

fn json_of(path: &str) -> Value {
    serde_json::from_str(&raw(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn metrics_of(path: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in raw(path).lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.split_once(' ').unwrap_or((line, ""));
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let mut labels: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
        labels.sort_unstable();
        metrics
            .entry(name.to_owned())
            .or_default()
            .insert(labels.join(",").replace('"', ""));
    }
    metrics
}

fn of_pod<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let pods = summary["pods"].as_array().expect("a list");
    pods.iter()
        .find(|pod| pod["podRef"]["name"] == name)
        .unwrap_or(&Value::Null)
}

/// The paths of all fields. The kernel of a machine with cgroup v1 has no pressure of cgroups; the kubelet reports zeros.
fn fields(of: &Value, path: &str, all: &mut BTreeSet<String>) {
    match of {
        Value::Object(object) => {
            for (name, value) in object.iter().filter(|(name, _)| *name != "psi" && *name != "io") {
                fields(value, &format!("{path}.{name}"), all);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| fields(value, path, all)),
        _ => {
            all.insert(path.to_owned());
        }
    }
}

#[track_caller]
fn compare_summaries(theirs: &Value, ours: &Value, expected: &[&str]) {
    let of = |summary: &Value| {
        let mut all = BTreeSet::new();
        for name in ["measured", "host"] {
            fields(of_pod(summary, name), name, &mut all);
        }
        fields(&summary["node"], "node", &mut all);
        all
    };
    let all = of(ours);
    for part in expected {
        assert!(
            all.iter().any(|field| field.contains(&format!(".{part}."))),
            "no {part} in {all:?}"
        );
    }
    let theirs_all = of(theirs);
    let (more, less): (Vec<_>, Vec<_>) = (
        all.difference(&theirs_all).collect(),
        theirs_all.difference(&all).collect(),
    );
    assert!(
        more.is_empty() && less.is_empty(),
        "only here {more:?}, only there {less:?}"
    );
    let system = |summary: &Value| summary["node"]["systemContainers"][0]["name"].clone();
    assert_eq!(system(ours), system(theirs));
}

fn compare_metrics(theirs: &Metrics, ours: &Metrics) {
    let unserved: BTreeSet<&str> = UNSERVED
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    for (name, labels) in theirs {
        if unserved.contains(name.as_str()) {
            assert!(!ours.contains_key(name), "{name} is served after all");
            continue;
        }
        let own = ours
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not served: {:?}", ours.keys()));
        let missing: Vec<&String> = labels
            .iter()
            .filter(|labels| is_shown(labels) && !own.contains(*labels))
            .collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?} of {own:?}");
    }
    let more: Vec<&String> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    let usual = [
        "container_fs_reads_bytes_total",
        "container_fs_writes_bytes_total",
        "container_blkio_device_usage_total",
    ];
    assert!(
        more.iter().all(|name| usual.contains(&name.as_str())),
        "more than the kubelet's: {more:?}"
    );
}

/// The file systems of containers and of memory are not shown: there are several for each pod.
fn is_shown(labels: &str) -> bool {
    let device = labels.split(',').find_map(|label| label.strip_prefix("device="));
    device.is_none_or(|device| device.starts_with("/dev/") && device != "/dev/shm")
}

/// Without what is the time of a measurement.
fn without_times(text: &str) -> String {
    let mut parts = text.split("\"time\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('"').map_or("", |(_, rest)| rest)
    })
}
