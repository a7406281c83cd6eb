//! Pods of the API server, and what is reported about them.

use serde_json::json;

use crate::cluster::Cluster;
use crate::control_plane::kubectl;
use crate::node::{NODE_IP, container, ip, wait_http};
use crate::objects::{IDLE, condition, holds, pod, spec, web};

pub fn a_pod_runs_and_its_status_is_told(cluster: &mut Cluster) {
    let mut object = pod("web", &web("hello"));
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "50m", "memory": "16Mi"}});
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    object["spec"]["initContainers"] = json!([
        {"name": "before", "image": "gantry.local/busybox:1", "command": ["true"]}
    ]);
    let made = cluster.create("pods", &object);
    let pod = cluster.wait_running("web");
    let status = &pod["status"];
    wait_http(&format!("{}:8080", ip(&pod)), "/", "hello");
    assert_eq!(status["podIPs"], json!([{"ip": status["podIP"]}]));
    assert_eq!(status["hostIP"], NODE_IP);
    assert_eq!(status["hostIPs"], json!([{"ip": NODE_IP}]));
    assert_eq!(status["qosClass"], "Burstable");
    assert!(status["startTime"].is_string(), "{status}");
    for kind in [
        "PodScheduled",
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
    ] {
        assert!(holds(&pod, kind), "{kind}: {status}");
    }
    let main = container(&pod, "main");
    assert_eq!((&main["ready"], &main["restartCount"]), (&json!(true), &json!(0)));
    assert!(main["state"]["running"]["startedAt"].is_string(), "{main}");
    assert!(
        main["containerID"]
            .as_str()
            .is_some_and(|id| id.starts_with("containerd://")),
        "{main}"
    );
    assert_eq!(
        container(&pod, "before")["state"]["terminated"]["reason"],
        "Completed"
    );
    // The status is of the requested pod, and its spec is not changed.
    assert_eq!(made["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(pod["metadata"]["generation"], 1);
    assert_eq!(status["observedGeneration"], 1);
}

pub fn ends_and_restarts_are_told(cluster: &mut Cluster) {
    let ending = |policy: &str, script: &str| {
        let mut spec = spec(script);
        spec["restartPolicy"] = json!(policy);
        spec
    };
    for (name, policy, script) in [
        ("succeeds", "Never", "exit 0"),
        ("fails", "Never", "exit 3"),
        ("restarts", "Always", "exit 4"),
    ] {
        let object = json!({"metadata": {"name": name}, "spec": ending(policy, script)});
        cluster.create("pods", &object);
    }
    let pod = cluster.wait("pods", "succeeds", "told as ended", |pod| {
        pod["status"]["phase"] == "Succeeded"
    });
    assert_eq!(condition(&pod, "Ready")["reason"], "PodCompleted", "{pod}");
    let pod = cluster.wait("pods", "fails", "told as failed", |pod| {
        pod["status"]["phase"] == "Failed"
    });
    assert_eq!(container(&pod, "main")["state"]["terminated"]["exitCode"], 3);
    let pod = cluster.wait("pods", "restarts", "told as restarted", |pod| {
        container(pod, "main")["restartCount"] == 1
            && container(pod, "main")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(container(&pod, "main")["lastState"]["terminated"]["exitCode"], 4);
}

pub fn containers_follow_the_policies_that_they_state(cluster: &mut Cluster) {
    let mut object = pod("ruled", "test -e /d/x && exit 0; touch /d/x; exit 42");
    object["spec"]["restartPolicy"] = json!("Always");
    object["spec"]["volumes"] = json!([{"name": "d", "emptyDir": {}}]);
    let main = &mut object["spec"]["containers"][0];
    main["volumeMounts"] = json!([{"name": "d", "mountPath": "/d"}]);
    main["restartPolicy"] = json!("Never");
    main["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    cluster.create("pods", &object);
    let pod = cluster.wait("pods", "ruled", "told as ended", |pod| {
        pod["status"]["phase"] == "Succeeded"
    });
    let main = container(&pod, "main");
    assert_eq!(main["restartCount"], 1, "{main}");
    assert_eq!(main["lastState"]["terminated"]["exitCode"], 42, "{main}");
}

pub fn a_rule_restarts_all_containers_in_the_same_sandbox(cluster: &mut Cluster) {
    // The first run of `main` ends with 42 when all others run, the second goes on.
    let script = "test -e /d/x && exec sleep 100000; touch /d/x; sleep 3; exit 42";
    let mut object = pod("whole", script);
    object["spec"]["restartPolicy"] = json!("Never");
    object["spec"]["volumes"] = json!([{"name": "d", "emptyDir": {}}]);
    let mounts = json!([{"name": "d", "mountPath": "/d"}]);
    let image = "gantry.local/busybox:1";
    let idle = ["sh", "-c", IDLE];
    object["spec"]["initContainers"] = json!([
        {"name": "init", "image": image, "command": ["sh", "-c", "echo run >>/d/runs"], "volumeMounts": mounts},
        {"name": "side", "image": image, "command": idle, "restartPolicy": "Always"},
    ]);
    let main = &mut object["spec"]["containers"][0];
    main["volumeMounts"] = mounts.clone();
    main["restartPolicy"] = json!("Never");
    main["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let other = json!({"name": "other", "image": image, "command": idle, "volumeMounts": mounts});
    object["spec"]["containers"].as_array_mut().unwrap().push(other);
    cluster.create("pods", &object);
    let before = cluster.wait_running("whole");
    assert_eq!(condition(&before, "AllContainersRestarting")["status"], "False");
    let names = ["init", "side", "main", "other"];
    let after = cluster.wait("pods", "whole", "restarted as a whole", |pod| {
        let is_restarted = |name: &&str| container(pod, name)["restartCount"] == 1;
        names.iter().all(is_restarted) && holds(pod, "Ready")
    });
    assert_eq!(ip(&after), ip(&before));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(holds(&after, "Initialized"), "{after}");
    let condition = condition(&after, "AllContainersRestarting");
    assert_eq!(condition["status"], "False", "{condition}");
    let last = &container(&after, "other")["lastState"]["terminated"];
    assert_eq!(
        (&last["reason"], &last["exitCode"]),
        (&json!("RestartingAllContainers"), &json!(137))
    );
    let runs = kubectl(&[
        "exec",
        "whole",
        "-c",
        "other",
        "-n",
        &cluster.namespace,
        "--",
        "cat",
        "/d/runs",
    ]);
    assert_eq!(runs, "run\nrun\n");
}

pub fn readiness_gates_are_followed_as_often_as_somebody_sets_them(cluster: &mut Cluster) {
    let mut object = pod("gated", &web("hello"));
    object["spec"]["readinessGates"] =
        json!([{"conditionType": "example.org/one"}, {"conditionType": "example.org/two"}]);
    cluster.create("pods", &object);
    let ready = |what: &str, expected: &str, message: &str| {
        cluster.wait("pods", "gated", what, |pod| {
            let ready = condition(pod, "Ready");
            holds(pod, "ContainersReady")
                && ready["status"] == expected
                && ready["message"].as_str().unwrap_or_default() == message
        });
    };
    let gate = |kind: &str, status: &str| {
        let conditions = json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        let (patch, namespace) = (
            conditions.to_string(),
            format!("--namespace={}", cluster.namespace),
        );
        let arguments = [
            &namespace,
            "--subresource=status",
            "--type=strategic",
            "--patch",
            &patch,
        ];
        kubectl(&[&["patch", "pod", "gated"][..], &arguments].concat());
    };
    let missing =
        |kind: &str| format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.");
    let (one, two) = ("example.org/one", "example.org/two");
    let both = format!("{}, {}", missing(one), missing(two));
    ready("not ready without its gates", "False", &both);
    gate(one, "True");
    ready("not ready without the second gate", "False", &missing(two));
    gate(two, "True");
    ready("ready", "True", "");
    let taken_back = format!("the status of pod readiness gate \"{one}\" is not \"True\", but False");
    for _ in 0..3 {
        gate(one, "False");
        ready("not ready without the first gate", "False", &taken_back);
        gate(one, "True");
        ready("ready again", "True", "");
    }
}
