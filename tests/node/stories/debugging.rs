//! `gantry debug`: a container with tools beside those of a static pod.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::manifest;
use crate::node::Node;
use crate::process::text;
use crate::world::program;

const IMAGE: &str = "gantry.local/busybox:1";

pub fn a_container_is_added_to_a_static_pod(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    node.manifest("other.yaml", &manifest::idle("other"));
    let before = node.wait_running("shell");
    sees_the_target(node);
    ends_at_once(node);
    is_known_after_a_restart(node);
    refusals(node);
    // The pod itself was not touched.
    let after = node.wait_running("shell");
    assert_eq!(
        after["status"]["containerStatuses"],
        before["status"]["containerStatuses"]
    );
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    is_forgotten_with_the_pod(node);
}

/// A shell in the process namespace of the pod's container, whose input is ours.
fn sees_the_target(node: &Node) {
    let mut debug = Command::new(program("gantry"))
        .args([
            "debug",
            "shell",
            "--image",
            IMAGE,
            "--target",
            "main",
            "-i",
            "--env",
            "GREETING=hello",
        ])
        .args(["-c", "dbg", "--", "sh"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = debug.stdin.take().expect("it is piped");
    stdin
        .write_all(b"ps | grep '[s]leep 1000000'; echo \"$GREETING\"; exit\n")
        .expect("it is taken");
    drop(stdin);
    let output = debug.wait_with_output().expect("it ends");
    let said = text(&output);
    assert!(said.contains("sleep 1000000"), "{said}");
    assert!(said.contains("hello"), "{said}");
    assert!(
        said.contains("Added container dbg to pod shell-node-1."),
        "{said}"
    );
    let pod = node.wait_pod("shell", "the shell to have ended", |pod| {
        pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"].is_object()
    });
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["name"], "dbg");
}

/// Its output is printed, whether it has ended before anything was attached to it or not.
fn ends_at_once(node: &Node) {
    let script = "echo out; exit 7";
    let output = node.gantry(&["debug", "shell", "--image", IMAGE, "-i", "--", "sh", "-c", script]);
    let said = text(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n", "{said}");
    // What ended before has an exit code; the runtime does not report that of what was attached to.
    let had_ended = said.contains("It has ended with exit code 7");
    assert_eq!(
        output.status.code(),
        Some(if had_ended { 7 } else { 0 }),
        "{said}"
    );
    node.wait_pod("shell", "the command to have ended", |pod| {
        pod["status"]["ephemeralContainerStatuses"][1]["state"]["terminated"]["exitCode"] == 7
    });
    assert_eq!(node.prints(&["logs", "shell", "-c", "debugger-1"]), "out\n");
}

fn is_known_after_a_restart(node: &mut Node) {
    node.kill_agent();
    node.start_agent();
    // They were not started again. The first report knows the manifests only, and not yet what the runtime has.
    let exit_code = |pod: &serde_json::Value, index: usize| {
        pod["status"]["ephemeralContainerStatuses"][index]["state"]["terminated"]["exitCode"].as_i64()
    };
    node.wait_pod("shell", "its additions as they ended", |pod| {
        (exit_code(pod, 0), exit_code(pod, 1)) == (Some(0), Some(7))
    });
    assert_eq!(node.prints(&["logs", "shell", "-c", "debugger-1"]), "out\n");
}

fn refusals(node: &Node) {
    let refused = |arguments: &[&str], expected: &str| {
        let output = node.gantry(&[&["debug"], arguments].concat());
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    refused(&["none", "--image", IMAGE], "pod \"none\" not found");
    refused(
        &["other", "--image", IMAGE, "-c", "main"],
        "spec.ephemeralContainers[0].name: another container is already named \"main\"",
    );
    refused(
        &["other", "--image", IMAGE, "--target", "none"],
        "no container of the pod is named \"none\"",
    );
    // A name of a registry that does not answer.
    refused(
        &["other", "--image", "127.0.0.1:1/none:1"],
        "container debugger-1 does not start: ErrImagePull: ",
    );
}

fn is_forgotten_with_the_pod(node: &Node) {
    for name in ["shell", "other"] {
        node.remove(&format!("{name}.yaml"));
        node.wait_gone(name);
    }
    let left: Vec<_> = std::fs::read_dir("/var/lib/gantry/ephemeral-containers")
        .expect("it was made")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
