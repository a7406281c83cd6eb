use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_websockets::Message;

use super::*;
use crate::serve::stream::command::{Ended, FromClient, Parts, ToClient};

const SOON: Duration = Duration::from_secs(10);
const ALL: Parts = Parts {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                name.parse::<axum::http::HeaderName>().unwrap(),
                value.parse().unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_key_is_answered_as_the_standard_has_it() {
    // The example of RFC 6455, section 1.3.
    let request = headers(&[
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]);
    let response = begin(key(&request).unwrap(), "v4.channel.k8s.io");
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(response.status(), 101);
    assert_eq!(
        header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(header("sec-websocket-protocol"), Some("v4.channel.k8s.io"));
    assert_eq!(
        begin(key(&request).unwrap(), "")
            .headers()
            .get("sec-websocket-protocol"),
        None
    );
    assert!(
        key(&headers(&[
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "x")
        ]))
        .is_err()
    );
    assert!(key(&headers(&[("sec-websocket-version", "13")])).is_err());
}

#[test]
fn the_clients_first_protocol_that_is_spoken_is_chosen() {
    let spoken = CommandProtocol::ALL.map(|protocol| protocol.name);
    let check = |offers: &[&str], expected: Option<&str>| {
        let list: Vec<_> = offers
            .iter()
            .map(|offer| ("sec-websocket-protocol", *offer))
            .collect();
        assert_eq!(choose(&headers(&list), &spoken).ok(), expected, "{offers:?}");
    };
    check(
        &["v5.channel.k8s.io, v4.channel.k8s.io"],
        Some("v5.channel.k8s.io"),
    );
    check(
        &["v9.channel.k8s.io", "base64.channel.k8s.io"],
        Some("base64.channel.k8s.io"),
    );
    check(&["v2.channel.k8s.io"], None);
    check(&[], Some(""));
}

fn protocol(name: &str) -> CommandProtocol {
    let mut all = CommandProtocol::ALL.into_iter();
    all.find(|protocol| protocol.name == name).unwrap()
}

/// A command's streams in a protocol, and the client's raw end.
async fn session(
    name: &str,
) -> (
    (CommandReader<DuplexStream>, CommandWriter<DuplexStream>),
    WebSocketStream<DuplexStream>,
) {
    let (client, server) = duplex(1 << 20);
    (
        command(server, protocol(name), ALL).await.unwrap(),
        take_over(client),
    )
}

fn bytes(message: Message) -> Bytes {
    message.into_payload().into()
}

async fn message(client: &mut WebSocketStream<DuplexStream>) -> Message {
    timeout(SOON, client.next())
        .await
        .expect("in time")
        .expect("a message")
        .expect("no error")
}

#[tokio::test]
async fn channels_are_carried_in_each_protocol() {
    for (name, is_text) in [
        ("v5.channel.k8s.io", false),
        ("v4.channel.k8s.io", false),
        ("v4.base64.channel.k8s.io", true),
        ("base64.channel.k8s.io", true),
        ("", false),
    ] {
        let ((mut reader, mut writer), mut client) = session(name).await;
        let send = |channel: u8, data: &[u8]| protocol(name).codec.wrap(channel, data);
        // The client learns that the streams are there.
        assert_eq!(bytes(message(&mut client).await), bytes(send(1, b"")), "{name}");
        for sent in [
            send(0, b"typed"),
            send(0, b""),
            send(1, b"not the client's"),
            send(7, b"nobody's"),
            send(4, br#"{"Width":80,"Height":24}"#),
            Message::binary(Bytes::new()),
            Message::ping(Bytes::from_static(b"?")),
            send(0, b"more"),
        ] {
            client.send(sent).await.unwrap();
        }
        let read = [
            FromClient::Stdin(Bytes::from_static(b"typed")),
            FromClient::Resize {
                columns: 80,
                rows: 24,
            },
            FromClient::Stdin(Bytes::from_static(b"more")),
        ];
        for expected in read {
            assert_eq!(
                timeout(SOON, reader.next()).await.unwrap().unwrap(),
                Some(expected),
                "{name}"
            );
        }
        writer
            .send(ToClient::Stdout(Bytes::from_static(b"out")))
            .await
            .unwrap();
        writer
            .send(ToClient::Stderr(Bytes::from_static(b"err")))
            .await
            .unwrap();
        writer.send(ToClient::Ended(Ended::Exited(3))).await.unwrap();
        let mut got = Vec::new();
        loop {
            let next = message(&mut client).await;
            match () {
                () if next.is_pong() => {}
                () if next.is_close() => break,
                () => {
                    assert_eq!(next.is_text(), is_text, "{name}");
                    got.push(bytes(next));
                }
            }
        }
        let version = protocol(name).version;
        let status = crate::serve::stream::status::encode(&Ended::Exited(3), version);
        let expected = [send(1, b"out"), send(2, b"err"), send(3, &status)].map(bytes);
        assert_eq!(got, expected, "{name}");
    }
}

#[tokio::test]
async fn the_newest_version_ends_the_input_and_goes_on() {
    let (client, server) = duplex(1 << 20);
    let newest = protocol("v5.channel.k8s.io");
    let (mut reader, mut writer) = command(server, newest, ALL).await.unwrap();
    let (mut from_agent, mut to_agent) = as_client(client);
    let input = Bytes::from_static(b"all of it");
    to_agent.send(FromClient::Stdin(input.clone())).await.unwrap();
    to_agent.send(FromClient::StdinEnd).await.unwrap();
    to_agent
        .send(FromClient::Resize { columns: 1, rows: 2 })
        .await
        .unwrap();
    for expected in [
        FromClient::Stdin(input.clone()),
        FromClient::StdinEnd,
        FromClient::Resize { columns: 1, rows: 2 },
    ] {
        assert_eq!(
            timeout(SOON, reader.next()).await.unwrap().unwrap(),
            Some(expected)
        );
    }
    for sent in [
        ToClient::Stdout(input),
        ToClient::Ended(Ended::Failed("gone".into())),
    ] {
        writer.send(sent.clone()).await.unwrap();
        assert_eq!(
            timeout(SOON, from_agent.next()).await.unwrap().unwrap(),
            Some(sent)
        );
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session() {
    let check = async |name: &str, sent: Message| {
        let ((mut reader, _writer), mut client) = session(name).await;
        // It may not get through as a whole.
        let sending = tokio::spawn(async move { client.send(sent).await.map(|()| client) });
        let read = timeout(SOON, reader.next()).await.expect("in time");
        assert!(read.is_err(), "{read:?}");
        sending.abort();
    };
    check("v5.channel.k8s.io", Message::binary(Bytes::from_static(&[255]))).await;
    check(
        "v5.channel.k8s.io",
        Message::binary(Bytes::from_static(&[255, 9])),
    )
    .await;
    check("base64.channel.k8s.io", Message::text("0not base64!")).await;
    check("v4.channel.k8s.io", Message::binary(vec![0; MAX_MESSAGE + 1])).await;
}

#[tokio::test]
async fn a_tunnel_carries_bytes_wherever_they_are_cut() {
    let (client, server) = duplex(4096);
    let mut inner = tunnel(server);
    let mut client = take_over(client);
    for piece in [&b"hel"[..], b"", b"lo, ", b"world"] {
        client.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    let mut read = [0; 12];
    timeout(SOON, inner.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"hello, world");
    inner.write_all(b"and back").await.unwrap();
    inner.flush().await.unwrap();
    assert_eq!(bytes(message(&mut client).await), "and back");
    // Each end waits for the other's answer.
    let (closed, end) = tokio::join!(
        timeout(SOON, client.close()),
        timeout(SOON, inner.read(&mut read))
    );
    closed.unwrap().unwrap();
    assert_eq!(end.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_pings_too_often_is_cut_off() {
    let ((mut reader, _writer), mut client) = session("v4.channel.k8s.io").await;
    for _ in 0..100 {
        client
            .send(Message::ping(Bytes::from_static(b"?")))
            .await
            .unwrap();
    }
    let read = timeout(SOON, reader.next()).await.expect("in time");
    assert!(read.is_err(), "{read:?}");
}
