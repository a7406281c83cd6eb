//! kubectl writes, on a machine without a cluster: what it creates and applies becomes a manifest, what it deletes goes, and a
//! pod that runs is restarted or gets a debugging container. Three releases do the same.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::kubectl::Kubectl;
use crate::node::{MANIFESTS, Node, SOON, container, here, timed};
use crate::process::text;
use crate::wait::wait_for;

pub fn the_release_of_debian_12(node: &mut Node) {
    writes_everything(node, &Kubectl::new("debian-12"), Validates::Nothing);
}

pub fn the_release_of_debian_13(node: &mut Node) {
    let kubectl = Kubectl::new("debian-13");
    writes_everything(node, &kubectl, Validates::AtTheServer);
    debugs(node, &kubectl);
}

pub fn the_release_of_this_kubelet(node: &mut Node) {
    let kubectl = Kubectl::new("own");
    writes_everything(node, &kubectl, Validates::AtTheServer);
    debugs(node, &kubectl);
}

fn web(env: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {{app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: gantry.local/busybox:1
    command: [sleep, "1000000"]
    env:
    - {{name: COLOR, value: {env}}}
"#
    )
}

/// Whether a release asks for what it writes to be refused if it has unknown fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validates {
    Nothing,
    /// Since 1.25 (`fieldValidation=Strict`).
    AtTheServer,
}

fn writes_everything(node: &mut Node, kubectl: &Kubectl, validates: Validates) {
    node.start_agent();
    creates_and_removes(node, kubectl);
    applies(node, kubectl);
    restarts(node, kubectl);
    objects(kubectl);
    changes(node, kubectl);
    a_persons_own_file(node, kubectl);
    unknown_fields(kubectl, validates);
    refusals(node, kubectl);
    kubectl.prints(&["delete", "pod", "web"], &["deleted"]);
    node.wait_gone("web");
}

/// A file with this content, for `-f`.
fn file(name: &str, content: &str) -> String {
    let path = here(name);
    std::fs::write(&path, content).expect("a private directory");
    path.to_str().expect("a plain path").to_owned()
}

fn in_manifests(file: &str) -> PathBuf {
    Path::new(MANIFESTS).join(file)
}

fn env(node: &Node) -> String {
    let pod = node.pod("web").expect("it runs");
    let value = &pod["spec"]["containers"][0]["env"][0]["value"];
    value.as_str().unwrap_or_default().to_owned()
}

fn container_id(pod: &Value) -> String {
    container(pod, "main")["containerID"].to_string()
}

fn creates_and_removes(node: &mut Node, kubectl: &Kubectl) {
    let manifest = file("web.yaml", &web("red"));
    let dry = ["create", "-f", &manifest, "--dry-run=server"];
    kubectl.prints(&dry, &["created (server dry run)"]);
    let written = in_manifests("pod.default.web.yaml");
    assert!(!written.exists(), "nothing is written");
    kubectl.prints(&["create", "-f", &manifest], &["pod/web-node-1 created"]);
    let mode = std::fs::metadata(&written)
        .expect("it was written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    // The answer comes when the agent has it.
    kubectl.prints(
        &["wait", "--for=condition=Ready", "pod/web-node-1", "--timeout=60s"],
        &["condition met"],
    );
    assert_eq!(env(node), "red");
    kubectl.refuses(
        &["create", "-f", &manifest],
        &["(AlreadyExists)", "pod.default.web.yaml"],
    );
    kubectl.prints(&["delete", "-f", &manifest], &["pod \"web\" deleted"]);
    // kubectl has waited for it.
    assert!(!written.exists(), "the manifest is gone");
    assert!(node.pod("web").is_err(), "the pod is gone");
    kubectl.refuses(&["delete", "-f", &manifest], &["(NotFound)"]);
    let left: Vec<_> = std::fs::read_dir(MANIFESTS).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn applies(node: &mut Node, kubectl: &Kubectl) {
    let manifest = file("web.yaml", &web("red"));
    kubectl.prints(&["apply", "-f", &manifest], &["pod/web-node-1 created"]);
    let first = node.wait_running("web");
    kubectl.prints(&["apply", "-f", &manifest], &["unchanged"]);
    assert_eq!(container_id(&node.wait_running("web")), container_id(&first));
    kubectl.prints(
        &["apply", "-f", &file("blue.yaml", &web("blue"))],
        &["pod/web-node-1 configured"],
    );
    node.wait_pod("web", "running with the new value", |pod| {
        let is_new = pod["metadata"]["uid"] != first["metadata"]["uid"];
        is_new && container(pod, "main")["state"]["running"].is_object()
    });
    assert_eq!(env(node), "blue");
    let diff = kubectl.output(&["diff", "-f", &manifest]);
    assert_eq!(diff.status.code(), Some(1), "{}", text(&diff));
    assert!(text(&diff).contains("red"), "{}", text(&diff));
    assert_eq!(env(node), "blue", "a difference changes nothing");
}

fn restarts(node: &mut Node, kubectl: &Kubectl) {
    let before = node.wait_running("web");
    kubectl.prints(&["delete", "pod", "web-node-1"], &["pod \"web-node-1\" deleted"]);
    let after = node.wait_pod("web", "running again", |pod| {
        container_id(pod) != container_id(&before) && container(pod, "main")["state"]["running"].is_object()
    });
    assert_eq!(
        after["metadata"]["uid"], before["metadata"]["uid"],
        "it is the same pod"
    );
    assert!(
        in_manifests("pod.default.web.yaml").exists(),
        "its manifest stays"
    );
    // Without a grace period, and each time.
    kubectl.prints(
        &["delete", "pod", "web-node-1", "--force", "--grace-period=0"],
        &["web-node-1"],
    );
    node.wait_pod("web", "running once more", |pod| {
        let id = container_id(pod);
        id != container_id(&after)
            && id != container_id(&before)
            && container(pod, "main")["state"]["running"].is_object()
    });
}

fn objects(kubectl: &Kubectl) {
    kubectl.prints(
        &["create", "configmap", "colors", "--from-literal=a=red"],
        &["configmap/colors created"],
    );
    kubectl.prints(&["get", "cm", "colors", "-o", "jsonpath={.data.a}"], &["red"]);
    kubectl.prints(
        &[
            "create",
            "secret",
            "generic",
            "word",
            "--from-literal=word=hunter2",
        ],
        &["secret/word created"],
    );
    let secret = in_manifests("secret.default.word.yaml");
    let mode = std::fs::metadata(&secret)
        .expect("it was written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let shown = kubectl.prints(&["get", "secret", "word", "-o", "yaml"], &["word: \"\""]);
    assert!(!shown.contains("aHVudGVyMg"), "{shown}");
    // Values that are not shown stay what they are.
    kubectl.prints(&["label", "secret", "word", "kind=password"], &["labeled"]);
    let content = std::fs::read_to_string(&secret).expect("it is there");
    assert!(
        content.contains("aHVudGVyMg==") && content.contains("kind: password"),
        "not kept"
    );
    assert!(!content.contains("gantry.dev/values"), "{content}");
    let manifest = file(
        "colors.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: app}\ndata: {a: red}\n",
    );
    kubectl.prints(&["apply", "-f", &manifest], &["configmap/other created"]);
    kubectl.prints(
        &["get", "cm", "-n", "app", "other", "-o", "jsonpath={.data.a}"],
        &["red"],
    );
    kubectl.prints(&["delete", "-f", &manifest], &["configmap \"other\" deleted"]);
    kubectl.prints(&["delete", "cm", "colors"], &["configmap \"colors\" deleted"]);
    kubectl.prints(&["delete", "secret", "word"], &["secret \"word\" deleted"]);
    kubectl.refuses(&["get", "cm", "colors"], &["(NotFound)"]);
}

fn changes(node: &mut Node, kubectl: &Kubectl) {
    let manifest = in_manifests("pod.default.web.yaml");
    let has = |part: &str| {
        let content = std::fs::read_to_string(&manifest).expect("it is there");
        assert!(content.contains(part), "no {part:?} in {content}");
    };
    // An answer waits for the agent to have read the file, and no longer.
    let (_, took) = timed(|| kubectl.prints(&["label", "pod", "web", "tier=front"], &["labeled"]));
    assert!(took < Duration::from_secs(4), "{took:?}");
    has("tier: front");
    kubectl.prints(&["annotate", "pod", "web", "note=made by hand"], &["annotated"]);
    has("note: made by hand");
    let patch = r#"{"spec":{"containers":[{"name":"main","env":[{"name":"SIZE","value":"large"}]}]}}"#;
    kubectl.prints(&["patch", "pod", "web", "-p", patch], &["patched"]);
    has("COLOR");
    has("large");
    let patch = r#"[{"op":"replace","path":"/metadata/labels/tier","value":"back"}]"#;
    kubectl.prints(&["patch", "pod", "web", "--type=json", "-p", patch], &["patched"]);
    has("tier: back");
    let patch = r#"{"metadata":{"labels":{"tier":null}}}"#;
    kubectl.prints(
        &["patch", "pod", "web", "--type=merge", "-p", patch],
        &["patched"],
    );
    let mut edit = kubectl.command(&["edit", "pod", "web"]);
    edit.env("KUBE_EDITOR", "sed -i s/large/small/");
    let output = edit.output().expect("kubectl starts");
    assert!(
        output.status.success() && text(&output).contains("edited"),
        "{}",
        text(&output)
    );
    has("small");
    let output = kubectl.output(&["get", "pod", "web", "-o", "yaml"]);
    let shown = String::from_utf8_lossy(&output.stdout).replace("small", "middle");
    let replaced = file("replaced.yaml", &shown);
    kubectl.prints(&["replace", "-f", &replaced], &["replaced"]);
    has("middle");
    kubectl.refuses(
        &["replace", "-f", &replaced],
        &["(Conflict)", "the object has been modified"],
    );
    node.wait_pod("web", "running with the last value", |pod| {
        let env = pod["spec"]["containers"][0]["env"].to_string();
        env.contains("middle") && container(pod, "main")["state"]["running"].is_object()
    });
}

fn a_persons_own_file(node: &mut Node, kubectl: &Kubectl) {
    let own = "# Written by hand.\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {a: one}\n";
    node.manifest("own.yaml", own);
    std::fs::set_permissions(in_manifests("own.yaml"), std::fs::Permissions::from_mode(0o640))
        .expect("our file");
    let applied = file("own.yaml", &own.replace("one", "two"));
    let (_, took) = timed(|| kubectl.prints(&["apply", "-f", &applied], &["configmap/own configured"]));
    assert!(took < Duration::from_secs(4), "{took:?}");
    let metadata = std::fs::metadata(in_manifests("own.yaml")).expect("the same file");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    kubectl.prints(&["get", "cm", "own", "-o", "jsonpath={.data.a}"], &["two"]);
    kubectl.prints(&["delete", "-f", &applied], &["deleted"]);
    assert!(!in_manifests("own.yaml").exists());
    // A file with more than one object is left to its author.
    node.manifest(
        "both.yaml",
        &format!("{own}---\n{}", own.replace("name: own", "name: other")),
    );
    let patch = r#"{"data":{"a":"three"}}"#;
    wait_for("the agent to read it", SOON, || {
        let output = kubectl.output(&["get", "cm", "other"]);
        match output.status.success() {
            true => Ok(()),
            false => Err(text(&output)),
        }
    });
    let refused = ["(Forbidden)", "both.yaml has other objects, too", "edit the file"];
    kubectl.refuses(&["patch", "cm", "own", "-p", patch], &refused);
    kubectl.refuses(&["delete", "cm", "own"], &refused);
    node.remove("both.yaml");
}

/// What would run nevertheless is a warning, unless the client wants it refused.
fn unknown_fields(kubectl: &Kubectl, validates: Validates) {
    let before = names();
    let odd = web("red")
        .replace("name: web", "name: odd")
        .replace("    env:", "    colour: red\n    env:");
    let odd = file("odd.yaml", &odd);
    let dry = |more: &[&'static str]| {
        let create = ["create", "-f", odd.as_str(), "--dry-run=server"];
        create
            .into_iter()
            .map(str::to_owned)
            .chain(more.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    fn plain(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let field = r#"unknown field "spec.containers[0].colour""#;
    let warning = format!("Warning: {field}");
    if validates == Validates::Nothing {
        kubectl.prints(&plain(&dry(&[])), &[&warning, "created (server dry run)"]);
        return;
    }
    let refused = format!("strict decoding error: {field}");
    kubectl.refuses(
        &plain(&dry(&[])),
        &["(BadRequest)", "cannot be handled as a Pod", &refused],
    );
    kubectl.prints(&plain(&dry(&["--validate=warn"])), &[&warning]);
    let silent = text(&kubectl.output(&plain(&dry(&["--validate=ignore"]))));
    assert!(
        silent.contains("created") && !silent.contains("colour"),
        "{silent}"
    );
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndata: {a: b}\n";
    kubectl.prints(
        &["apply", "-f", &file("odd-map.yaml", map)],
        &["configmap/odd created"],
    );
    let map = file("odd-map.yaml", &format!("{map}colour: red\n"));
    let refused = [
        "is invalid: patch: ",
        r#"strict decoding error: unknown field "colour""#,
    ];
    kubectl.refuses(&["apply", "-f", &map], &refused);
    let warned = ["apply", "-f", &map, "--validate=warn"];
    kubectl.prints(&warned, &[r#"Warning: unknown field "colour""#, "configmap/odd"]);
    let content = std::fs::read_to_string(in_manifests("configmap.default.odd.yaml")).expect("it is there");
    assert!(!content.contains("\ncolour"), "{content}");
    kubectl.prints(&["delete", "cm", "odd"], &["deleted"]);
    assert_eq!(names(), before);
}

fn refusals(node: &mut Node, kubectl: &Kubectl) {
    let before = names();
    let broken = web("red")
        .replace("name: web", "name: broken")
        .replace("    image: gantry.local/busybox:1\n", "");
    let broken = file("broken.yaml", &broken);
    let checked = text(&node.gantry(&["check", &broken]));
    let output = kubectl.output(&["create", "-f", &broken]);
    let refused = text(&output);
    assert!(!output.status.success(), "{refused}");
    // The same sentence, which begins with the field.
    let sentence = checked
        .lines()
        .find(|line| line.contains("is missing"))
        .expect(&checked);
    let sentence = &sentence[sentence.find("spec.").expect(sentence)..];
    assert!(refused.contains(sentence), "no {sentence:?} in {refused}");
    let bad = file(
        "bad.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../x}\ndata: {a: b}\n",
    );
    kubectl.refuses(&["create", "-f", &bad], &["metadata.name"]);
    kubectl.refuses(
        &["label", "pod", "web-node-1", "a=b"],
        &["(Forbidden)", "use \"web\" instead"],
    );
    let deployment = file(
        "deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
    );
    kubectl.refuses(&["create", "-f", &deployment], &["Deployment"]);
    kubectl.refuses(
        &["delete", "node", "node-1"],
        &["(MethodNotAllowed)", "gantry's configuration"],
    );
    assert_eq!(names(), before, "nothing was written");
}

fn names() -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(MANIFESTS).expect("it is there");
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

fn debugs(node: &mut Node, kubectl: &Kubectl) {
    node.manifest("shell.yaml", &crate::manifest::idle("shell"));
    node.wait_running("shell");
    let mut command = kubectl.command(&[
        "debug",
        "-i",
        "shell-node-1",
        "--image=gantry.local/busybox:1",
        "--target=main",
        "-c",
        "dbg",
        "--",
        "sh",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut debug = command.spawn().expect("kubectl starts");
    let mut stdin = debug.stdin.take().expect("it is piped");
    stdin
        .write_all(b"echo sees $(pidof sleep | wc -w)\n")
        .expect("it is read");
    let output = BufReader::new(debug.stdout.take().expect("it is piped"));
    let mut lines = output.lines().map(|line| line.expect("text"));
    let seen = lines.find(|line| line.contains("sees"));
    assert_eq!(seen.as_deref(), Some("sees 1"));
    drop(stdin);
    assert!(debug.wait().expect("it ends").success());
    prints_what_ends_at_once(kubectl);
    let refused = [
        "debug",
        "shell-node-1",
        "--image=gantry.local/busybox:1",
        "-c",
        "dbg",
        "--",
        "true",
    ];
    let output = kubectl.output(&refused);
    assert!(!output.status.success(), "{}", text(&output));
    // A restarted pod begins without it.
    kubectl.prints(&["delete", "pod", "shell-node-1"], &["deleted"]);
    node.wait_pod("shell", "running without the container", |pod| {
        let none = pod["spec"]["ephemeralContainers"]
            .as_array()
            .is_none_or(Vec::is_empty);
        none && container(pod, "main")["state"]["running"].is_object()
    });
}

/// A command that has ended before kubectl attaches to it: kubectl shows its log instead.
fn prints_what_ends_at_once(kubectl: &Kubectl) {
    for number in 0..5 {
        let name = format!("once{number}");
        let image = "--image=gantry.local/busybox:1";
        let command = [
            "debug",
            "-i",
            "shell-node-1",
            image,
            "-c",
            &name,
            "--",
            "echo",
            "seen",
        ];
        let output = kubectl.output(&command);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("seen"),
            "{name}: {}",
            text(&output)
        );
    }
}
