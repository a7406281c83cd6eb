//! One object, watched by its name.

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::storage::v1::{self as storage, CSIDriver};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::teller::ValueSender;
use crate::manifest::{key_complaint, names};
use crate::model::bounds;
use crate::model::csi::{CsiDriver, GroupPolicy, Lifecycle, TokenRequest};
use crate::model::object::content::Content;
use crate::model::object::kinds;
use crate::model::object::{Known, Object, ObjectKey, ObjectKind};
use crate::model::reference::unsynced;
use crate::source::api::driver_periods;
use crate::source::api::pace::Pace;
use crate::source::api::pods;

/// How long a token for a driver is valid that does not say so, in seconds (`TokenRequest`'s default).
const TOKEN_SECONDS: i64 = 3600;

/// Sends the object until the receiver is gone, or until the object is immutable.
pub(super) async fn watch(key: ObjectKey, clients: watch::Receiver<kube::Client>, to: ValueSender) {
    let (name, unread) = (&key.name, unsynced(key.kind));
    match key.kind {
        ObjectKind::ConfigMap => {
            let api = |client| kube::Api::<ConfigMap>::namespaced(client, &key.namespace);
            follow(api, name, &unread, clients, to, of_config_map).await;
        }
        ObjectKind::Secret => {
            let api = |client| kube::Api::<Secret>::namespaced(client, &key.namespace);
            follow(api, name, &unread, clients, to, of_secret).await;
        }
    }
}

/// Likewise for a RuntimeClass.
pub(super) async fn watch_class(name: String, clients: watch::Receiver<kube::Client>, to: ValueSender) {
    let api = kube::Api::<RuntimeClass>::all;
    follow(
        api,
        &name,
        "the API server does not answer",
        clients,
        to,
        of_class,
    )
    .await;
}

/// Likewise for a CSIDriver.
pub(super) async fn watch_driver(name: String, clients: watch::Receiver<kube::Client>, to: ValueSender) {
    let api = kube::Api::<CSIDriver>::all;
    let unread = "the API server does not answer";
    follow(api, &name, unread, clients, to, |driver| Ok(of_driver(driver))).await;
}

/// `unread` is sent where the API server does not answer.
async fn follow<K>(
    api: impl Fn(kube::Client) -> kube::Api<K>,
    name: &str,
    unread: &str,
    mut clients: watch::Receiver<kube::Client>,
    to: ValueSender,
    read: fn(K) -> Result<Object, String>,
) where
    K: kube::Resource<DynamicType = ()>,
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut is_answered = false;
    let mut is_doubted = false;
    loop {
        let client = clients.borrow_and_update().clone();
        let mut changes = watch_object(api(client), name).backoff(Pace::new()).boxed();
        loop {
            // Every arm may be cancelled: what was not taken is still in the stream.
            let next = tokio::select! {
                Ok(()) = clients.changed() => break,
                next = changes.next() => next,
            };
            let known = match next {
                Some(Ok(object)) => {
                    is_answered = true;
                    object.map(|object| match read(object) {
                        Ok(object) => Known::Found(Arc::new(object)),
                        Err(why) => {
                            tracing::warn!(object = %to.key, "object not used: {why}");
                            Known::Unread(why.into())
                        }
                    })
                }
                Some(Err(error)) => {
                    let why = refusal(&error);
                    tracing::debug!(object = %to.key, why = why.as_deref().unwrap_or("no answer"), "cannot watch the object; \
                     retrying");
                    // The last answer stays, whatever happens to the API server. And the Node authorizer learns of a
                    // pod through a watch of its own: its first refusal may soon be outdated.
                    if is_answered || !std::mem::replace(&mut is_doubted, true) {
                        continue;
                    }
                    Some(Known::Unread(why.unwrap_or_else(|| unread.to_owned()).into()))
                }
                None => break,
            };
            let is_final = matches!(&known, Some(Known::Found(object)) if object.is_immutable());
            if to.send_value(known).is_err() || is_final {
                return;
            }
        }
    }
}

/// The API server's refusal. Other errors are not included: one about an answer that could not be parsed may contain
/// part of a Secret.
pub(super) fn refusal(error: &watcher::Error) -> Option<String> {
    let status = pods::refusal(error)?;
    Some(status.message.lines().next().unwrap_or_default().to_owned())
}

/// The object of a ConfigMap for pods; or why it is not used.
pub fn of_config_map(object: ConfigMap) -> Result<Object, String> {
    let text = |(key, text): (String, String)| (key, Content::from(text.as_str()));
    let binary_data = object.binary_data.unwrap_or_default();
    let map = kinds::ConfigMap {
        data: object.data.unwrap_or_default().into_iter().map(text).collect(),
        binary_data: binary_data.into_iter().map(bytes).collect(),
        immutable: object.immutable.unwrap_or(false),
    };
    check_keys(map.data.keys().chain(map.binary_data.keys()))?;
    Ok(Object::ConfigMap(map))
}

/// The object of a Secret for pods; or why it is not used.
pub fn of_secret(object: Secret) -> Result<Object, String> {
    let secret = kinds::Secret {
        data: object.data.unwrap_or_default().into_iter().map(bytes).collect(),
        secret_type: object.type_.unwrap_or_default(),
        immutable: object.immutable.unwrap_or(false),
        uid: object.metadata.uid.unwrap_or_default(),
    };
    check_keys(secret.data.keys())?;
    Ok(Object::Secret(secret))
}

/// Checks that an object's keys can be file names, as those in manifests are; else returns why it is not used.
fn check_keys<'a>(mut keys: impl Iterator<Item = &'a String>) -> Result<(), String> {
    match keys.find_map(|key| Some((key.clone(), key_complaint(key)?))) {
        None => Ok(()),
        Some((key, complaint)) => {
            let key = bounds::shortened(key, SHOWN);
            Err(format!(
                "the object from the API server has the key {key:?}: keys {complaint}"
            ))
        }
    }
}

/// The longest part of a broken name that is quoted.
const SHOWN: usize = 256;

/// The object of a RuntimeClass for pods; or why it is not used.
pub fn of_class(object: RuntimeClass) -> Result<Object, String> {
    let handler = object.handler;
    if let Some(complaint) = names::dns_label(&handler).filter(|_| !handler.is_empty()) {
        let handler = bounds::shortened(handler, SHOWN);
        return Err(format!("the handler {handler:?} of the RuntimeClass {complaint}"));
    }
    Ok(Object::RuntimeClass(kinds::RuntimeClass { handler }))
}

/// The object of a CSIDriver for pods, with the defaults of the API.
pub(super) fn of_driver(object: CSIDriver) -> Object {
    let recounts = driver_periods::period(&object).is_some();
    let spec = object.spec;
    let lifecycle = |mode: &String| match mode.as_str() {
        "Persistent" => Some(Lifecycle::Persistent),
        "Ephemeral" => Some(Lifecycle::Ephemeral),
        _ => None,
    };
    let modes = spec.volume_lifecycle_modes.as_ref();
    let token = |request: &storage::TokenRequest| TokenRequest {
        audience: request.audience.clone(),
        seconds: request.expiration_seconds.unwrap_or(TOKEN_SECONDS),
    };
    Object::CsiDriver(CsiDriver {
        attaches: spec.attach_required.unwrap_or(true),
        tells_of_pods: spec.pod_info_on_mount.unwrap_or(false),
        group_policy: match spec.fs_group_policy.as_deref() {
            Some("File") => GroupPolicy::Always,
            Some("None") => GroupPolicy::Never,
            _ => GroupPolicy::OfOneNode,
        },
        lifecycles: match modes {
            Some(modes) => modes.iter().filter_map(lifecycle).collect(),
            None => vec![Lifecycle::Persistent],
        },
        tokens: spec.token_requests.iter().flatten().map(token).collect(),
        tokens_are_secrets: spec.service_account_token_in_secrets.unwrap_or(false),
        republishes: spec.requires_republish.unwrap_or(false),
        recounts,
    })
}

fn bytes((key, bytes): (String, ByteString)) -> (String, Content) {
    (key, Content::from(bytes.0.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_objects() {
        let map: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {"b": "AP8="}, "immutable": true,
        }))
        .unwrap();
        let expected = kinds::ConfigMap {
            data: [("k".to_owned(), "v".into())].into(),
            binary_data: [("b".to_owned(), [0u8, 255][..].into())].into(),
            immutable: true,
        };
        assert_eq!(of_config_map(map), Ok(Object::ConfigMap(expected)));
        let secret: Secret = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "a", "uid": "u"}, "data": {"k": "dg=="}, "type": "Opaque"}),
        )
        .unwrap();
        let expected = kinds::Secret {
            data: [("k".to_owned(), "v".into())].into(),
            secret_type: "Opaque".to_owned(),
            immutable: false,
            uid: "u".to_owned(),
        };
        assert_eq!(of_secret(secret), Ok(Object::Secret(expected)));
    }

    #[test]
    fn only_what_the_api_server_says_is_told() {
        let status = |code: u16| {
            let text = serde_json::json!({"code": code, "message": "secrets \"a\" is forbidden\nmore", "reason": "x"});
            watcher::Error::InitialListFailed(kube::Error::Api(Box::new(
                serde_json::from_value(text).unwrap(),
            )))
        };
        assert_eq!(refusal(&status(403)).unwrap(), "secrets \"a\" is forbidden");
        assert_eq!((refusal(&status(503)), refusal(&status(429))), (None, None));
        let broken = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        assert_eq!(
            refusal(&watcher::Error::WatchFailed(kube::Error::SerdeError(broken))),
            None
        );
    }

    #[test]
    fn an_object_whose_key_is_a_path_is_not_used_and_named() {
        let check = |key: &str, is_right: bool| {
            let map = ConfigMap {
                data: Some([(key.to_owned(), "geheim".to_owned())].into()),
                ..ConfigMap::default()
            };
            let secret = Secret {
                data: Some([(key.to_owned(), ByteString(b"geheim".to_vec()))].into()),
                ..Secret::default()
            };
            for read in [of_config_map(map), of_secret(secret)] {
                assert_eq!(read.is_ok(), is_right, "{key:?}");
                let why = read.err().unwrap_or_default();
                assert!(
                    !why.contains("geheim") && !why.contains('\u{1b}') && why.len() < 1024,
                    "{why}"
                );
            }
        };
        check("a.b_c-D", true);
        check(".dockerconfigjson", true);
        for key in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "..data",
            "a\0",
            "\u{1b}[2J",
            &"a".repeat(254),
        ] {
            check(key, false);
        }
    }

    #[test]
    fn a_handler_is_a_name() {
        let check = |handler: &str, is_right: bool| {
            let class = RuntimeClass {
                handler: handler.to_owned(),
                ..RuntimeClass::default()
            };
            assert_eq!(of_class(class).is_ok(), is_right, "{handler:?}");
        };
        check("runc", true);
        check("", true);
        for handler in ["../runc", "a/b", "A", "a\n"] {
            check(handler, false);
        }
    }
}
