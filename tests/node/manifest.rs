//! The manifests that stories write, as short as YAML allows.

/// A pod with one container that runs a line of shell.
pub fn shell(name: &str, script: &str) -> String {
    with(name, script, "")
}

/// A pod with one container that runs a line of shell, and more lines of the container's, indented as they stand.
pub fn with(name: &str, script: &str, container: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: gantry.local/busybox:1
    command: [sh, -c, {script:?}]
{container}"#
    )
}

/// A web server that answers with this text on port 8080.
pub fn web(name: &str, text: &str) -> String {
    shell(
        name,
        &format!("mkdir -p /srv; echo '{text}' >/srv/index.html; exec httpd -f -p 8080 -h /srv"),
    )
}

/// A pod that does nothing, for ever.
pub fn idle(name: &str) -> String {
    shell(name, "exec sleep 1000000")
}
