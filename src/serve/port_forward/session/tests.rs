//! Ports of this machine, as those of a pod on the host network.

use std::net::Ipv6Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::dial::PodNetwork;
use super::super::pairs::Pair;
use super::super::relay::relay;
use super::*;
use crate::model::pod::PodName;

const SOON: Duration = Duration::from_secs(10);

/// The client of a session.
struct Client {
    events: spdy::Receiver<DuplexStream>,
    sender: spdy::Sender,
    session: JoinHandle<()>,
    stopping: CancellationToken,
}

fn start() -> Client {
    let (ours, theirs) = duplex(64 * 1024);
    let stopping = CancellationToken::new();
    let lifetime = Lifetime::new(stopping.clone(), None, Duration::from_secs(3600));
    let target = Target {
        pod: PodName::new("default", "web"),
        uid: "u1".to_owned(),
        network: PodNetwork::Host,
    };
    let session = tokio::spawn(async move { run(theirs, target, &lifetime).await });
    let (events, sender) = spdy::open(ours, Role::Client);
    Client {
        events,
        sender,
        session,
        stopping,
    }
}

impl Client {
    async fn open(&mut self, kind: &str, port: &str, request: &str) -> StreamId {
        let headers = [("streamType", kind), ("port", port), ("requestID", request)];
        self.sender
            .open_stream(Headers::from_iter(headers), false)
            .await
            .unwrap()
    }

    /// The two streams of a connection, the data stream first.
    async fn connect(&mut self, port: u16, request: &str) -> (StreamId, StreamId) {
        let port = port.to_string();
        let error = self.open("error", &port, request).await;
        (self.open("data", &port, request).await, error)
    }

    async fn next(&mut self) -> Event {
        let event = timeout(SOON, self.events.next()).await.expect("in time");
        event.expect("no error").expect("the connection goes on")
    }

    /// What comes on two streams until both have ended or were reset.
    async fn both(&mut self, (data, error): (StreamId, StreamId)) -> (Vec<u8>, String, bool) {
        let (mut bytes, mut text, mut open, mut was_reset) =
            (Vec::new(), Vec::new(), vec![data, error], false);
        while !open.is_empty() {
            match self.next().await {
                Event::Data {
                    stream,
                    data: more,
                    ended,
                } => {
                    match stream == data {
                        true => bytes.extend_from_slice(&more),
                        false => text.extend_from_slice(&more),
                    }
                    open.retain(|is| !(ended && *is == stream));
                }
                Event::Reset { stream } => {
                    was_reset = true;
                    open.retain(|is| *is != stream);
                }
                Event::Accepted { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        (bytes, String::from_utf8(text).unwrap(), was_reset)
    }
}

/// A server that sends back what it gets, and its end.
async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

#[tokio::test]
async fn connections_are_forwarded_beside_each_other() {
    let four = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ports = vec![four.local_addr().unwrap().port()];
    tokio::spawn(echo(four));
    // A program that listens at the other loopback address alone.
    if let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
        ports.push(six.local_addr().unwrap().port());
        tokio::spawn(echo(six));
    }
    let mut client = start();
    for (number, port) in ports.into_iter().enumerate() {
        let first = client.connect(port, &format!("a{number}")).await;
        let second = client.connect(port, &format!("b{number}")).await;
        for (streams, text) in [(second, "second"), (first, "first")] {
            let sent = Bytes::copy_from_slice(text.as_bytes());
            client.sender.data(streams.1, Bytes::new(), true).await.unwrap();
            client.sender.data(streams.0, sent, false).await.unwrap();
            client.sender.data(streams.0, Bytes::new(), true).await.unwrap();
            assert_eq!(
                client.both(streams).await,
                (text.as_bytes().to_vec(), String::new(), false)
            );
        }
    }
    drop((client.events, client.sender));
    timeout(SOON, client.session)
        .await
        .expect("it ends with its client")
        .unwrap();
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_an_error_of_its_connection_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    let mut client = start();
    for request in ["1", "2"] {
        let streams = client.connect(free, request).await;
        let (data, error, was_reset) = client.both(streams).await;
        assert!(data.is_empty() && was_reset);
        let expected = format!(
            "error forwarding port {free} to pod default/web, uid u1: nothing answers on port {free}"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_ends_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = start();
    let broken = client.connect(port, "1").await;
    let (mut server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    // The connection is made when something has come over it.
    server.write_all(b"x").await.unwrap();
    while !matches!(client.next().await, Event::Data { .. }) {}
    // Closed like this, it is reset.
    server.set_zero_linger().unwrap();
    drop(server);
    let (_, error, was_reset) = client.both(broken).await;
    assert!(was_reset && error.is_empty(), "{error}");
    tokio::spawn(echo(listener));
    let whole = client.connect(port, "2").await;
    client
        .sender
        .data(whole.0, Bytes::from_static(b"x"), true)
        .await
        .unwrap();
    assert_eq!(client.both(whole).await, (b"x".to_vec(), String::new(), false));
}

/// kubectl waits for the end of the error stream before it closes its own end.
#[tokio::test]
async fn a_connection_ends_with_the_pods_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = start();
    let streams = client.connect(listener.local_addr().unwrap().port(), "1").await;
    let (mut server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    server.write_all(b"bye").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(
        client.both(streams).await,
        (b"bye".to_vec(), String::new(), false)
    );
    // What is under way to the pod arrives.
    client
        .sender
        .data(streams.0, Bytes::from_static(b"late"), true)
        .await
        .unwrap();
    let mut read = Vec::new();
    timeout(SOON, server.read_to_end(&mut read))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read, b"late");
}

/// As a client does that closes its connection first.
#[tokio::test]
async fn a_connection_whose_client_ends_first_ends_with_the_pods_answer() {
    let (ours, theirs) = duplex(64 * 1024);
    let (_events, sender) = spdy::open(ours, Role::Server);
    let (_answers, client) = spdy::open(theirs, Role::Client);
    let pair = Pair {
        port: 80,
        error: client.open_stream(Headers::default(), true).await.unwrap(),
        data: client.open_stream(Headers::default(), false).await.unwrap(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to_pod, from_client) = mpsc::channel(QUEUE);
    let connected = TcpStream::connect(listener.local_addr().unwrap());
    let (server, pod) = tokio::join!(listener.accept(), connected);
    tokio::spawn(async move {
        let (mut server, _) = server.unwrap();
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        server.write_all(&read).await.unwrap();
    });
    to_pod.send(Bytes::from_static(b"all")).await.unwrap();
    drop(to_pod);
    let client = ClientEnd::Streams { sender, pair };
    let relayed = relay(pod.unwrap(), &client, from_client);
    timeout(SOON, relayed)
        .await
        .expect("in time")
        .expect("the client is there");
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused() {
    let mut client = start();
    for (kind, port) in [
        ("data", ""),
        ("data", "0"),
        ("data", "70000"),
        ("data", "http"),
        ("both", "80"),
        ("", "80"),
    ] {
        let stream = client.open(kind, port, "1").await;
        assert_eq!(client.next().await, Event::Reset { stream }, "{kind} {port}");
    }
    let first = client.open("error", "80", "2").await;
    assert_eq!(client.next().await, Event::Accepted { stream: first });
    let again = client.open("error", "80", "2").await;
    assert_eq!(client.next().await, Event::Reset { stream: again });
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_its_second_is_given_up() {
    let mut client = start();
    let stream = client.open("error", "80", "1").await;
    assert_eq!(client.next().await, Event::Accepted { stream });
    let before = Instant::now();
    let event = client.events.next().await.unwrap();
    assert_eq!(event, Some(Event::Reset { stream }));
    assert_eq!(before.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_stopping_agent_ends_what_it_forwards() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = start();
    let (_, error) = client.connect(port, "1").await;
    let (mut server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    client.stopping.cancel();
    let said = loop {
        match client.next().await {
            Event::Data { stream, data, .. } if stream == error => break data,
            other => assert!(matches!(other, Event::Accepted { .. }), "{other:?}"),
        }
    };
    assert_eq!(
        String::from_utf8_lossy(&said),
        format!("error forwarding port {port} to pod default/web, uid u1: gantry is stopping on this node")
    );
    drop((client.events, client.sender));
    timeout(SOON, client.session).await.expect("it ends").unwrap();
    assert_eq!(timeout(SOON, server.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}
