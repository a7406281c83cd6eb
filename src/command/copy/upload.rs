//! From this machine to a container.

use std::io::{self, Write};
use std::path::Path;

use tokio::sync::mpsc;

use super::container::{Container, check_tar, explain, input};
use super::counter::Counter;
use super::messages::Messages;
use super::pack::{self, ChunkWriter};
use super::skipped::Skipped;
use super::split::{Split, split};
use crate::cli::place::PodPath;
use crate::command::progress::Progress;
use crate::command::{CommandError, streams};

/// Who owns the files that are copied into a container, and what their modes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As of the local files.
    Preserved,
    /// The user of the container's processes, with the modes that its umask leaves.
    OfTheContainer,
}

/// How many chunks of the archive wait to be sent.
const QUEUE: usize = 4;

/// Copies a file or directory: into `to` if that is a directory, else as `to`.
pub(super) async fn run(
    container: &Container<'_>,
    from: &Path,
    to: &PodPath,
    (ownership, progress): (Ownership, Progress),
    err: &mut impl Write,
) -> Result<(), CommandError> {
    // Found out before the container is asked anything.
    let source = pack::Source::open(from)?;
    let (directory, name) = destination(container, &source, &to.path, err).await?;
    let command = unpacking(&directory, ownership);
    // The note about the container was printed before.
    let connection = container.start(command, true, &mut io::sink()).await?;

    let (chunks, stdin) = mpsc::channel(QUEUE);
    let counter = Counter::default();
    let mut to = ChunkWriter::new(chunks, counter.clone());
    let packed = tokio::task::spawn_blocking(move || {
        // An archive that is not whole must not end like one that is: its channel stays open with the error.
        source.pack(&name, &mut to).map_err(|error| (error, to))
    });
    let (mut stdout, mut stderr) = (tokio::io::sink(), Messages::default());
    let sent = async {
        streams::carry(connection, input(Some(stdin)), &mut stdout, &mut stderr)
            .await
            .map_err(explain)
            .and_then(check_tar)
    };
    let mut skipped = Skipped::default();
    let read = async {
        match packed.await {
            Ok(Ok(left)) => {
                skipped = left;
                std::future::pending().await
            }
            // `tar` has ended early: its exit code says more.
            Ok(Err((pack::PackError::Closed, _))) => std::future::pending().await,
            Ok(Err((error, _))) => Err(CommandError::from(error)),
            Err(error) => Err(CommandError::Choice(format!(
                "the files could not be read: {error}"
            ))),
        }
    };
    let both = async {
        tokio::select! {
            // Dropped by an error on this side, which closes the connection and so ends the command.
            sent = sent => sent,
            // Ends by an error only.
            failed = read => failed,
        }
    };
    let result = progress.during(|| counter.reached(), err, both).await;
    stderr.report(err)?;
    skipped.report(err)?;
    result
}

/// The directory in the container where the archive is unpacked, and the name that its first member has there.
async fn destination(
    container: &Container<'_>,
    source: &pack::Source,
    path: &str,
    err: &mut impl Write,
) -> Result<(String, String), CommandError> {
    let Split { directory, name } = split(path);
    let own = || source.name().map(|name| (path.to_owned(), name.to_owned()));
    let Some(name) = name else { return Ok(own()?) };
    if is_directory(container, path, err).await? {
        return Ok(own()?);
    }
    Ok((directory.to_owned(), name.to_owned()))
}

/// A container without `test` has no directory that it could tell from a file: the path is then taken as it is, as
/// kubectl does.
async fn is_directory(
    container: &Container<'_>,
    path: &str,
    err: &mut impl Write,
) -> Result<bool, CommandError> {
    let command = ["test", "-d", path].map(str::to_owned).to_vec();
    let connection = container.start(command, false, err).await?;
    let (mut stdout, mut stderr) = (tokio::io::sink(), tokio::io::sink());
    match streams::carry(connection, input(None), &mut stdout, &mut stderr).await {
        Ok(code) => Ok(code == 0),
        Err(CommandError::Exec { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The options are those of GNU's and busybox' `tar`, and the same as kubectl's.
fn unpacking(directory: &str, ownership: Ownership) -> Vec<String> {
    let mut command = vec!["tar"];
    if ownership == Ownership::OfTheContainer {
        command.extend(["--no-same-permissions", "--no-same-owner"]);
    }
    command.extend(["-xmf", "-", "-C", directory]);
    command.into_iter().map(str::to_owned).collect()
}
