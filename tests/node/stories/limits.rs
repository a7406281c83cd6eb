//! Limits, proved by running into them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::manifest;
use crate::node::{Node, container};
use crate::process::run;
use crate::runtime;

pub fn a_cpu_limit_holds(node: &mut Node) {
    node.start_agent();
    let limits = "    resources: {limits: {cpu: 200m, memory: 32Mi}}\n";
    node.manifest(
        "burn.yaml",
        &manifest::with("burn", "while :; do :; done", limits),
    );
    node.wait_running("burn");
    let pid = process_of("while :; do :; done");

    let (start, used) = (Instant::now(), crate::process::cpu_time(pid));
    std::thread::sleep(Duration::from_secs(10)); // the measure itself
    let cores = (crate::process::cpu_time(pid) - used).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(
        (0.18..=0.22).contains(&cores),
        "limited to 200m, it used {cores:.3} cores over 10 s"
    );
    assert_top_shows_the_limit(node);
}

/// `gantry top` shows the container at its limit, held back, and within its memory.
fn assert_top_shows_the_limit(node: &mut Node) {
    let top = node.prints(&["top", "--once", "--interval", "3s", "-o", "json"]);
    let top: Value = serde_json::from_str(&top).expect("JSON");
    let pods = top["pods"].as_array().expect("a list of pods");
    let burn = pods.iter().find(|pod| pod["name"] == "burn-node-1");
    let burn = burn.unwrap_or_else(|| panic!("no burn-node-1 in {top}"));
    for measured in [burn, &burn["containers"][0]] {
        let cpu = measured["cpuNanoCores"].as_f64().expect("it was measured");
        assert!(
            (0.15e9..=0.25e9).contains(&cpu),
            "of 200m it uses {cpu} n: {measured}"
        );
        assert_eq!(measured["cpuLimitNanoCores"], 200_000_000, "{measured}");
        assert!(measured["throttledPercent"].as_f64() > Some(0.0), "{measured}");
        assert_eq!(measured["memoryLimitBytes"], 32 << 20, "{measured}");
        let memory = measured["memoryBytes"].as_u64().expect("it was measured");
        assert!((1..32 << 20).contains(&memory), "{measured}");
    }
    assert_eq!(
        (&burn["status"], &burn["restarts"]),
        (&"Running".into(), &0.into())
    );
    let used = top["node"]["cpuNanoCores"].as_f64().expect("it was measured");
    assert!(used >= 0.15e9, "the node uses what its pod does: {top}");
    let table = node.prints(&["top", "--once", "--containers", "--sort", "memory"]);
    assert!(table.contains("burn-node-1   main"), "{table}");
}

/// The process whose command line has this text and which is a shell (not the agent, whose arguments contain it, too).
fn process_of(script: &str) -> u32 {
    let table = run(&["ps", "-eo", "pid=,args="]);
    table
        .lines()
        .filter(|line| line.contains(script) && line.contains("sh -c"))
        .find_map(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no process runs {script:?}:\n{table}"))
}

pub fn over_its_memory_limit_a_container_is_oom_killed(node: &mut Node) {
    node.start_agent();
    // A pipe through tail keeps all that it reads.
    let limits = "    resources: {limits: {memory: 16Mi}}\n";
    let hungry = manifest::with("hungry", "tail /dev/zero; exit $?", limits);
    // One process in the container: the kernel's choice ends it.
    let hungry = hungry.replace("tail /dev/zero; exit $?", "exec tail /dev/zero");
    node.manifest("hungry.yaml", &format!("{hungry}  restartPolicy: Never\n"));
    node.manifest("frugal.yaml", &manifest::idle("frugal"));
    // The runtime may report the end first and its cause a moment later; the pod's end is reported once nothing
    // of it can run any more.
    let pod = node.wait_pod("hungry", "OOMKilled and failed", |pod| {
        let reason = &container(pod, "main")["state"]["terminated"]["reason"];
        reason == "OOMKilled" && pod["status"]["phase"] == "Failed"
    });
    let ended = &container(&pod, "main")["state"]["terminated"];
    assert_eq!(ended["exitCode"], 137, "{ended}");
    let frugal = node.wait_running("frugal");
    assert_eq!(container(&frugal, "main")["restartCount"], 0);
}

pub fn a_fork_bomb_stops_at_the_pid_limit(node: &mut Node) {
    std::fs::write("/run/node/config.yaml", CONFIG).expect("a private directory");
    node.flag("--config=/run/node/config.yaml");
    node.start_agent();
    // Not the classic bomb: it forks as long as the kernel lets it, then says how far it came.
    let bomb = "n=0; while [ $n -lt 500 ]; do sleep 1000 & n=$((n+1)); done; sleep 1000";
    node.manifest("bomb.yaml", &manifest::shell("bomb", bomb));
    let fail = "can't fork";
    crate::wait::wait_for("the bomb to hit the limit", crate::node::SOON, || {
        let log = node.gantry(&["logs", "--previous", "bomb-node-1"]);
        let current = node.gantry(&["logs", "bomb-node-1"]);
        let reported = crate::process::text(&log) + &crate::process::text(&current);
        if reported.contains(fail) {
            Ok(())
        } else {
            Err(reported)
        }
    });
    let most = run(&["ps", "-eo", "args="])
        .lines()
        .filter(|line| *line == "sleep 1000")
        .count();
    assert!(most <= 64, "{most} processes of a pod that may have 64");
    // The node goes on.
    node.manifest("after.yaml", &manifest::idle("after"));
    node.wait_running("after");
    assert!(runtime::answers().is_ok());
}

const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
podPidsLimit: 64
";
