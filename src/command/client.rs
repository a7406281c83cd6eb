//! Asks the running agent, over its socket.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Where the agent's socket is unless told otherwise.
pub const SOCKET: &str = "/run/gantry/gantry.sock";

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum ClientError {
    #[error(
        "gantry does not answer at {}: is it running? start it with `systemctl start gantry` or `gantry run`",
        socket.display()
    )]
    NotRunning { socket: PathBuf, source: io::Error },
    #[error("the socket {} is root's alone: try again with sudo", socket.display())]
    NotRoot { socket: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("gantry broke off its answer")]
    BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn broken_off(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::BrokenOff(error.into())
}

/// The agent behind a socket. Each question has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent that listens there; nothing is asked yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client {
            socket: socket.into(),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for an object.
    pub async fn object<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self
            .ask(path)
            .await?
            .into_body()
            .collect()
            .await
            .map_err(broken_off)?;
        // By way of a plain value: the code that reads Kubernetes' types is large, and exists once for each way.
        let value: serde_json::Value = serde_json::from_slice(&body.to_bytes()).map_err(broken_off)?;
        T::deserialize(value).map_err(broken_off)
    }

    /// Asks for a stream.
    pub async fn stream(&self, path: &str) -> Result<Chunks, ClientError> {
        Ok(Chunks(self.ask(path).await?.into_body()))
    }

    /// Asks for a connection of its own, upgraded to `protocol`.
    pub async fn upgrade(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> Result<TokioIo<Upgraded>, ClientError> {
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, protocol);
        let response = self.send(request, path).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        hyper::upgrade::on(response)
            .await
            .map(TokioIo::new)
            .map_err(broken_off)
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        let response = self.send(Request::builder(), path).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }

    async fn send(
        &self,
        request: axum::http::request::Builder,
        path: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotRoot { socket, source },
                _ => ClientError::NotRunning { socket, source },
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken_off)?;
        // It ends with the answer, or with the upgraded connection.
        tokio::spawn(connection.with_upgrades());
        let request = request
            .uri(path)
            .header(header::HOST, "gantry")
            .body(Body::empty())
            .map_err(broken_off)?;
        sender.send_request(request).await.map_err(broken_off)
    }
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub struct Chunks(Incoming);

impl Chunks {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame.map_err(broken_off)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// What a refusal says: Kubernetes' `Status`, or plain text.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let code = response.status();
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return broken_off(error),
    };
    let status: Option<Status> = serde_json::from_slice(&body).ok();
    let message = status.and_then(|status| status.message);
    ClientError::Refused(
        message.unwrap_or_else(|| format!("{code}: {}", String::from_utf8_lossy(&body).trim())),
    )
}
