//! `gantry peer`: prints this machine's entry for the files of peers of other machines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CommandError, print};
use crate::network;

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum PeerError {
    #[error(
        "there is no {}: start the agent with peersFile (or --peers-file) set, which connects the pods of several machines",
        path.display()
    )]
    Missing { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Unread { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] CommandError),
}

/// Prints the file beside the agent's socket.
pub fn run(socket: &Path, out: &mut impl Write) -> Result<(), PeerError> {
    let path = socket.with_file_name(network::ENTRY);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PeerError::Missing { path, source },
        _ => PeerError::Unread { path, source },
    })?;
    Ok(print(out, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_beside_the_socket_is_printed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("gantry.sock");
        let missing = run(&socket, &mut Vec::new()).unwrap_err().to_string();
        assert!(missing.contains("--peers-file"), "{missing}");
        std::fs::write(directory.path().join("peer.yaml"), "name: vm\n").unwrap();
        let mut out = Vec::new();
        run(&socket, &mut out).unwrap();
        assert_eq!(out, b"name: vm\n");
    }
}
