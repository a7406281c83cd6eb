//! The process that `exec` starts, derived from the container's own. Pure.

use serde_json::{Value, json};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecRequest {
    /// The command with its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// The caller sends input.
    pub(crate) stdin: bool,
    /// The process gets a terminal.
    pub(crate) tty: bool,
}

/// Derives the process of an OCI runtime specification: user, capabilities, environment, working directory and limits
/// are those of the container; command and terminal come from the request. containerd's CRI plugin does the same
/// (`internal/cri/server/container_execsync.go`).
pub(crate) fn process(container_spec: &Value, request: &ExecRequest) -> Option<Value> {
    let mut process = container_spec.get("process")?.as_object()?.clone();
    process.insert("args".to_owned(), json!(request.command));
    process.remove("commandLine");
    process.remove("consoleSize");
    process.insert("terminal".to_owned(), json!(request.tty));
    if request.tty {
        let env = process.entry("env").or_insert_with(|| json!([]));
        set_variable(env.as_array_mut()?, "TERM", "xterm");
    }
    Some(Value::Object(process))
}

fn set_variable(env: &mut Vec<Value>, name: &str, value: &str) {
    let prefix = format!("{name}=");
    env.retain(|entry| !entry.as_str().is_some_and(|entry| entry.starts_with(&prefix)));
    env.push(json!(format!("{prefix}{value}")));
}

/// Translates the runtime's error when a command cannot be started into the exit code that a shell would return and the
/// part of the message that concerns the user. runc and crun word it so: `OCI runtime exec failed: exec failed: unable
/// to start container process: exec: "x": executable file not found in $PATH: unknown`, and ``… executable file `x` not
/// found in $PATH: No such file or directory``.
pub(crate) fn start_failure(message: &str) -> (u32, String) {
    let start = ["exec: \"", "executable file"]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min();
    let core = start.map_or(message, |at| &message[at..]);
    let core = core.trim().trim_end_matches(": unknown").trim_end();
    let missing = [
        "not found in $PATH",
        "no such file or directory",
        "No such file or directory",
    ];
    let forbidden = [
        "permission denied",
        "Permission denied",
        "exec format error",
        "Exec format error",
    ];
    let code = if start.is_none() {
        1
    } else if missing.iter().any(|mark| core.contains(mark)) {
        127
    } else if forbidden.iter().any(|mark| core.contains(mark)) {
        126
    } else {
        1
    };
    (code, core.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tty: bool) -> ExecRequest {
        ExecRequest {
            command: vec!["ps".into(), "-a b".into()],
            stdin: false,
            tty,
        }
    }

    #[test]
    fn everything_but_command_and_terminal_is_the_containers() {
        let spec = json!({"process": {
            "args": ["/web"], "terminal": false, "cwd": "/srv", "user": {"uid": 7, "gid": 8},
            "env": ["PATH=/bin", "TERM=dumb"], "capabilities": {"bounding": ["CAP_CHOWN"]},
            "noNewPrivileges": true, "commandLine": "x", "consoleSize": {"height": 1, "width": 1},
        }});
        let plain = process(&spec, &request(false)).unwrap();
        assert_eq!(
            plain,
            json!({
                "args": ["ps", "-a b"], "terminal": false, "cwd": "/srv", "user": {"uid": 7, "gid": 8},
                "env": ["PATH=/bin", "TERM=dumb"], "capabilities": {"bounding": ["CAP_CHOWN"]},
                "noNewPrivileges": true,
            })
        );
        let tty = process(&spec, &request(true)).unwrap();
        assert_eq!(tty["terminal"], json!(true));
        assert_eq!(tty["env"], json!(["PATH=/bin", "TERM=xterm"]));
    }

    #[test]
    fn a_specification_without_a_process_gives_none() {
        assert_eq!(process(&json!({}), &request(true)), None);
        assert_eq!(process(&json!({"process": {"env": 7}}), &request(true)), None);
    }

    #[test]
    fn start_failures_are_told_as_a_shell_would() {
        let check = |message: &str, expected: (u32, &str)| {
            let (code, text) = start_failure(message);
            assert_eq!((code, text.as_str()), expected);
        };
        check(
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": \
             executable file not found in $PATH: unknown",
            (127, "exec: \"nope\": executable file not found in $PATH"),
        );
        check(
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/etc\": \
             permission denied: unknown",
            (126, "exec: \"/etc\": permission denied"),
        );
        check(
            "OCI runtime exec failed: unable to start container process: error during container init: exec: \
             \"/x\": stat /x: no such file or directory: unknown",
            (127, "exec: \"/x\": stat /x: no such file or directory"),
        );
        check(
            "OCI runtime exec failed: executable file `nope` not found in $PATH: No such file or directory: unknown",
            (
                127,
                "executable file `nope` not found in $PATH: No such file or directory",
            ),
        );
        check(
            "task stopped: no such file or directory",
            (1, "task stopped: no such file or directory"),
        );
    }
}
