//! Service account tokens, each bound to one pod (`pkg/kubelet/token` of Kubernetes).
//!
//! A token is held only in memory, requested again after four fifths of its life, and given only to the volume that it
//! is for.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource as _;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::early::{self, News};
use super::renewal::{has_ended, until};
use super::teller::ValueSender;
use crate::model::api::ApiPods;
use crate::model::backoff::{self, Doubling};
use crate::model::object::content::Content;
use crate::model::object::kinds::Token;
use crate::model::object::{Known, Object, TokenKey};

/// No token is used for longer, however long it is valid.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A longer lifetime is not believed: an unlimited number of seconds would overflow the time arithmetic.
const LONGEST_STATED: SignedDuration = SignedDuration::from_hours(24 * 366 * 100);
/// Tokens that were requested together are not renewed together.
const MOST_JITTER: i64 = 10_000;
/// The shortest wait between requests, even if the API server's clock is wrong.
const LEAST_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// The waits after failed requests, those of a pod's status: a pod that starts waits for its first token, and one lost
/// request of many must not hold it for longer than the rest of its road.
const WAITS: Doubling = Doubling::new(Duration::from_millis(200), Duration::from_secs(15));

/// What is needed to get tokens.
pub(super) struct TokenContext {
    /// The current API client.
    pub(super) clients: watch::Receiver<kube::Client>,
    /// The pod objects from the API server: a pod that has ended needs no new token.
    pub(super) objects: watch::Receiver<Option<Arc<ApiPods>>>,
    /// How many requests may run at once.
    pub(super) at_once: Arc<Semaphore>,
}

/// A token from the API server.
struct IssuedToken {
    text: String,
    expires: Timestamp,
    life: SignedDuration,
}

/// Keeps the token of a pod fresh until the receiver is gone or the pod has ended.
pub(super) async fn keep(key: TokenKey, office: TokenContext, to: ValueSender) {
    let mut expires: Option<Timestamp> = None;
    let mut waits = WAITS.waits();
    let news = News::begins(Instant::now());
    let not_heard_of = format!("pod {:?} not found", key.pod.name);
    let is_early = |why: &str| why == not_heard_of || early::is_of_authorizer(why);
    while !has_ended(&key.pod, &key.uid, &office.objects) {
        let now = Timestamp::now();
        let next = match ask(&key, &office).await {
            Ok(given) => {
                waits.reset();
                expires = Some(given.expires);
                let next = renewal(&given, now, jitter(&key));
                if to
                    .send_value(Some(Known::Found(Arc::new(object(given)))))
                    .is_err()
                {
                    return;
                }
                next
            }
            Err(why) if is_early(&why) && news.travels(Instant::now()) => now + early::ASK_AGAIN,
            Err(why) => {
                tracing::warn!(pod = %key.pod, account = key.account, "cannot get a service account token; \
                 retrying: {why}");
                let sent = match expires {
                    Some(until) if until > now => Ok(()),
                    Some(_) => unread(&to, format!("token expired and refresh failed: {why}")),
                    None => unread(&to, format!("failed to fetch token: {why}")),
                };
                if sent.is_err() {
                    return;
                }
                now + backoff::spread(waits.fail(), RandomState::new().hash_one(&key.account))
            }
        };
        until(next).await;
    }
}

fn unread(to: &ValueSender, why: String) -> Result<(), super::teller::Ended> {
    to.send_value(Some(Known::Unread(why.into())))
}

fn object(given: IssuedToken) -> Object {
    Object::Token(Token {
        content: Content::from(given.text.as_str()),
        expires: given.expires,
    })
}

/// When to request it again: after four fifths of its life or a day, a little earlier.
fn renewal(given: &IssuedToken, now: Timestamp, jitter: SignedDuration) -> Timestamp {
    let before = |by: SignedDuration| given.expires.checked_sub(by).unwrap_or(Timestamp::MIN);
    let latest = before(given.life.saturating_sub(LONGEST_LIFE));
    let due = before(given.life / 5).min(latest);
    let due = due.checked_sub(jitter).unwrap_or(Timestamp::MIN);
    due.max(now + (given.life.abs() / 10).min(LEAST_WAIT))
}

fn jitter(key: &TokenKey) -> SignedDuration {
    let drawn = RandomState::new().hash_one(key) % MOST_JITTER.unsigned_abs();
    SignedDuration::from_millis(drawn.try_into().unwrap_or(0))
}

async fn ask(key: &TokenKey, office: &TokenContext) -> Result<IssuedToken, String> {
    let _turn = office.at_once.acquire().await;
    let client = office.clients.borrow().clone();
    let asked = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: key.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: Some(key.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(key.pod.name.clone()),
                uid: Some(key.uid.0.clone()),
            }),
        }),
        ..TokenRequest::default()
    };
    let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
    let at = format!(
        "/api/{}/namespaces/{}/serviceaccounts",
        ServiceAccount::VERSION,
        key.pod.namespace
    );
    let request = kube::core::Request::new(at)
        .create_subresource("token", &key.account, &PostParams::default(), body)
        .map_err(|error| error.to_string())?;
    // As text: the client's parse error would print the answer.
    let answer = client.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    })?;
    given(&answer, key.seconds).ok_or_else(|| "the API server's answer is not a valid token".to_owned())
}

/// The token in an answer. The reason for an invalid one is not given because it would quote the token.
fn given(answer: &str, seconds: i64) -> Option<IssuedToken> {
    let answer: TokenRequest = serde_json::from_str(answer).ok()?;
    let status = answer.status?;
    let asked = answer.spec.and_then(|spec| spec.expiration_seconds);
    Some(IssuedToken {
        text: status.token.filter(|token| !token.is_empty())?,
        expires: status.expiration_timestamp?.0,
        life: SignedDuration::from_secs(asked.unwrap_or(seconds)).clamp(SignedDuration::ZERO, LONGEST_STATED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |issued: i64, life: i64, jitter: i64, want: i64| {
            let given = IssuedToken {
                text: String::new(),
                expires: at(issued + life),
                life: SignedDuration::from_secs(life),
            };
            let got = renewal(&given, at(1000), SignedDuration::from_secs(jitter));
            assert_eq!(got.as_second(), want, "{issued} {life} {jitter}");
        };
        check(1000, 3600, 0, 1000 + 2880);
        check(1000, 3605, 10, 1000 + 3605 - 721 - 10);
        // A year is a day.
        check(1000, 31_536_000, 3, 1000 + 86400 - 3);
        // The API server's clock is an hour behind.
        check(1000 - 3600, 3600, 0, 1000 + 60);
        check(1000, 10, 10, 1001);
        // No number of seconds overflows the time arithmetic.
        for asked in [i64::MAX, i64::MIN, -1] {
            let answer = serde_json::json!({
                "metadata": {}, "spec": {"audiences": [], "expirationSeconds": asked},
                "status": {"token": "t", "expirationTimestamp": "9999-12-30T22:00:00Z"},
            });
            let given = given(&answer.to_string(), 600).unwrap();
            assert!(
                renewal(&given, at(1000), SignedDuration::from_secs(10)) >= at(1000),
                "{asked}"
            );
        }
    }

    #[test]
    fn an_answer_is_a_token_or_nothing() {
        let answer = |token: &str| {
            serde_json::json!({
                "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                "spec": {"audiences": ["a"], "expirationSeconds": 3607},
                "status": {"token": token, "expirationTimestamp": "2026-11-25T22:00:00Z"},
            })
            .to_string()
        };
        let read = given(&answer("t"), 600).unwrap();
        assert_eq!((read.text.as_str(), read.life.as_secs()), ("t", 3607));
        assert!(given(&answer(""), 600).is_none());
        assert!(given("{\"kind\": \"Status\"}", 600).is_none());
    }
}
