//! Trust anchors from ClusterTrustBundles: one by its name, or all of a signer that a label selector matches
//! (`pkg/kubelet/clustertrustbundle` of Kubernetes).
//!
//! The API server filters, so each watch receives only what a pod requests, and none is open while no pod needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::certificates::{v1alpha1, v1beta1};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, Event, watcher};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::pem;
use super::teller::{Ended, ValueSender};
use super::watching;
use crate::model::api::TrustBundles;
use crate::model::object::content::Content;
use crate::model::object::kinds::TrustBundle;
use crate::model::object::{Known, Object, Selection, TrustAnchors};
use crate::model::reference::UNSYNCED_ANCHORS;
use crate::source::api::pace::Pace;

/// The kubelet's message where there are no such objects: because the feature gates are off in the kubelet or in the
/// API server.
const NOT_SERVED: &str = "ClusterTrustBundle projection is not supported in static kubelet mode";
/// How soon to retry with an API server that does not serve them, or did not say whether it does.
const AGAIN: Duration = Duration::from_secs(30);
/// The order of anchors: it differs in each run of the agent, as with the kubelet, so that no program relies on it.
static ORDER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Sends the anchors until the receiver is gone.
pub(super) async fn watch(
    key: TrustAnchors,
    bundles: TrustBundles,
    clients: watch::Receiver<kube::Client>,
    to: ValueSender,
) {
    let Some(selected) = selected(&key).filter(|_| bundles == TrustBundles::Projected) else {
        let nothing = (bundles == TrustBundles::Off).then(|| Known::Unread(NOT_SERVED.into()));
        // A closed receiver does not matter: there is nothing to watch.
        let _ = to.send_value(nothing);
        return;
    };
    // It ends when the receiver is gone.
    let Err(Ended) = follow(&selected, clients, &to).await;
}

/// The request to the API server; `None`: nothing can match.
fn selected(key: &TrustAnchors) -> Option<Config> {
    match key {
        TrustAnchors::Named(name) => Some(Config::default().fields(&format!("metadata.name={name}"))),
        TrustAnchors::Signed { signer, labels } => {
            let config = Config::default().fields(&format!("spec.signerName={signer}"));
            match labels {
                Selection::Nothing => None,
                Selection::Those(labels) if labels.is_empty() => Some(config),
                Selection::Those(labels) => Some(config.labels(labels)),
            }
        }
    }
}

/// The API versions that have them, the preferred one first.
const BETA: &str = "certificates.k8s.io/v1beta1";
const ALPHA: &str = "certificates.k8s.io/v1alpha1";

async fn follow(
    selected: &Config,
    mut clients: watch::Receiver<kube::Client>,
    to: &ValueSender,
) -> Result<std::convert::Infallible, Ended> {
    let mut is_answered = false;
    loop {
        let client = clients.borrow_and_update().clone();
        // Every arm may be dropped: the next watch sends again what this one sent.
        let ended = tokio::select! {
            Ok(()) = clients.changed() => continue,
            ended = async {
                match version(&client).await? {
                    Some(BETA) => {
                        let pem = |bundle: v1beta1::ClusterTrustBundle| bundle.spec.trust_bundle;
                        send_changes(kube::Api::all(client), selected, pem, &mut is_answered, to).await
                    }
                    Some(_) => {
                        let pem = |bundle: v1alpha1::ClusterTrustBundle| bundle.spec.trust_bundle;
                        send_changes(kube::Api::all(client), selected, pem, &mut is_answered, to).await
                    }
                    None => Ok(to.send_value(Some(Known::Unread(NOT_SERVED.into())))),
                }
            } => ended,
        };
        match ended {
            Ok(ended) => ended?,
            Err(error) => {
                tracing::debug!(object = %to.key, %error, "cannot tell whether the API server serves \
                 ClusterTrustBundles; retrying");
                if !is_answered {
                    to.send_value(Some(Known::Unread(UNSYNCED_ANCHORS.into())))?;
                }
            }
        }
        tokio::select! {
            Ok(()) = clients.changed() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// The API server's version; `None`: it has none.
async fn version(client: &kube::Client) -> Result<Option<&'static str>, kube::Error> {
    for version in [BETA, ALPHA] {
        match client.list_api_group_resources(version).await {
            Ok(list)
                if list
                    .resources
                    .iter()
                    .any(|found| found.name == "clustertrustbundles") =>
            {
                return Ok(Some(version));
            }
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Watches, and sends each change; returns when the receiver is gone, or the watch cannot go on.
async fn send_changes<K>(
    api: kube::Api<K>,
    selected: &Config,
    pem: fn(K) -> String,
    is_answered: &mut bool,
    to: &ValueSender,
) -> Result<Result<(), Ended>, kube::Error>
where
    K: kube::Resource<DynamicType = ()>,
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let changes = watcher(api, selected.clone()).backoff(Pace::new());
    Ok(send_all(changes, pem, is_answered, to).await)
}

async fn send_all<K: kube::Resource<DynamicType = ()>>(
    changes: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    pem: fn(K) -> String,
    is_answered: &mut bool,
    to: &ValueSender,
) -> Result<(), Ended> {
    let mut changes = std::pin::pin!(changes);
    let (mut bundles, mut listed) = (BTreeMap::new(), BTreeMap::new());
    let mut is_doubted = false;
    while let Some(next) = changes.next().await {
        let name = |bundle: &K| bundle.meta().name.clone().unwrap_or_default();
        match next {
            Ok(Event::Init) => {
                listed = BTreeMap::new();
                continue;
            }
            Ok(Event::InitApply(bundle)) => {
                listed.insert(name(&bundle), pem(bundle));
                continue;
            }
            Ok(Event::InitDone) => bundles = std::mem::take(&mut listed),
            Ok(Event::Apply(bundle)) => {
                bundles.insert(name(&bundle), pem(bundle));
            }
            Ok(Event::Delete(bundle)) => {
                bundles.remove(&name(&bundle));
            }
            Err(error) => {
                let why = watching::refusal(&error);
                tracing::debug!(object = %to.key, why = why.as_deref().unwrap_or("no answer"), "cannot watch the object; \
                 retrying");
                // The last answer stays, whatever happens to the API server.
                if !*is_answered && std::mem::replace(&mut is_doubted, true) {
                    let why = why.unwrap_or_else(|| UNSYNCED_ANCHORS.to_owned());
                    to.send_value(Some(Known::Unread(why.into())))?;
                }
                continue;
            }
        }
        *is_answered = true;
        let known = (!bundles.is_empty()).then(|| Known::Found(Arc::new(object(&bundles))));
        to.send_value(known)?;
    }
    Ok(())
}

fn object(bundles: &BTreeMap<String, String>) -> Object {
    let text = joined(bundles.values().map(String::as_str), &*ORDER);
    Object::TrustBundle(TrustBundle {
        pem: Content::from(text.as_str()),
    })
}

/// The certificates of all bundles, each once, as PEM. Their order depends only on `order` and the certificates.
fn joined<'a>(bundles: impl Iterator<Item = &'a str>, order: &impl BuildHasher) -> String {
    let read = |text: &'a str| CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok);
    let all: BTreeSet<Vec<u8>> = bundles.flat_map(read).map(|one| one.to_vec()).collect();
    let mut all = Vec::from_iter(all);
    all.sort_by_cached_key(|one| order.hash_one(one));
    let mut text = String::new();
    for one in all {
        text.push_str(&pem::encoded("CERTIFICATE", &one));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()])
            .unwrap()
            .cert
            .pem()
    }

    #[test]
    fn each_anchor_is_there_once_in_an_order_of_this_life() {
        let all: Vec<String> = (0..8).map(|at| certificate(&at.to_string())).collect();
        // A second bundle that repeats some of them, with text in between.
        let one = all.concat();
        let two = format!("the others\n{}\nand so on\n{}", all[3], all[1]);
        let order = RandomState::new();
        let text = joined([two.as_str(), one.as_str()].into_iter(), &order);
        assert_eq!(text, joined([one.as_str()].into_iter(), &order));
        let read = |text: &str| -> BTreeSet<Vec<u8>> {
            let found = CertificateDer::pem_slice_iter(text.as_bytes());
            found.map(|one| one.unwrap().to_vec()).collect()
        };
        assert_eq!(read(&text), read(&one));
        assert_eq!(text.matches("BEGIN").count(), 8);
        assert!(text.lines().all(|line| line.len() <= 64));
        // Among 40320 orders it is not always the same one.
        let others = (0..8).map(|_| joined([one.as_str()].into_iter(), &RandomState::new()));
        assert!(others.collect::<BTreeSet<_>>().len() > 1);
        assert_eq!(joined(["no certificate"].into_iter(), &order), "");
    }

    #[test]
    fn what_the_api_server_is_asked_for() {
        let signed = |labels| TrustAnchors::Signed {
            signer: "example.org/ca".to_owned(),
            labels,
        };
        let asked = |key: &TrustAnchors| {
            let config = selected(key)?;
            Some((
                config.field_selector.unwrap_or_default(),
                config.label_selector.unwrap_or_default(),
            ))
        };
        let pair = |fields: &str, labels: &str| Some((fields.to_owned(), labels.to_owned()));
        let named = TrustAnchors::Named("example.org:ca:1".to_owned());
        assert_eq!(asked(&named), pair("metadata.name=example.org:ca:1", ""));
        let by_labels = |labels: &str| asked(&signed(Selection::Those(labels.to_owned())));
        assert_eq!(by_labels(""), pair("spec.signerName=example.org/ca", ""));
        assert_eq!(by_labels("a=b"), pair("spec.signerName=example.org/ca", "a=b"));
        assert_eq!(asked(&signed(Selection::Nothing)), None);
    }
}
