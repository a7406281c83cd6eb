//! Limits of one connection, on a paused clock, and errors of accept.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const BIG: usize = 4 * 1024 * 1024;
/// The buffer between the two ends.
const PIPE: usize = 16 * 1024;

/// One byte each minute, for three hours.
async fn followed() -> Body {
    let bytes = futures::stream::iter(0..180).then(|_| async {
        sleep(MINUTE).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    });
    Body::from_stream(bytes)
}

fn router() -> Router {
    Router::new()
        .route("/", get(async || "ok"))
        .route("/", post(async || "unread"))
        .route("/big", get(async || vec![b'x'; BIG]))
        .route("/followed", get(followed))
}

/// The client's end of an established connection.
async fn connected() -> DuplexStream {
    let (near, far) = tokio::io::duplex(PIPE);
    let seats = Seats::new("test", Bounds::OPEN);
    let seat = seats.enter([127, 0, 0, 1].into());
    tokio::spawn(conversation::converse(
        far,
        seat,
        (),
        router(),
        CancellationToken::new(),
    ));
    near
}

/// Reads a response's head, and as much of its body as `ends` requires.
async fn answer(caller: &mut DuplexStream, ends: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).ends_with(ends) {
        let byte = caller.read_u8().await;
        text.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&text))));
    }
    String::from_utf8(text).unwrap()
}

/// How long the connection stays open although nothing is sent.
async fn lasts(caller: &mut DuplexStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    // It may end like a broken one.
    let _ = timeout(24 * 60 * MINUTE, caller.read_to_end(&mut rest)).await;
    start.elapsed()
}

/// Sends a byte each second until the connection ends, and returns how long that took.
async fn drip(caller: &mut DuplexStream, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    for byte in bytes {
        if caller.write_all(&[*byte]).await.is_err() {
            return start.elapsed();
        }
        sleep(SECOND).await;
    }
    panic!("the connection is still open after {:?}", start.elapsed());
}

fn endless_header() -> Vec<u8> {
    let head = b"GET / HTTP/1.1\r\nhost: a\r\n".to_vec();
    head.into_iter().chain(b"a: b\r\n".repeat(100)).collect()
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_has_ten_seconds() {
    let mut caller = connected().await;
    assert_eq!(lasts(&mut caller).await, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_header_byte_by_byte_has_no_longer_for_all_of_it() {
    let mut caller = connected().await;
    let lasted = drip(&mut caller, &endless_header()).await;
    assert!(lasted <= 11 * SECOND, "{lasted:?}");
    // And as long for the next header as an idle connection has.
    let mut caller = connected().await;
    caller
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    answer(&mut caller, "\r\n\r\nok").await;
    let lasted = drip(&mut caller, &endless_header()).await;
    assert!((90 * SECOND..=91 * SECOND).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_kept_alive_has_ninety_seconds_from_each_answer() {
    let mut caller = connected().await;
    for _ in 0..3 {
        caller
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        answer(&mut caller, "\r\n\r\nok").await;
        sleep(89 * SECOND).await;
    }
    assert_eq!(lasts(&mut caller).await, SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_lasts_for_hours_is_not_cut_off() {
    let mut caller = connected().await;
    let start = Instant::now();
    caller
        .write_all(b"GET /followed HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    answer(&mut caller, "\r\n0\r\n\r\n").await;
    assert_eq!(start.elapsed(), 180 * MINUTE);
    assert_eq!(lasts(&mut caller).await, 90 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_answer_slowly_gets_all_of_it_and_who_takes_nothing_is_cut_off() {
    let mut caller = connected().await;
    caller
        .write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    answer(&mut caller, "\r\n\r\n").await;
    let mut left = BIG;
    let mut piece = vec![0; PIPE];
    while left > 0 {
        // Slower than the limit for idle connections.
        sleep(80 * SECOND).await;
        left -= caller.read(&mut piece).await.unwrap();
    }
    // The time starts again whenever something was read.
    let lasted = lasts(&mut caller).await;
    assert!((10 * SECOND..=180 * SECOND).contains(&lasted), "{lasted:?}");

    let mut caller = connected().await;
    let start = Instant::now();
    caller
        .write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let closed = async {
        while caller.write_all(b"").await.is_ok() && caller.write_all(b"x").await.is_ok() {
            sleep(SECOND).await;
        }
    };
    timeout(5 * 60 * MINUTE, closed).await.expect("it is cut off");
    let lasted = start.elapsed();
    assert!(lasted <= 4 * 60 * MINUTE + 91 * SECOND, "{lasted:?}");
}

/// Sends this and then more without end: how many bytes were accepted, and the response.
async fn pour(head: &[u8]) -> (usize, String) {
    let mut caller = connected().await;
    let (mut read, mut write) = tokio::io::split(&mut caller);
    let sending = async {
        write.write_all(head).await.unwrap();
        let mut sent = 0;
        // Whatever does not go through was not taken.
        while sent < BIG && write.write_all(&[b'x'; 1024]).await.is_ok() {
            sent += 1024;
        }
        sent
    };
    let reading = async {
        let mut text = Vec::new();
        let _ = read.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    };
    tokio::join!(sending, reading)
}

#[tokio::test(start_paused = true)]
async fn a_header_without_end_is_refused() {
    let (sent, text) = pour(b"GET / HTTP/1.1\r\nhost: a\r\na: ").await;
    assert!(
        text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        "{text}"
    );
    assert!(sent < 128 * 1024 + PIPE, "{sent} bytes were taken");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_wants_is_not_read() {
    let (sent, text) = pour(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert!(text.ends_with("\r\n\r\nunread"), "{text}");
    assert!(sent < 128 * 1024 + PIPE, "{sent} bytes were taken");
}

#[test]
fn what_is_wrong_with_one_caller_or_with_descriptors_ends_no_port() {
    let check = |errno: Errno, failure: Failure| {
        assert_eq!(
            Failure::of(&io::Error::from_raw_os_error(errno as i32)),
            failure,
            "{errno}"
        );
    };
    check(Errno::EMFILE, Failure::Resources);
    check(Errno::ENFILE, Failure::Resources);
    check(Errno::ENOMEM, Failure::Resources);
    check(Errno::ECONNABORTED, Failure::Caller);
    check(Errno::EPERM, Failure::Caller);
    check(Errno::EINVAL, Failure::Other);
}

/// A port without TLS, and the token that stops it.
async fn port() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = CancellationToken::new();
    let port = Port {
        name: "test",
        listener,
        bounds: Bounds::OPEN,
        transport: Plain,
    };
    let serving = tokio::spawn(port.serve(router(), stopping.clone(), SECOND));
    (address, stopping, serving)
}

async fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn silent_connections_make_room_for_who_asks() {
    let (address, ..) = port().await;
    let mut ends = futures::stream::FuturesUnordered::new();
    for _ in 0..200 {
        let mut silent = TcpStream::connect(address).await.unwrap();
        ends.push(async move { silent.read(&mut [0]).await.unwrap_or(0) });
    }
    assert!(ask(address).await.ends_with("\r\n\r\nok"));
    // All come from one address, which has 32 slots; the slot of the answered client is free.
    for ended in 0..200 - 31 {
        let end = timeout(20 * SECOND, ends.next()).await;
        let end = end.unwrap_or_else(|_| panic!("only {ended} have ended"));
        assert_eq!(end, Some(0));
    }
    assert_eq!(ends.next().now_or_never(), None);
}

#[tokio::test]
async fn a_port_that_stops_waits_for_nobody_who_says_nothing() {
    let (address, stopping, serving) = port().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert!(ask(address).await.ends_with("ok"));
    stopping.cancel();
    timeout(20 * SECOND, serving)
        .await
        .expect("it has stopped")
        .unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}
