//! Validates the arguments: how to find the cluster, and the node's name.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::JoinError;
use crate::config::resolve::is_subdomain;
use crate::identity::ca_pin::CaPin;
use crate::identity::discovery::{self, Cluster, Trust};
use crate::identity::token::Token;

/// What was requested.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The API server, host:port.
    pub endpoint: Option<String>,
    /// The bootstrap token.
    pub token: Option<String>,
    /// Pins of the cluster's CA.
    pub pins: Vec<String>,
    /// The cluster is trusted if it knows the token.
    pub unsafe_skip: bool,
    /// A kubeconfig with the cluster's address.
    pub discovery_file: Option<PathBuf>,
    /// The node's name, if not the host's.
    pub node_name: Option<String>,
}

/// What is known without contacting the cluster.
pub(super) struct Plan {
    /// The node's name.
    pub(super) name: String,
    way: Way,
}

/// How the cluster is found.
enum Way {
    Token {
        endpoint: String,
        token: Token,
        trust: Trust,
    },
    File {
        path: PathBuf,
        token: Option<Token>,
    },
}

impl Plan {
    /// Validates the arguments.
    pub(super) fn of(asked: &Asked, hostname: &str) -> Result<Plan, JoinError> {
        let token: Option<Token> = asked.token.as_deref().map(str::parse).transpose()?;
        let name = asked
            .node_name
            .as_deref()
            .unwrap_or(hostname)
            .trim()
            .to_lowercase();
        if !is_subdomain(&name) {
            return Err(JoinError::Name(name));
        }
        let way = match (&asked.discovery_file, &asked.endpoint) {
            (Some(path), None) => Way::File {
                path: path.clone(),
                token,
            },
            (Some(_), Some(_)) => {
                return Err(JoinError::Asked(
                    "the discovery file already has the cluster's address: omit the address",
                ));
            }
            (None, None) => {
                return Err(JoinError::Asked(
                    "the API server's address is missing; copy the line that `kubeadm token create \
                     --print-join-command` prints on the control plane, and write gantry instead of kubeadm",
                ));
            }
            (None, Some(endpoint)) => Way::Token {
                endpoint: endpoint.clone(),
                token: token.ok_or(JoinError::Asked(
                    "--token is missing; on the control plane, create one with `kubeadm token create \
                     --print-join-command`",
                ))?,
                trust: trust(asked)?,
            },
        };
        Ok(Plan { name, way })
    }

    /// The cluster, and the credentials for it: the `user` of a kubeconfig.
    pub(super) async fn discover(&self, patience: Duration) -> Result<(Cluster, Value), JoinError> {
        let by = |token: &Token| json!({ "token": token.whole() });
        match &self.way {
            Way::Token {
                endpoint,
                token,
                trust,
            } => Ok((
                discovery::by_token(endpoint, token, trust, patience).await?,
                by(token),
            )),
            Way::File { path, token } => {
                let found = discovery::by_file(path).await?;
                let user = token.as_ref().map(by).or(found.user);
                let user = user.ok_or(JoinError::Asked(
                    "the discovery file has no credentials: add --token",
                ))?;
                Ok((found.cluster, user))
            }
        }
    }
}

fn trust(asked: &Asked) -> Result<Trust, JoinError> {
    let pins: Vec<CaPin> = asked
        .pins
        .iter()
        .map(|pin| pin.parse())
        .collect::<Result<_, _>>()?;
    match (pins.is_empty(), asked.unsafe_skip) {
        (false, _) => Ok(Trust::Pins(pins)),
        (true, true) => Ok(Trust::Token),
        (true, false) => Err(JoinError::Asked(
            "--discovery-token-ca-cert-hash is missing: without it, any machine that has the token could \
             impersonate the cluster; copy it from `kubeadm token create --print-join-command`, or use \
             --discovery-token-unsafe-skip-ca-verification",
        )),
    }
}
