//! `gantry kubeconfig`: prints the kubeconfig with which kubectl works on this machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CommandError, print};
use crate::identity::kubectl_file;

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum KubeconfigError {
    #[error(
        "there is no {}: start the agent with `systemctl start gantry` or `gantry run`; on a node of a cluster, or with \
         kubectlPort 0, it serves no kubectl",
        path.display()
    )]
    Missing { path: PathBuf, source: io::Error },
    #[error(
        "only root, and the group of kubectlGroup if it is set, may read {}: try again with sudo",
        path.display()
    )]
    Closed { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Unread { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] CommandError),
}

/// Prints the file beside the agent's socket.
pub fn run(socket: &Path, out: &mut impl Write) -> Result<(), KubeconfigError> {
    let path = socket.with_file_name(kubectl_file::NAME);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KubeconfigError::Missing { path, source },
        io::ErrorKind::PermissionDenied => KubeconfigError::Closed { path, source },
        _ => KubeconfigError::Unread { path, source },
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
        assert!(missing.contains("start the agent"), "{missing}");
        std::fs::write(directory.path().join("kubeconfig"), "text\n").unwrap();
        let mut out = Vec::new();
        run(&socket, &mut out).unwrap();
        assert_eq!(out, b"text\n");
    }
}
