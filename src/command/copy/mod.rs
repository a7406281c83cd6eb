//! `gantry cp SOURCE DESTINATION`: copies files into a container and out of it, as `kubectl cp` does: by the container's
//! own `tar`, whose archive is one of the streams of a command in it. A file passes through as it is read; nothing is
//! collected.
//!
//! - `upload`, `download`: the two directions.
//! - `split`: a path in a container as `tar` needs it.
//! - `pack`: local files as an archive.
//! - `unpack`: an archive, which the container made and which may be hostile, as local files.

use std::io::Write;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::client::Client;
use super::table::in_line;
use super::{CommandError, exec, print, streams};
use crate::cli::place::{Place, PodPath};

mod download;
mod pack;
mod split;
pub mod unpack;
mod upload;

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is copied.
    pub source: Place,
    /// Where it goes.
    pub destination: Place,
    /// The pod's namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// The container; `None`: the pod's default or first one.
    pub container: Option<String>,
    /// Owners and modes in the container.
    pub ownership: Ownership,
}

/// Who owns the files that are copied into a container, and what their modes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As of the local files.
    Preserved,
    /// The user of the container's processes, with the modes that its umask leaves.
    OfTheContainer,
}

/// Something that was not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is, as the source calls it.
    pub path: PathBuf,
    /// Why, as the rest of "it was not copied: ".
    pub why: String,
}

/// Reports what was not copied.
fn report(skipped: &[Skipped], err: &mut impl Write) -> Result<(), CommandError> {
    for Skipped { path, why } in skipped {
        let line = format!("warning: {} was not copied: {why}", path.display());
        print(err, &format!("{}\n", in_line(&line)))?;
    }
    Ok(())
}

/// Copies; notes and the messages of the container's `tar` go to `err`.
pub async fn run(client: &Client, options: &Options, err: &mut impl Write) -> Result<(), CommandError> {
    match (&options.source, &options.destination) {
        (Place::Local(from), Place::Pod(to)) => {
            let container = Container::new(client, options, to);
            upload::run(&container, from, to, options.ownership, err).await
        }
        (Place::Pod(from), Place::Local(to)) => {
            let container = Container::new(client, options, from);
            download::run(&container, from, to, err).await
        }
        (Place::Local(_), Place::Local(_)) => Err(CommandError::Choice(
            "neither path is in a pod: one of them must be POD:PATH".to_owned(),
        )),
        (Place::Pod(_), Place::Pod(_)) => Err(CommandError::Choice(
            "both paths are in pods: one of them must be a local file or directory".to_owned(),
        )),
    }
}

/// The container that commands run in.
struct Container<'a> {
    client: &'a Client,
    asked: exec::Options,
}

impl<'a> Container<'a> {
    fn new(client: &'a Client, options: &Options, path: &PodPath) -> Self {
        let namespace = path.namespace.as_ref().or(options.namespace.as_ref());
        Container {
            client,
            asked: exec::Options {
                pod: path.pod.clone(),
                namespace: namespace.cloned(),
                container: options.container.clone(),
                ..exec::Options::default()
            },
        }
    }

    /// Starts a command. The note about the container's choice goes to `err`.
    async fn start(
        &self,
        command: Vec<String>,
        stdin: bool,
        err: &mut impl Write,
    ) -> Result<super::client::Connection, CommandError> {
        let asked = exec::Options {
            stdin,
            command,
            ..self.asked.clone()
        };
        exec::connect(self.client, &asked, err).await
    }
}

/// What a command reads: nothing, or these chunks.
fn input(stdin: Option<mpsc::Receiver<bytes::Bytes>>) -> streams::Input {
    streams::Input { stdin, resized: None }
}

/// `tar` has ended with this code.
fn check_tar(code: u32) -> Result<(), CommandError> {
    match code {
        0 => Ok(()),
        code => Err(CommandError::Exec {
            code,
            message: format!("tar failed in the container with exit code {code}: not everything was copied"),
        }),
    }
}

/// A command that could not be started: most likely there is no `tar`.
fn explain(error: CommandError) -> CommandError {
    match error {
        CommandError::Exec { code: 127, message } => CommandError::Exec {
            code: 127,
            message: format!("the container has no tar, which copying needs: {message}"),
        },
        error => error,
    }
}
