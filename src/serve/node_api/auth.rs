//! Authentication and authorization: callers are identified by a client certificate, by a token that the API server
//! reviews, or not at all, and the API server decides what they may do.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::caller::Caller;
use super::connection::Peer;
use super::permission::{subresources, verb};
use super::ttl_cache::TtlCache;
use crate::counters::Counters;
use crate::model::api::StreamVerb;
use crate::serve::port::Seat;

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of authentication and authorization.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The node's name, which permissions refer to.
    pub node: String,
    /// Whether requests without credentials are authorized as `system:anonymous`.
    pub anonymous: bool,
    /// Whether the API server reviews tokens, and how long a result is cached.
    pub tokens: Option<Duration>,
    /// Whether the API server authorizes requests, and how long a positive and a negative result are cached; without it
    /// every request is allowed.
    pub permissions: Option<(Duration, Duration)>,
    /// The verb that exec, attach, port-forward and run require.
    pub stream_verb: StreamVerb,
    /// `enableDebuggingHandlers`: whether logs and the other debugging endpoints are served.
    pub debugging: bool,
}

/// Authenticates and authorizes requests.
#[derive(Clone)]
pub(super) struct Auth(Arc<Inner>);

struct Inner {
    rules: Rules,
    clients: watch::Receiver<kube::Client>,
    /// Keyed by the hash of the token: tokens themselves are not stored.
    tokens: Mutex<TtlCache<TokenHash, Caller>>,
    /// Invalid tokens have a cache of their own: unauthenticated clients may send any number of them and must not evict
    /// valid ones.
    wrong_tokens: Mutex<TtlCache<TokenHash, ()>>,
    permissions: Mutex<TtlCache<Asked, bool>>,
    counters: Arc<Counters>,
}

type TokenHash = [u8; 32];

/// A request for authorization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    caller: Caller,
    verb: &'static str,
    subresource: &'static str,
}

/// The status of a review that was made.
const CREATED: u16 = 201;

/// Why there is no review.
struct Unreviewed {
    /// The status with which the API server refused.
    status: Option<u16>,
    why: String,
}

/// Why a request is rejected.
enum Closed {
    /// The caller is not authenticated.
    Unknown,
    /// The caller lacks the permission.
    Forbidden(String),
    /// The API server did not answer.
    Unanswered(String),
}

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        match self {
            // Close the connection of a caller that is not, or no longer, authenticated.
            Closed::Unknown => {
                let close = [(header::CONNECTION, "close")];
                (StatusCode::UNAUTHORIZED, close, "Unauthorized").into_response()
            }
            Closed::Forbidden(why) => (StatusCode::FORBIDDEN, why).into_response(),
            Closed::Unanswered(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        }
    }
}

/// Passes a request on, or rejects it.
pub(super) async fn pass(
    State(auth): State<Auth>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(seat): Extension<Arc<Seat>>,
    request: Request,
    next: Next,
) -> Response {
    match auth.0.admit(&peer, &seat, &auth.0.wanted(&request)).await {
        Ok(()) => next.run(request).await,
        Err(closed) => closed.into_response(),
    }
}

/// The parts of a request that matter here.
struct Wanted {
    verb: &'static str,
    subresources: Vec<&'static str>,
    token: Option<String>,
}

/// The bearer token, if there is one.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

impl Auth {
    pub(super) fn new(rules: Rules, clients: watch::Receiver<kube::Client>, counters: Arc<Counters>) -> Auth {
        Auth(Arc::new(Inner {
            rules,
            clients,
            tokens: Mutex::default(),
            wrong_tokens: Mutex::default(),
            permissions: Mutex::default(),
            counters,
        }))
    }
}

impl Inner {
    fn wanted(&self, request: &Request) -> Wanted {
        let path = request.uri().path();
        Wanted {
            verb: verb(request.method(), path, self.rules.stream_verb),
            subresources: subresources(path),
            token: bearer(request.headers()),
        }
    }

    async fn admit(&self, peer: &Peer, seat: &Seat, wanted: &Wanted) -> Result<(), Closed> {
        let caller = self.authenticate(peer, wanted.token.as_deref()).await?;
        if caller != Caller::anonymous() {
            seat.recognise();
        }
        let Some(ttls) = self.rules.permissions else {
            return Ok(());
        };
        for subresource in &wanted.subresources {
            let asked = Asked {
                caller: caller.clone(),
                verb: wanted.verb,
                subresource,
            };
            if self.may(asked, ttls).await? {
                return Ok(());
            }
        }
        let why = format!(
            "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])\n",
            caller.name,
            wanted.verb,
            wanted.subresources.join(" ")
        );
        tracing::debug!(user = caller.name, verb = wanted.verb, "request forbidden");
        Err(Closed::Forbidden(why))
    }

    async fn authenticate(&self, peer: &Peer, token: Option<&str>) -> Result<Caller, Closed> {
        if let Some((caller, valid)) = peer.caller() {
            self.counters.served.authenticated(valid);
            return Ok(caller);
        }
        if let (Some(ttl), Some(token)) = (self.rules.tokens, token) {
            return self.of_token(token, ttl).await;
        }
        match self.rules.anonymous && token.is_none() {
            true => Ok(Caller::anonymous()),
            false => Err(Closed::Unknown),
        }
    }

    async fn of_token(&self, token: &str, ttl: Duration) -> Result<Caller, Closed> {
        let key: TokenHash = Sha256::digest(token.as_bytes()).into();
        let caller = match self.remembered(&key) {
            Some(caller) => caller,
            None => {
                let caller = self.review(token).await?;
                self.remember(key, caller.clone(), ttl);
                caller
            }
        };
        caller.ok_or(Closed::Unknown)
    }

    /// The user of a token that was reviewed recently; `Some(None)`: the token is invalid.
    fn remembered(&self, key: &TokenHash) -> Option<Option<Caller>> {
        let now = Instant::now();
        if let Some(caller) = lock(&self.tokens).get(key, now) {
            return Some(Some(caller));
        }
        lock(&self.wrong_tokens).get(key, now).map(|()| None)
    }

    fn remember(&self, key: TokenHash, caller: Option<Caller>, ttl: Duration) {
        let now = Instant::now();
        match caller {
            Some(caller) => lock(&self.tokens).put(key, caller, ttl, now),
            None => lock(&self.wrong_tokens).put(key, (), ttl, now),
        }
    }

    /// The user of a token; `None`: the token is invalid.
    async fn review(&self, token: &str) -> Result<Option<Caller>, Closed> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let answer = self.ask(&review).await.map_err(|failed| {
            let error = failed.why;
            tracing::warn!("cannot review a client's token: {error}");
            // The kubelet answers the same: a caller that cannot be authenticated is rejected.
            Closed::Unknown
        })?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.unwrap_or_default();
        Ok((status.authenticated == Some(true)).then(|| {
            Caller {
                name: user.username.unwrap_or_default(),
                uid: user.uid.filter(|uid| !uid.is_empty()),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            }
            .known()
        }))
    }

    async fn may(&self, asked: Asked, (yes, no): (Duration, Duration)) -> Result<bool, Closed> {
        let known = lock(&self.permissions).get(&asked, Instant::now());
        if let Some(known) = known {
            return Ok(known);
        }
        let caller = &asked.caller;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.name.clone()),
                uid: caller.uid.clone(),
                groups: Some(caller.groups.clone()),
                extra: Some(caller.extra.clone()).filter(|extra| !extra.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(asked.verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(asked.subresource.to_owned()),
                    name: Some(self.rules.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let began = Instant::now();
        let answer = self.ask(&review).await;
        let status = answer
            .as_ref()
            .map_or_else(|failed| failed.status, |_| Some(CREATED));
        self.counters.served.reviewed(status, began.elapsed());
        let answer = answer.map_err(|failed| {
            let error = failed.why;
            tracing::warn!("cannot review a client's permission: {error}");
            Closed::Unanswered(format!(
                "Authorization error (user={}, verb={}, resource=nodes, subresource={})",
                caller.name, asked.verb, asked.subresource
            ))
        })?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        let ttl = if allowed { yes } else { no };
        lock(&self.permissions).put(asked, allowed, ttl, Instant::now());
        Ok(allowed)
    }

    /// Sends a review to the API server. The error contains nothing of the request.
    async fn ask<T>(&self, review: &T) -> Result<T, Unreviewed>
    where
        T: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: kube::Api<T> = kube::Api::all(self.clients.borrow().clone());
        let params = PostParams::default();
        match tokio::time::timeout(PATIENCE, api.create(&params, review)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(Unreviewed {
                status: Some(status.code),
                why: status.message.clone(),
            }),
            Ok(Err(error)) => Err(Unreviewed {
                status: None,
                why: error.to_string(),
            }),
            Err(_) => Err(Unreviewed {
                status: None,
                why: format!("no answer within {} s", PATIENCE.as_secs()),
            }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock can panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wrong_tokens_push_out_nobody_whose_token_is_known() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let (_, clients) = watch::channel(kube::Client::try_from(nowhere).unwrap());
        let rules = Rules {
            node: "n".to_owned(),
            anonymous: false,
            tokens: None,
            permissions: None,
            debugging: true,
            stream_verb: StreamVerb::Create,
        };
        let Auth(auth) = Auth::new(rules, clients, Arc::default());
        let ttl = Duration::from_secs(3600);
        let key = |number: u64| -> TokenHash { Sha256::digest(number.to_le_bytes()).into() };
        auth.remember(key(0), Some(Caller::anonymous()), ttl);
        for number in 1..10_000 {
            auth.remember(key(number), None, ttl);
        }
        assert_eq!(auth.remembered(&key(0)), Some(Some(Caller::anonymous())));
        assert_eq!(auth.remembered(&key(9_999)), Some(None));
        assert_eq!(auth.remembered(&key(10_000)), None);
    }
}
