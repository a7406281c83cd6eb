//! Headers compressed for HTTP/2 cost the server much more than the client, and so did streams that were opened and
//! reset at once (2023-44487). No port supports HTTP/2: it is not negotiated, and a client that starts with it anyway
//! gets no HTTP/2 response.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Node;
use crate::serve::health::{Health, healthz};

/// How an HTTP/2 connection starts: the preface, an empty settings frame, and a request for `/healthz`.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x0d\x01\x05\x00\x00\x00\x01\x82\x86\x04\x08/healthz\x41";

/// All that is answered until the connection is closed.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(BEGINNING).await.unwrap();
    let mut answer = Vec::new();
    // It may be reset: what was sent is not read.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn cve_2022_41723_only_http_1_1_is_agreed_on() {
    let node = Node::start(false).await;
    let agreed = async |offered: &[&str]| {
        let mut config = node.trust(None);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let agreed = node.tls(Arc::new(config)).await.ok()?;
        let protocol = agreed.get_ref().1.alpn_protocol().unwrap_or_default();
        Some(String::from_utf8(protocol.to_vec()).unwrap())
    };
    assert_eq!(agreed(&["h2", "http/1.1"]).await.as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&["h2"]).await, None);
    assert_eq!(agreed(&[]).await.as_deref(), Some(""));
}

#[tokio::test]
async fn cve_2022_41723_who_begins_with_http_2_is_not_answered() {
    let node = Node::start(false).await;
    let known = Arc::new(node.trust(Some(node.authority.user("admin"))));
    let over_tls = answered(node.tls(known).await.unwrap()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(healthz(listener, Health::default(), std::future::pending()));
    let plain = answered(TcpStream::connect(address).await.unwrap()).await;
    for answer in [over_tls, plain] {
        // An HTTP/2 server would start with a frame. An HTTP/1.1 server closes the connection.
        assert_eq!(answer, "");
    }
}
