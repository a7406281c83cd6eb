//! What can go wrong on the way to a cluster, each with what to type next.

use crate::identity::ca_pin::CaPin;
use crate::identity::client_error::ClientError;
use crate::identity::signature::NotSigned;

/// Why a cluster is not trusted, or not found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The address is none.
    #[error("{0:?} is no address of an API server; write host:port, like 192.0.2.10:6443")]
    Endpoint(String),
    /// Nothing answers, or something else.
    #[error(
        "no API server answers at {endpoint} ({why}); check the address, and try `curl -k https://{endpoint}/livez`"
    )]
    Unreachable {
        /// The address.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// It does not say what it is.
    #[error(
        "the API server at {endpoint} has no cluster-info for everybody to read ({why}); on the control plane, \
         `kubeadm init phase bootstrap-token` makes it"
    )]
    NoClusterInfo {
        /// The address.
        endpoint: String,
        /// What it answered.
        why: String,
    },
    /// The clocks are too far apart for certificates and tokens.
    #[error(
        "this machine's clock is {seconds} seconds {} the control plane's; set it with `timedatectl set-ntp true`, then \
         join again",
        if *is_behind { "behind" } else { "ahead of" }
    )]
    Clock {
        /// How far.
        seconds: u64,
        /// Which way.
        is_behind: bool,
    },
    /// The cluster does not know the token.
    #[error(
        "the token {id}.… is not known to the cluster: it has expired, or is another cluster's; on the control plane, \
         `kubeadm token create --print-join-command` makes one"
    )]
    UnknownToken {
        /// The token's id.
        id: String,
    },
    /// The other side does not know the token's secret.
    #[error(
        "the cluster at {endpoint} cannot be trusted, {why}; compare the token with `kubeadm token list` on the control \
         plane"
    )]
    Forged {
        /// The address.
        endpoint: String,
        /// What is wrong with the signature.
        why: NotSigned,
    },
    /// The certificate authority is another one.
    #[error(
        "the CA of the cluster at {endpoint} is not the pinned one, but {}; if the address is right, copy the hash from \
         `kubeadm token create --print-join-command` on the control plane",
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    CaPin {
        /// The address.
        endpoint: String,
        /// The pins that would be right.
        found: Vec<CaPin>,
    },
    /// Something between us and the API server answers in its place.
    #[error(
        "the API server at {endpoint} has no certificate of its cluster's CA ({why}); check that the address is the \
         control plane's own, or of a load balancer that passes TLS through"
    )]
    Untrusted {
        /// The address.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// It tells two stories.
    #[error(
        "the API server at {0} told something else over TLS than before; something stands between, try again"
    )]
    Differs(String),
    /// What it says cannot be understood.
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
    /// A discovery file behind an address that anybody between could answer for.
    #[error("{0} is not secure; give an address that begins with https://, or download it and give the file")]
    Plain(String),
    /// A discovery file behind an address cannot be had.
    #[error("the discovery file at {url} cannot be used: {why}")]
    Unfetched {
        /// The address.
        url: String,
        /// What is wrong.
        why: String,
    },
}
