//! Certificates of pods, each issued for one volume of one pod by the signer that it names (KEP-4317,
//! `pkg/kubelet/podcertificate` of Kubernetes).
//!
//! A key is generated here, held only in memory, and never used for a second request. The signer's answer is watched for, and
//! a new certificate is requested when the signer says so; until it is there the former one stays, also after its end.

mod key;
mod request;

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::PodCertificateRequest;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::key::PodKey;
use self::request::{Answer, Issued};
use super::early::{self, News};
use super::renewal::{has_ended, until};
use super::teller::{Ended, ValueSender};
use super::watching;
use crate::model::api::{ApiNode, ApiPods};
use crate::model::backoff::{self, Doubling};
use crate::model::later::later;
use crate::model::object::certificate::CertificateKey;
use crate::model::object::content::Content;
use crate::model::object::kinds::PodCertificate;
use crate::model::object::{Known, Object};
use crate::model::reference::NOT_ISSUED;
use crate::source::api::pace::Pace;

/// What is said of a pod that needs a certificate where the feature gate is off.
const IS_OFF: &str = "podCertificate needs the feature gate PodCertificateRequest: true";
/// The waits after failed requests.
const WAITS: Doubling = Doubling::new(Duration::from_millis(200), Duration::from_secs(60));
/// Certificates that are to be renewed together are not, within this time (`jitterDuration` of the kubelet).
const MOST_JITTER: Duration = Duration::from_mins(5);
/// The shortest time from a certificate to the next request, even if the signer's clock is wrong.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// How long after its time a certificate that is not renewed is overdue (`refreshOverdueDuration`).
const OVERDUE: Duration = Duration::from_mins(10);
/// How long nothing is said of a wait for the first certificate.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is needed to get certificates.
pub(super) struct CertificateContext {
    /// Whether the feature gate is on.
    pub(super) is_on: bool,
    /// The current API client.
    pub(super) clients: watch::Receiver<kube::Client>,
    /// The pod objects from the API server: a pod that has ended needs no new certificate.
    pub(super) objects: watch::Receiver<Option<Arc<ApiPods>>>,
    /// The Node object, whose UID is part of a request.
    pub(super) node: watch::Receiver<ApiNode>,
    /// How many requests may be made at once.
    pub(super) at_once: Arc<Semaphore>,
}

/// When the last certificate is to be renewed, and when it ends.
struct Standing {
    renew: Timestamp,
    ends: Timestamp,
    is_overdue: bool,
    has_expired: bool,
}

/// Keeps the certificate of a volume until the receiver is gone, the pod has ended, or its signer has refused it for good.
pub(super) async fn keep(key: CertificateKey, mut context: CertificateContext, to: ValueSender) {
    if !context.is_on {
        // A closed receiver does not matter: nothing follows.
        let _ = to.send_value(Some(Known::Unread(IS_OFF.into())));
        return;
    }
    // It ends when the receiver is gone, too.
    let (Ok(()) | Err(Ended)) = keep_renewed(&key, &mut context, &to).await;
}

async fn keep_renewed(
    key: &CertificateKey,
    context: &mut CertificateContext,
    to: &ValueSender,
) -> Result<(), Ended> {
    let mut standing: Option<Standing> = None;
    let mut waits = WAITS.waits();
    let news = News::begins(Instant::now());
    while !has_ended(&key.pod, &key.uid, &context.objects) {
        // Whichever is dropped: an unanswered request of a lost task ends by itself, and what was logged is noted.
        let answer = tokio::select! {
            answer = issue(key, context, &news) => answer,
            ended = tell_of_delay(key, standing.as_mut(), to) => match ended? {},
        };
        match answer {
            Ok(Answer::Issued(issued)) => {
                waits.reset();
                let next = standing_of(&issued, key, Timestamp::now());
                to.send_value(Some(Known::Found(Arc::new(object(issued)))))?;
                until(next.renew).await;
                standing = Some(next);
            }
            Ok(Answer::Refused(why)) => {
                let signer = &key.request.signer;
                tracing::warn!(pod = %key.pod, signer, why, "the signer does not issue the pod's certificate");
                to.send_value(Some(Known::Unread(why.into())))?;
                return Ok(());
            }
            Err(why) => {
                let signer = &key.request.signer;
                tracing::warn!(pod = %key.pod, signer, why, "cannot get a certificate for the pod; retrying");
                if standing.is_none() {
                    to.send_value(Some(Known::Unread(why.into())))?;
                }
                let drawn = RandomState::new().hash_one(key);
                tokio::time::sleep(backoff::spread(waits.fail(), drawn)).await;
            }
        }
    }
    Ok(())
}

/// Requests a certificate and waits for the signer's answer. `Err`: there is none, for this reason.
async fn issue(
    key: &CertificateKey,
    context: &mut CertificateContext,
    news: &News,
) -> Result<Answer, String> {
    let node_uid = node_uid(&mut context.node).await;
    let (own, name) = loop {
        let own = PodKey::generate(&key.request.key_type)?;
        let sent = {
            let _turn = context.at_once.acquire().await;
            let client = context.clients.borrow().clone();
            request::send(key, &node_uid, &own, client).await
        };
        match sent {
            Ok(name) => break (own, name),
            Err(_) if news.travels(Instant::now()) => tokio::time::sleep(early::ASK_AGAIN).await,
            Err(why) => return Err(why),
        }
    };
    // The Node authorizer lets a node watch the requests of its own pods.
    let selected = format!("metadata.name={name},spec.nodeName={}", key.node);
    loop {
        let client = context.clients.borrow_and_update().clone();
        let api = kube::Api::<PodCertificateRequest>::namespaced(client, &key.pod.namespace);
        // Either may be dropped: the next watch sends again what this one sent.
        tokio::select! {
            Ok(()) = context.clients.changed() => {}
            answer = answered(api, &selected, &own) => return answer,
        }
    }
}

/// Waits until the signer has answered. `Err`: the request is gone.
async fn answered(
    api: kube::Api<PodCertificateRequest>,
    selected: &str,
    own: &PodKey,
) -> Result<Answer, String> {
    let changes = watcher(api, Config::default().fields(selected)).backoff(Pace::new());
    let mut changes = std::pin::pin!(changes);
    let mut is_listed = false;
    while let Some(next) = changes.next().await {
        match next {
            Ok(Event::Init) => is_listed = false,
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                is_listed = true;
                if let Some(answer) = request::answer(&object, own)? {
                    return Ok(answer);
                }
            }
            Ok(Event::InitDone) if is_listed => {}
            Ok(Event::InitDone | Event::Delete(_)) => break,
            Err(error) => {
                let why = watching::refusal(&error);
                tracing::debug!(
                    selected,
                    why = why.as_deref().unwrap_or("no answer"),
                    "cannot watch the PodCertificateRequest; retrying"
                );
            }
        }
    }
    Err("PodCertificateRequest appears to have been deleted".to_owned())
}

/// The UID of the Node, once there is one.
async fn node_uid(node: &mut watch::Receiver<ApiNode>) -> String {
    let uid = |node: &ApiNode| match node {
        ApiNode::Present(node) => node.metadata.uid.clone(),
        ApiNode::Unknown | ApiNode::Absent => None,
    };
    let present = node.wait_for(|node| uid(node).is_some()).await;
    match present.ok().and_then(|node| uid(&node)) {
        Some(uid) => uid,
        // The agent is ending.
        None => std::future::pending().await,
    }
}

/// Says of a pod that waits for its first certificate what it waits for; logs when one that is not renewed is overdue, and
/// when it has ended, each once. Returns only when the receiver is gone.
async fn tell_of_delay(
    key: &CertificateKey,
    standing: Option<&mut Standing>,
    to: &ValueSender,
) -> Result<Infallible, Ended> {
    let Some(standing) = standing else {
        tokio::time::sleep(PATIENCE).await;
        to.send_value(Some(Known::Unread(NOT_ISSUED.into())))?;
        return std::future::pending().await;
    };
    let both = [
        (
            &mut standing.is_overdue,
            later(standing.renew, OVERDUE),
            "the pod's certificate is overdue for renewal",
        ),
        (
            &mut standing.has_expired,
            standing.ends,
            "the pod's certificate has expired",
        ),
    ];
    for (is_logged, at, what) in both {
        if !*is_logged {
            until(at).await;
            *is_logged = true;
            tracing::warn!(pod = %key.pod, signer = key.request.signer, "{what}");
        }
    }
    std::future::pending().await
}

/// Renewed when the signer says so, and a little later, but with half of the time that is left then.
fn standing_of(issued: &Issued, key: &CertificateKey, now: Timestamp) -> Standing {
    let left = Duration::try_from(issued.ends.duration_since(issued.renew)).unwrap_or_default();
    let most = u64::try_from((left / 2).min(MOST_JITTER).as_millis()).unwrap_or(0);
    let jitter = RandomState::new().hash_one(key) % (most + 1);
    let renew = later(issued.renew, Duration::from_millis(jitter));
    Standing {
        renew: renew.max(later(now, LEAST_WAIT)),
        ends: issued.ends,
        is_overdue: false,
        has_expired: false,
    }
}

fn object(issued: Issued) -> Object {
    Object::Certificate(PodCertificate {
        key: Content::from(issued.key.as_str()),
        chain: Content::from(issued.chain.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::certificate::{CertificateRequest, KeyType};
    use crate::model::pod::{PodName, PodUid};

    fn key() -> CertificateKey {
        CertificateKey {
            pod: PodName::new("ns", "web"),
            uid: PodUid("u".to_owned()),
            account: "default".to_owned(),
            node: "n".to_owned(),
            request: CertificateRequest {
                place: ("v".to_owned(), 0),
                signer: "example.org/ca".to_owned(),
                key_type: KeyType::Ed25519,
                most_seconds: None,
                annotations: [].into(),
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_told_after_a_while_what_it_waits_for() {
        let (news, mut told) = tokio::sync::mpsc::unbounded_channel();
        let to = ValueSender {
            key: crate::model::object::Reference::Certificate(key()),
            life: 1,
            news,
        };
        let begun = Instant::now();
        let telling = tokio::spawn(async move { tell_of_delay(&key(), None, &to).await.is_ok() });
        let known = told.recv().await.unwrap().known;
        assert_eq!(known, Some(Known::Unread(NOT_ISSUED.into())));
        assert!(begun.elapsed() >= PATIENCE);
        telling.abort();
    }

    #[test]
    fn a_certificate_is_renewed_after_the_signers_time_and_well_before_its_end() {
        let key = key();
        let at = |seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let check = |renew: i64, ends: i64, now: i64, want: std::ops::RangeInclusive<i64>| {
            let issued = Issued {
                key: String::new(),
                chain: String::new(),
                renew: at(renew),
                ends: at(ends),
            };
            for _ in 0..50 {
                let renew = standing_of(&issued, &key, at(now)).renew;
                assert!((at(*want.start())..=at(*want.end())).contains(&renew), "{renew}");
            }
        };
        check(1800, 3600, 0, 1800..=2100);
        check(10, 20, 0, 10..=15);
        // The signer's clock, or its answer, is wrong.
        check(-100, -50, 0, 1..=1);
        check(50, 40, 0, 50..=50);
    }
}
