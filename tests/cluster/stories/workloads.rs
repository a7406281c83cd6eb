//! The workloads of a real control plane.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::kubectl;
use crate::node::{LONG, ip, is_ready, wait_http};
use crate::objects::{IDLE, holds, name, spec, uid, web, workload};

pub fn a_deployment_rolls_out_and_back(cluster: &mut Cluster) {
    let mut object = workload("web", spec(&web("first")), json!({"replicas": 3}));
    // Rolled out is what answers.
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    cluster.create("apps/v1/deployments", &object);
    let namespace = format!("--namespace={}", cluster.namespace);
    let rollout = |what: &str| {
        kubectl(&["rollout", what, "deployment/web", &namespace]);
    };
    let status = || {
        kubectl(&["rollout", "status", "deployment/web", &namespace, "--timeout=60s"]);
    };
    status();
    answers(&cluster.wait_all_running(3), "first");

    let path = cluster.at("apps/v1/deployments", "web");
    object["spec"]["template"]["spec"]["containers"][0]["command"][2] = json!(web("second"));
    let containers = &object["spec"]["template"]["spec"]["containers"];
    cluster.api.patch(
        &path,
        &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
    status();
    answers(&cluster.wait_all_running(3), "second");

    rollout("undo");
    status();
    answers(&cluster.wait_all_running(3), "first");
    cluster.api.patch(&path, &json!({"spec": {"replicas": 1}}));
    cluster.wait_all_running(1);
}

#[track_caller]
fn answers(pods: &[Value], text: &str) {
    for pod in pods {
        wait_http(&format!("{}:8080", ip(pod)), "/", text);
    }
}

pub fn a_job_runs_in_parallel_and_retries(cluster: &mut Cluster) {
    // The first of all that come fails: only one of them can make the directory.
    let mut spec = spec("mkdir /marks/first 2>/dev/null && exit 1; exit 0");
    spec["restartPolicy"] = json!("Never");
    spec["volumes"] =
        json!([{"name": "marks", "hostPath": {"path": "/run/node/job-marks", "type": "DirectoryOrCreate"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "marks", "mountPath": "/marks"}]);
    let job = json!({
        "metadata": {"name": "work"},
        "spec": {"completions": 4, "parallelism": 2, "backoffLimit": 3, "template": {"spec": spec}},
    });
    cluster.create("batch/v1/jobs", &job);
    let done = cluster.wait("batch/v1/jobs", "work", "complete", |job| holds(job, "Complete"));
    assert_eq!(done["status"]["succeeded"], 4, "{}", done["status"]);
    assert_eq!(done["status"]["failed"], 1, "{}", done["status"]);
    // With the Job go its pods.
    let namespace = format!("--namespace={}", cluster.namespace);
    kubectl(&["delete", "job", "work", &namespace, "--timeout=60s"]);
    cluster.wait_pods("gone", LONG, <[Value]>::is_empty);
}

pub fn a_cron_job_runs_when_its_time_has_come(cluster: &mut Cluster) {
    let mut spec = spec("exit 0");
    spec["restartPolicy"] = json!("Never");
    let now = jiff::Timestamp::now();
    // Hourly, half an hour from now and from the last.
    let minute = (now.as_second() / 60 + 30) % 60;
    let cron = json!({
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": format!("{minute} * * * *"),
            "jobTemplate": {"spec": {"template": {"spec": spec}}},
        },
    });
    cluster.create("batch/v1/cronjobs", &cron);
    // As if it had last run two hours ago: it is due, and the story need not wait for a full hour.
    let path = cluster.at("batch/v1/cronjobs", "tick");
    let two_hours_ago = now - jiff::SignedDuration::from_hours(2);
    let two_hours_ago = two_hours_ago
        .round(jiff::Unit::Second)
        .expect("a time of today")
        .to_string();
    let last = json!({"status": {"lastScheduleTime": two_hours_ago}});
    cluster.api.patch(&format!("{path}/status"), &last);
    let done = cluster.wait("batch/v1/cronjobs", "tick", "run", |cron| {
        cron["status"]["lastSuccessfulTime"].is_string()
    });
    assert!(done["status"]["active"].is_null(), "{}", done["status"]);
    let pods = cluster.pods().expect("the API server answers");
    assert_eq!(pods.len(), 1, "it ran once: {pods:?}");
    assert_eq!(pods[0]["status"]["phase"], "Succeeded", "{}", pods[0]["status"]);
    assert_eq!(pods[0]["spec"]["nodeName"], "node-1");
}

pub fn a_daemon_set_has_its_pod(cluster: &mut Cluster) {
    let object = workload("each", spec(IDLE), json!({}));
    cluster.create("apps/v1/daemonsets", &object);
    let has_its_pod = |set: &Value| {
        let status = &set["status"];
        status["desiredNumberScheduled"] == 1 && status["numberReady"] == 1
    };
    cluster.wait("apps/v1/daemonsets", "each", "ready", has_its_pod);
    let first = cluster.wait_all_running(1);
    // A pod of it that is deleted comes again.
    cluster.api.delete(&cluster.at("pods", &name(&first[0])));
    cluster.wait_pods("another one", LONG, |pods| {
        pods.len() == 1 && uid(&pods[0]) != uid(&first[0]) && is_ready(&pods[0])
    });
    cluster.wait("apps/v1/daemonsets", "each", "ready again", has_its_pod);
}

pub fn a_stateful_set_keeps_its_names(cluster: &mut Cluster) {
    let object = workload("db", spec(IDLE), json!({"replicas": 2, "serviceName": "db"}));
    cluster.create("apps/v1/statefulsets", &object);
    let first = cluster.wait_all_running(2);
    let mut names: Vec<String> = first.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["db-0", "db-1"]);
    // The second was asked for when the first was ready.
    let of = |name: &str| first.iter().find(|pod| pod["metadata"]["name"] == name);
    let moment = |pod: Option<&Value>, key: &str| pod.map(|pod| pod["metadata"][key].to_string());
    assert!(moment(of("db-0"), "creationTimestamp") <= moment(of("db-1"), "creationTimestamp"));

    let old = uid(of("db-0").expect("named above"));
    cluster.api.delete(&cluster.at("pods", "db-0"));
    let again = cluster.wait("pods", "db-0", "there again under its name", |pod| {
        uid(pod) != old && is_ready(pod)
    });
    assert_ne!(uid(&again), old);
    cluster.wait_all_running(2);
}
