//! The API server as the stories ask it: paths and JSON, as an administrator or as somebody else.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Request;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio_websockets::{ClientBuilder, Message};

use crate::wait::wait_for;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that lasts, and is made anew where the API server was started anew.
pub struct Api {
    runtime: tokio::runtime::Runtime,
    client: RefCell<kube::Client>,
    kubeconfig: PathBuf,
}

impl Api {
    /// Reads the kubeconfig; nothing is sent yet.
    pub fn new(kubeconfig: &Path) -> Api {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime in a test");
        // Another one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Api {
            client: RefCell::new(runtime.block_on(connect(kubeconfig))),
            runtime,
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// One request. `Err` holds what the API server said, or that it does not answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", kind)
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
            .map_err(|error| error.to_string())?;
        let client = self.client.borrow().clone();
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, client.request_text(request)).await });
        match answer {
            Ok(Ok(text)) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            Ok(Err(kube::Error::Api(status))) => Err(format!("{} {}", status.code, status.message)),
            Ok(Err(error)) => {
                *self.client.borrow_mut() = self.runtime.block_on(connect(&self.kubeconfig));
                Err(error.to_string())
            }
            Err(_) => Err(format!("{method} {path}: no answer in {} s", PATIENCE.as_secs())),
        }
    }

    /// The messages of a WebSocket of this protocol, on which these are sent, until the API server closes it.
    pub fn messages(&self, path: &str, protocol: &str, sent: Vec<Message>) -> Vec<Message> {
        let request = Request::get(path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", protocol)
            .body(kube::client::Body::empty())
            .expect("a path");
        let client = self.client.borrow().clone();
        let read = async {
            let answer = client.send(request).await.expect("the API server answers");
            assert_eq!(answer.status(), 101, "{path}: {answer:?}");
            let upgraded = hyper::upgrade::on(answer).await.expect("it is upgraded");
            let mut messages = ClientBuilder::new().take_over(TokioIo::new(upgraded));
            for message in sent {
                messages.send(message).await.expect("it is taken");
            }
            messages.map(|message| message.expect("no error")).collect().await
        };
        let read = async { tokio::time::timeout(PATIENCE, read).await };
        self.runtime.block_on(read).expect("it is closed in time")
    }

    /// Asks another server without any credentials: the code of its answer.
    pub fn ask_a_stranger(&self, server: &str, path: &str) -> u16 {
        let mut config = kube::Config::new(server.parse().expect("an address"));
        config.accept_invalid_certs = true;
        let request = Request::get(path).body(Vec::new()).expect("a path");
        let answer = self.runtime.block_on(async {
            let client = kube::Client::try_from(config).expect("a client without credentials");
            client.request_text(request).await
        });
        match answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{server}{path}: {error}"),
        }
    }

    /// An object.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.ask("GET", path, None)
    }

    /// The objects of a list.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, String> {
        Ok(self.get(path)?["items"].as_array().cloned().unwrap_or_default())
    }

    /// Makes an object.
    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.ask("POST", path, Some(object))
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Merges into an object.
    #[track_caller]
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        self.ask("PATCH", path, Some(patch))
            .unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    /// Asks for a deletion.
    #[track_caller]
    pub fn delete(&self, path: &str) {
        if let Err(error) = self.ask("DELETE", path, None) {
            panic!("DELETE {path}: {error}");
        }
    }

    /// Waits until an object is as asked, and returns it. What is told where it never is: its status.
    #[track_caller]
    pub fn wait(&self, path: &str, what: &str, within: Duration, asked: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{path} to be {what}"), within, || {
            let object = self.get(path)?;
            if asked(&object) {
                Ok(object)
            } else {
                Err(format!("{} {}", object["metadata"], object["status"]))
            }
        })
    }

    /// Waits until there is no such object.
    #[track_caller]
    pub fn wait_gone(&self, path: &str, within: Duration) {
        wait_for(&format!("{path} to be gone"), within, || match self.get(path) {
            Err(error) if error.starts_with("404 ") => Ok(()),
            Err(error) => Err(error),
            Ok(object) => Err(object.to_string()),
        });
    }
}

/// A client with the credentials of a kubeconfig; nothing is sent yet.
pub async fn connect(path: &Path) -> kube::Client {
    let read = Kubeconfig::read_from(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .expect("kubeadm writes kubeconfigs that can be used");
    kube::Client::try_from(config).expect("kubeadm makes certificates that can be used")
}
