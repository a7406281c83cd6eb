//! The life of a pod: started as written, replaced, ended, restarted.

use std::time::Duration;

use crate::manifest;
use crate::node::{NODE_IP, Node, SOON, container, http, ip, is_ready, stays, wait_http};
use crate::runtime;
use crate::wait::wait_for;
use crate::world::repository;

pub fn every_shipped_manifest_runs_and_answers(node: &mut Node) {
    node.start_agent();
    let shipped =
        std::fs::read_dir(repository().join("static-pods")).expect("the repository ships manifests");
    for file in shipped
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|e| e == "yaml"))
    {
        let content = std::fs::read_to_string(file.path()).expect("a text file");
        node.manifest(&file.file_name().to_string_lossy(), &content);
    }
    let pods = wait_for("every shipped pod to be ready", SOON, || {
        let pods = node.pods()?;
        let waiting: Vec<_> = pods
            .iter()
            .filter(|pod| !is_ready(pod))
            .map(|pod| pod["status"].to_string())
            .collect();
        if pods.len() >= 3 && waiting.is_empty() {
            Ok(pods)
        } else {
            Err(format!("{} pods, {waiting:?}", pods.len()))
        }
    });
    for pod in pods {
        let ports = pod["spec"]["containers"].as_array().into_iter().flatten();
        for port in ports.flat_map(|container| container["ports"].as_array().into_iter().flatten()) {
            let address = format!("{}:{}", ip(&pod), port["containerPort"]);
            wait_http(&address, "/", "200 OK");
        }
        if pod["spec"]["hostNetwork"] == true {
            assert_eq!(ip(&pod), NODE_IP);
        }
    }
}

pub fn init_containers_run_in_order_before_the_others(node: &mut Node) {
    node.start_agent();
    node.manifest(
        "shared.yaml",
        r#"apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  initContainers:
  - name: first
    image: gantry.local/busybox:1
    command: [sh, -c, "echo one >/disk/index.html"]
    volumeMounts: [{name: disk, mountPath: /disk}]
  - name: second
    image: gantry.local/busybox:1
    command: [sh, -c, "echo two >>/disk/index.html; echo fast >/memory/x"]
    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
  containers:
  - name: server
    image: gantry.local/demo:1
    volumeMounts: [{name: disk, mountPath: /www, readOnly: true}]
  - name: writer
    image: gantry.local/busybox:1
    command: [sh, -c, "cat /memory/x >>/disk/index.html; grep ' /memory ' /proc/mounts; exec sleep 1000000"]
    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
"#,
    );
    let pod = node.wait_running("shared");
    let address = format!("{}:8080", ip(&pod));
    wait_http(&address, "/", "one\ntwo\nfast");
    let ended = |name: &str| {
        container(&pod, name)["state"]["terminated"]["finishedAt"]
            .as_str()
            .map(str::to_owned)
    };
    assert!(
        ended("first").is_some() && ended("first") <= ended("second"),
        "{}",
        pod["status"]
    );
    assert!(
        node.prints(&["logs", "-c", "writer", "shared-node-1"])
            .starts_with("tmpfs /memory tmpfs rw")
    );
    let volumes = node.prints(&["get", "volumes", "shared", "-o", "wide"]);
    let of = |name: &str| {
        volumes
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(name))
    };
    for (name, source) in [("disk", "<none>"), ("memory", "Memory")] {
        let line = of(name).unwrap_or_else(|| panic!("{name}: {volumes}"));
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            cells[..5],
            ["shared-node-1", name, "emptyDir", source, "Mounted"],
            "{volumes}"
        );
        assert!(
            line.ends_with(&format!("/volumes/kubernetes.io~empty-dir/{name}")),
            "{volumes}"
        );
    }
    let described = node.prints(&["describe", "pod", "shared"]);
    assert!(described.contains("server:/www (ro)"), "{described}");
}

pub fn a_variable_of_a_file_is_what_an_init_container_wrote(node: &mut Node) {
    node.start_agent();
    node.manifest(
        "fed.yaml",
        r#"apiVersion: v1
kind: Pod
metadata: {name: fed}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: disk, emptyDir: {}}
  initContainers:
  - name: first
    image: gantry.local/busybox:1
    command: [sh, -c, "printf \"MODE='fast\\nest'\\n\" >/disk/env"]
    volumeMounts: [{name: disk, mountPath: /disk}]
  containers:
  - name: server
    image: gantry.local/demo:1
    volumeMounts: [{name: disk, mountPath: /www, readOnly: true}]
  - name: writer
    image: gantry.local/busybox:1
    command: [sh, -c, 'echo "$MODE $(MODE) $(COLOR)" >/disk/index.html; exec sleep 1000000']
    env:
    - {name: MODE, valueFrom: {fileKeyRef: {volumeName: disk, path: env, key: MODE}}}
    - {name: COLOR, valueFrom: {fileKeyRef: {volumeName: disk, path: env, key: COLOR, optional: true}}}
    volumeMounts: [{name: disk, mountPath: /disk}]
"#,
    );
    let pod = node.wait_running("fed");
    // The shell takes what is left of the absent variable as a command, which says nothing.
    wait_http(&format!("{}:8080", ip(&pod)), "/", "fast\nest fast\nest \n");
}

pub fn an_edit_replaces_the_pod_and_the_old_one_is_gone_first(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "first"));
    let old = node.wait_running("web");
    wait_http(&format!("{}:8080", ip(&old)), "/", "first");

    node.manifest("web.yaml", &manifest::web("web", "second"));
    let new = wait_for("the new version to be ready", SOON, || {
        let ready: Vec<_> = runtime::sandboxes()?
            .into_iter()
            .filter(|sandbox| sandbox.ready)
            .collect();
        assert!(ready.len() <= 1, "two versions of one pod at once: {ready:?}");
        let pod = node.pod("web")?;
        if pod["metadata"]["uid"] != old["metadata"]["uid"] && is_ready(&pod) {
            Ok(pod)
        } else {
            Err(pod["status"].to_string())
        }
    });
    wait_http(&format!("{}:8080", ip(&new)), "/", "second");
    assert_eq!(container(&new, "main")["restartCount"], 0);

    // The same content again is the same pod.
    let before = runtime::containers().expect("containerd answers");
    node.manifest("web.yaml", &manifest::web("web", "second"));
    stays("the pod of an unchanged manifest", Duration::from_secs(2), || {
        let now = runtime::containers()?;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
}

pub fn a_deleted_manifest_leaves_nothing(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "hello"));
    let pod = node.wait_running("web");
    let uid = pod["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let directory = format!("/var/lib/kubelet/pods/{uid}");
    assert!(
        std::path::Path::new(&directory).exists(),
        "{directory} is where the pod lives"
    );

    node.remove("web.yaml");
    node.wait_gone("web");
    wait_for("every trace to be gone", SOON, || {
        let mut traces = Vec::new();
        for directory in [
            directory.as_str(),
            "/var/log/pods",
            "/var/log/containers",
            "/var/lib/cni/networks",
        ] {
            traces.extend(traces_of(std::path::Path::new(directory), &uid));
        }
        let links = crate::process::run(&["ip", "-o", "link", "show", "type", "veth"]);
        traces.extend(
            links
                .lines()
                .filter(|line| !line.contains("eth0"))
                .map(str::to_owned),
        );
        traces.extend(
            runtime::containers()?
                .into_iter()
                .map(|container| format!("{container:?}")),
        );
        if traces.is_empty() {
            Ok(())
        } else {
            Err(traces.join("\n"))
        }
    });
}

/// A runtime that is killed while it records a network leaves an empty file, on which its CNI library of v1.1 fails
/// whenever the sandbox is stopped.
pub fn a_pod_whose_network_record_was_cut_short_still_ends(node: &mut Node) {
    node.start_agent();
    node.manifest("cut.yaml", &manifest::idle("cut"));
    node.wait_running("cut");
    let sandboxes = runtime::sandboxes().expect("containerd answers");
    let sandbox = sandboxes
        .iter()
        .find(|sandbox| sandbox.pod.starts_with("cut"))
        .expect("the pod has a sandbox");
    let record = format!("/var/lib/cni/results/gantry-{}-eth0", sandbox.id);
    let size = std::fs::metadata(&record).expect("the network is recorded").len();
    assert!(size > 0, "{record} is empty");
    std::fs::write(&record, "").expect("it can be written");

    node.remove("cut.yaml");
    node.wait_gone("cut");
    wait_for("the sandbox and the address to be gone", SOON, || {
        let sandboxes = runtime::sandboxes()?;
        let addresses = traces_of(std::path::Path::new("/var/lib/cni/networks"), &sandbox.id);
        match sandboxes.is_empty() && addresses.is_empty() {
            true => Ok(()),
            false => Err(format!("{sandboxes:?}, {addresses:?}")),
        }
    });
}

/// The files below a directory that a pod's end has to take away: those named after it, and given addresses.
fn traces_of(directory: &std::path::Path, uid: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.display().to_string();
        let address = entry
            .file_name()
            .to_string_lossy()
            .parse::<std::net::IpAddr>()
            .is_ok();
        if address || name.contains(uid) || name.contains("web-node-1") {
            found.push(name);
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(traces_of(&path, uid));
        }
    }
    found
}

pub fn a_crashing_container_restarts_with_growing_back_off(node: &mut Node) {
    node.start_agent();
    node.manifest("crash.yaml", &manifest::shell("crash", "echo life; exit 3"));
    let pod = node.wait_pod("crash", "restarted once and waiting", |pod| {
        let status = container(pod, "main");
        status["restartCount"] == 1 && status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    let status = container(&pod, "main");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(status["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(pod["status"]["phase"], "Running");
    let message = status["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("back-off 10s restarting failed container=main pod=crash-node-1_default("),
        "{message}"
    );

    // The second restart comes 10 s after the first end, not sooner; the next wait is twice as long.
    let first_end = time(&status["lastState"]["terminated"]["finishedAt"]);
    let pod = node.wait_pod("crash", "restarted twice", |pod| {
        container(pod, "main")["restartCount"] == 2
    });
    let pod = if container(&pod, "main")["lastState"]["terminated"].is_null() {
        node.wait_pod("crash", "ended again", |pod| {
            !container(pod, "main")["lastState"]["terminated"].is_null()
        })
    } else {
        pod
    };
    let second_start = time(&container(&pod, "main")["lastState"]["terminated"]["startedAt"])
        .max(time(&container(&pod, "main")["state"]["running"]["startedAt"]));
    assert!(
        (9..=14).contains(&(second_start - first_end)),
        "{} s between end and restart",
        second_start - first_end
    );
    node.wait_pod("crash", "waiting 20 s", |pod| {
        let message = &container(pod, "main")["state"]["waiting"]["message"];
        message
            .as_str()
            .is_some_and(|message| message.starts_with("back-off 20s"))
    });
}

/// A status' time in seconds; 0 where there is none.
fn time(value: &serde_json::Value) -> i64 {
    value
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or(0, |time| time.as_second())
}

pub fn restart_policies_are_kept(node: &mut Node) {
    node.start_agent();
    let with_policy = |name: &str, policy: &str, code: u8| {
        format!(
            "{}  restartPolicy: {policy}\n",
            manifest::shell(name, &format!("exit {code}"))
        )
    };
    node.manifest("done.yaml", &with_policy("done", "OnFailure", 0));
    node.manifest("never.yaml", &with_policy("never", "Never", 4));
    node.manifest("again.yaml", &with_policy("again", "OnFailure", 5));
    node.wait_pod("done", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded");
    let never = node.wait_pod("never", "Failed", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(container(&never, "main")["state"]["terminated"]["exitCode"], 4);
    node.wait_pod("again", "restarted", |pod| {
        container(pod, "main")["restartCount"] == 1
    });
    for name in ["done", "never"] {
        assert_eq!(
            container(&node.pod(name).expect("still reported"), "main")["restartCount"],
            0
        );
    }
}

pub fn termination_gives_the_grace_period(node: &mut Node) {
    node.start_agent();
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    let polite = "trap 'echo goodbye >/out/polite; exit 0' TERM; while :; do sleep 0.1; done";
    std::fs::create_dir_all("/run/node/out").expect("a private directory");
    let manifest = |name: &str, script: &str, grace: u8| {
        manifest::with(name, script, "    volumeMounts: [{name: out, mountPath: /out}]\n").replace(
            "terminationGracePeriodSeconds: 1",
            &format!("terminationGracePeriodSeconds: {grace}"),
        ) + "  volumes: [{name: out, hostPath: {path: /run/node/out, type: Directory}}]\n"
    };
    node.manifest("polite.yaml", &manifest("polite", polite, 30));
    node.manifest("stubborn.yaml", &manifest("stubborn", stubborn, 3));
    node.wait_running("polite");
    node.wait_running("stubborn");

    let (_, polite) = crate::node::timed(|| {
        node.remove("polite.yaml");
        node.wait_gone("polite");
    });
    assert!(
        polite < Duration::from_secs(10),
        "a container that ends at SIGTERM was waited for {polite:?}"
    );
    assert_eq!(
        std::fs::read_to_string("/run/node/out/polite").expect("it said goodbye"),
        "goodbye\n"
    );
    let (_, stubborn) = crate::node::timed(|| {
        node.remove("stubborn.yaml");
        node.wait_gone("stubborn");
    });
    assert!(
        stubborn >= Duration::from_millis(2900),
        "killed after {stubborn:?} of 3 s grace"
    );
    assert!(
        stubborn < Duration::from_secs(10),
        "killed only after {stubborn:?} of 3 s grace"
    );
}

pub fn a_broken_edit_leaves_the_last_good_version_running(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "good"));
    let pod = node.wait_running("web");
    let address = format!("{}:8080", ip(&pod));
    wait_http(&address, "/", "good");
    let before = runtime::containers().expect("containerd answers");

    node.manifest(
        "web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  container: []\n",
    );
    wait_for("the broken file to be told of", SOON, || {
        let table = node.prints(&["get", "pods"]);
        if table.contains("web.yaml") {
            Ok(())
        } else {
            Err(table)
        }
    });
    stays("the last good version", Duration::from_secs(2), || {
        http(&address, "/")?;
        let now = runtime::containers()?;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });

    node.manifest("web.yaml", &manifest::web("web", "good"));
    wait_for("the repaired file to be told of no more", SOON, || {
        let table = node.prints(&["get", "pods"]);
        if table.contains("web.yaml") {
            Err(table)
        } else {
            Ok(())
        }
    });
    assert_eq!(runtime::containers().expect("containerd answers"), before);
}
