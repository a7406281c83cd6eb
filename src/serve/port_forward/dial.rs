//! A connection to a port of a pod, as a process of the pod would make it to `localhost`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_cni::netns::{self, NetnsError};
use tokio::net::{TcpSocket, TcpStream};

/// Where ports are looked for, in this order: programs listen on one of both, or on all addresses.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How long a program in the pod may take to be connected to.
const CONNECT: Duration = Duration::from_secs(10);

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
    let [four, six] = sockets;
    let [address_four, address_six] = LOOPBACK.map(|address| SocketAddr::new(address, port));
    let refused_four = match connect(four, address_four).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    match connect(six, address_six).await {
        Ok(stream) => Ok(stream),
        Err(six) => Err(DialError::Port {
            port,
            four: refused_four,
            six,
        }),
    }
}

async fn connect(socket: io::Result<TcpSocket>, address: SocketAddr) -> io::Result<TcpStream> {
    // A firewall in the pod's namespace may swallow the attempt.
    let connecting = tokio::time::timeout(CONNECT, socket?.connect(address));
    let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
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
