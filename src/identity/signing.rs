//! Gets a certificate signed through the API server: requests it, waits for the answer, and stores it.
//!
//! The agent may be killed after each step: the key is on disk before it is used, and is removed once the certificate
//! is stored. So the next run finds the request under its name.

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
    /// The request cannot be created.
    #[error("cannot create a certificate signing request")]
    Make(#[source] rcgen::Error),
    /// The API server does not accept the node's credentials.
    #[error("the API server does not accept the credentials: {0}")]
    Credentials(String),
    /// The API server rejects the request or is unreachable.
    #[error("the API server rejects the certificate signing request: {0}")]
    Refused(String),
    /// A request with this name exists and is not this node's.
    #[error(
        "a certificate signing request named {0} exists but is not this node's; remove it with `kubectl delete \
     csr {0}`"
    )]
    Foreign(String),
    /// The request was denied.
    #[error(
        "the certificate signing request {name} was denied ({why}); to request it again, run `kubectl delete \
     csr {name}`"
    )]
    Denied {
        /// The request.
        name: String,
        /// The reason given.
        why: String,
    },
    /// The signer failed.
    #[error(
        "the certificate signing request {name} could not be signed ({why}); to request it again, run `kubectl \
     delete csr {name}`"
    )]
    Failed {
        /// The request.
        name: String,
        /// The reason given.
        why: String,
    },
    /// The certificate cannot be stored, or does not match the key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was removed before it was answered.
    #[error("the certificate signing request {0} was removed before it was signed")]
    Removed(String),
    /// The request is still pending.
    #[error(
        "the certificate signing request {name} is still pending; see `kubectl get csr`, and if nothing approves \
         it, run `kubectl certificate approve {name}`{}",
        trouble.as_ref().map(|trouble| format!(" (last error: {trouble})")).unwrap_or_default()
    )]
    Unanswered {
        /// The request.
        name: String,
        /// The last error while waiting, if any.
        trouble: Option<String>,
    },
}

/// Gets a certificate for a new key signed and activates it: a client certificate or a serving certificate. A request
/// that an earlier run made and got no answer to is waited for. Waits no longer than `patience`.
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
            tracing::info!(request = name, "requesting a certificate");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let there = api.get(name).await.map_err(|error| refused(&error))?;
            if !request::is_ours(&there, asked, key) {
                return Err(SigningError::Foreign(name.to_owned()));
            }
            tracing::info!(
                request = name,
                "a certificate was already requested; waiting for it"
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
    let mut changes = watcher::watch_object(api.clone(), name).default_backoff().boxed();
    while let Some(next) = changes.next().await {
        let request = match next {
            Ok(Some(request)) => request,
            Ok(None) => return Err(SigningError::Removed(name.to_owned())),
            Err(error) => {
                // The watch is restarted automatically.
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
