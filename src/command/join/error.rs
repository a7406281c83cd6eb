//! Why a machine cannot join a cluster, each with the next command to run.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::identity::ca_pin::NotACaPin;
use crate::identity::client_error::ClientError;
use crate::identity::discovery::DiscoveryError;
use crate::identity::files::FileError;
use crate::identity::store::StoreError;
use crate::identity::token::InvalidToken;

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token is malformed.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The CA hash is malformed.
    #[error(transparent)]
    CaPin(#[from] NotACaPin),
    /// Arguments are missing or contradict each other.
    #[error("{0}")]
    Asked(&'static str),
    /// It is already a node.
    #[error("this machine is a node already: {} exists; run `gantry reset` to undo that", .0.display())]
    Joined(PathBuf),
    /// A kubelet runs on this machine.
    #[error(
        "a kubelet is running on this machine: stop it with `systemctl disable --now kubelet`, then join again"
    )]
    Kubelet,
    /// The certificate authority of another cluster exists.
    #[error("{} is the CA of another cluster; `gantry reset` removes it", .0.display())]
    Authority(PathBuf),
    /// The cluster was not found, or is not trusted.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// No client can be created from the credentials.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster does not accept the token.
    #[error(
        "the API server does not accept the token ({0}): it has expired, or may not be used to join; on the control \
         plane, create a new one with `kubeadm token create --print-join-command`"
    )]
    Refused(String),
    /// A node of this name exists and is Ready.
    #[error(
        "the cluster already has a node named {0} that is Ready: give this machine another name with --node-name, \
         or remove the other node with `kubectl delete node {0}`"
    )]
    Taken(String),
    /// The node name is invalid.
    #[error("{0:?} is not a valid node name: use lower-case letters, digits, - and . with --node-name")]
    Name(String),
    /// The cluster's kubelet configuration cannot be read.
    #[error(
        "cannot read the ConfigMap {name} in kube-system ({why}); gantry only joins clusters created by kubeadm; on \
         the control plane, check it with `kubectl -n kube-system get configmap {name}`"
    )]
    Settings {
        /// The ConfigMap.
        name: &'static str,
        /// What was answered.
        why: String,
    },
    /// gantry does not support the version of the control plane.
    #[error(
        "the control plane runs {0}; this gantry can be a node of v1.33 to v1.36, and of clusters up to three minor \
         versions newer"
    )]
    Version(String),
    /// The cluster's kubelet configuration is not supported.
    #[error(
        "cannot run with the cluster's kubelet configuration; change it in the ConfigMap kubelet-config, or on this \
         machine"
    )]
    Config(#[source] ConfigError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Leftovers of another cluster cannot be removed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A systemctl command failed.
    #[error("`{command}` failed: {said}")]
    Systemd {
        /// What was run.
        command: String,
        /// Its output.
        said: String,
    },
    /// The agent got no certificate in time.
    #[error("the agent got no certificate within {0} seconds; see `journalctl -u gantry` for the reason")]
    NoCertificate(u64),
    /// The agent stopped.
    #[error("the agent stopped; see `journalctl -u gantry` for the reason")]
    Stopped,
    /// It has joined, but is not Ready in time.
    #[error(
        "this machine has joined as {name}, but is not Ready ({why}); see `gantry get node`, `gantry doctor` and \
         `journalctl -u gantry`"
    )]
    NotReady {
        /// The node.
        name: String,
        /// Why.
        why: String,
    },
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// The progress cannot be printed.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}
