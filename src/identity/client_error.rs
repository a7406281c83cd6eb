//! Why there is no client of the API server.

use std::path::{Path, PathBuf};

use kube::config::KubeconfigError;

use super::exec::ExecError;

/// Why there is no client. None repeats what the file holds, which may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file is not there or cannot be understood.
    #[error(
        "the kubeconfig {} cannot be used; check the file, or leave --kubeconfig away to run without an API server",
        path.display()
    )]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// It is no kubeconfig. What is written there may be secret, so where it is wrong is told, and not what it says.
    #[error(
        "the kubeconfig {} is not understood{}; look there",
        path.display(),
        line.map(|line| format!(" from line {line} on")).unwrap_or_default()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<u64>,
    },
    /// Something that it needs is not in it.
    #[error("the kubeconfig {} has not what is needed: {what}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// What it says makes no client: certificates, keys, addresses.
    #[error("the kubeconfig {} makes no connection; check its certificates and its server", path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The program that gives the credentials does not.
    #[error("the kubeconfig {} has no credentials", path.display())]
    Exec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ExecError,
    },
    /// It is to be reached through a proxy.
    #[error(
        "the kubeconfig {} (proxy-url) or HTTPS_PROXY asks for a proxy, which this version cannot use; take it away",
        path.display()
    )]
    Proxy {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with a kubeconfig, without what it says.
pub(super) fn wrong(path: &Path, error: KubeconfigError) -> ClientError {
    let path = path.to_owned();
    match error {
        KubeconfigError::Parse(error) => ClientError::Syntax {
            path,
            line: error.location().map(|location| location.line()),
        },
        source => ClientError::Kubeconfig {
            path,
            source: Box::new(source),
        },
    }
}
