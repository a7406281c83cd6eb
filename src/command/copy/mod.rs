//! `gantry cp SOURCE DESTINATION`: copies files into a container and out of it, as `kubectl cp` does: by the container's
//! own `tar`, whose archive is one of the streams of a command in it. A file passes through as it is read; nothing is
//! collected.
//!
//! - `upload`, `download`: the two directions.
//! - `container`: the commands that run in it.
//! - `messages`: what these print to standard error.
//! - `counter`: how far it has come.
//! - `skipped`: what was not copied.
//! - `split`: a path in a container as `tar` needs it.
//! - `pack`: local files as an archive.
//! - `unpack`: an archive, which the container made and which may be hostile, as local files.

use std::io::Write;

use super::CommandError;
use super::client::Client;
use super::progress::Progress;
use crate::cli::place::Place;

mod container;
mod counter;
mod download;
mod messages;
mod pack;
mod skipped;
mod split;
pub mod unpack;
mod upload;

use container::Container;
pub use skipped::{Skipped, SkippedFile};
pub use upload::Ownership;

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
    /// Where it is shown how far the copy has come.
    pub progress: Progress,
}

/// Copies; notes and the messages of the container's `tar` go to `err`.
pub async fn run(client: &Client, options: &Options, err: &mut impl Write) -> Result<(), CommandError> {
    match (&options.source, &options.destination) {
        (Place::Local(from), Place::Pod(to)) => {
            let container =
                Container::new(client, to, options.namespace.as_ref(), options.container.as_ref());
            let how = (options.ownership, options.progress);
            upload::run(&container, from, to, how, err).await
        }
        (Place::Pod(from), Place::Local(to)) => {
            let container = Container::new(
                client,
                from,
                options.namespace.as_ref(),
                options.container.as_ref(),
            );
            download::run(&container, from, to, options.progress, err).await
        }
        (Place::Local(_), Place::Local(_)) => Err(CommandError::Choice(
            "neither path is in a pod: one of them must be POD:PATH".to_owned(),
        )),
        (Place::Pod(_), Place::Pod(_)) => Err(CommandError::Choice(
            "both paths are in pods: one of them must be a local file or directory".to_owned(),
        )),
    }
}
