//! Ports of this machine, as those of a pod on the host network.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::super::dial::PodNetwork;
use super::*;
use crate::model::pod::PodName;

const SOON: Duration = Duration::from_secs(20);

/// The client of a session.
struct Client<I> {
    messages: WebSocketStream<I>,
    session: JoinHandle<()>,
    stopping: CancellationToken,
}

fn start_over<I>((ours, theirs): (I, I), codec: Codec, ports: Vec<u16>) -> Client<I>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stopping = CancellationToken::new();
    let lifetime = Lifetime::new(stopping.clone(), None, Duration::from_secs(3600));
    let target = Target {
        pod: PodName::new("default", "web"),
        uid: "u1".to_owned(),
        network: PodNetwork::Host,
    };
    let session = tokio::spawn(async move { run(theirs, codec, &ports, target, &lifetime).await });
    Client {
        messages: ClientBuilder::new().take_over(ours),
        session,
        stopping,
    }
}

fn start(codec: Codec, ports: Vec<u16>) -> Client<DuplexStream> {
    start_over(duplex(64 * 1024), codec, ports)
}

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    async fn next(&mut self) -> Message {
        let message = timeout(SOON, self.messages.next()).await.expect("in time");
        message.expect("a message").expect("no error")
    }

    async fn send(&mut self, message: Message) {
        let sent = timeout(SOON, self.messages.send(message)).await;
        sent.expect("in time").expect("the session goes on");
    }

    /// The next message's channel and data, over the binary protocol.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        loop {
            let message = self.next().await;
            assert!(!message.is_close(), "{message:?}");
            if let Some((channel, data)) = message.as_payload().split_first() {
                return (*channel, data.to_vec());
            }
        }
    }

    async fn write(&mut self, channel: u8, data: &[u8]) {
        self.send(Message::binary([&[channel], data].concat())).await;
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(SOON, listener.accept())
        .await
        .expect("in time")
        .unwrap()
        .0
}

#[tokio::test]
async fn each_port_has_two_channels_that_begin_with_its_number() {
    let ((first, one), (second, two)) = (listen().await, listen().await);
    let mut client = start(Codec::Binary, vec![one, two]);
    for (channel, port) in [(0, one), (1, one), (2, two), (3, two)] {
        assert_eq!(client.read().await, (channel, port.to_le_bytes().to_vec()));
    }
    let (mut first, mut second) = (accept(&first).await, accept(&second).await);
    for (channel, server) in [(2, &mut second), (0, &mut first)] {
        // More than one piece.
        let sent = vec![channel + 1; 3 * CHUNK + 1];
        client.write(channel, &sent).await;
        let mut read = vec![0; sent.len()];
        let reading = timeout(SOON, server.read_exact(&mut read));
        reading.await.expect("in time").unwrap();
        assert_eq!(read, sent);
        server.write_all(b"and back").await.unwrap();
        assert_eq!(client.read().await, (channel, b"and back".to_vec()));
    }
    // What is on no channel of the client's is for nobody.
    for channel in [1, 3, 4, 5, 255] {
        client.write(channel, b"x").await;
    }
    drop(first);
    // The second goes on; the WebSocket ends with the last.
    second.write_all(b"still").await.unwrap();
    assert_eq!(client.read().await, (2, b"still".to_vec()));
    drop(second);
    assert!(client.next().await.is_close());
    drop(client.messages);
    let ended = timeout(SOON, client.session).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn base64_is_spoken() {
    let (listener, port) = listen().await;
    // Ten ports have channels beyond the digits.
    let mut client = start(Codec::Base64, vec![port; 10]);
    let mut servers = Vec::new();
    for _ in 0..10 {
        servers.push(accept(&listener).await);
    }
    let mut begun = Vec::new();
    for _ in 0..20 {
        begun.push(client.next().await.as_text().expect("text").to_owned());
    }
    let number = STANDARD.encode(port.to_le_bytes());
    let expected: Vec<String> = "0123456789:;<=>?@ABC"
        .chars()
        .map(|channel| format!("{channel}{number}"))
        .collect();
    assert_eq!(begun, expected);
    // They were accepted in any order.
    let said = STANDARD.encode("said");
    for channel in (0..20_u8).step_by(2) {
        let channel = char::from(b'0' + channel);
        client.send(Message::text(format!("{channel}{said}"))).await;
    }
    for mut server in servers {
        let mut read = [0; 4];
        timeout(SOON, server.read_exact(&mut read))
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(&read, b"said");
    }
    assert!(client.next().await.is_close());
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_an_error_on_its_channel() {
    let (listener, free) = listen().await;
    drop(listener);
    let mut client = start(Codec::Binary, vec![free]);
    assert_eq!(client.read().await.0, 0);
    assert_eq!(client.read().await.0, 1);
    let (channel, text) = client.read().await;
    let text = String::from_utf8(text).unwrap();
    let expected =
        format!("error forwarding port {free} to pod default/web, uid u1: nothing answers on port {free}");
    assert!(channel == 1 && text.starts_with(&expected), "{channel} {text}");
    assert!(client.next().await.is_close());
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_on_its_channel() {
    let (listener, port) = listen().await;
    let mut client = start(Codec::Binary, vec![port]);
    let mut server = accept(&listener).await;
    server.write_all(b"x").await.unwrap();
    for expected in [0, 1, 0] {
        assert_eq!(client.read().await.0, expected);
    }
    // Closed like this, it is reset.
    server.set_zero_linger().unwrap();
    drop(server);
    let (channel, text) = client.read().await;
    let text = String::from_utf8(text).unwrap();
    assert!(
        channel == 1 && text.contains("Connection reset by peer"),
        "{channel} {text}"
    );
    assert!(client.next().await.is_close());
}

#[tokio::test]
async fn what_a_client_sends_before_it_closes_reaches_the_pod() {
    let (listener, port) = listen().await;
    let mut client = start(Codec::Binary, vec![port]);
    let mut server = accept(&listener).await;
    client.write(0, b"all of it").await;
    let mut read = Vec::new();
    let (closed, received) = tokio::join!(
        timeout(SOON, client.messages.close()),
        timeout(SOON, server.read_to_end(&mut read))
    );
    closed.expect("in time").expect("an answer");
    received.expect("in time").unwrap();
    assert_eq!(read, b"all of it");
    drop(server);
    let ended = timeout(SOON, client.session).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_client_that_disconnects_behind_what_the_pod_does_not_take_is_noticed() {
    let (listener, port) = listen().await;
    let agent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(agent.local_addr().unwrap());
    let (theirs, ours) = tokio::join!(agent.accept(), connecting);
    let mut client = start_over((ours.unwrap(), theirs.unwrap().0), Codec::Binary, vec![port]);
    let server = accept(&listener).await;
    let message = || Message::binary(vec![0; 64 * 1024]);
    let stuck = Duration::from_millis(300);
    while let Ok(sent) = timeout(stuck, client.messages.send(message())).await {
        sent.expect("the session goes on");
    }
    drop(client.messages);
    let ended = timeout(SOON, client.session).await;
    ended.expect("it ends").unwrap();
    drop(server);
}

#[tokio::test]
async fn a_stopping_agent_ends_what_it_forwards() {
    let (listener, port) = listen().await;
    let mut client = start(Codec::Binary, vec![port]);
    let mut server = accept(&listener).await;
    client.stopping.cancel();
    for expected in [0, 1] {
        assert_eq!(client.read().await.0, expected);
    }
    let (channel, text) = client.read().await;
    let expected =
        format!("error forwarding port {port} to pod default/web, uid u1: gantry is stopping on this node");
    assert_eq!((channel, String::from_utf8(text).unwrap()), (1, expected));
    assert!(client.next().await.is_close());
    drop(client.messages);
    let ended = timeout(SOON, client.session).await;
    ended.expect("it ends").unwrap();
    let read = timeout(SOON, server.read(&mut [0; 8])).await;
    assert_eq!(read.expect("in time").unwrap(), 0);
}
