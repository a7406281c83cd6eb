//! What pods are given of the API server's objects.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::{LONG, container};
use crate::objects::{IDLE, pod};
use crate::wait::wait_for;

/// What a command in a container prints.
fn printed(cluster: &Cluster, pod: &str, command: &[&str]) -> String {
    let namespace = format!("--namespace={}", cluster.namespace);
    let arguments = [&["exec", namespace.as_str(), pod, "--"], command].concat();
    cluster.node.prints(&arguments)
}

pub fn config_maps_and_secrets_reach_a_pod_and_follow_their_changes(cluster: &mut Cluster) {
    let settings = json!({"metadata": {"name": "settings"}, "data": {"color": "red"}});
    cluster.create("configmaps", &settings);
    let password = json!({"metadata": {"name": "password"}, "stringData": {"word": "open"}});
    cluster.create("secrets", &password);
    let mut object = pod("reads", IDLE);
    object["spec"]["containers"][0]["env"] = json!([
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "word"}}},
    ]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "settings", "mountPath": "/settings"}, {"name": "password", "mountPath": "/password"},
    ]);
    object["spec"]["volumes"] = json!([
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "password", "secret": {"secretName": "password", "defaultMode": 0o400}},
    ]);
    cluster.create("pods", &object);
    cluster.wait_running("reads");
    let all = "echo $COLOR $WORD $(cat /settings/color) $(cat /password/word) $(stat -Lc %a /password/word) \
               $KUBERNETES_SERVICE_HOST";
    let reported = printed(cluster, "reads", &["sh", "-c", all]);
    assert_eq!(reported, "red open red open 400 10.96.0.1\n");
    let tmpfs = printed(cluster, "reads", &["stat", "-fc", "%T", "/password"]);
    assert_eq!(tmpfs, "tmpfs\n", "a Secret lies in memory");

    cluster.api.patch(
        &cluster.at("configmaps", "settings"),
        &json!({"data": {"color": "blue"}}),
    );
    wait_for("the file to follow", LONG, || {
        match printed(cluster, "reads", &["cat", "/settings/color"]).as_str() {
            "blue" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let pod = cluster.wait_running("reads");
    assert_eq!(container(&pod, "main")["restartCount"], 0);
}

pub fn a_token_is_the_pods_and_the_api_server_knows_it(cluster: &mut Cluster) {
    let pod = cluster.create("pods", &pod("bears", IDLE));
    cluster.wait_running("bears");
    let directory = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = printed(cluster, "bears", &["cat", &format!("{directory}/token")]);
    let namespace = printed(cluster, "bears", &["cat", &format!("{directory}/namespace")]);
    assert_eq!(namespace, cluster.namespace);
    let ca = printed(cluster, "bears", &["cat", &format!("{directory}/ca.crt")]);
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "no CA");
    let review = json!({"spec": {"token": token}});
    let review = cluster
        .api
        .create("/apis/authentication.k8s.io/v1/tokenreviews", &review);
    let status = &review["status"];
    assert_eq!(status["authenticated"], true, "{}", status["error"]);
    let user = format!("system:serviceaccount:{}:default", cluster.namespace);
    assert_eq!(status["user"]["username"], Value::from(user));
    let uid = &status["user"]["extra"]["authentication.kubernetes.io/pod-uid"];
    assert_eq!(*uid, json!([pod["metadata"]["uid"]]));
    // Bound to the pod: with it the token ends.
    cluster.api.delete(&cluster.at("pods", "bears"));
    cluster.api.wait_gone(&cluster.at("pods", "bears"), LONG);
    wait_for("the token to be worth nothing", LONG, || {
        let review = json!({"spec": {"token": token}});
        let review = cluster
            .api
            .create("/apis/authentication.k8s.io/v1/tokenreviews", &review);
        match review["status"]["authenticated"] == true {
            false => Ok(()),
            true => Err("it still holds".to_owned()),
        }
    });
}

pub fn what_a_pod_lacks_holds_it_until_it_is_there(cluster: &mut Cluster) {
    let mut lacks = pod("lacks", IDLE);
    lacks["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "late"}}]);
    cluster.create("pods", &lacks);
    cluster.create("pods", &pod("neighbour", IDLE));
    let held = cluster.wait("pods", "lacks", "held for its ConfigMap", |pod| {
        container(pod, "main")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    let waiting = &container(&held, "main")["state"]["waiting"];
    assert_eq!(waiting["message"], "configmap \"late\" not found");
    cluster.wait_running("neighbour");
    cluster.create(
        "configmaps",
        &json!({"metadata": {"name": "late"}, "data": {"A": "b"}}),
    );
    cluster.wait_running("lacks");
    assert_eq!(printed(cluster, "lacks", &["sh", "-c", "echo $A"]), "b\n");
}
