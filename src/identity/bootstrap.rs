//! The node's first certificate: requested with the credentials of the bootstrap kubeconfig, whose cluster the node's
//! own kubeconfig then names.
//!
//! The certificate is stored before the kubeconfig is written: an agent that was killed in between finds the
//! certificate and asks the cluster whether it accepts it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::Settings;
use super::cause::{Cause, cause, text};
use super::certificate::{Certificate, certificates};
use super::client;
use super::client_error::ClientError;
use super::files::FileError;
use super::kubeconfig::{self, Stated};
use super::request::Purpose;
use super::selection::{Choice, Offer, choose};
use super::signing::{self, SigningError};
use super::store::StoreError;

/// Why the node has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A kubeconfig cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There are no credentials to start with.
    #[error(
        "the node's certificate {why}, and there is no bootstrap kubeconfig to request another one with; join the \
         cluster with `gantry join`, or set --bootstrap-kubeconfig to an existing file ({} does not exist)",
        bootstrap.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    )]
    Nothing {
        /// What is wrong with the certificate.
        why: String,
        /// The missing bootstrap kubeconfig.
        bootstrap: Option<PathBuf>,
    },
    /// The credentials of the bootstrap kubeconfig are not accepted.
    #[error(
        "the API server does not accept the token in {}: it has expired or belongs to another cluster; create one \
         with `kubeadm token create` on the control plane and join again",
        path.display()
    )]
    Token {
        /// The bootstrap kubeconfig.
        path: PathBuf,
    },
    /// No certificate was issued.
    #[error(transparent)]
    Signing(SigningError),
    /// The certificate cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kubeconfig cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The state of the node's credentials.
#[derive(Debug)]
pub enum CredentialState {
    /// The kubeconfig can be used.
    Ready,
    /// There is none, or its certificate cannot be used any more; the reason, as the end of a sentence.
    Needed(String),
}

/// What the files say; no request is sent. The error is an unreadable kubeconfig without a bootstrap kubeconfig to
/// start over with.
pub fn credential_state(settings: &Settings, now: Timestamp) -> Result<CredentialState, ClientError> {
    let can_begin = settings.bootstrap.as_ref().is_some_and(|path| path.exists());
    if !settings.kubeconfig.exists() {
        return match can_begin || settings.bootstrap.is_some() {
            true => Ok(CredentialState::Needed("does not exist".to_owned())),
            // Reading the kubeconfig gives a better error.
            false => kubeconfig::read(&settings.kubeconfig).map(|_| CredentialState::Ready),
        };
    }
    let stated = match kubeconfig::read(&settings.kubeconfig) {
        Ok(stated) => stated,
        Err(error) if can_begin => return Ok(CredentialState::Needed(format!("cannot be found: {error}"))),
        Err(error) => return Err(error),
    };
    if !stated.has_certificate() {
        return Ok(CredentialState::Ready);
    }
    Ok(match chosen(settings, &stated, now) {
        Choice::None(why) => CredentialState::Needed(why),
        _ => CredentialState::Ready,
    })
}

/// The certificate to use with a kubeconfig.
pub(super) fn chosen(settings: &Settings, stated: &Stated, now: Timestamp) -> Choice {
    let own = stated.certificate();
    // The writer of a file logs that the file cannot be used.
    let stored = settings.store().read().ok().flatten();
    let authorities = authorities(stated);
    let offer = Offer {
        stated: own.as_ref(),
        stored: stored.as_ref().filter(|_| settings.renewal == super::Renewal::On),
        authorities: &authorities,
        node: &settings.node,
    };
    choose(&offer, now)
}

fn authorities(stated: &Stated) -> Vec<Certificate> {
    let text = stated.authorities().unwrap_or_default();
    certificates(&text).unwrap_or_default()
}

/// Gets the node a certificate and a kubeconfig because the existing ones cannot be used: `why`, as the end of a
/// sentence.
pub async fn bootstrap(settings: &Settings, why: &str) -> Result<(), BootstrapError> {
    let Some(path) = settings.bootstrap.as_deref().filter(|path| path.exists()) else {
        return Err(BootstrapError::Nothing {
            why: why.to_owned(),
            bootstrap: settings.bootstrap.clone(),
        });
    };
    let begin = kubeconfig::read(path)?;
    let store = settings.store();
    if !settings.kubeconfig.exists() && adopt(settings, &begin).await? {
        tracing::info!(certificate = %store.current().display(), "using the existing node certificate");
        return Ok(());
    }
    tracing::info!(with = %path.display(), "the node's certificate {why}; requesting a new one");
    let client = client::make(begin.whole(), path).await?;
    let obtained = signing::obtain(
        &client,
        &store,
        &settings.node,
        &Purpose::Client,
        settings.patience,
    )
    .await;
    let stored = obtained.map_err(|error| match error {
        SigningError::Credentials(_) => BootstrapError::Token {
            path: path.to_owned(),
        },
        other => BootstrapError::Signing(other),
    })?;
    kubeconfig::write(&settings.kubeconfig, &begin.for_node(&store.current()))?;
    tracing::info!(until = %stored.not_after, "node certificate issued");
    Ok(())
}

/// Whether a stored certificate without a kubeconfig belongs to this cluster; if so, writes the kubeconfig for it. The
/// certificate may come from an interrupted bootstrap or from another cluster.
async fn adopt(settings: &Settings, begin: &Stated) -> Result<bool, FileError> {
    let store = settings.store();
    let stored = match store.read() {
        Ok(Some(stored)) if !stored.is_over(Timestamp::now()) => stored,
        _ => return Ok(false),
    };
    let own = format!("system:node:{}", settings.node);
    let answer = match stored.common_name == own {
        true => recognition(begin, &store.current(), &settings.node).await,
        false => Recognition::Stranger(format!("it belongs to {}", stored.common_name)),
    };
    match answer {
        Recognition::Known => {
            kubeconfig::write(&settings.kubeconfig, &begin.for_node(&store.current()))?;
            Ok(true)
        }
        Recognition::Stranger(why) => {
            tracing::warn!(
                certificate = %store.current().display(),
                "ignoring an existing certificate of another cluster or node ({why})"
            );
            Ok(false)
        }
        Recognition::Unasked(_) => Ok(false),
    }
}

/// Whether an API server accepts the node's certificate.
#[derive(Debug)]
pub(super) enum Recognition {
    /// It accepts the certificate.
    Known,
    /// It does not, or its certificate is not signed by the certificate authority in the kubeconfig; the reason.
    Stranger(String),
    /// It does not answer, and why.
    Unasked(String),
}

/// Presents a certificate to the API server of a kubeconfig.
async fn recognition(stated: &Stated, pair: &Path, node: &str) -> Recognition {
    match client::make(stated.with_pair(pair), stated.path()).await {
        Ok(client) => recognized(&client, node).await,
        Err(error) => Recognition::Unasked(error.to_string()),
    }
}

/// Reads something from the API server that every node may read.
pub(super) async fn recognized(client: &kube::Client, node: &str) -> Recognition {
    match Api::<Node>::all(client.clone()).get_metadata_opt(node).await {
        Ok(_) => Recognition::Known,
        Err(error) => match (cause(&error), &error) {
            (Cause::Credentials | Cause::Untrusted, _) => Recognition::Stranger(text(&error)),
            // A caller that gets Forbidden was authenticated first.
            (Cause::Other, kube::Error::Api(status)) if status.code == 403 => Recognition::Known,
            (Cause::Other, _) => Recognition::Unasked(text(&error)),
        },
    }
}
