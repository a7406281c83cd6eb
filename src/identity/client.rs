//! The client of the API server, made from a kubeconfig.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::http::{Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceBuilder;

use super::client_error::{ClientError, wrong};
use super::exec::{self, ExecError};
use super::kubeconfig;
use super::lookup;
use super::meter::Meter;
use super::pace::{Pace, PaceLayer};
use crate::counters::Counters;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the start of an answer may take; a watch then continues without a limit.
const ANSWER: Duration = Duration::from_secs(30);
/// After how long a silent connection is probed with a ping, and how often then.
const QUIET: Duration = Duration::from_secs(10);
const ASK: Duration = Duration::from_secs(5);
/// How long the server may acknowledge nothing before the connection is closed. Together with the time between two
/// renewals it is well below the 40 s for which a Lease lasts.
const DEAD: Duration = Duration::from_secs(15);

/// Makes the client of a file; sends nothing yet.
pub async fn connect(path: &Path) -> Result<kube::Client, ClientError> {
    let stated = kubeconfig::read(path)?;
    make(stated.whole(), path).await
}

/// Makes the client of a kubeconfig that is to be written to that file; sends nothing yet.
pub async fn of(document: &serde_json::Value, path: &Path) -> Result<kube::Client, ClientError> {
    let read = serde_json::from_value(document.clone()).map_err(|_| ClientError::Syntax {
        path: path.to_owned(),
        line: None,
    })?;
    make(read, path).await
}

/// Makes the client of a kubeconfig that was read from that file; sends nothing yet.
pub(super) async fn make(read: Kubeconfig, path: &Path) -> Result<kube::Client, ClientError> {
    let lent = make_lent(read, path, None, &Arc::default()).await?;
    Ok(lent.client)
}

/// Whether a kubeconfig that was read from that file makes a client; does not run its program.
pub(super) async fn check(mut read: Kubeconfig, path: &Path) -> Result<(), ClientError> {
    let users = read.auth_infos.iter_mut();
    for user in users.filter_map(|named| named.auth_info.as_mut()) {
        user.exec = None;
    }
    make_noting(read, path, Arc::default(), (None, &Arc::default()))
        .await
        .map(|_| ())
}

/// A client, and how long its credentials are valid.
pub(super) struct Lent {
    /// The client.
    pub(super) client: kube::Client,
    /// Of the credentials from a program.
    pub(super) loan: Option<Loan>,
}

/// Credentials from a program: how long they are valid.
pub(super) struct Loan {
    /// When the credentials must be renewed, if their expiry is known.
    renewal_time: Option<Timestamp>,
    /// Set when the API server does not accept them.
    is_refused: Arc<AtomicBool>,
}

/// Credentials are renewed this long before they expire, or at three quarters of a short lifetime.
const EARLY: SignedDuration = SignedDuration::from_secs(60);

impl Loan {
    /// Whether new ones are needed.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.is_refused.load(Ordering::Relaxed)
            || self.renewal_time.is_some_and(|renewal_time| renewal_time <= now)
    }
}

/// Like the above, with the time until which the client can be used. Runs the program that provides the credentials.
pub(super) async fn make_lent(
    mut read: Kubeconfig,
    path: &Path,
    pace: Option<&Arc<Pace>>,
    counters: &Arc<Counters>,
) -> Result<Lent, ClientError> {
    let is_refused = Arc::new(AtomicBool::new(false));
    let now = Timestamp::now();
    let until = borrow(&mut read).await.map_err(|source| ClientError::Exec {
        path: path.to_owned(),
        source,
    })?;
    let loan = until.map(|until| Loan {
        renewal_time: until.map(|until| until - EARLY.min(until.duration_since(now) / 4)),
        is_refused: is_refused.clone(),
    });
    let client = make_noting(read, path, is_refused, (pace, counters)).await?;
    Ok(Lent { client, loan })
}

/// Runs the credential program of the current context's user, if there is one. Returns whether there is one, and how
/// long the credentials are valid.
async fn borrow(read: &mut Kubeconfig) -> Result<Option<Option<Timestamp>>, ExecError> {
    let current = read.current_context.clone().unwrap_or_default();
    let context = read.contexts.iter().find(|context| context.name == current);
    let Some(context) = context.and_then(|context| context.context.clone()) else {
        return Ok(None);
    };
    let cluster = read.clusters.iter().find(|named| named.name == context.cluster);
    let cluster = cluster.and_then(|named| named.cluster.clone());
    let name = context.user.unwrap_or_default();
    let user = read.auth_infos.iter_mut().find(|named| named.name == name);
    let Some(user) = user.and_then(|named| named.auth_info.as_mut()) else {
        return Ok(None);
    };
    let Some(exec) = &user.exec else {
        return Ok(None);
    };
    let given = exec::credentials(user, exec, cluster.as_ref()).await?;
    *user = given.user;
    Ok(Some(given.until))
}

async fn make_noting(
    read: Kubeconfig,
    path: &Path,
    is_refused: Arc<AtomicBool>,
    (pace, counters): (Option<&Arc<Pace>>, &Arc<Counters>),
) -> Result<kube::Client, ClientError> {
    let config = configuration(read, path).await?;
    if config.proxy_url.is_some() {
        let path = path.to_owned();
        return Err(ClientError::Proxy { path });
    }
    noting(&config, is_refused, (pace, counters)).map_err(|source| ClientError::Client {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// What a kubeconfig read from that file says about its current context, with the files that it refers to.
pub(super) async fn configuration(read: Kubeconfig, path: &Path) -> Result<kube::Config, ClientError> {
    kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(path, error))
}

/// The client of a configuration. The library's default client would wait forever on a connection that was never
/// closed: a watch on it would receive nothing, and the node would look lost.
pub(super) fn client(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    noting(config, Arc::default(), (None, &Arc::default()))
}

/// Like the above, counts the requests, and records when the API server does not accept the credentials.
fn noting(
    config: &kube::Config,
    is_refused: Arc<AtomicBool>,
    (pace, counters): (Option<&Arc<Pace>>, &Arc<Counters>),
) -> Result<kube::Client, kube::Error> {
    // Another one that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let resolver = tower::service_fn(|name| lookup::addresses(name, CONNECT));
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(QUIET));
    tcp.set_keepalive_interval(Some(ASK));
    tcp.set_tcp_user_timeout(Some(DEAD));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let sender = Client::builder(TokioExecutor::new()).build::<_, kube::client::Body>(connector);
    let authority = config.cluster_url.authority();
    let meter = Meter {
        counters: counters.clone(),
        host: authority.map_or("", |authority| authority.as_str()).into(),
    };
    let service = ServiceBuilder::new()
        .option_layer(pace.map(|pace| PaceLayer(pace.clone())))
        .layer(meter)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .timeout(ANSWER)
        .map_response(move |answer: Response<_>| {
            if answer.status() == StatusCode::UNAUTHORIZED {
                is_refused.store(true, Ordering::Relaxed);
            }
            answer
        })
        .service(sender);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet.conf");
        let message_of = |error: ClientError| error.to_string();
        let Err(absent) = connect(&path).await else {
            panic!("there is no file")
        };
        assert!(message_of(absent).contains("kubelet.conf cannot be used; check the file"));
        for broken in [
            "kind: Config\nusers:\n- name: u\n  user:\n    token: [secret",
            "kind: Config\nusers:\n- name: u\n  user: secret\n",
            "kind: Config\nusers:\n- name: u\n  user: {token: {secret: 1}}\n",
        ] {
            std::fs::write(&path, broken).unwrap();
            let Err(error) = connect(&path).await else {
                panic!("{broken}")
            };
            let text = crate::model::error_chain::chain(&error);
            assert!(text.contains("cannot parse the kubeconfig"), "{text}");
            assert!(!text.contains("secret"), "{text}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
