//! Logs: where they lie, how they are rotated and read.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::manifest;
use crate::node::{Node, SOON, container, here};
use crate::wait::wait_for;
use crate::world::program;

/// Its standard error is a file, say, and the disk is full.
pub fn an_agent_whose_own_log_cannot_be_written_lives(node: &mut Node) {
    std::os::unix::fs::symlink("/dev/full", here("agent.log")).expect("the agent has no log yet");
    node.start_agent();
    node.manifest("web.yaml", &manifest::idle("web"));
    node.wait_running("web");
    node.remove("web.yaml");
    node.wait_gone("web");
    node.assert_agent_lives();
}

pub fn logs_lie_where_shippers_look_and_are_rotated(node: &mut Node) {
    std::fs::write("/run/node/config.yaml", CONFIG).expect("a private directory");
    node.flag("--config=/run/node/config.yaml");
    node.start_agent();
    let chatty = "n=0; while :; do n=$((n+1)); echo line $n of many that fill the log until it is turned; \
                  [ $((n % 200)) = 0 ] && sleep 0.2; done";
    node.manifest("chatty.yaml", &manifest::shell("chatty", chatty));
    let pod = node.wait_running("chatty");
    let uid = pod["metadata"]["uid"].as_str().expect("a UID");
    let directory = format!("/var/log/pods/default_chatty-node-1_{uid}/main");
    let id = container(&pod, "main")["containerID"]
        .as_str()
        .expect("an ID")
        .replace("containerd://", "");
    let link = format!("/var/log/containers/chatty-node-1_default_main-{id}.log");
    assert_eq!(
        std::fs::read_link(&link).expect(&link),
        Path::new(&directory).join("0.log")
    );

    // 100 kB at most, three files at most: the one that is written, one as it was, the older ones compressed.
    let names = wait_for(
        "the log to be turned three times",
        Duration::from_secs(60),
        || {
            let entries = std::fs::read_dir(&directory).map_err(|error| error.to_string())?;
            let mut names: Vec<String> = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            if names.iter().any(|name| name.ends_with(".gz")) && names.len() >= 3 {
                Ok(names)
            } else {
                Err(format!("{names:?}"))
            }
        },
    );
    assert!(
        names.len() <= 4,
        "three files and at most one that is being made: {names:?}"
    );
    assert!(names.iter().all(|name| name.starts_with("0.log")), "{names:?}");
    let tail = node.prints(&["logs", "--tail=1", "chatty-node-1"]);
    assert!(tail.starts_with("line "), "{tail}");
}

const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerLogMaxSize: 100k
containerLogMaxFiles: 3
containerLogMonitorInterval: 3s
";

pub fn previous_and_following_logs_are_printed(node: &mut Node) {
    node.start_agent();
    let script = "echo out; echo err >&2; sleep 1; exit 1";
    node.manifest("ends.yaml", &manifest::shell("ends", script));
    node.wait_pod("ends", "restarted once", |pod| {
        container(pod, "main")["restartCount"] == 1
    });
    // Two pipes: which of the two lines the runtime reads first is its own affair.
    let previous = node.prints(&["logs", "--previous", "ends-node-1"]);
    let mut lines_of_both: Vec<&str> = previous.lines().collect();
    lines_of_both.sort_unstable();
    assert_eq!(lines_of_both, ["err", "out"]);

    node.manifest(
        "ticks.yaml",
        &manifest::shell(
            "ticks",
            "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done",
        ),
    );
    node.wait_running("ticks");
    let mut follower = Command::new(program("gantry"))
        .args(["logs", "-f", "ticks-node-1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let first: Vec<String> = lines.take(10).map(|line| line.expect("text")).collect();
    follower.kill().expect("our own child");
    follower.wait().expect("our own child");
    let expected: Vec<String> = (1..=10).map(|n| format!("tick {n}")).collect();
    assert_eq!(first, expected);
    assert!(!node.gantry(&["logs", "nobody-node-1"]).status.success());
    wait_for("the agent to be idle again", SOON, || node.pods().map(|_| ()));
}
