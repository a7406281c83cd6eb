//! What an error of the client means, for those who tell a person of it.

use std::error::Error;

use crate::model::error_chain::chain;

/// Why the API server gave no answer that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It does not accept our credentials (401).
    Credentials,
    /// What answers has a certificate that our CA did not sign, or that is of another name or time.
    Untrusted,
    /// It answers something else, or does not answer.
    Other,
}

/// What an error means.
pub(super) fn cause(error: &kube::Error) -> Cause {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => Cause::Credentials,
            _ => Cause::Other,
        };
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if is_about_certificate(error) {
            return Cause::Untrusted;
        }
        source = error.source();
    }
    Cause::Other
}

fn is_about_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // Errors of input and output do not name what they wrap as their source, and are wrapped in each other here.
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_about_certificate(wrapped))
}

/// An error of the client in one line, down to its first cause.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.lines().next().unwrap_or_default().to_owned(),
        kube::Error::Service(error) => chain(error.as_ref()),
        error => chain(error),
    }
}
