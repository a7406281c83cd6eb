//! From a container to this machine.

use std::io::Write;
use std::path::Path;

use tokio::io::duplex;
use tokio_util::io::SyncIoBridge;

use super::container::{Container, check_tar, explain, input};
use super::counter::Counter;
use super::messages::Messages;
use super::split::split;
use super::unpack;
use crate::cli::place::PodPath;
use crate::command::progress::Progress;
use crate::command::{CommandError, streams};

/// How much of the archive waits to be written to the disk.
const BUFFER: usize = 256 * 1024;

/// Copies a file or directory. The directory's content goes into `to`, which is made if it is not there; so does a file if
/// `to` is a directory.
pub(super) async fn run(
    container: &Container<'_>,
    from: &PodPath,
    to: &Path,
    progress: Progress,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    let source = split(&from.path);
    // Never an option, whatever the file's name is.
    let member = source.name.map_or(".".to_owned(), |name| format!("./{name}"));
    let command = ["tar", "-cf", "-", "-C", source.directory, &member].map(str::to_owned);
    let connection = container.start(command.to_vec(), false, err).await?;

    let (archive, mut stdout) = duplex(BUFFER);
    let (name, to) = (source.name.map(str::to_owned), to.to_owned());
    let counter = Counter::default();
    let unpacked = tokio::task::spawn_blocking({
        let archive = counter.counting(SyncIoBridge::new(archive));
        move || unpack::unpack(archive, name.as_deref(), &to)
    });
    let mut stderr = Messages::default();
    let received = async {
        let code = streams::carry(connection, input(None), &mut stdout, &mut stderr).await;
        // The archive's end, for the reader.
        drop(stdout);
        code.map_err(explain)
    };
    // An error on this side closes the connection, which ends the command.
    let written = async {
        unpacked
            .await
            .map_err(|error| CommandError::Choice(format!("the files could not be written: {error}")))?
            .map_err(CommandError::from)
    };
    let both = async { tokio::try_join!(received, written) };
    let both = progress.during(|| counter.reached(), err, both).await;
    stderr.report(err)?;
    let (code, skipped) = both?;
    skipped.report(err)?;
    check_tar(code)
}
