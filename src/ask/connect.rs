//! Connections.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::names::Asker;

/// Whether a connection is accepted; the error has the wording of Go's `net.Dial`.
pub async fn tcp(asker: Asker<'_>, host: &str, port: u16, within: Duration) -> Result<(), String> {
    dial(asker, host, port, Instant::now() + within).await.map(drop)
}

/// Connects to the first address of the host that accepts.
pub(super) async fn dial(
    asker: Asker<'_>,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<TcpStream, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let addresses = asker.addresses(host, port, left).await?;
    let address = join(host, port);
    match timeout_at(deadline, TcpStream::connect(&*addresses)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refusal(&address, &error)),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

/// Host and port; an IPv6 address stands in brackets.
pub(super) fn join(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Nothing listened there.
fn refusal(address: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("dial tcp {address}: connect: {}", errno(error)),
        None => format!("dial tcp {address}: {error}"),
    }
}

/// A kernel error in Go's wording.
pub(super) fn errno(error: &io::Error) -> String {
    use nix::errno::Errno;
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    // Go's wording differs from libc's only in upper and lower case.
    Errno::from_raw(code).desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Names;

    #[tokio::test]
    async fn an_open_port_and_a_closed_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = Duration::from_secs(5);
        let names = Names::default();
        let asker = Asker {
            names: &names,
            pod: "p",
        };
        assert_eq!(tcp(asker, "127.0.0.1", port, second).await, Ok(()));
        drop(listener);
        let error = tcp(asker, "127.0.0.1", port, second).await.unwrap_err();
        assert_eq!(
            error,
            format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
        );
    }
}
