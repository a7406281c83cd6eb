//! What a client sends on an upgraded connection: SPDY and WebSocket.

use std::future::Future;

use bytes::Bytes;
use gantry::serve::stream::command::{FromClient, Parts};
use gantry::serve::stream::spdy::{self, Event, Headers, Role};
use gantry::serve::stream::websocket::{self, CommandProtocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// More than a client is made to send here, so that nothing waits.
const ROOM: usize = 4 << 20;

fn run_to_its_end<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a thread can wait");
    runtime.block_on(future)
}

/// What one end of a connection sends until it is dropped.
async fn sent(send: impl AsyncFnOnce(DuplexStream)) -> Vec<u8> {
    let (client, mut wire) = duplex(ROOM);
    send(client).await;
    let mut bytes = Vec::new();
    wire.read_to_end(&mut bytes).await.expect("it is in memory");
    bytes
}

/// A connection on which all of this has come, and then its end, with the client's end, which has room for answers.
async fn received(input: &[u8]) -> (DuplexStream, DuplexStream) {
    let (mut client, server) = duplex(ROOM);
    client.write_all(input).await.expect("there is room");
    client.shutdown().await.expect("it is in memory");
    (server, client)
}

/// Streams of a command and of a forwarded port, as kubectl opens them.
pub(super) fn spdy_seeds() -> Vec<Vec<u8>> {
    let kinds: [&[(&str, &str)]; 4] = [
        &[("streamType", "error")],
        &[("streamType", "stdin")],
        &[("streamType", "data"), ("port", "80"), ("requestID", "0")],
        &[("streamType", "resize")],
    ];
    let one = async |client| {
        let (_events, sender) = spdy::open(client, Role::Client);
        for kind in kinds {
            let headers: Headers = kind.iter().copied().collect();
            let stream = sender.open_stream(headers, false).await.expect("it is read");
            sender
                .data(stream, Bytes::from_static(b"hello"), false)
                .await
                .expect("it is read");
            sender.reset(stream).await.expect("it is read");
        }
        let headers: Headers = [("streamType", "stdin")].into_iter().collect();
        let stream = sender.open_stream(headers, false).await.expect("it is read");
        let much = Bytes::from(vec![b'x'; 40_000]);
        sender.data(stream, much, true).await.expect("it is read");
        sender.close().await.expect("it is read");
    };
    vec![run_to_its_end(sent(one))]
}

/// No more data than was sent, streams in their order, and an end.
pub(super) fn spdy(input: &[u8]) -> bool {
    run_to_its_end(async {
        let (connection, _client) = received(input).await;
        let (mut events, _sender) = spdy::open(connection, Role::Server);
        let (mut last, mut bytes) = (0, 0);
        while let Ok(Some(event)) = events.next().await {
            match event {
                Event::Opened { stream, .. } => {
                    assert!(stream.number() > last && stream.number() % 2 == 1, "{stream:?}");
                    last = stream.number();
                }
                Event::Data { data, .. } => bytes += data.len(),
                _ => {}
            }
        }
        assert!(bytes <= input.len());
        last > 0
    })
}

/// Input, a size and the end of the input, as kubectl sends them.
pub(super) fn websocket_seeds() -> Vec<Vec<u8>> {
    let one = async |client| {
        let (_reader, mut writer) = websocket::as_client(client);
        for message in [
            FromClient::Stdin(Bytes::from_static(b"ls\n")),
            FromClient::Resize {
                columns: 80,
                rows: 24,
            },
            FromClient::Stdin(Bytes::from(vec![b'x'; 40_000])),
            FromClient::StdinEnd,
        ] {
            writer.send(message).await.expect("it is read");
        }
    };
    vec![run_to_its_end(sent(one))]
}

/// In every protocol: no more input than was sent, and no empty piece of it.
pub(super) fn websocket(input: &[u8]) -> bool {
    let parts = Parts {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    run_to_its_end(async {
        let mut understood = false;
        for protocol in CommandProtocol::ALL {
            let (connection, _client) = received(input).await;
            let begun = websocket::command(connection, protocol, parts).await;
            let (mut reader, _writer) = begun.expect("the first message has room");
            let mut bytes = 0;
            while let Ok(Some(message)) = reader.next().await {
                understood = true;
                if let FromClient::Stdin(data) = message {
                    assert!(!data.is_empty(), "{}", protocol.name);
                    bytes += data.len();
                }
            }
            assert!(bytes <= input.len(), "{}", protocol.name);
        }
        understood
    })
}
