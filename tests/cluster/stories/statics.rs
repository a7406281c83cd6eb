//! Static pods, as the API server shows them.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::control_plane::kubectl;
use crate::manifest;
use crate::node::{SOON, is_ready, stays};
use crate::objects::{name, uid};
use crate::runtime;

/// The namespace of manifests that name none.
const PODS: &str = "/api/v1/namespaces/default/pods";

fn path(name: &str) -> String {
    format!("{PODS}/{name}-node-1")
}

pub fn a_static_pod_has_one_mirror(cluster: &mut Cluster) {
    cluster.node.manifest("web.yaml", &manifest::web("web", "first"));
    let first = cluster.api.wait(&path("web"), "running", SOON, is_ready);
    let annotations = &first["metadata"]["annotations"];
    assert_eq!(
        annotations["kubernetes.io/config.mirror"],
        annotations["kubernetes.io/config.hash"]
    );
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    let owner = &first["metadata"]["ownerReferences"][0];
    let node = cluster
        .api
        .get("/api/v1/nodes/node-1")
        .expect("the cluster waited for it");
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&"Node".into(), &uid(&node).into())
    );
    let running = runtime::containers().expect("containerd answers");

    // Deleted by hand it is made again, and nothing happens to what runs.
    kubectl(&[
        "delete",
        "pod",
        "web-node-1",
        "--namespace=default",
        "--wait=false",
    ]);
    let second = cluster.api.wait(&path("web"), "made again", SOON, |pod| {
        uid(pod) != uid(&first) && is_ready(pod)
    });
    assert_eq!(runtime::containers().expect("containerd answers"), running);

    // An agent that was killed makes no second one.
    cluster.node.kill_agent();
    cluster.node.start_agent();
    stays("the one mirror", Duration::from_secs(2), || {
        let pods = cluster.api.list(PODS)?;
        match pods.as_slice() {
            [pod] if uid(pod) == uid(&second) => Ok(()),
            others => Err(format!("{:?}", others.iter().map(name).collect::<Vec<_>>())),
        }
    });
    assert_eq!(runtime::containers().expect("containerd answers"), running);

    // Another content is another pod.
    cluster.node.manifest("web.yaml", &manifest::web("web", "second"));
    cluster.api.wait(&path("web"), "another one", SOON, |pod| {
        uid(pod) != uid(&second)
            && is_ready(pod)
            && pod["metadata"]["annotations"]["kubernetes.io/config.hash"]
                != first["metadata"]["annotations"]["kubernetes.io/config.hash"]
    });
    cluster.node.remove("web.yaml");
    cluster.api.wait_gone(&path("web"), SOON);
}

/// NodeRestriction lets no node make a pod that refers to a ConfigMap, and a mirror goes into no namespace that is
/// not there. Such static pods run on, unseen.
pub fn a_mirror_that_is_denied_disturbs_nobody(cluster: &mut Cluster) {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {page: hello}\n---\n";
    let volumes = "    volumeMounts: [{name: own, mountPath: /own}]\n  volumes: [{name: own, configMap: {name: own}}]\n";
    let idle = "exec sleep 1000000";
    let denied = format!("{map}{}", manifest::with("denied", idle, volumes));
    cluster.node.manifest("denied.yaml", &denied);
    let elsewhere =
        manifest::idle("elsewhere").replace("name: elsewhere", "name: elsewhere\n  namespace: later");
    cluster.node.manifest("elsewhere.yaml", &elsewhere);
    cluster.node.manifest("seen.yaml", &manifest::idle("seen"));
    cluster.api.wait(&path("seen"), "running", SOON, is_ready);
    cluster.node.wait_running("denied");
    cluster.node.wait_running("elsewhere");
    let log = cluster.node.agent_log();
    assert!(log.contains("the API server rejected a mirror pod"), "{log}");
    assert!(cluster.api.get(&path("denied")).is_err());
    cluster.node.assert_agent_lives();

    // What it asked for in vain it has as soon as it may.
    kubectl(&["create", "namespace", "later"]);
    let later = "/api/v1/namespaces/later/pods/elsewhere-node-1";
    cluster.api.wait(later, "running", SOON, is_ready);
    cluster.node.manifest("denied.yaml", &manifest::idle("denied"));
    cluster.api.wait(&path("denied"), "running", SOON, is_ready);
    cluster.node.remove("elsewhere.yaml");
    cluster.api.wait_gone(later, SOON);
    kubectl(&["delete", "namespace", "later"]);
}
