use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn headers(kind: &str) -> Headers {
    Headers::from_iter([("streamType", kind), ("port", "8080")])
}

/// Both ends of a connection through which so many bytes fit.
type End = (Receiver<DuplexStream>, Sender);
fn ends(room: usize) -> (End, End) {
    let (client, server) = duplex(room);
    (open(client, Role::Client), open(server, Role::Server))
}

async fn next(receiver: &mut Receiver<DuplexStream>) -> Event {
    let event = timeout(SOON, receiver.next()).await.expect("in time");
    event.expect("no error").expect("the connection goes on")
}

/// The data of a stream up to its end.
async fn all(receiver: &mut Receiver<DuplexStream>, wanted: StreamId) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        if let Event::Data { stream, data, ended } = next(receiver).await {
            assert_eq!(stream, wanted);
            read.extend_from_slice(&data);
            if ended {
                return read;
            }
        }
    }
}

#[tokio::test]
async fn streams_are_opened_used_and_ended() {
    let ((mut client, to_server), (mut server, to_client)) = ends(64 * 1024);
    let error = to_server.open_stream(headers("error"), true).await.unwrap();
    let data = to_server.open_stream(headers("data"), false).await.unwrap();
    assert_eq!((error.number(), data.number()), (1, 3));
    for (stream, kind, is_ended) in [(error, "error", true), (data, "data", false)] {
        let Event::Opened {
            stream: is,
            headers,
            ended,
        } = next(&mut server).await
        else {
            panic!("no stream was opened")
        };
        assert_eq!((is, ended), (stream, is_ended));
        assert_eq!(headers.get("StreamType"), Some(kind));
        assert_eq!(headers.get("requestID"), None);
        to_client.accept(stream).await.unwrap();
        assert_eq!(next(&mut client).await, Event::Accepted { stream });
    }
    let large: Bytes = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = tokio::spawn({
        let (to_server, large) = (to_server.clone(), large.clone());
        async move { to_server.data(data, large, true).await }
    });
    assert!(all(&mut server, data).await == large);
    sent.await.unwrap().unwrap();
    to_client.reset(data).await.unwrap();
    assert_eq!(next(&mut client).await, Event::Reset { stream: data });
    to_client.close().await.unwrap();
    assert_eq!(next(&mut client).await, Event::GoAway);
    assert!(client.next().await.unwrap().is_none());
    // The other direction is still open.
    to_server
        .data(error, Bytes::from_static(b"late"), true)
        .await
        .unwrap();
    assert_eq!(all(&mut server, error).await, b"late");
}

#[tokio::test]
async fn pings_are_answered_and_a_peer_that_does_not_read_costs_one_answer() {
    let (mut peer, ours) = duplex(64);
    let (mut server, _to_client) = open(ours, Role::Server);
    for id in (1..2001).step_by(2) {
        let ping = frame::ping(id);
        tokio::select! {
            written = peer.write_all(&ping) => written.unwrap(),
            event = server.next() => panic!("{event:?}"),
        }
    }
    // The answers that there was no room for were replaced by later ones.
    let mut last = 0;
    while last != 1999 {
        let mut pong = [0; 12];
        tokio::select! {
            read = timeout(SOON, peer.read_exact(&mut pong)) => drop(read.expect("in time").unwrap()),
            event = server.next() => panic!("{event:?}"),
        }
        let id = u32::from_be_bytes([pong[8], pong[9], pong[10], pong[11]]);
        assert_eq!(&pong[..], &frame::ping(id)[..]);
        assert!(id > last, "{id} after {last}");
        last = id;
    }
}

#[tokio::test]
async fn a_sender_waits_for_a_peer_that_does_not_read() {
    let ((client, to_server), (server, to_client)) = ends(1024);
    let stream = to_server.open_stream(headers("data"), false).await.unwrap();
    let sends = async {
        for _ in 0..100 {
            to_client
                .data(stream, Bytes::from(vec![0; MAX_DATA]), false)
                .await
                .unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(50), sends).await.is_err());
    // It learns of the end.
    drop(client);
    drop(server);
    let sent = timeout(SOON, to_client.data(stream, Bytes::new(), true)).await;
    assert!(matches!(sent, Ok(Err(SpdyError::Ended))), "{sent:?}");
}

/// What a server reads from these bytes, and how it ends.
async fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<Event>, Option<String>) {
    let (mut peer, ours) = duplex(1 << 20);
    let (mut server, _sender) = open(ours, Role::Server);
    let (mut events, mut from) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let to = cut.clamp(from, bytes.len());
        peer.write_all(&bytes[from..to]).await.unwrap();
        from = to;
        if from == bytes.len() {
            peer.shutdown().await.unwrap();
        }
        // Whatever can be read by now is read; more comes with the next piece.
        while let Ok(event) = timeout(Duration::ZERO, server.next()).await {
            match event {
                Ok(Some(event)) => join(&mut events, event),
                Ok(None) => return (events, None),
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    panic!("it did not end: {events:?}")
}

/// Data is handed out in pieces: joined, they are what was sent.
fn join(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (
            Some(Event::Data { stream, data, ended }),
            Event::Data {
                stream: next,
                data: more,
                ended: end,
            },
        ) if *stream == next && !*ended => {
            *data = [&data[..], &more[..]].concat().into();
            *ended = end;
        }
        (_, event) => events.push(event),
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let block = Encoder::default().encode(&headers("data"));
    let opened = |number: u32| frame::open(StreamId::new(number), &block, false).to_vec();
    let check = async |bytes: Vec<u8>, expected: &str| {
        let (_, error) = read(&bytes, &[]).await;
        assert_eq!(error.as_deref(), Some(expected));
    };
    let number = "the peer broke the protocol: a stream with a number that is not its next one";
    check(opened(2), number).await;
    let mut encoder = Encoder::default();
    let mut twice = frame::open(StreamId::new(3), &encoder.encode(&headers("data")), false).to_vec();
    twice.extend(frame::open(
        StreamId::new(1),
        &encoder.encode(&headers("data")),
        false,
    ));
    check(twice, number).await;
    let mut version = opened(1);
    version[1] = 2;
    check(
        version,
        "the peer broke the protocol: a frame of another version of SPDY",
    )
    .await;
    let mut long = opened(1);
    long[5] = 1;
    check(long, "the peer broke the protocol: a control frame is too large").await;
    let mut cut = opened(1);
    cut.truncate(20);
    check(cut, "the connection broke").await;
    let short = [0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1].to_vec();
    check(short, "the peer broke the protocol: a control frame is too short").await;
    let broken = frame::open(StreamId::new(1), b"no zlib", false).to_vec();
    check(
        broken,
        "the peer broke the protocol: a block of headers cannot be decompressed",
    )
    .await;
}

/// What moby/spdystream 0.5.1 sends as a client that opens two streams, pings, and sends `hello` on the second one.
fn of_go() -> Vec<u8> {
    let digits: Vec<u8> = include_str!("of_go.hex")
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// How many bytes that is.
const LENGTH: usize = 159;

#[tokio::test]
async fn what_go_compresses_is_read() {
    let (events, error) = read(&of_go(), &[]).await;
    assert_eq!(error, None, "{events:?}");
    let [first, end, second, third, ..] = &events[..] else {
        panic!("{events:?}")
    };
    let stream = StreamId::new(1);
    let data = Bytes::new();
    assert_eq!(
        *end,
        Event::Data {
            stream,
            data,
            ended: true
        }
    );
    for (event, number, kind) in [(first, 1, "error"), (second, 3, "data")] {
        let Event::Opened {
            stream,
            headers,
            ended,
        } = event
        else {
            panic!("{event:?}")
        };
        let values = ["streamType", "port", "requestID"].map(|name| headers.get(name));
        assert_eq!((stream.number(), *ended), (number, false));
        assert_eq!(values, [Some(kind), Some("8080"), Some("0")]);
    }
    let stream = StreamId::new(3);
    let data = Bytes::from_static(b"hello");
    assert_eq!(
        *third,
        Event::Data {
            stream,
            data,
            ended: true
        }
    );
}

proptest! {
    #[test]
    fn events_do_not_depend_on_where_the_bytes_are_cut(mut cuts in prop::collection::vec(0..LENGTH, 0..20)) {
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(read(&of_go(), &cuts).await, read(&of_go(), &[]).await);
        });
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0..LENGTH) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            read(&bytes, &[]).await;
            // In the middle of what makes sense.
            let mixed = [&of_go()[..at], &bytes].concat();
            read(&mixed, &[]).await;
        });
    }
}
