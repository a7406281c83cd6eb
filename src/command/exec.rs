//! `gantry exec [-i] [-t] POD -- COMMAND`.

use std::io::{self, Write};

use k8s_openapi::api::core::v1::Pod;

use super::client::{Client, Connection};
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
    /// `-i`: standard input goes to the command.
    pub stdin: bool,
    /// `-t`: the command gets a terminal, if standard input is one.
    pub tty: bool,
    /// The command with its arguments.
    pub command: Vec<String>,
}

/// Runs the command with this process's standard streams and returns its exit code. A thread that cannot be stopped
/// reads standard input, so the caller must end the process (`std::process::exit`) with the code.
pub async fn run(client: &Client, options: &Options) -> Result<u32, CommandError> {
    let mut options = options.clone();
    if options.tty && !(options.stdin && terminal::is_terminal()) {
        let why = if options.stdin {
            "standard input is not a terminal"
        } else {
            "-t requires -i"
        };
        print(&mut io::stderr(), &format!("running without a terminal: {why}\n"))?;
        options.tty = false;
    }
    let connection = connect(client, &options, &mut io::stderr()).await?;
    streams::run(connection, options.stdin, options.tty).await
}

/// Finds the container and opens the connection to a command in it.
pub async fn connect(
    client: &Client,
    options: &Options,
    err: &mut impl Write,
) -> Result<Connection, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let container = pod_selection::container(pod, options.container.as_deref())?;
    if let Some(note) = &container.note {
        print(err, &format!("{}\n", in_line(note)))?;
    }
    Ok(client.websocket(&path(pod, &container.name, options)).await?)
}

fn path(pod: &Pod, container: &str, options: &Options) -> String {
    let parts = Parts {
        stdin: options.stdin,
        stdout: true,
        stderr: !options.tty,
        tty: options.tty,
    };
    streams::path("exec", (pod, container), parts, &options.command)
}
