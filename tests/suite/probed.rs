//! What containers' HTTP probes ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every connection with what stands for the status now, and keeps what was asked.
pub(crate) async fn listen(
    status: Arc<AtomicU16>,
    location: &'static str,
) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, out) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = vec![0; 4096];
            let read = stream.read(&mut text).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&text[..read]).into_owned();
            let status = if text.starts_with("GET /moved") {
                204
            } else {
                status.load(Ordering::SeqCst)
            };
            let _ = asked.send(text);
            let answer = format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, out)
}
