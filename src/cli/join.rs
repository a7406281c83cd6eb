//! The arguments of `gantry join` and `gantry reset`.

use std::path::PathBuf;

use clap::Args;

/// `gantry join`
#[derive(Debug, Args)]
pub struct Join {
    /// The API server's address, host:port
    pub endpoint: Option<String>,
    /// The bootstrap token
    #[arg(long, alias = "discovery-token")]
    pub token: Option<String>,
    /// The hash of the cluster's CA, sha256:...; may be repeated
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Trust any server that knows the token
    #[arg(long)]
    pub discovery_token_unsafe_skip_ca_verification: bool,
    /// A kubeconfig file, or its https:// URL, with the cluster's address and CA; replaces the address and the hash
    #[arg(long, value_name = "FILE")]
    pub discovery_file: Option<PathBuf>,
    /// The node's name, if it is not the host name
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
}

/// `gantry reset`
#[derive(Debug, Args)]
pub struct Reset {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}
