//! What keeps a machine from joining a cluster, each with what to type next.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::identity::ca_pin::NotACaPin;
use crate::identity::client_error::ClientError;
use crate::identity::discovery::DiscoveryError;
use crate::identity::files::FileError;
use crate::identity::store::StoreError;
use crate::identity::token::NotAToken;

/// Why the machine is no node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token is none.
    #[error(transparent)]
    Token(#[from] NotAToken),
    /// The pin is none.
    #[error(transparent)]
    CaPin(#[from] NotACaPin),
    /// What was given is not enough, or too much.
    #[error("{0}")]
    Asked(&'static str),
    /// It is one already.
    #[error("this machine is a node already: {} is there; `gantry reset` makes it none", .0.display())]
    Joined(PathBuf),
    /// A kubelet does what we would do.
    #[error(
        "a kubelet runs on this machine: stop it with `systemctl disable --now kubelet`, then join again"
    )]
    Kubelet,
    /// Another cluster's certificate authority is there.
    #[error("{} is another cluster's CA; `gantry reset` removes it", .0.display())]
    Authority(PathBuf),
    /// The cluster was not found, or is not trusted.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The credentials make no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster does not accept the token.
    #[error(
        "the API server does not accept the token ({0}): it has expired, or may not be used to join; on the control \
         plane, `kubeadm token create --print-join-command` makes one that may"
    )]
    Refused(String),
    /// A node of this name is there and lives.
    #[error(
        "the cluster has a node named {0} that is Ready: give this machine another name with --node-name, or remove the \
         other one with `kubectl delete node {0}`"
    )]
    Taken(String),
    /// The name is none.
    #[error("{0:?} is no name of a node: write lower-case letters, digits, - and . with --node-name")]
    Name(String),
    /// The cluster does not tell how its nodes are configured.
    #[error(
        "the ConfigMap {name} of kube-system cannot be read ({why}); gantry joins clusters that kubeadm made; on the \
         control plane, look with `kubectl -n kube-system get configmap {name}`"
    )]
    Settings {
        /// The ConfigMap.
        name: &'static str,
        /// What was answered.
        why: String,
    },
    /// The control plane is of a version that we are no node of.
    #[error(
        "the control plane is {0}; this gantry is a node of v1.33 to v1.36, and of clusters up to three minors newer"
    )]
    Version(String),
    /// What the cluster wants of its nodes is not there.
    #[error(
        "the cluster's kubelet configuration cannot be run with; change it in the ConfigMap kubelet-config, or here"
    )]
    Config(#[source] ConfigError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What another cluster left cannot be removed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// systemd does not do what it was asked for.
    #[error("`{command}` failed: {said}")]
    Systemd {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// The agent has no certificate in time.
    #[error("the agent got no certificate within {0} seconds; `journalctl -u gantry` says why")]
    NoCertificate(u64),
    /// The agent stopped.
    #[error("the agent stopped; `journalctl -u gantry` says why")]
    Stopped,
    /// It has joined, and something is missing.
    #[error(
        "this machine has joined as {name}, but is not Ready ({why}); look with `gantry get node`, `gantry doctor` and \
         `journalctl -u gantry`"
    )]
    NotReady {
        /// The node.
        name: String,
        /// What it says.
        why: String,
    },
    /// A person has ended it.
    #[error("interrupted")]
    Interrupted,
    /// Nothing can be told.
    #[error("standard output cannot be written")]
    Output(#[from] std::io::Error),
}
