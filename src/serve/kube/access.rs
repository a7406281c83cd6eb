//! Who may use the endpoint: a client that knows the token; the token is in a file that root may read, and a group if one is set.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use crate::serve::answer::Refusal;
use crate::serve::port::Seat;

/// What the endpoint proves itself with, and what its clients do.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate, as PEM.
    pub certificate: Vec<u8>,
    /// Its key, as PEM.
    pub key: Vec<u8>,
    /// The token that clients send.
    pub token: String,
}

/// The check of each request.
#[derive(Clone)]
pub(super) struct Access(Arc<[u8; 32]>);

impl Access {
    pub(super) fn new(credentials: &Credentials) -> Access {
        Access(Arc::new(Sha256::digest(&credentials.token).into()))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = bearer(headers) else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(token).into();
        // All bytes are compared, so that the time says nothing about where they differ.
        let differences = given.iter().zip(self.0.iter()).map(|(a, b)| a ^ b);
        std::hint::black_box(differences.fold(0, |all, one| all | one)) == 0
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Passes a request on, or rejects it.
pub(super) async fn pass(
    State(access): State<Access>,
    seat: Option<Extension<Arc<Seat>>>,
    request: Request,
    next: Next,
) -> Response {
    if !access.admits(request.headers()) {
        let close = [(header::CONNECTION, "close")];
        return (close, Refusal::Unauthorized).into_response();
    }
    if let Some(Extension(seat)) = seat {
        seat.recognise();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_admits() {
        let access = Access::new(&Credentials {
            certificate: Vec::new(),
            key: Vec::new(),
            token: "secret".to_owned(),
        });
        let check = |value: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(access.admits(&headers), expected, "{value:?}");
        };
        check(Some("Bearer secret"), true);
        check(Some("bearer  secret "), true);
        check(Some("Bearer secre"), false);
        check(Some("Bearer secrets"), false);
        check(Some("Bearer "), false);
        check(Some("Basic secret"), false);
        check(Some("secret"), false);
        check(None, false);
    }
}
