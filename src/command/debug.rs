//! `gantry debug POD --image IMAGE`: adds an ephemeral container to a static pod and attaches to it, as `kubectl debug`
//! does with pods of an API server.

use std::collections::BTreeSet;
use std::io;

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerStatus, EnvVar, EphemeralContainer, Pod, SeccompProfile, SecurityContext,
};

use super::client::Client;
use super::table::in_line;
use super::{CommandError, attach, logs, pod_selection, print};
use crate::cli::debug::Profile;

/// How the container is called if the user does not say.
const PREFIX: &str = "debugger-";

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// The image.
    pub image: String,
    /// The container's name; `None`: the first free `debugger-N`.
    pub container: Option<String>,
    /// The container whose processes it sees.
    pub target: Option<String>,
    /// `-i`: attach to it with standard input.
    pub stdin: bool,
    /// `-t`: it gets a terminal.
    pub tty: bool,
    /// What it may do.
    pub profile: Profile,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Instead of the image's command.
    pub command: Vec<String>,
}

/// Adds the container, waits until it runs, and attaches to it if standard input is to be passed on. Returns the exit code
/// of this program; see [`attach::run`] about standard input.
pub async fn run(client: &Client, options: &Options) -> Result<u32, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let container = container(options, pod);
    let (namespace, name) = (pod_selection::namespace(pod), pod_selection::name(pod));
    let path = format!("/ephemeralcontainers/{namespace}/{name}");
    let body = serde_json::to_vec(&container).expect("Kubernetes objects serialize to JSON");
    client.post(&path, body).await?;
    let say = |text: &str| print(&mut io::stderr(), &format!("{}\n", in_line(text)));
    say(&format!("Added container {} to pod {name}.", container.name))?;
    let path = format!("{path}/{}", container.name);
    let mut found = state(&client.object(&path).await?);
    if found == State::Runs && options.stdin {
        let attach = attach::Options {
            pod: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            container: Some(container.name.clone()),
            stdin: true,
            tty: options.tty,
        };
        let attached = attach::run(client, &attach).await;
        if attached.is_ok() {
            return attached;
        }
        // It may have ended before.
        found = state(&client.object(&path).await?);
        if found == State::Runs {
            return attached;
        }
    }
    match found {
        State::Runs => Ok(0),
        State::Ended(code) => {
            if options.stdin {
                show_log(client, (namespace, name), &container.name).await?;
                say(&format!("It has ended with exit code {code}."))?;
            } else {
                say(&format!(
                    "It has ended with exit code {code}; its output: gantry logs -n {namespace} {name} -c {}",
                    container.name
                ))?;
            }
            Ok(u32::try_from(code).unwrap_or(1))
        }
        State::Waits(why) => Err(CommandError::Choice(format!(
            "container {} does not start: {why}",
            container.name
        ))),
    }
}

/// What the container printed, on standard output.
async fn show_log(
    client: &Client,
    (namespace, name): (&str, &str),
    container: &str,
) -> Result<(), CommandError> {
    let log = logs::Options {
        pod: name.to_owned(),
        namespace: Some(namespace.to_owned()),
        container: Some(container.to_owned()),
        ..logs::Options::default()
    };
    logs::run(client, &log, &mut tokio::io::stdout(), &mut io::stderr()).await
}

/// What has become of the container.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Runs,
    Ended(i32),
    Waits(String),
}

fn state(status: &ContainerStatus) -> State {
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return State::Runs;
    }
    if let Some(terminated) = state.terminated {
        // One that never ran has no exit code of its own.
        let started = terminated.started_at.is_some() || terminated.exit_code == 0;
        return match started {
            true => State::Ended(terminated.exit_code),
            false => State::Waits(reason(terminated.reason, terminated.message)),
        };
    }
    let waiting = state.waiting.unwrap_or_default();
    State::Waits(reason(waiting.reason, waiting.message))
}

fn reason(reason: Option<String>, message: Option<String>) -> String {
    let parts: Vec<String> = [reason, message].into_iter().flatten().collect();
    match parts.is_empty() {
        true => "gantry does not say why".to_owned(),
        false => parts.join(": "),
    }
}

fn container(options: &Options, pod: &Pod) -> EphemeralContainer {
    let env = options.env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        value_from: None,
    });
    let list = |items: Vec<EnvVar>| (!items.is_empty()).then_some(items);
    EphemeralContainer {
        name: options.container.clone().unwrap_or_else(|| free_name(pod)),
        image: Some(options.image.clone()),
        command: (!options.command.is_empty()).then(|| options.command.clone()),
        env: list(env.collect()),
        stdin: options.stdin.then_some(true),
        // The end of our input is the end of its own; otherwise its output would end with it, and a shell would stay.
        stdin_once: options.stdin.then_some(true),
        tty: options.tty.then_some(true),
        target_container_name: options.target.clone(),
        security_context: Some(security(options.profile)),
        ..EphemeralContainer::default()
    }
}

/// The names that were given before count on, so that the newest is the last one.
fn free_name(pod: &Pod) -> String {
    let taken: BTreeSet<&str> = crate::serve::containers::container_names(pod)
        .into_iter()
        .collect();
    let mut names = (1_u32..).map(|number| format!("{PREFIX}{number}"));
    names
        .find(|name| !taken.contains(name.as_str()))
        .expect("a pod has fewer containers than there are numbers")
}

/// What the profiles allow (`staging/src/k8s.io/kubectl/pkg/cmd/debug/profiles.go`).
fn security(profile: Profile) -> SecurityContext {
    let add = |names: &[&str]| Capabilities {
        add: Some(names.iter().map(|&name| name.to_owned()).collect()),
        drop: None,
    };
    match profile {
        Profile::General => SecurityContext {
            capabilities: Some(add(&["SYS_PTRACE"])),
            ..SecurityContext::default()
        },
        Profile::Baseline => SecurityContext::default(),
        Profile::Netadmin => SecurityContext {
            capabilities: Some(add(&["NET_ADMIN", "NET_RAW"])),
            ..SecurityContext::default()
        },
        Profile::Sysadmin => SecurityContext {
            privileged: Some(true),
            ..SecurityContext::default()
        },
        Profile::Restricted => SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..SecurityContext::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options() -> Options {
        Options {
            pod: "web".to_owned(),
            namespace: None,
            image: "tools:1".to_owned(),
            container: None,
            target: Some("main".to_owned()),
            stdin: true,
            tty: false,
            profile: Profile::General,
            env: vec![("A".to_owned(), "b=c".to_owned())],
            command: Vec::new(),
        }
    }

    #[test]
    fn the_container_has_a_free_name_and_what_was_asked_for() {
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "containers": [{"name": "main"}, {"name": "debugger-1"}], "ephemeralContainers": [{"name": "debugger-2"}],
        }}));
        let made = serde_json::to_value(container(&options(), &pod.unwrap())).unwrap();
        assert_eq!(
            made,
            json!({
                "name": "debugger-3", "image": "tools:1", "stdin": true, "stdinOnce": true,
                "targetContainerName": "main",
                "env": [{"name": "A", "value": "b=c"}], "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}},
            })
        );
    }

    #[test]
    fn what_has_become_of_it() {
        let check = |state: serde_json::Value, expected: State| {
            let status = json!({"name": "d", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state});
            assert_eq!(super::state(&serde_json::from_value(status).unwrap()), expected);
        };
        check(json!({"running": {}}), State::Runs);
        check(json!({"terminated": {"exitCode": 0}}), State::Ended(0));
        check(
            json!({"terminated": {"exitCode": 3, "startedAt": "2026-11-29T00:00:00Z"}}),
            State::Ended(3),
        );
        check(
            json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}),
            State::Waits("StartError: no such file".to_owned()),
        );
        check(
            json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}),
            State::Waits("ErrImagePull: no such image".to_owned()),
        );
        check(json!({}), State::Waits("gantry does not say why".to_owned()));
    }
}
