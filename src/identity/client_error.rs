//! Why there is no client of the API server.

use std::path::{Path, PathBuf};

use kube::config::KubeconfigError;

use super::exec::ExecError;

/// Why there is no client. No variant repeats the file's content, which may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file does not exist or cannot be parsed.
    #[error(
        "the kubeconfig {} cannot be used; check the file, or omit --kubeconfig to run without an API server",
        path.display()
    )]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// It is not a kubeconfig. The content may be secret, so the error states where it is wrong, not what it says.
    #[error(
        "cannot parse the kubeconfig {}{}; check its syntax",
        path.display(),
        line.map(|line| format!(", from line {line} on")).unwrap_or_default()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if known.
        line: Option<usize>,
    },
    /// It lacks something that is needed.
    #[error("the kubeconfig {} lacks {what}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Its certificates, keys or addresses do not make a client.
    #[error("cannot create a client from the kubeconfig {}; check its certificates and its server", path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The credential program fails.
    #[error("cannot get credentials for the kubeconfig {}", path.display())]
    Exec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ExecError,
    },
    /// It requires a proxy.
    #[error(
        "the kubeconfig {} (proxy-url) or HTTPS_PROXY sets a proxy, which is not supported; remove it",
        path.display()
    )]
    Proxy {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with a kubeconfig, without its content.
pub(super) fn wrong(path: &Path, error: KubeconfigError) -> ClientError {
    let path = path.to_owned();
    match error {
        KubeconfigError::Parse(_) => ClientError::Syntax { path, line: None },
        source => ClientError::Kubeconfig {
            path,
            source: Box::new(source),
        },
    }
}
