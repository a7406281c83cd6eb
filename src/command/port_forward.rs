//! `gantry port-forward POD [LOCAL:]PORT…`: connections to ports of this machine reach a pod's. Each has its own connection
//! to the agent, so that a slow one holds up no other.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::client::{Client, Connection};
use super::table::in_line;
use super::{CommandError, pod_selection, print};
use crate::cli::ports::Ports;
use crate::model::error_chain::chain;
use crate::serve::stream::spdy::{self, Event, Headers, Role, Sender, SpdyError, StreamId};

/// The protocol within SPDY.
const PROTOCOL: &str = "portforward.k8s.io";
/// How much is read from a local connection at once.
const CHUNK: usize = 16 * 1024;
/// Why a connection has ended that the agent has not ended.
const EARLY: &str = "gantry stopped before the connection ended";
/// The wait before accepting is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How much of an error's text is shown.
const MAX_ERROR: usize = 4 * 1024;

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// At least one.
    pub ports: Vec<Ports>,
    /// Where to listen; empty: on the loopback addresses.
    pub addresses: Vec<IpAddr>,
}

/// Forwards until the program is ended. A connection that fails ends alone.
pub async fn run(client: &Client, options: &Options, out: &mut impl Write) -> Result<(), CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let path = format!(
        "/portForward/{}/{}",
        pod_selection::namespace(pod),
        pod_selection::name(pod)
    );
    let mut listening = JoinSet::new();
    for ports in &options.ports {
        for listener in listen(*ports, &options.addresses).await? {
            let address = listener.local_addr().map_err(CommandError::Output)?;
            print(out, &format!("Forwarding from {address} -> {}\n", ports.remote))?;
            listening.spawn(accept(listener, client.clone(), path.clone(), ports.remote));
        }
    }
    out.flush().map_err(CommandError::Output)?;
    // They end with the program.
    match listening.join_next().await {
        Some(Err(error)) => Err(CommandError::Output(io::Error::other(error))),
        Some(Ok(never)) => never,
        None => Ok(()),
    }
}

/// Listens for one pair of ports. Of the loopback addresses one is enough: a machine may lack the other family.
async fn listen(ports: Ports, addresses: &[IpAddr]) -> Result<Vec<TcpListener>, CommandError> {
    let refused = |address: SocketAddr, error: &io::Error| {
        CommandError::Choice(format!(
            "cannot listen at {address}: {error}; choose another local port"
        ))
    };
    let mut listeners = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(*address, ports.local);
        let bound = TcpListener::bind(address).await;
        listeners.push(bound.map_err(|error| refused(address, &error))?);
    }
    if addresses.is_empty() {
        let four = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports.local);
        let first = TcpListener::bind(four)
            .await
            .map_err(|error| refused(four, &error))?;
        let port = first.local_addr().map_err(CommandError::Output)?.port();
        listeners.push(first);
        let six = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
        listeners.extend(TcpListener::bind(six).await.ok());
    }
    Ok(listeners)
}

/// Accepts connections for ever. To fail is the single connection's matter (accept(2)), or there are no descriptors until
/// another one ends.
async fn accept<T>(listener: TcpListener, client: Client, path: String, port: u16) -> T {
    let (mut connections, mut has_failed) = (JoinSet::new(), false);
    loop {
        tokio::select! {
            // No connection is lost if the future is dropped.
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    has_failed = false;
                    let (client, path) = (client.clone(), path.clone());
                    connections.spawn(async move {
                        if let Err(error) = forward(&client, &path, port, stream).await {
                            report(port, &in_line(&error));
                        }
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        report(port, &format!("cannot accept a connection: {error}; trying again"));
                    }
                    tokio::time::sleep(RETRY).await;
                }
            },
            // Reaps what has ended.
            Some(_) = connections.join_next() => {}
        }
    }
}

fn report(port: u16, problem: &str) {
    // Standard error may be closed.
    let _ = print(&mut io::stderr(), &format!("port {port}: {problem}\n"));
}

/// Forwards one connection; an error is for the user.
async fn forward(client: &Client, path: &str, port: u16, stream: TcpStream) -> Result<(), String> {
    let connection = client.spdy(path, PROTOCOL).await.map_err(|error| chain(&error))?;
    let (events, sender) = spdy::open(connection, Role::Client);
    let port = port.to_string();
    let open = async |kind: &'static str, ended: bool| {
        let headers = [("streamType", kind), ("port", &port), ("requestID", "0")];
        sender.open_stream(Headers::from_iter(headers), ended).await
    };
    let opened = async { Ok::<_, SpdyError>((open("error", true).await?, open("data", false).await?)) };
    let (error, data) = opened.await.map_err(|error| chain(&error))?;
    let (from_local, to_local) = stream.into_split();
    let mut sent = tokio::spawn(send(from_local, data, sender.clone()));
    let received = receive(events, (error, data), to_local).await;
    // Whatever the local program still sends has no reader any more.
    sent.abort();
    let _ = (&mut sent).await;
    received
}

/// Sends what the local program sends, and its end.
async fn send(mut from_local: OwnedReadHalf, stream: StreamId, sender: Sender) -> Result<(), SpdyError> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = (&mut from_local).take(CHUNK as u64).read_buf(&mut buffer).await;
        let is_end = match read {
            Ok(count) => count == 0,
            Err(_) => return sender.reset(stream).await,
        };
        sender.data(stream, buffer.split().freeze(), is_end).await?;
        if is_end {
            return Ok(());
        }
    }
}

/// Passes what the pod sends to the local program until both streams have ended.
async fn receive(
    mut events: spdy::Receiver<Connection>,
    (error, data): (StreamId, StreamId),
    mut to_local: OwnedWriteHalf,
) -> Result<(), String> {
    let (mut text, mut open) = (Vec::new(), vec![error, data]);
    while !open.is_empty() {
        let event = events.next().await.map_err(|error| chain(&error))?;
        let ended = match event {
            Some(Event::Data {
                stream,
                data: bytes,
                ended,
            }) => {
                if stream == error {
                    let room = MAX_ERROR.saturating_sub(text.len());
                    text.extend_from_slice(&bytes[..bytes.len().min(room)]);
                } else if to_local.write_all(&bytes).await.is_err() {
                    // The local program has closed the connection.
                    return Ok(());
                }
                ended.then_some(stream)
            }
            Some(Event::Reset { stream }) => Some(stream),
            Some(_) => None,
            None if text.is_empty() => return Err(EARLY.to_owned()),
            None => break,
        };
        if let Some(ended) = ended {
            open.retain(|stream| *stream != ended);
            if ended == data {
                let _ = to_local.shutdown().await;
            }
        }
    }
    match text.is_empty() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&text).into_owned()),
    }
}
