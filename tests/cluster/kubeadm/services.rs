//! The cluster's own pods at their work: kube-proxy and CoreDNS on our node.

use serde_json::json;

use super::Cluster;
use crate::node::{LONG, SOON};
use crate::objects::{pod, spec, web, workload};

const NAMESPACE: &str = "/api/v1/namespaces/names";

pub fn a_service_answers_by_name(cluster: &mut Cluster) {
    let api = &cluster.api;
    api.create("/api/v1/namespaces", &json!({"metadata": {"name": "names"}}));
    api.wait(
        &format!("{NAMESPACE}/serviceaccounts/default"),
        "there",
        SOON,
        |_| true,
    );
    let object = workload("web", spec(&web("found by its name")), json!({"replicas": 2}));
    api.create("/apis/apps/v1/namespaces/names/deployments", &object);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    api.create(&format!("{NAMESPACE}/services"), &service);
    let deployment = "/apis/apps/v1/namespaces/names/deployments/web";
    api.wait(deployment, "available", LONG, |object| {
        object["status"]["availableReplicas"] == 2
    });

    // By the short name, by the full one, and by the variables that it was started with. kube-proxy may be a moment late:
    // what is said of that is no answer, and a connection that was begun before its rules never comes to an end.
    let script = "for at in web web.names.svc.cluster.local $WEB_SERVICE_HOST:$WEB_SERVICE_PORT_HTTP; do \
                  until timeout 3 wget -q -O - http://$at/ 2>/dev/null; do sleep 0.2; done; done";
    let mut asking = pod("asking", script);
    asking["spec"]["restartPolicy"] = json!("Never");
    api.create(&format!("{NAMESPACE}/pods"), &asking);
    api.wait(&format!("{NAMESPACE}/pods/asking"), "answered", LONG, |pod| {
        pod["status"]["phase"] == "Succeeded"
    });
    // The API server asks the node for it, with the certificate that kubeadm gave it.
    let said = cluster.kubectl(&["logs", "--namespace=names", "asking"]);
    assert_eq!(said, "found by its name\n".repeat(3));
    cluster.kubectl(&["delete", "namespace", "names", "--timeout=60s"]);
}
