//! What a client error means, for messages to a person.

use std::error::Error;

use crate::model::error_chain::{causes, chain};

/// Why the API server gave no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It does not accept the credentials (401).
    Credentials,
    /// Its certificate is not signed by the CA in the kubeconfig, or is for another name or time.
    Untrusted,
    /// It answers something else, or not at all.
    Other,
}

/// Classifies an error.
pub(super) fn cause(error: &kube::Error) -> Cause {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => Cause::Credentials,
            _ => Cause::Other,
        };
    }
    match is_about_certificate(error) || causes(error).any(is_about_certificate) {
        true => Cause::Untrusted,
        false => Cause::Other,
    }
}

fn is_about_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // I/O errors do not return what they wrap as their source, and are nested here.
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_about_certificate(wrapped))
}

/// A client error in one line, down to its first cause.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.lines().next().unwrap_or_default().to_owned(),
        kube::Error::Service(error) => chain(error.as_ref()),
        error => chain(error),
    }
}
