//! `gantry attach [-i] [-t] POD`.

use std::io;

use k8s_openapi::api::core::v1::Pod;

use super::client::Client;
use super::table::in_line;
use super::{CommandError, pod_selection, print, streams, terminal};
use crate::serve::stream::command::Parts;

/// The options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// The container; `None`: the pod's default or first one.
    pub container: Option<String>,
    /// `-i`: standard input goes to the container's process.
    pub stdin: bool,
    /// `-t`: this terminal is used as the process's, if it has one.
    pub tty: bool,
}

/// Attaches to the container's process until its output ends, and returns the exit code of this program. A thread that
/// cannot be stopped reads standard input, so the caller must end the process (`std::process::exit`) with the code.
pub async fn run(client: &Client, options: &Options) -> Result<u32, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let container = pod_selection::container(pod, options.container.as_deref())?;
    let say = |text: &str| print(&mut io::stderr(), &format!("{text}\n"));
    if let Some(note) = &container.note {
        say(&in_line(note))?;
    }
    let has_terminal = has_terminal(pod, &container.name);
    if options.tty && !has_terminal {
        say(&format!(
            "container {} has no terminal: -t has no effect",
            in_line(&container.name)
        ))?;
    }
    let tty = options.tty && has_terminal && options.stdin && terminal::is_terminal();
    if tty {
        say("If you don't see a command prompt, try pressing enter.")?;
    }
    let parts = Parts {
        stdin: options.stdin,
        stdout: true,
        stderr: !has_terminal,
        tty: has_terminal,
    };
    let path = streams::path("attach", (pod, &container.name), parts, &[]);
    let connection = client.websocket(&path).await?;
    streams::run(connection, options.stdin, tty).await
}

/// Whether the container's specification asks for a terminal.
fn has_terminal(pod: &Pod, name: &str) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| crate::serve::containers::has_terminal(spec, name))
}
