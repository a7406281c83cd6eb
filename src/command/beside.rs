//! Files that the agent keeps beside its socket for people.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CommandError, print};

/// A file and what to say when it cannot be read.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// Its name.
    pub name: &'static str,
    /// What to do if there is none.
    pub remedy: &'static str,
    /// Who may read it.
    pub readers: &'static str,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum BesideError {
    #[error("there is no {}: {remedy}", path.display())]
    Missing {
        path: PathBuf,
        remedy: &'static str,
        source: io::Error,
    },
    #[error("only {readers} may read {}: try again with sudo", path.display())]
    Closed {
        path: PathBuf,
        readers: &'static str,
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Unread { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] CommandError),
}

/// Prints the file beside this socket.
pub fn run(socket: &Path, file: &Beside, out: &mut impl Write) -> Result<(), BesideError> {
    let path = socket.with_file_name(file.name);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => BesideError::Missing {
            path,
            remedy: file.remedy,
            source,
        },
        io::ErrorKind::PermissionDenied => BesideError::Closed {
            path,
            readers: file.readers,
            source,
        },
        _ => BesideError::Unread { path, source },
    })?;
    Ok(print(out, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{kubeconfig, peer};

    #[test]
    fn the_file_beside_the_socket_is_printed() {
        for (file, expected) in [
            (kubeconfig::FILE, "start the agent"),
            (peer::FILE, "--peers-file"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("gantry.sock");
            let missing = run(&socket, &file, &mut Vec::new()).unwrap_err().to_string();
            assert!(missing.contains(expected), "{missing}");
            std::fs::write(directory.path().join(file.name), "text\n").unwrap();
            let mut out = Vec::new();
            run(&socket, &file, &mut out).unwrap();
            assert_eq!(out, b"text\n");
        }
        assert_eq!(
            (kubeconfig::FILE.name, peer::FILE.name),
            ("kubeconfig", "peer.yaml")
        );
    }
}
