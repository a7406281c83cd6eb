//! The client of the running agent's socket.

use std::io;
use std::path::{Path, PathBuf};

use axum::http::request::Builder;
use axum::http::{Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::serve::stream::command::Version;
use crate::serve::stream::upgrade::SPDY;

/// An upgraded connection.
pub type Connection = TokioIo<Upgraded>;

/// The default path of the agent's socket.
pub const SOCKET: &str = "/run/gantry/gantry.sock";

/// Why the agent did not answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum ClientError {
    #[error(
        "gantry does not answer at {}: is it running? start it with `systemctl start gantry` or `gantry run`",
        socket.display()
    )]
    NotRunning { socket: PathBuf, source: io::Error },
    #[error("only root may use the socket {}: try again with sudo", socket.display())]
    NotRoot { socket: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("cannot read gantry's answer")]
    BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn broken_off(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::BrokenOff(error.into())
}

/// The agent behind a socket. Each request uses its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Creates a client without connecting.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client {
            socket: socket.into(),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Requests an object.
    pub async fn object<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read(self.ask(path).await?).await
    }

    /// Sends JSON.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<(), ClientError> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        accepted(self.send(request, path, Full::<Bytes>::from(body)).await?)
            .await
            .map(|_| ())
    }

    /// Asks for something to be done, and reads what became of it.
    pub async fn result<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self
            .send(Request::post(path), path, Full::<Bytes>::default())
            .await?;
        read(accepted(response).await?).await
    }

    /// Requests a stream.
    pub async fn stream(&self, path: &str) -> Result<Chunks, ClientError> {
        Ok(Chunks(self.ask(path).await?.into_body()))
    }

    /// Asks for something to be done, and streams what becomes of it. The body is sent meanwhile.
    pub async fn work<B>(&self, path: &str, body: B) -> Result<Chunks, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let response = self.send(Request::post(path), path, body).await?;
        Ok(Chunks(accepted(response).await?.into_body()))
    }

    /// Requests a dedicated connection with a WebSocket, for a command's streams in the newest version.
    pub async fn websocket(&self, path: &str) -> Result<Connection, ClientError> {
        let mut key = [0; 16];
        // It guards against caches between client and server, of which a socket of this machine has none.
        let _ = SystemRandom::new().fill(&mut key);
        let request = Request::builder()
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, STANDARD.encode(key))
            .header(header::SEC_WEBSOCKET_PROTOCOL, Version::V5.name());
        self.upgrade(request, path).await
    }

    /// Requests a dedicated connection with SPDY.
    pub async fn spdy(&self, path: &str, protocol: &'static str) -> Result<Connection, ClientError> {
        let request = Request::builder()
            .header(header::UPGRADE, SPDY)
            .header("X-Stream-Protocol-Version", protocol);
        self.upgrade(request, path).await
    }

    async fn upgrade(&self, request: Builder, path: &str) -> Result<Connection, ClientError> {
        let request = request.header(header::CONNECTION, "Upgrade");
        let response = self.send(request, path, Full::<Bytes>::default()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        hyper::upgrade::on(response)
            .await
            .map(TokioIo::new)
            .map_err(broken_off)
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        accepted(
            self.send(Request::builder(), path, Full::<Bytes>::default())
                .await?,
        )
        .await
    }

    async fn send<B>(&self, request: Builder, path: &str, body: B) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
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
        // The task ends with the response, or with the upgraded connection.
        tokio::spawn(connection.with_upgrades());
        let request = request
            .uri(path)
            .header(header::HOST, "gantry")
            .body(body)
            .map_err(broken_off)?;
        sender.send_request(request).await.map_err(broken_off)
    }
}

/// A response that is streamed in chunks.
#[derive(Debug)]
pub struct Chunks(Incoming);

impl Chunks {
    /// The next chunk; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame.map_err(broken_off)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let body = response.into_body().collect().await.map_err(broken_off)?;
    // Via a plain JSON value: the deserializers of Kubernetes' types are large, and would be instantiated once more for each
    // input format.
    let value: serde_json::Value = serde_json::from_slice(&body.to_bytes()).map_err(broken_off)?;
    T::deserialize(value).map_err(broken_off)
}

async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(refusal(response).await)
    }
}

/// The message of an error response: Kubernetes' `Status`, or plain text.
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
