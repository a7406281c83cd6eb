//! What can go wrong on the way to a cluster, each with the command to fix it.

use crate::identity::ca_pin::CaPin;
use crate::identity::client_error::ClientError;
use crate::identity::signature::NotSigned;

/// Why a cluster is not trusted, or not found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The address is not valid.
    #[error("{0:?} is not a valid API server address; use host:port, for example 192.0.2.10:6443")]
    Endpoint(String),
    /// Nothing answers, or something that is not an API server.
    #[error(
        "no API server answers at {endpoint} ({why}); check the address, and try `curl -k https://{endpoint}/livez`"
    )]
    Unreachable {
        /// The address.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// It has no public cluster-info.
    #[error(
        "the API server at {endpoint} has no public cluster-info ({why}); on the control plane, create it with \
         `kubeadm init phase bootstrap-token`"
    )]
    NoClusterInfo {
        /// The address.
        endpoint: String,
        /// Its answer.
        why: String,
    },
    /// The clocks are too far apart for certificates and tokens.
    #[error(
        "this machine's clock is {seconds} seconds {} the control plane's; set it with `timedatectl set-ntp true`, then \
         join again",
        if *is_behind { "behind" } else { "ahead of" }
    )]
    Clock {
        /// By how much.
        seconds: u64,
        /// In which direction.
        is_behind: bool,
    },
    /// The cluster does not know the token.
    #[error(
        "the cluster does not know the token {id}.…: it has expired or belongs to another cluster; on the control \
         plane, create one with `kubeadm token create --print-join-command`"
    )]
    UnknownToken {
        /// The token's id.
        id: String,
    },
    /// The server does not know the token's secret.
    #[error(
        "the cluster at {endpoint} cannot be trusted: {why}; compare the token with `kubeadm token list` on the \
         control plane"
    )]
    Forged {
        /// The address.
        endpoint: String,
        /// What is wrong with the signature.
        why: NotSigned,
    },
    /// The certificate authority is not the pinned one.
    #[error(
        "the CA of the cluster at {endpoint} is not the pinned one but {}; if the address is right, copy the hash \
         from `kubeadm token create --print-join-command` on the control plane",
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    CaPin {
        /// The address.
        endpoint: String,
        /// The pins that would match.
        found: Vec<CaPin>,
    },
    /// Something in between answers for the API server.
    #[error(
        "the certificate of the API server at {endpoint} is not signed by its cluster's CA ({why}); check that the \
         address is the control plane's or that of a load balancer that passes TLS through"
    )]
    Untrusted {
        /// The address.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// It gave two different answers.
    #[error(
        "the API server at {0} gave a different answer over verified TLS; the connection may be intercepted; try \
         again"
    )]
    Differs(String),
    /// Its cluster-info cannot be parsed.
    #[error("the cluster-info of {endpoint} cannot be used: {what}")]
    Malformed {
        /// The address, or the file.
        endpoint: String,
        /// What is missing or wrong.
        what: String,
    },
    /// The discovery file cannot be used.
    #[error(transparent)]
    File(#[from] ClientError),
    /// A discovery file at an address without TLS, where anything in between could answer.
    #[error("{0} is not secure; use an https:// address, or download the file and give its path")]
    Plain(String),
    /// A discovery file cannot be downloaded.
    #[error("the discovery file at {url} cannot be used: {why}")]
    Unfetched {
        /// The address.
        url: String,
        /// What is wrong.
        why: String,
    },
}
