//! The runtime's end of attached streams: SPDY to the streaming server that CRI's `Attach` names.

use std::io;
use std::time::Duration;

use axum::http::uri::InvalidUri;
use axum::http::{Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::ask::tls;
use crate::cri::{CriError, Runtime};
use crate::serve::stream::command::{Parts, Version};
use crate::serve::stream::spdy::{self, Role};
use crate::serve::stream::spdy_command::{self, OpenError, Streams};
use crate::serve::stream::upgrade::SPDY;

/// How long the streaming server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How much of an answer that is no upgrade is read for its message.
const MAX_MESSAGE: usize = 4 * 1024;

/// Why a container's streams cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(super) enum UpstreamError {
    #[error(transparent)]
    Cri(#[from] CriError),
    #[error("the runtime's streaming address {url:?} is not an http or https URL with host and port")]
    Address { url: String },
    #[error("the runtime's streaming address {url:?} cannot be parsed")]
    Url { url: String, source: InvalidUri },
    #[error("cannot connect to the runtime's streaming server at {address}")]
    Connect { address: String, source: io::Error },
    #[error(
        "the runtime's streaming server at {address} is not on this machine's loopback, and its certificate cannot be \
         verified: let the runtime listen on 127.0.0.1 (containerd: stream_server_address)"
    )]
    Remote { address: String },
    #[error("the runtime's streaming server did not answer within {} s", ANSWER.as_secs())]
    Late,
    #[error("the runtime's streaming server ended the connection")]
    Http(#[source] hyper::Error),
    #[error("the runtime's streaming server answers {code}: {message}")]
    Refused { code: StatusCode, message: String },
    #[error("the runtime's streaming server does not open the streams")]
    Streams(#[from] OpenError),
}

impl UpstreamError {
    /// Whether the runtime has answered so. Otherwise it could not be asked.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            UpstreamError::Cri(error) => !error.is_unreachable(),
            UpstreamError::Refused { .. } => true,
            _ => false,
        }
    }
}

/// The connection to the runtime.
pub(super) struct Upstream {
    pub(super) events: spdy::Receiver<TokioIo<Upgraded>>,
    pub(super) sender: spdy::Sender,
    pub(super) streams: Streams,
}

/// Asks the runtime for the container's streams.
pub(super) async fn attach(
    runtime: &Runtime,
    container: &str,
    parts: Parts,
) -> Result<Upstream, UpstreamError> {
    let request = v1::AttachRequest {
        container_id: container.to_owned(),
        stdin: parts.stdin,
        tty: parts.tty,
        stdout: parts.stdout,
        stderr: parts.stderr,
    };
    let url = runtime.attach(request).await?;
    let upgraded = tokio::time::timeout(ANSWER, upgrade(&url)).await;
    let io = TokioIo::new(upgraded.map_err(|_| UpstreamError::Late)??);
    let (mut events, sender) = spdy::open(io, Role::Client);
    let streams = spdy_command::open((&mut events, &sender), parts).await?;
    Ok(Upstream {
        events,
        sender,
        streams,
    })
}

/// Opens the connection.
async fn upgrade(url: &str) -> Result<Upgraded, UpstreamError> {
    let wrong = || UpstreamError::Address { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|source| UpstreamError::Url {
        url: url.to_owned(),
        source,
    })?;
    let (Some(scheme), Some(authority), Some(path)) =
        (uri.scheme_str(), uri.authority(), uri.path_and_query())
    else {
        return Err(wrong());
    };
    let (address, path) = (authority.as_str(), path.as_str());
    let failed = |source| UpstreamError::Connect {
        address: address.to_owned(),
        source,
    };
    match scheme {
        "http" => {
            let stream = connect(address).await.map_err(failed)?;
            request(stream, address, path).await
        }
        "https" => {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
            let stream = connect(address).await.map_err(failed)?;
            if !stream.peer_addr().map_err(failed)?.ip().is_loopback() {
                return Err(UpstreamError::Remote {
                    address: address.to_owned(),
                });
            }
            // The runtime signs its certificate itself, so it cannot be verified. On loopback, encrypted streams are at
            // least as private as those without TLS, which are the runtime's default.
            let stream = tls::unverified().connect(name, stream).await.map_err(failed)?;
            request(stream, address, path).await
        }
        _ => Err(wrong()),
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Keystrokes are passed on as they come.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Asks for the streams. A redirect is an answer like any other that is no upgrade: it is never followed (CVE-2020-8559).
async fn request(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: &str,
    path: &str,
) -> Result<Upgraded, UpstreamError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(UpstreamError::Http)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header(header::HOST, address)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, SPDY)
        .header("X-Stream-Protocol-Version", Version::V4.name())
        .body(Empty::<Bytes>::new())
        .expect("the parts come from a URL that was parsed");
    let response = sender.send_request(request).await.map_err(UpstreamError::Http)?;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), MAX_MESSAGE).collect().await;
        let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let message = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(UpstreamError::Refused { code, message });
    }
    hyper::upgrade::on(response).await.map_err(UpstreamError::Http)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of an upgrade that is answered so.
    async fn answered(answer: &'static str) -> Result<Upgraded, UpstreamError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let size = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            (String::from_utf8_lossy(&request[..size]).into_owned(), stream)
        });
        let upgraded = upgrade(&format!("http://{address}/attach/token?x=1")).await;
        let (request, _stream) = server.await.unwrap();
        assert!(
            request.starts_with("POST /attach/token?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("upgrade: SPDY/3.1\r\n"), "{request}");
        upgraded
    }

    #[tokio::test]
    async fn only_an_upgrade_is_taken_for_one() {
        let upgraded = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\n";
        assert!(answered(upgraded).await.is_ok());
        let check = async |answer: &'static str, expected: &str| match answered(answer).await {
            Err(error) => assert_eq!(error.to_string(), expected),
            Ok(_) => panic!("{answer}"),
        };
        // It could lead anywhere (CVE-2020-8559).
        check(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:10250/exec/a/b/c\r\ncontent-length: 0\r\n\r\n",
            "the runtime's streaming server answers 302 Found: ",
        )
        .await;
        check(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 16\r\n\r\ntoken expired\r\n\n",
            "the runtime's streaming server answers 404 Not Found: token expired",
        )
        .await;
    }

    #[tokio::test]
    async fn addresses_that_are_not_spoken_are_refused() {
        for url in ["/attach/x", "ftp://127.0.0.1/x"] {
            let error = upgrade(url).await.expect_err(url).to_string();
            assert!(error.contains("is not an http or https URL"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_runtime_on_loopback_may_encrypt_with_a_certificate_of_its_own() {
        let own = rcgen::generate_simple_self_signed(["containerd".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = [0; 4096];
            let size = stream.read(&mut request).await.unwrap();
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            (String::from_utf8_lossy(&request[..size]).into_owned(), stream)
        });
        let upgraded = upgrade(&format!("https://{address}/attach/token")).await;
        let (request, _stream) = server.await.unwrap();
        assert!(
            request.starts_with("POST /attach/token HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(upgraded.is_ok());
    }
}
