//! Finds a trusted cluster from an address and a token, or from a file.
//!
//! With a token: `cluster-info` in `kube-public` is read without verifying the server, its signature proves that the
//! server knows the token, and the pins prove that the certificate authority in it is the cluster's; then it is read
//! again over TLS that this authority has signed (`cmd/kubeadm/app/discovery/token` of Kubernetes).

mod error;
mod fetch;

use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::http::{Request, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

pub use error::DiscoveryError;

use self::fetch::ANSWER;
use super::ca_pin::CaPin;
use super::cause::{Cause, cause, text};
use super::certificate::{Certificate, certificates};
use super::client;
use super::kubeconfig;
use super::signature;
use super::token::Token;
use crate::model::error_chain::chain;

/// Where kubeadm publishes how to reach the cluster.
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
/// How often to check whether a new token has its signature.
const AGAIN: Duration = Duration::from_millis(500);
/// The largest clock difference: the signer backdates certificates by exactly this much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// What proves that a cluster is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The public key of its certificate authority is one of these.
    Pins(Vec<CaPin>),
    /// Any server that knows the token may be the cluster, including any machine that has joined with it.
    Token,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The API server's address, with `https://`.
    pub server: String,
    /// Its certificate authority, as PEM.
    pub authority: String,
}

/// Checks a `host:port`.
fn checked(endpoint: &str) -> Result<&str, DiscoveryError> {
    let is_one = |address: &str| {
        let uri: hyper::http::Uri = format!("https://{address}/").parse().ok()?;
        let right = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
        (right && uri.path() == "/" && !address.contains(['/', '@'])).then_some(())
    };
    is_one(endpoint)
        .map(|()| endpoint)
        .ok_or_else(|| DiscoveryError::Endpoint(endpoint.to_owned()))
}

/// Finds a cluster by an address and a token. Waits for a signature for up to `patience`: a new token gets one a moment
/// after it was made.
pub async fn by_token(
    endpoint: &str,
    token: &Token,
    trust: &Trust,
    patience: Duration,
) -> Result<Cluster, DiscoveryError> {
    let endpoint = checked(endpoint)?;
    let open = connect(endpoint, None)?;
    let (said, signed) = signed_info(&open, endpoint, token, patience).await?;
    signature::verify(&signed, &said, token).map_err(|why| DiscoveryError::Forged {
        endpoint: endpoint.to_owned(),
        why,
    })?;
    let cluster = understood(&said, endpoint)?;
    let authorities = certificates(cluster.authority.as_bytes()).unwrap_or_default();
    if let Trust::Pins(pins) = trust {
        let found: Vec<CaPin> = authorities.iter().map(CaPin::of).collect();
        if !found.iter().any(|pin| pins.contains(pin)) {
            return Err(DiscoveryError::CaPin {
                endpoint: endpoint.to_owned(),
                found,
            });
        }
    }
    let sure = connect(endpoint, Some(&authorities))?;
    let again = match info(&sure, endpoint).await? {
        Info::There(map) => map,
        Info::Kept(why) => return Err(no_info(endpoint, why)),
    };
    if again.data.as_ref().and_then(|data| data.get("kubeconfig")) != Some(&said) {
        return Err(DiscoveryError::Differs(endpoint.to_owned()));
    }
    Ok(cluster)
}

fn no_info(endpoint: &str, why: String) -> DiscoveryError {
    DiscoveryError::NoClusterInfo {
        endpoint: endpoint.to_owned(),
        why,
    }
}

/// The kubeconfig in cluster-info, and its signature for a token.
async fn signed_info(
    client: &kube::Client,
    endpoint: &str,
    token: &Token,
    patience: Duration,
) -> Result<(String, String), DiscoveryError> {
    let key = format!("jws-kubeconfig-{}", token.id());
    let deadline = tokio::time::Instant::now() + patience;
    let mut looks = tokio::time::interval(AGAIN);
    loop {
        looks.tick().await;
        let mut data = match info(client, endpoint).await? {
            Info::There(map) => map.data.unwrap_or_default(),
            Info::Kept(why) => return Err(no_info(endpoint, why)),
        };
        match (data.remove("kubeconfig"), data.remove(&key)) {
            (Some(said), Some(signed)) => return Ok((said, signed)),
            (None, _) => return Err(no_info(endpoint, "it has no kubeconfig".to_owned())),
            (Some(_), None) if tokio::time::Instant::now() + AGAIN < deadline => {}
            (Some(_), None) => {
                return Err(DiscoveryError::UnknownToken {
                    id: token.id().to_owned(),
                });
            }
        }
    }
}

/// A cluster, and the credentials for it if the file has them.
#[derive(Debug)]
pub struct Found {
    /// The cluster.
    pub cluster: Cluster,
    /// The `user` of a kubeconfig, with all data embedded; `None` if the file has no credentials.
    pub user: Option<Value>,
}

/// Finds a cluster by a trusted kubeconfig: a file, or an address that begins with `https://`.
pub async fn by_file(path: &Path) -> Result<Found, DiscoveryError> {
    let stated = match path.to_str() {
        Some(url) if url.starts_with("https://") => fetch::fetch(url).await?,
        // Without TLS anything in between could pose as the cluster.
        Some(url) if url.starts_with("http://") => return Err(DiscoveryError::Plain(url.to_owned())),
        _ => kubeconfig::read(path)?,
    };
    let endpoint = path.display().to_string();
    let missing = |what: &str| DiscoveryError::Malformed {
        endpoint: endpoint.clone(),
        what: what.to_owned(),
    };
    let server = stated
        .cluster()
        .server
        .clone()
        .ok_or_else(|| missing("it names no server"))?;
    let authority = stated.authorities().and_then(|pem| String::from_utf8(pem).ok());
    let authority = authority.ok_or_else(|| missing("it has no readable certificate authority"))?;
    let authorities = certificates(authority.as_bytes()).unwrap_or_default();
    if authorities.is_empty() {
        return Err(missing("its certificate authority is not a valid certificate"));
    }
    let address = server.trim_start_matches("https://").trim_end_matches('/');
    let sure = connect(checked(address)?, Some(&authorities))?;
    // Whether everybody may read it does not matter here: the answer came over TLS of the right authority.
    info(&sure, address).await?;
    let user = stated.embedded_user();
    Ok(Found {
        cluster: Cluster { server, authority },
        user,
    })
}

/// A client that trusts these authorities, or any server.
fn connect(endpoint: &str, trusted: Option<&[Certificate]>) -> Result<kube::Client, DiscoveryError> {
    let uri = format!("https://{endpoint}").parse();
    let mut config = kube::Config::new(uri.map_err(|_| DiscoveryError::Endpoint(endpoint.to_owned()))?);
    config.connect_timeout = Some(ANSWER);
    config.default_retry = false;
    match trusted {
        Some(trusted) => config.root_cert = Some(trusted.iter().map(|one| one.der().to_vec()).collect()),
        None => config.accept_invalid_certs = true,
    }
    client::client(&config).map_err(|error| DiscoveryError::Malformed {
        endpoint: endpoint.to_owned(),
        what: chain(&error),
    })
}

/// Reads cluster-info from the API server.
enum Info {
    There(Box<ConfigMap>),
    /// It has none, or does not serve it publicly.
    Kept(String),
}

async fn info(client: &kube::Client, endpoint: &str) -> Result<Info, DiscoveryError> {
    let unreachable = |why: String| DiscoveryError::Unreachable {
        endpoint: endpoint.to_owned(),
        why,
    };
    let request = Request::get(CLUSTER_INFO).body(kube::client::Body::empty());
    let request = request.map_err(|error| unreachable(error.to_string()))?;
    let asked = tokio::time::timeout(ANSWER, async {
        let response = client.send(request).await?;
        let (head, body) = response.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    });
    let (head, body) = match asked.await {
        Err(_) => return Err(unreachable("it does not answer in time".to_owned())),
        Ok(Err(error)) if cause(&error) == Cause::Untrusted => {
            return Err(DiscoveryError::Untrusted {
                endpoint: endpoint.to_owned(),
                why: text(&error),
            });
        }
        Ok(Err(error)) => return Err(unreachable(text(&error))),
        Ok(Ok(answer)) => answer,
    };
    let date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    check_clock(date, Timestamp::now())?;
    match head.status {
        StatusCode::OK => {
            let map = serde_json::from_slice(&body);
            map.map(|map| Info::There(Box::new(map)))
                .map_err(|_| unreachable("the server that answers is not an API server".to_owned()))
        }
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            Ok(Info::Kept(head.status.to_string()))
        }
        status => Err(unreachable(format!("it answers {status}"))),
    }
}

/// Compares the clocks by the answer's date.
fn check_clock(date: Option<&str>, now: Timestamp) -> Result<(), DiscoveryError> {
    let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(theirs) = theirs else {
        return Ok(());
    };
    let apart = theirs.timestamp().duration_since(now);
    if apart.abs() <= CLOCKS {
        return Ok(());
    }
    Err(DiscoveryError::Clock {
        seconds: apart.as_secs().unsigned_abs(),
        is_behind: apart.is_positive(),
    })
}

/// The cluster of a kubeconfig's text.
fn understood(said: &str, endpoint: &str) -> Result<Cluster, DiscoveryError> {
    let malformed = |what: &str| DiscoveryError::Malformed {
        endpoint: endpoint.to_owned(),
        what: what.to_owned(),
    };
    let read =
        kubeconfig::parse(said, endpoint.as_ref()).map_err(|_| malformed("it is not a valid kubeconfig"))?;
    let cluster = read.clusters.first().and_then(|named| named.cluster.clone());
    let cluster = cluster.ok_or_else(|| malformed("it names no cluster"))?;
    let authority = kubeconfig::decoded(cluster.certificate_authority_data.as_deref());
    let authority = authority.ok_or_else(|| malformed("it has no certificate authority"))?;
    match certificates(authority.as_bytes()) {
        Ok(found) if !found.is_empty() => {}
        _ => return Err(malformed("its certificate authority is not a valid certificate")),
    }
    let server = cluster.server.filter(|server| server.starts_with("https://"));
    Ok(Cluster {
        server: server.ok_or_else(|| malformed("it names no server"))?,
        authority,
    })
}

impl Cluster {
    /// The kubeconfig for requesting a certificate, as kubeadm writes it.
    pub fn for_user(&self, user: &Value) -> Value {
        let cluster = json!({
            "server": self.server,
            "certificate-authority-data": kubeconfig::encoded(&self.authority),
        });
        let name = "tls-bootstrap-token-user";
        kubeconfig::document("kubernetes", &cluster, name, user, &format!("{name}@kubernetes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for right in ["192.0.2.1:6443", "[2001:db8::1]:6443", "api.example.org:443"] {
            assert!(checked(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "192.0.2.1",
            "https://192.0.2.1:6443",
            "a:b",
            ":6443",
            "a:6443/x",
            "u@a:6443",
        ] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn clocks_may_be_five_minutes_apart() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let check = |date: Option<&str>, expected: Option<(u64, bool)>| {
            let found = match check_clock(date, now) {
                Ok(()) => None,
                Err(DiscoveryError::Clock { seconds, is_behind }) => Some((seconds, is_behind)),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, expected, "{date:?}");
        };
        check(None, None);
        check(Some("nonsense"), None);
        check(Some("Wed, 25 Nov 2026 12:04:59 GMT"), None);
        check(Some("Wed, 25 Nov 2026 12:05:01 GMT"), Some((301, true)));
        check(Some("Wed, 25 Nov 2026 11:00:00 GMT"), Some((3600, false)));
    }
}
