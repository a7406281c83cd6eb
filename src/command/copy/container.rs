//! The container that files are copied into or out of.

use std::io::Write;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cli::place::PodPath;
use crate::command::client::{Client, Connection};
use crate::command::{CommandError, exec, streams};

/// The container that commands run in.
pub(super) struct Container<'a> {
    client: &'a Client,
    asked: exec::Options,
}

impl<'a> Container<'a> {
    /// That of this path; `namespace` and `container` are those of the command line.
    pub(super) fn new(
        client: &'a Client,
        path: &PodPath,
        namespace: Option<&String>,
        container: Option<&String>,
    ) -> Self {
        let namespace = path.namespace.as_ref().or(namespace);
        Container {
            client,
            asked: exec::Options {
                pod: path.pod.clone(),
                namespace: namespace.cloned(),
                container: container.cloned(),
                ..exec::Options::default()
            },
        }
    }

    /// Starts a command. The note about the container's choice goes to `err`.
    pub(super) async fn start(
        &self,
        command: Vec<String>,
        stdin: bool,
        err: &mut impl Write,
    ) -> Result<Connection, CommandError> {
        let asked = exec::Options {
            stdin,
            command,
            ..self.asked.clone()
        };
        exec::connect(self.client, &asked, err).await
    }
}

/// What a command reads: nothing, or these chunks.
pub(super) fn input(stdin: Option<mpsc::Receiver<Bytes>>) -> streams::Input {
    streams::Input { stdin, resized: None }
}

/// `tar` has ended with this code.
pub(super) fn check_tar(code: u32) -> Result<(), CommandError> {
    match code {
        0 => Ok(()),
        code => Err(CommandError::Exec {
            code,
            message: format!("tar failed in the container with exit code {code}: not everything was copied"),
        }),
    }
}

/// A command that could not be started: most likely there is no `tar`.
pub(super) fn explain(error: CommandError) -> CommandError {
    match error {
        CommandError::Exec { code: 127, message } => CommandError::Exec {
            code: 127,
            message: format!("the container has no tar, which copying needs: {message}"),
        },
        error => error,
    }
}
