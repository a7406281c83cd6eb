//! One GET, following the redirects that stay on its host (`pkg/probe/http`).

mod hop;
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

pub use self::hop::Purpose;
use self::hop::{Hop, Target, path};
use super::connect::{dial, errno, join};
use super::names::Asker;
use super::tls;
use crate::model::error_chain::first_cause;
use crate::model::probe::HttpGet;

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;
/// How much of an answer is read (`maxRespBodyLength`).
const MOST_BODY: usize = 10 << 10;
/// A received answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status; 3xx for a redirect that was not followed.
    pub status: u16,
    /// The start of the body.
    pub body: String,
}

/// Sends the GET to its own host, or else to `address`. The error has the wording of Go's client.
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

/// One request: the status, the redirect's target, the start of the body.
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
        let stream = tls::unverified().connect(name, stream).await;
        exchange(stream.map_err(|error| error_text(&error))?, request).await
    };
    match timeout_at(deadline, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("context deadline exceeded ({late})")),
    }
}

/// An error of TLS or of a connection.
fn error_text(error: &std::io::Error) -> String {
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
    let error_text = |error: hyper::Error| match error.is_incomplete_message() {
        true => "EOF".to_owned(),
        false => cause(&error),
    };
    let mut protocol = http1::Builder::new();
    // Names are sent as `request::canonical` has them.
    protocol.title_case_headers(true);
    let handshake = protocol.handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(error_text)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(error_text)?;
        let location = response.headers().get(hyper::header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((response.status(), location, body(response).await?))
    };
    // The connection is driven beside its only request, and ends with it.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It may have ended by itself after the answer.
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

    /// Sends to the loopback address.
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
