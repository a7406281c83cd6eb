//! What containerd itself says, asked through CRI: the tests' crictl.

use std::collections::BTreeMap;

use containerd_client::tonic::transport::Channel;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState};

/// Where containerd listens, inside a story as on any machine.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// A container as CRI lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    pub pod: String,
    pub name: String,
    pub id: String,
    pub running: bool,
    /// `io.kubernetes.container.restartCount`
    pub restarts: u32,
}

/// A sandbox as CRI lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sandbox {
    pub pod: String,
    pub id: String,
    pub ready: bool,
    pub labels: BTreeMap<String, String>,
}

/// Asks one question over a new connection, since containerd may have been killed since the last.
fn ask<T>(
    question: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<T, String>,
) -> Result<T, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime in a test")
        .block_on(async {
            let channel = containerd_client::connect(SOCKET)
                .await
                .map_err(|error| error.to_string())?;
            question(RuntimeServiceClient::new(channel)).await
        })
}

/// Whether CRI answers.
pub fn answers() -> Result<(), String> {
    ask(async |mut client| {
        let version = client
            .version(k8s_cri::v1::VersionRequest { version: "v1".into() })
            .await;
        version.map(|_| ()).map_err(|status| status.to_string())
    })
}

/// All containers, in a stable order.
pub fn containers() -> Result<Vec<Container>, String> {
    ask(async |mut client| {
        let answer = client
            .list_containers(ListContainersRequest::default())
            .await
            .map_err(|status| status.to_string())?;
        let mut containers: Vec<Container> = answer
            .into_inner()
            .containers
            .into_iter()
            .map(|container| Container {
                pod: container
                    .labels
                    .get("io.kubernetes.pod.name")
                    .cloned()
                    .unwrap_or_default(),
                name: container
                    .labels
                    .get("io.kubernetes.container.name")
                    .cloned()
                    .unwrap_or_default(),
                running: container.state() == ContainerState::ContainerRunning,
                restarts: container
                    .annotations
                    .get("io.kubernetes.container.restartCount")
                    .and_then(|count| count.parse().ok())
                    .unwrap_or(u32::MAX),
                id: container.id,
            })
            .collect();
        containers.sort();
        Ok(containers)
    })
}

/// Why a container has ended, in containerd's word: `Completed`, `Error`, `StartError` …
pub fn end_of(id: &str) -> Result<String, String> {
    let request = k8s_cri::v1::ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    ask(async |mut client| {
        let answer = client.container_status(request).await;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        Ok(answer.status.map(|status| status.reason).unwrap_or_default())
    })
}

/// Removes a container whether or not it runs, as `crictl rm -f`.
pub fn remove_container(id: &str) -> Result<(), String> {
    let request = k8s_cri::v1::RemoveContainerRequest {
        container_id: id.to_owned(),
    };
    ask(async |mut client| {
        let answer = client.remove_container(request).await;
        answer.map(|_| ()).map_err(|status| status.to_string())
    })
}

/// All sandboxes, in a stable order.
pub fn sandboxes() -> Result<Vec<Sandbox>, String> {
    ask(async |mut client| {
        let answer = client
            .list_pod_sandbox(ListPodSandboxRequest::default())
            .await
            .map_err(|status| status.to_string())?;
        let mut sandboxes: Vec<Sandbox> = answer
            .into_inner()
            .items
            .into_iter()
            .map(|sandbox| Sandbox {
                pod: sandbox
                    .labels
                    .get("io.kubernetes.pod.name")
                    .cloned()
                    .unwrap_or_default(),
                ready: sandbox.state() == PodSandboxState::SandboxReady,
                labels: sandbox.labels.into_iter().collect(),
                id: sandbox.id,
            })
            .collect();
        sandboxes.sort();
        Ok(sandboxes)
    })
}
