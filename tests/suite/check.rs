//! `gantry check` as people and scripts call it: the program, its exit code and what it prints.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RIGHT: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: c, image: x}]}
";

/// Runs it in a directory with a configuration, so that the machine's own does not matter.
fn check(directory: &Path, input: &str, arguments: &[&str]) -> Output {
    let config = directory.join("config");
    fs::write(
        &config,
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 3\n\
         allowedUnsafeSysctls: [net.core.somaxconn]\n",
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gantry"))
        .current_dir(directory)
        .args(["check", "--config", "config", "--hostname-override", "Node-1"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // What it does not read it may close.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// The exit code, and what is printed, the directory's path replaced.
fn reported(directory: &Path, input: &str, arguments: &[&str]) -> (i32, String) {
    let output = check(directory, input, arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let real = directory.canonicalize().unwrap();
    let text = text
        .replace(&format!("{}/", real.display()), "")
        .replace(&format!("{}/", directory.display()), "");
    (output.status.code().unwrap(), text)
}

#[test]
fn the_exit_code_says_whether_everything_would_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let file = |name: &str, text: &str| fs::write(at.join(name), text).unwrap();
    file("web.yaml", RIGHT);
    assert_eq!(
        reported(at, "", &["web.yaml"]),
        (
            0,
            "ok    web.yaml: pod default/web-node-1\n\n1 pod would run (0 warnings).\n".to_owned()
        )
    );
    file("odd.yaml", &RIGHT.replace("name: c,", "name: c, comand: [sh],"));
    let (code, text) = reported(at, "", &["odd.yaml"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("warn  odd.yaml:4: spec.containers[0].comand: is not a field"),
        "{text}"
    );
    assert!(
        text.contains("did you mean command?") && text.contains("1 warning"),
        "{text}"
    );
    file("bad.yaml", &RIGHT.replace(", image: x", ""));
    let (code, text) = reported(at, "", &["web.yaml", "bad.yaml"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("FAIL  bad.yaml:4: spec.containers[0].image: is missing"),
        "{text}"
    );
    assert!(text.contains("ok    web.yaml: pod default/web-node-1"), "{text}");
    for arguments in [&["absent.yaml"][..], &[], &["web.yaml", "--nonsense"]] {
        let (code, text) = reported(at, "", arguments);
        assert_eq!(code, 2, "{arguments:?} {text}");
    }
    assert_eq!(
        reported(at, "", &["absent.yaml"]).1,
        "gantry: absent.yaml does not exist\n"
    );
}

#[test]
fn a_directory_is_read_as_the_agent_reads_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let manifests = at.join("m");
    fs::create_dir(&manifests).unwrap();
    let file = |name: &str, text: &str| fs::write(manifests.join(name), text).unwrap();
    file(".hidden", "nonsense: [");
    file("backup~", "nonsense: [");
    file(
        "a.yaml",
        &format!("{RIGHT}---\n{}", RIGHT.replace("web", "second")),
    );
    file(
        "list",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: cm}}\n\
         - {apiVersion: v1, kind: Pod, metadata: {name: third}, spec: {containers: [{name: c, image: x, envFrom: [{configMapRef: {name: cm}}]}]}}\n",
    );
    let (code, text) = reported(at, "", &["m"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        text,
        "ok    m/a.yaml (document 2): pod default/second-node-1\n\
         ok    m/list: pod default/third-node-1\n\
         ok    m/a.yaml: pod default/web-node-1\n\n3 pods would run (0 warnings).\n"
    );
    file("b.yaml", RIGHT);
    let (code, text) = reported(at, "", &["m"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("FAIL  m/b.yaml: metadata.name: m/a.yaml already has a pod default/web-node-1"),
        "{text}"
    );
}

#[test]
fn the_nodes_configuration_decides_and_objects_that_are_not_there_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let with = |spec: &str| RIGHT.replace("spec: {", &format!("spec: {{{spec}, "));
    let sysctl = |name: &str| {
        with(&format!(
            "securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}"
        ))
    };
    let (code, text) = reported(at, &sysctl("net.core.somaxconn"), &["-"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = reported(at, &sysctl("net.core.optmem_max"), &["-"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("SysctlForbidden"), "{text}");
    let pods: String = ["a", "b", "c", "d"]
        .map(|name| format!("---\n{}", RIGHT.replace("web", name)))
        .concat();
    let (code, text) = reported(at, &pods, &["-"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("FAIL  /dev/stdin (document 4): the node would reject it (OutOfpods)"),
        "{text}"
    );
    let waiting = RIGHT.replace("image: x", "image: x, envFrom: [{secretRef: {name: s}}]");
    let (code, text) = reported(at, &waiting, &["-"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("warn  /dev/stdin: refers to Secret default/s, which is not among"),
        "{text}"
    );
}

#[test]
fn programs_get_json() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{}---\n{}",
        RIGHT.replace("name: c,", "name: c, x: 1,"),
        RIGHT.replace("image", "imag")
    );
    let output = check(directory.path(), &text, &["-o", "json", "-"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["pods"][0]["name"], "web-node-1");
    let place = |problem: &serde_json::Value| {
        let text = |field: &str| problem[field].to_string();
        format!(
            "{} {} {} {}",
            text("file"),
            text("document"),
            text("line"),
            text("field")
        )
    };
    assert_eq!(
        place(&answer["warnings"][0]),
        r#""/dev/stdin" 1 4 "spec.containers[0].x""#
    );
    assert_eq!(
        place(&answer["problems"][0]),
        r#""/dev/stdin" 2 9 "spec.containers[0].image""#
    );
}
