//! Has a certificate signed through the API server: asks, waits for the answer, and stores it.
//!
//! Each step may be the last before the agent is killed: the key is on disk before it is used, and goes when the
//! certificate is stored. So the next life finds the request under its name.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::cause::{Cause, cause, text};
use super::certificate::Certificate;
use super::key::{Key, KeyError};
use super::request::{self, Answer, Purpose};
use super::store::{Store, StoreError};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The request cannot be made.
    #[error("no request for a certificate can be made")]
    Make(#[source] rcgen::Error),
    /// The API server does not know us.
    #[error("the API server does not accept the credentials: {0}")]
    Credentials(String),
    /// The API server does not take the request, or is away.
    #[error("the API server does not take the request for a certificate: {0}")]
    Refused(String),
    /// Somebody else's request has our name.
    #[error("a request named {0} is there and is not this node's; `kubectl delete csr {0}` makes room")]
    Foreign(String),
    /// Somebody has said no.
    #[error("the request {name} was denied ({why}); `kubectl delete csr {name}` has it asked anew")]
    Denied {
        /// The request.
        name: String,
        /// What was said.
        why: String,
    },
    /// The signer could not.
    #[error("the request {name} could not be signed ({why}); `kubectl delete csr {name}` has it asked anew")]
    Failed {
        /// The request.
        name: String,
        /// What was said.
        why: String,
    },
    /// The certificate cannot be stored, or is not one of our key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was removed before it was answered.
    #[error("the request {0} was removed before it was answered")]
    Removed(String),
    /// Nobody has answered.
    #[error(
        "the request {name} is not answered; see `kubectl get csr`, and approve it with \
         `kubectl certificate approve {name}` where nobody does{}",
        trouble.as_ref().map(|trouble| format!(" (last trouble: {trouble})")).unwrap_or_default()
    )]
    Unanswered {
        /// The request.
        name: String,
        /// What went wrong while waiting, if anything.
        trouble: Option<String>,
    },
}

/// Has a certificate of a new key signed and puts it in force: one for a client or one to serve with. What an earlier
/// life has asked for and not got is waited for, no longer than `patience`.
pub async fn obtain(
    client: &kube::Client,
    store: &Store,
    node: &str,
    purpose: &Purpose,
    patience: Duration,
) -> Result<Certificate, SigningError> {
    let key = store.pending_key()?;
    let asked = request::request(&key, node, purpose).map_err(SigningError::Make)?;
    let name = asked.metadata.name.clone().unwrap_or_default();
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    ask(&api, &asked, &name, &key).await?;
    let mut trouble = None;
    let waiting = wait(&api, &name, &mut trouble);
    let chain = match tokio::time::timeout(patience, waiting).await {
        Ok(answered) => answered?,
        Err(_) => return Err(SigningError::Unanswered { name, trouble }),
    };
    let stored = store.update(&chain, &key.pem(), Timestamp::now())?;
    store.settle().map_err(StoreError::from)?;
    Ok(stored)
}

fn refused(error: &kube::Error) -> SigningError {
    match cause(error) {
        Cause::Credentials => SigningError::Credentials(text(error)),
        _ => SigningError::Refused(text(error)),
    }
}

async fn ask(
    api: &Api<CertificateSigningRequest>,
    asked: &CertificateSigningRequest,
    name: &str,
    key: &Key,
) -> Result<(), SigningError> {
    match api.create(&PostParams::default(), asked).await {
        Ok(_) => {
            tracing::info!(request = name, "a certificate is asked for");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let there = api.get(name).await.map_err(|error| refused(&error))?;
            if !request::is_ours(&there, asked, key) {
                return Err(SigningError::Foreign(name.to_owned()));
            }
            tracing::info!(
                request = name,
                "a certificate was asked for already: its answer is waited for"
            );
            Ok(())
        }
        Err(error) => Err(refused(&error)),
    }
}

async fn wait(
    api: &Api<CertificateSigningRequest>,
    name: &str,
    trouble: &mut Option<String>,
) -> Result<Vec<u8>, SigningError> {
    let mut told = watcher::watch_object(api.clone(), name).default_backoff().boxed();
    while let Some(next) = told.next().await {
        let request = match next {
            Ok(Some(request)) => request,
            Ok(None) => return Err(SigningError::Removed(name.to_owned())),
            Err(error) => {
                // It is watched again by itself.
                *trouble = Some(error.to_string().lines().next().unwrap_or_default().to_owned());
                continue;
            }
        };
        let name = name.to_owned();
        match request::answer(&request) {
            Answer::Waiting => {}
            Answer::Denied(why) => return Err(SigningError::Denied { name, why }),
            Answer::Failed(why) => return Err(SigningError::Failed { name, why }),
            Answer::Issued(chain) => return Ok(chain),
        }
    }
    Err(SigningError::Removed(name.to_owned()))
}
