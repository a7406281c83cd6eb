//! The node's first certificate: asked for with the credentials of the bootstrap kubeconfig, whose cluster the node's
//! own kubeconfig then names.
//!
//! The certificate is stored before the kubeconfig is written: an agent that is killed in between finds it there, and
//! asks the cluster whether it is of it.

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
    /// There is nothing to begin with.
    #[error(
        "the node's certificate {why}, and there is no bootstrap kubeconfig to ask for another one with; \
         join the cluster with `gantry join`, or have --bootstrap-kubeconfig name a file that is there ({} is not)",
        bootstrap.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    )]
    Nothing {
        /// What is wrong with the certificate.
        why: String,
        /// The bootstrap kubeconfig that is not there.
        bootstrap: Option<PathBuf>,
    },
    /// The credentials of the bootstrap kubeconfig are not accepted.
    #[error(
        "the token of {} is not accepted by the API server: it has expired, or is of another cluster; make one with \
         `kubeadm token create` on the control plane and join anew",
        path.display()
    )]
    Token {
        /// The bootstrap kubeconfig.
        path: PathBuf,
    },
    /// No certificate was had.
    #[error(transparent)]
    Signing(SigningError),
    /// What is there cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kubeconfig cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What the node has.
#[derive(Debug)]
pub enum CredentialState {
    /// A kubeconfig that can be used.
    Ready,
    /// None, or one whose certificate cannot be used any more, and why, as the end of a sentence.
    Needed(String),
}

/// What the files say; nothing is asked. An error is a kubeconfig that is there and cannot be read, without another
/// one to begin anew with.
pub fn credential_state(settings: &Settings, now: Timestamp) -> Result<CredentialState, ClientError> {
    let can_begin = settings.bootstrap.as_ref().is_some_and(|path| path.exists());
    if !settings.kubeconfig.exists() {
        return match can_begin || settings.bootstrap.is_some() {
            true => Ok(CredentialState::Needed("is not there".to_owned())),
            // The reading says it better.
            false => kubeconfig::read(&settings.kubeconfig).map(|_| CredentialState::Ready),
        };
    }
    let stated = match kubeconfig::read(&settings.kubeconfig) {
        Ok(stated) => stated,
        Err(error) if can_begin => return Ok(CredentialState::Needed(format!("is not told: {error}"))),
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

/// The certificate that is used with a kubeconfig.
pub(super) fn chosen(settings: &Settings, stated: &Stated, now: Timestamp) -> Choice {
    let own = stated.certificate();
    // A file that cannot be used is told of by who writes there.
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

/// Gets the node a certificate and a kubeconfig, because what is there is not usable: `why`, as the end of a sentence.
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
        tracing::info!(certificate = %store.current().display(), "the certificate that is there is used");
        return Ok(());
    }
    tracing::info!(with = %path.display(), "the node's certificate {why}: one is asked for");
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
    tracing::info!(until = %stored.not_after, "the node has a certificate");
    Ok(())
}

/// Whether a certificate that lies in the store, without a kubeconfig, is of this cluster; then the kubeconfig is
/// written for it. It may be what an interrupted bootstrap stored, or what another cluster left.
async fn adopt(settings: &Settings, begin: &Stated) -> Result<bool, FileError> {
    let store = settings.store();
    let stored = match store.read() {
        Ok(Some(stored)) if !stored.is_over(Timestamp::now()) => stored,
        _ => return Ok(false),
    };
    let own = format!("system:node:{}", settings.node);
    let told = match stored.common_name == own {
        true => recognition(begin, &store.current(), &settings.node).await,
        false => Recognition::Stranger(format!("it is of {}", stored.common_name)),
    };
    match told {
        Recognition::Known => {
            kubeconfig::write(&settings.kubeconfig, &begin.for_node(&store.current()))?;
            Ok(true)
        }
        Recognition::Stranger(why) => {
            tracing::warn!(
                certificate = %store.current().display(),
                "a certificate of another cluster or node is there ({why}): it is not used"
            );
            Ok(false)
        }
        Recognition::Unasked(_) => Ok(false),
    }
}

/// Whether an API server knows us.
#[derive(Debug)]
pub(super) enum Recognition {
    /// It does.
    Known,
    /// It does not, or it is not the one whose certificate authority we have; and what was said.
    Stranger(String),
    /// It does not answer, and why.
    Unasked(String),
}

/// Shows a certificate to the API server of a kubeconfig.
async fn recognition(stated: &Stated, pair: &Path, node: &str) -> Recognition {
    match client::make(stated.with_pair(pair), stated.path()).await {
        Ok(client) => recognized(&client, node).await,
        Err(error) => Recognition::Unasked(error.to_string()),
    }
}

/// Asks the API server for something that every node may read.
pub(super) async fn recognized(client: &kube::Client, node: &str) -> Recognition {
    match Api::<Node>::all(client.clone()).get_metadata_opt(node).await {
        Ok(_) => Recognition::Known,
        Err(error) => match (cause(&error), &error) {
            (Cause::Credentials | Cause::Untrusted, _) => Recognition::Stranger(text(&error)),
            // Who is told that he may not was recognized first.
            (Cause::Other, kube::Error::Api(status)) if status.code == 403 => Recognition::Known,
            (Cause::Other, _) => Recognition::Unasked(text(&error)),
        },
    }
}
