//! Strangers hold all the connections to the node's port that they can get. The API server is answered, and the port's
//! process stays small.

#![allow(clippy::print_stdout)] // what was measured, shown with --nocapture

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::node_port::{DEADLINE, Http, NodePort, agree, connect, serves};

/// How many strangers there are.
const CROWD: usize = 2000;
/// How many of them come through, where a port has places for so many of one address, and of all: `Bounds::AUTHENTICATED`.
const EACH: usize = 32;
const ALL: usize = 128;
/// Sockets that are being closed, the API server's own, and what the port opens for itself: its connections to the API server, its epoll
/// instances.
const BESIDE: usize = 64 + 16;
const MIB: u64 = 1024 * 1024;

/// What a stranger does with its connection.
#[derive(Clone, Copy)]
enum Way {
    /// Says nothing.
    Silent,
    /// Begins a handshake and stays away.
    HalfAHandshake,
    /// Closes its own half at once.
    HalfOpen,
    /// Sends a header byte by byte.
    Slow,
    /// Sends as much of a header as is taken, and not its end.
    Large,
}

impl Way {
    /// How long it stays away after it was sent away: not for a test's sake, but as a crowd comes that lasts. What agrees
    /// on TLS costs this unoptimised process much more than it costs the port.
    fn absence(self) -> Duration {
        match self {
            Way::Slow | Way::Large => Duration::from_secs(10),
            Way::Silent | Way::HalfAHandshake | Way::HalfOpen => Duration::from_secs(2),
        }
    }
}

const WAYS: [Way; 5] = [
    Way::Silent,
    Way::HalfAHandshake,
    Way::HalfOpen,
    Way::Slow,
    Way::Large,
];

/// The beginning of a handshake.
fn half_a_greeting(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("n").unwrap();
    let mut client = rustls::ClientConnection::new(config.clone(), name).unwrap();
    let mut greeting = Vec::new();
    client.write_tls(&mut greeting).unwrap();
    greeting.truncate(greeting.len() / 2);
    greeting
}

/// Holds a connection until the other side closes it.
async fn hold(way: Way, mut stream: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<()> {
    match way {
        Way::Silent => {}
        Way::HalfAHandshake => stream.write_all(&half_a_greeting(&config)).await?,
        Way::HalfOpen => stream.shutdown().await?,
        Way::Slow | Way::Large => {
            let mut stream = agree(stream, config).await?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: n\r\na: ")
                .await?;
            if let Way::Large = way {
                stream.write_all(&[b'x'; 60 * 1024]).await?;
                stream.flush().await?;
                return stream.read(&mut [0]).await.map(drop);
            }
            let mut pace = interval(Duration::from_millis(200));
            loop {
                pace.tick().await;
                stream.write_all(b"x").await?;
                stream.flush().await?;
            }
        }
    }
    stream.read(&mut [0]).await.map(drop)
}

/// A crowd from so many addresses; each stranger comes again when it was sent away.
struct Crowd {
    /// How many connections they have made.
    made: Arc<AtomicUsize>,
    /// How many of them have been there.
    came: Arc<AtomicUsize>,
    _strangers: JoinSet<()>,
}

impl Crowd {
    fn come(port: &NodePort, addresses: u8) -> Crowd {
        let (made, came) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let config = port.trust(None);
        let mut strangers = JoinSet::new();
        for number in 0..CROWD {
            let way = WAYS[number % WAYS.len()];
            let last = 2 + u8::try_from(number % usize::from(addresses)).unwrap();
            let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
            let (made, came, config, to) = (made.clone(), came.clone(), config.clone(), port.address);
            strangers.spawn(async move {
                let mut is_first = true;
                loop {
                    let connected = connect(from, to).await;
                    made.fetch_add(1, Ordering::Relaxed);
                    if std::mem::take(&mut is_first) {
                        came.fetch_add(1, Ordering::Relaxed);
                    }
                    if let Ok(stream) = connected {
                        // However it was sent away.
                        let _ = hold(way, stream, config.clone()).await;
                    }
                    sleep(way.absence()).await;
                }
            });
        }
        Crowd {
            made,
            came,
            _strangers: strangers,
        }
    }

    async fn all_have_come(&self) {
        let coming = async {
            let mut looks = interval(Duration::from_millis(5));
            while self.came.load(Ordering::Relaxed) < CROWD {
                looks.tick().await;
            }
        };
        let came = timeout(DEADLINE, coming).await;
        came.unwrap_or_else(|_| panic!("only {} came", self.came.load(Ordering::Relaxed)));
    }
}

/// One call over a connection of its own, and how long it took.
async fn call(address: SocketAddr, config: Arc<ClientConfig>) -> Duration {
    let start = Instant::now();
    let stream = connect(Ipv4Addr::LOCALHOST.into(), address).await.unwrap();
    let mut http = Http::open(agree(stream, config).await.unwrap()).await;
    assert_eq!(http.get("/pods", None).await.unwrap(), 200);
    start.elapsed()
}

/// Has a crowd come from so many addresses, and sees what is left for the API server, in time, memory and descriptors.
async fn check(port: &NodePort, addresses: u8) {
    let api_server = port.trust(Some("kube-apiserver"));
    call(port.address, api_server.clone()).await;
    let stream = connect(Ipv4Addr::LOCALHOST.into(), port.address).await.unwrap();
    let mut kept = Http::open(agree(stream, api_server.clone()).await.unwrap()).await;
    assert_eq!(kept.get("/pods", None).await.unwrap(), 200);
    let (memory, descriptors) = (port.memory(), port.descriptors());
    let crowd = Crowd::come(port, addresses);
    crowd.all_have_come().await;
    let (mut longest, mut most_memory, mut most_descriptors) = (Duration::ZERO, 0, 0);
    for _ in 0..20 {
        longest = longest.max(call(port.address, api_server.clone()).await);
        let start = Instant::now();
        assert_eq!(kept.get("/pods", None).await.unwrap(), 200);
        longest = longest.max(start.elapsed());
        most_memory = most_memory.max(port.memory());
        most_descriptors = most_descriptors.max(port.descriptors());
    }
    let grown = most_memory.saturating_sub(memory);
    let more = most_descriptors.saturating_sub(descriptors);
    let made = crowd.made.load(Ordering::Relaxed);
    let seen = format!(
        "{CROWD} strangers from {addresses} addresses made {made} connections: the longest call took {longest:?}, memory \
         grew by {} KiB from {} KiB, {more} descriptors more than {descriptors}",
        grown / 1024,
        memory / 1024
    );
    println!("{seen}");
    assert!(longest < Duration::from_secs(1), "{seen}");
    assert!(grown < 20 * MIB, "{seen}");
    let places = ALL.min(EACH * usize::from(addresses));
    assert!(more <= places + BESIDE, "{seen}");
}

/// As many descriptors as the callers of this process need.
fn allow_descriptors() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = soft.max(2 * CROWD as u64 + 1024);
    assert!(
        wanted <= hard,
        "{CROWD} callers need a hard limit of {wanted} descriptors; see ulimit -Hn"
    );
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
}

#[test]
fn the_api_server_is_answered_among_two_thousand_strangers() {
    if serves() {
        return;
    }
    allow_descriptors();
    let name = "stories::callers::the_api_server_is_answered_among_two_thousand_strangers";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for addresses in [1, 200] {
            let port = NodePort::start(name, None);
            check(&port, addresses).await;
        }
    });
}

#[test]
fn a_port_without_descriptors_answers_the_api_server() {
    if serves() {
        return;
    }
    let name = "stories::callers::a_port_without_descriptors_answers_the_api_server";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Fewer than there are places for strangers.
        let port = NodePort::start(name, Some(64));
        let api_server = port.trust(Some("kube-apiserver"));
        call(port.address, api_server.clone()).await;
        let mut strangers = Vec::new();
        for number in 0..400_u16 {
            let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number % 100).unwrap());
            strangers.push(connect(from.into(), port.address).await.unwrap());
        }
        for _ in 0..20 {
            let took = call(port.address, api_server.clone()).await;
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        let open = port.descriptors();
        assert!((40..=64).contains(&open), "{open} descriptors are open");
    });
}
