//! A connection to a port of a pod, as a process of the pod would make it to `localhost`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_cni::netns::{self, NetnsError};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Where ports are looked for, in this order: programs listen on one of both, or on all addresses.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How long IPv4 alone is tried if it does not answer: a firewall in the pod's namespace may swallow the attempt.
const FIRST: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(super) enum DialError {
    #[error("cannot enter the pod's network namespace; has its sandbox been replaced?")]
    Namespace(#[source] NetnsError),
    #[error("cannot open a socket in the pod's network namespace")]
    Socket(#[source] io::Error),
    #[error("nothing answers on port {port} in the pod: 127.0.0.1: {four}; [::1]: {six}")]
    Port {
        port: u16,
        four: io::Error,
        six: io::Error,
    },
}

/// Where the pod's ports are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PodNetwork {
    /// On the node: the pod shares its network.
    Host,
    /// In the namespace at this path.
    Namespace(PathBuf),
}

/// Connects to the port. The namespace is entered only to open the sockets, which stay in it (network_namespaces(7)).
///
/// A program that is slow to accept connections is waited for as long as the kernel tries (`tcp_syn_retries` in tcp(7),
/// two minutes), or until the caller drops this: the kernel does not answer while the program's queue is full.
pub(super) async fn dial(network: &PodNetwork, port: u16) -> Result<TcpStream, DialError> {
    let sockets = match network {
        PodNetwork::Host => sockets().map_err(DialError::Socket)?,
        PodNetwork::Namespace(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || sockets_in(&path));
            opened
                .await
                .map_err(|error| DialError::Socket(io::Error::other(error)))??
        }
    };
    connect_either(sockets, port).await
}

async fn connect_either([four, six]: [io::Result<TcpSocket>; 2], port: u16) -> Result<TcpStream, DialError> {
    let [address_four, address_six] = LOOPBACK.map(|address| SocketAddr::new(address, port));
    let is_refused = CancellationToken::new();
    // The first connection ends the other attempt; an error does not.
    let four = async {
        let refused = only_error(connect(four, address_four).await)?;
        is_refused.cancel();
        Ok(refused)
    };
    let six = async {
        // Either way it is time for it.
        let _ = tokio::time::timeout(FIRST, is_refused.cancelled()).await;
        only_error(connect(six, address_six).await)
    };
    match tokio::try_join!(four, six) {
        Err(stream) => Ok(stream),
        Ok((four, six)) => Err(DialError::Port { port, four, six }),
    }
}

fn only_error(connected: io::Result<TcpStream>) -> Result<io::Error, TcpStream> {
    connected.map_or_else(Ok, Err)
}

async fn connect(socket: io::Result<TcpSocket>, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket?.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A socket of each family. A kernel without IPv6 has no second one, which matters only if nothing answers on the first.
fn sockets() -> io::Result<[io::Result<TcpSocket>; 2]> {
    Ok([Ok(TcpSocket::new_v4()?), TcpSocket::new_v6()])
}

fn sockets_in(path: &Path) -> Result<[io::Result<TcpSocket>; 2], DialError> {
    let namespace = netns::open(path).map_err(DialError::Namespace)?;
    netns::with(&namespace, sockets)
        .map_err(DialError::Namespace)?
        .map_err(DialError::Socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::pin::pin;

    use super::*;

    /// A listener without room: its one waiting connection is never accepted, so that the kernel answers no other.
    async fn full() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap().into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        loop {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(200), connecting).await {
                Ok(connected) => waiting.push(connected.unwrap()),
                Err(_) => return (listener, waiting),
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_is_slow_to_accept_is_waited_for() {
        let (listener, waiting) = full().await;
        let port = listener.local_addr().unwrap().port();
        let mut dialing = pin!(dial(&PodNetwork::Host, port));
        // It is waited for after IPv6 was refused, too.
        let early = tokio::time::timeout(2 * FIRST, &mut dialing).await;
        assert!(early.is_err(), "{early:?}");
        for _ in &waiting {
            listener.accept().unwrap();
        }
        dialing.await.unwrap();
    }

    #[tokio::test]
    async fn ipv6_is_tried_where_ipv4_does_not_answer_or_refuses() {
        let (swallows, _waiting) = full().await;
        let refuses = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        for port in [swallows.local_addr().unwrap().port(), refuses] {
            let _six = TcpListener::bind(("::1", port)).unwrap();
            let stream = dial(&PodNetwork::Host, port).await.unwrap();
            assert!(stream.peer_addr().unwrap().is_ipv6(), "{port}");
        }
        let nothing = dial(&PodNetwork::Host, refuses).await;
        assert!(matches!(nothing, Err(DialError::Port { .. })), "{nothing:?}");
    }
}
