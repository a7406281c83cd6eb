//! One GET, with the redirects that stay on its host (`pkg/probe/http`).

mod request;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::connect::{dial, errno, join};
use super::names::Asker;
use super::tls;
use crate::model::error_chain::first_cause;
use crate::model::probe::HttpGet;

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;
/// How much of an answer is read (`maxRespBodyLength`).
const MOST_BODY: usize = 10 << 10;
/// An answer that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status; of a redirect that was not followed, 3xx.
    pub status: u16,
    /// The beginning of the body.
    pub body: String,
}

/// What a GET is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A probe asks.
    Probe,
    /// A hook is told.
    Hook,
}

impl Purpose {
    /// As it stands in the user agent.
    fn name(self) -> &'static str {
        match self {
            Purpose::Probe => "probe",
            Purpose::Hook => "lifecycle",
        }
    }
}

/// A target: where a GET goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    https: bool,
    /// Host and port as the URL has them: a port that is not named is not shown to the server either.
    authority: String,
    path: String,
}

/// One request of a GET: the first, or one that a redirect asks for.
struct Hop {
    target: Target,
    /// The stated `Host` belongs to it: no redirect has named another.
    own_host: bool,
    /// Who sent it here.
    referer: Option<String>,
}

impl Hop {
    /// The next one. What was asked under TLS is not named to whoever listens without (`refererForURL`).
    fn to(self, next: Target, relative: bool) -> Hop {
        let leaves_tls = self.target.https && !next.https;
        Hop {
            own_host: self.own_host && relative,
            referer: (!leaves_tls).then(|| self.target.url()),
            target: next,
        }
    }
}

/// Sends the GET to its own host, else to `address`. The error is as Go's client words it.
pub async fn get(
    asker: Asker<'_>,
    get: &HttpGet,
    address: &str,
    purpose: Purpose,
    within: Duration,
) -> Result<Answer, String> {
    let host = get.host.as_deref().unwrap_or(address);
    let target = Target {
        https: get.https,
        authority: join(host, get.port.number()?),
        path: path(&get.path),
    };
    let deadline = Instant::now() + within;
    let mut hop = Hop {
        target: target.clone(),
        own_host: true,
        referer: None,
    };
    for _ in 0..MOST_REDIRECTS {
        let url = hop.target.url();
        let answer = once(asker, get, &hop, purpose, deadline)
            .await
            .map_err(|why| format!("Get {url:?}: {why}"))?;
        let (status, location, body) = answer;
        match location.map(|location| hop.target.redirected(&location)) {
            Some((next, relative)) if is_redirect(status) && next.host() == target.host() => {
                hop = hop.to(next, relative);
            }
            _ => {
                let status = status.as_u16();
                return Ok(Answer { status, body });
            }
        }
    }
    Err(format!(
        "Get {:?}: stopped after {MOST_REDIRECTS} redirects",
        hop.target.url()
    ))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Target {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// The host alone, without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        split(&self.authority).0
    }

    fn port(&self) -> u16 {
        let default = if self.https { 443 } else { 80 };
        split(&self.authority).1.unwrap_or(default)
    }

    /// Where a `Location` leads from here, and whether it names no host.
    fn redirected(&self, location: &str) -> (Target, bool) {
        let location = location.split('#').next().unwrap_or_default();
        let (https, rest) = match location.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, Some(rest)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, Some(rest)),
            _ => (self.https, location.strip_prefix("//")),
        };
        if let Some(rest) = rest {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            // Who is named before the host is not told on.
            let authority = rest[..end].rsplit('@').next().unwrap_or_default().to_owned();
            let path = path(&rest[end..]);
            return (
                Target {
                    https,
                    authority,
                    path,
                },
                false,
            );
        }
        let path = if location.starts_with('/') {
            path(location)
        } else {
            let own = self.path.split('?').next().unwrap_or_default();
            let dir = own.rfind('/').map_or("/", |slash| &own[..=slash]);
            path(&format!("{dir}{location}"))
        };
        (Target { path, ..self.clone() }, true)
    }
}

/// Host and port of a URL's authority.
fn split(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_matches(['[', ']']), port)
}

/// A path that can stand in a request: rooted, without a fragment, what is no part of a URL encoded.
fn path(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut path = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        path.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'!' | b'#'..=b';' | b'=' | b'?'..=b'Z' | b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                path.push(char::from(byte));
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path
}

/// One request: the status, where it leads, the beginning of the body.
async fn once(
    asker: Asker<'_>,
    get: &HttpGet,
    hop: &Hop,
    purpose: Purpose,
    deadline: Instant,
) -> Result<(StatusCode, Option<String>, String), String> {
    let target = &hop.target;
    let (host, port) = (target.host(), target.port());
    let request = request::request(get, hop, purpose)?;
    let late = "Client.Timeout exceeded while awaiting headers";
    let stream = dial(asker, host, port, deadline).await;
    let stream = stream.map_err(|why| match why.ends_with("i/o timeout") {
        true => format!("{why} ({late})"),
        false => why,
    })?;
    let exchange = async {
        if !target.https {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = tls::connector().connect(name, stream).await;
        exchange(stream.map_err(|error| told(&error))?, request).await
    };
    match timeout_at(deadline, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("context deadline exceeded ({late})")),
    }
}

/// What went wrong with TLS or with a connection.
fn told(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        _ if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => errno(error),
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Option<String>, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = |error: hyper::Error| match error.is_incomplete_message() {
        true => "EOF".to_owned(),
        false => cause(&error),
    };
    let mut protocol = http1::Builder::new();
    // Names go out as `request::canonical` has them.
    protocol.title_case_headers(true);
    let handshake = protocol.handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(told)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(told)?;
        let location = response.headers().get(hyper::header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((response.status(), location, body(response).await?))
    };
    // The connection is driven beside its only request, and ends with it.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It may have ended by itself with the answer already in hand.
        _ = connection => answer.await,
    }
}

async fn body(response: Response<Incoming>) -> Result<String, String> {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cause(&error))?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if text.len() >= MOST_BODY {
            text.truncate(MOST_BODY);
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first cause, in the words of Go where it is the kernel's.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let first = first_cause(error);
    match first.downcast_ref::<std::io::Error>() {
        Some(error) => errno(error),
        None => first.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::model::probe::PortRef;

    const WITHIN: Duration = Duration::from_secs(20);

    /// Asks the loopback address.
    async fn get(get: &HttpGet) -> Result<Answer, String> {
        let names = crate::ask::Names::default();
        let asker = Asker {
            names: &names,
            pod: "p",
        };
        super::get(asker, get, "127.0.0.1", Purpose::Probe, WITHIN).await
    }

    fn asked(port: u16, https: bool) -> HttpGet {
        HttpGet {
            https,
            host: None,
            port: PortRef::Number(port),
            path: "/".to_owned(),
            headers: Vec::new(),
        }
    }

    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let _ = stream.flush().await;
    }

    #[tokio::test]
    async fn https_is_asked_whoever_signed_it() {
        let own = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            }
        });
        let answer = get(&asked(port, true)).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
    }

    #[tokio::test]
    async fn who_speaks_no_tls_and_who_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream).await;
            }
        });
        let error = get(&asked(port, true)).await.unwrap_err();
        assert_eq!(
            error,
            format!("Get \"https://127.0.0.1:{port}/\": http: server gave HTTP response to HTTPS client")
        );
        serving.abort();
        let _ = serving.await;
        let error = get(&asked(port, false)).await.unwrap_err();
        assert_eq!(
            error,
            format!(
                "Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
    }

    #[test]
    fn where_redirects_lead() {
        let here = Target {
            https: false,
            authority: "a:8080".to_owned(),
            path: "/x/y?z=1".to_owned(),
        };
        let check = |location: &str, url: &str, relative| {
            let (target, is_relative) = here.redirected(location);
            assert_eq!(
                (target.url().as_str(), is_relative),
                (url, relative),
                "{location}"
            );
        };
        check("/b", "http://a:8080/b", true);
        check("c?d", "http://a:8080/x/c?d", true);
        check("https://a/e#f", "https://a/e", false);
        check("http://[::1]:81", "http://[::1]:81/", false);
        check("//b:9/g", "http://b:9/g", false);
    }

    #[test]
    fn a_path_is_made_fit_for_a_request() {
        assert_eq!(path("a b/ü"), "/a%20b/%C3%BC");
        assert_eq!(path("/x?q=%20&r=1"), "/x?q=%20&r=1");
    }
}
