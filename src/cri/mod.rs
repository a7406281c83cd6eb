//! The wire to the container runtime: CRI v1 over a unix socket, with a deadline on every call and a connection that
//! recovers by itself.
//!
//! Knows neither pods nor policy. Nothing is retried here: a failed call is returned as it failed, and the owner of the
//! operation decides.

mod checkpoint;
mod content;
mod error;
mod exec_sync;
pub mod events;
mod images;
pub mod log_line;
mod newer;
mod pods;
mod streaming;

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::counters::Counters;
use crate::model::node::CgroupDriver;
use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};

pub use error::{CriError, EndpointError};
pub use newer::NewerFields;
pub use streaming::SandboxNetwork;

/// The largest message accepted or sent, 16 MiB as the kubelet has it (`maxMsgSize` of cri-client). gRPC's
/// own default of 4 MiB does not hold the list of a node with thousands of dead containers.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// containerd's namespace of all that its CRI plugin runs.
pub const NAMESPACE: &str = "k8s.io";

/// A request to containerd's own API, within that namespace.
pub fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let namespace = MetadataValue::from_static(NAMESPACE);
    request.metadata_mut().insert("containerd-namespace", namespace);
    request
}

/// Where the runtime is and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The socket of the runtime service (`containerRuntimeEndpoint`).
    pub runtime: PathBuf,
    /// The socket of the image service (`imageServiceEndpoint`); the same if unset.
    pub images: PathBuf,
    /// `runtimeRequestTimeout`, 2 min: every call but pulls; stopping a container gets its grace on top.
    pub timeout: Duration,
}

impl Settings {
    /// One socket for both services, the usual case.
    pub fn at(socket: PathBuf, timeout: Duration) -> Self {
        Settings {
            images: socket.clone(),
            runtime: socket,
            timeout,
        }
    }
}

/// The socket that an endpoint of the configuration names: `unix:///run/containerd/containerd.sock`, or the
/// bare absolute path that kubelets of old accept.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, EndpointError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if Path::new(path).is_absolute() {
        Ok(PathBuf::from(path))
    } else {
        Err(EndpointError {
            endpoint: endpoint.to_owned(),
        })
    }
}

/// The container runtime. Cloning is cheap and shares the connection; the first call connects, and so does
/// the first call after the runtime was away.
#[derive(Debug, Clone)]
pub struct Runtime {
    pods: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
    socket: PathBuf,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl Runtime {
    /// Prepares the connection; must be called within a tokio runtime. Sends nothing yet.
    pub fn new(settings: &Settings) -> Self {
        let channel = connect_lazily(&settings.runtime);
        let images = if settings.images == settings.runtime {
            channel.clone()
        } else {
            connect_lazily(&settings.images)
        };
        Runtime {
            channel: channel.clone(),
            pods: RuntimeServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(images)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            socket: settings.runtime.clone(),
            timeout: settings.timeout,
            counters: Arc::default(),
        }
    }

    /// The same, counting its calls in `counters` from now on.
    pub fn counting(self, counters: Arc<Counters>) -> Runtime {
        Runtime { counters, ..self }
    }

    /// The socket of the runtime service.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// containerd's own API, over the same connection.
    pub fn containerd(&self) -> containerd_client::Client {
        self.channel.clone().into()
    }

    /// The runtime's name and version.
    pub async fn version(&self) -> Result<v1::VersionResponse, CriError> {
        let request = v1::VersionRequest { version: "v1".into() };
        self.within("Version", self.timeout, self.pods.clone().version(request))
            .await
    }

    /// The runtime's conditions, its handlers and what it can do.
    pub async fn status(&self) -> Result<v1::StatusResponse, CriError> {
        let request = v1::StatusRequest { verbose: false };
        let answer = self
            .within("Status", self.timeout, self.pods.clone().status(request))
            .await?;
        match answer.status {
            Some(_) => Ok(answer),
            None => Err(CriError::empty("Status")),
        }
    }

    /// What the runtime reports beside its conditions; the keys are its own (containerd: `config`, a JSON text).
    pub async fn verbose_info(&self) -> Result<HashMap<String, String>, CriError> {
        let request = v1::StatusRequest { verbose: true };
        let answer = self
            .within("Status", self.timeout, self.pods.clone().status(request))
            .await?;
        Ok(answer.info)
    }

    /// The cgroup driver that the runtime reports (KEP-4033); `None` if it cannot.
    pub async fn cgroup_driver(&self) -> Option<CgroupDriver> {
        let linux = self.runtime_config().await.ok()?.linux?;
        match linux.cgroup_driver() {
            v1::CgroupDriver::Systemd => Some(CgroupDriver::Systemd),
            v1::CgroupDriver::Cgroupfs => Some(CgroupDriver::Cgroupfs),
        }
    }

    /// The runtime's answer about its cgroup driver; containerd supports this since 2.0, older versions return
    /// `Unimplemented`.
    pub async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, CriError> {
        let request = v1::RuntimeConfigRequest {};
        self.within(
            "RuntimeConfig",
            self.timeout,
            self.pods.clone().runtime_config(request),
        )
        .await
    }

    /// Dropping the call at its deadline resets the stream, which shows the runtime that the caller no longer waits. A
    /// `grpc-timeout` header would do the same and race with this clock.
    async fn within<T>(
        &self,
        call: &'static str,
        deadline: Duration,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CriError> {
        let answer = async {
            match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(CriError::from_status(call, &status)),
                Err(_) => Err(CriError::deadline(call, deadline)),
            }
        };
        self.counted(call, answer).await
    }

    async fn counted<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        let began = Instant::now();
        let answer = answer.await;
        if let Some(operation) = operation(call) {
            let calls = &self.counters.calls;
            calls.ended(operation, began.elapsed(), answer.is_err());
        }
        answer
    }
}

/// The kubelet's name for a call in its metrics (`pkg/kubelet/kuberuntime/instrumented_services.go`). `None`: what is
/// counted elsewhere, with its handler.
fn operation(call: &'static str) -> Option<&'static str> {
    Some(match call {
        "Version" => "version",
        "Status" => "status",
        "RuntimeConfig" => "runtime_config",
        "StopPodSandbox" => "stop_podsandbox",
        "RemovePodSandbox" => "remove_podsandbox",
        "ListPodSandbox" => "list_podsandbox",
        "PodSandboxStatus" => "podsandbox_status",
        "CreateContainer" => "create_container",
        "StartContainer" => "start_container",
        "StopContainer" => "stop_container",
        "RemoveContainer" => "remove_container",
        "ListContainers" => "list_containers",
        "ContainerStatus" => "container_status",
        "UpdateContainerResources" => "update_container",
        "ReopenContainerLog" => "reopen_container_log",
        "ContainerStats" => "container_stats",
        "ListContainerStats" => "list_container_stats",
        "ExecSync" => "exec_sync",
        "Attach" => "attach",
        "CheckpointContainer" => "checkpoint_container",
        "ImageStatus" => "image_status",
        "ListImages" => "list_images",
        "PullImage" => "pull_image",
        "RemoveImage" => "remove_image",
        "ImageFsInfo" => "image_fs_info",
        _ => return None,
    })
}

/// The cgroup driver of containerd's default runtime, read from its configuration as in [`Runtime::verbose_info`]: for
/// versions before 2.0, which do not report it otherwise.
pub fn configured_driver(info: &HashMap<String, String>) -> Option<CgroupDriver> {
    let config: serde_json::Value = serde_json::from_str(info.get("config")?).ok()?;
    let containerd = config.get("containerd")?;
    let name = containerd.get("defaultRuntimeName")?.as_str()?;
    let systemd = containerd
        .get("runtimes")?
        .get(name)?
        .get("options")?
        .get("SystemdCgroup")?
        .as_bool()?;
    Some(if systemd {
        CgroupDriver::Systemd
    } else {
        CgroupDriver::Cgroupfs
    })
}

/// A channel over a unix socket that connects when it is used, and again after the connection broke.
pub fn connect_lazily(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    // The URI only fills the :authority header.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_read_from_the_default_runtime() {
        let config = |name: &str| {
            let text = format!(
                r#"{{"containerd":{{"defaultRuntimeName":"{name}","runtimes":{{
                "runc":{{"options":{{"SystemdCgroup":true}}}},"crun":{{"options":{{"SystemdCgroup":false}}}},"x":{{}}}}}}}}"#
            );
            configured_driver(&HashMap::from([("config".to_owned(), text)]))
        };
        assert_eq!(config("runc"), Some(CgroupDriver::Systemd));
        assert_eq!(config("crun"), Some(CgroupDriver::Cgroupfs));
        assert_eq!(config("x"), None);
        assert_eq!(configured_driver(&HashMap::new()), None);
    }

    #[test]
    fn endpoints_of_the_configuration() {
        let check = |endpoint: &str, want: Option<&str>| {
            assert_eq!(socket_path(endpoint).ok(), want.map(PathBuf::from), "{endpoint}");
        };
        check(
            "unix:///run/containerd/containerd.sock",
            Some("/run/containerd/containerd.sock"),
        );
        check(
            "/run/containerd/containerd.sock",
            Some("/run/containerd/containerd.sock"),
        );
        check("unix://run/containerd.sock", None);
        check("tcp://127.0.0.1:1", None);
        check("npipe:////./pipe/containerd", None);
        check("", None);
    }
}
