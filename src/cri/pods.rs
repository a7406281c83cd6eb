//! The calls about sandboxes and containers (CRI's RuntimeService).

use std::time::{Duration, Instant};

use k8s_cri::v1;

use super::newer::{self, NewerFields};
use super::{CriError, Runtime};
use crate::model::stop_signal::StopSignal;

/// The longest time that a container may have to stop, three hundred years: containerd counts it in nanoseconds, in 64 bits
/// with a sign, and more would overflow.
const LONGEST_GRACE: Duration = Duration::from_secs(i64::MAX.unsigned_abs() / 1_000_000_000);

impl Runtime {
    /// Creates and starts a sandbox with that handler, the default one if empty, and returns its id.
    pub async fn run_pod_sandbox(
        &self,
        config: v1::PodSandboxConfig,
        runtime_handler: String,
    ) -> Result<String, CriError> {
        let handler = runtime_handler.clone();
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler,
        };
        let began = Instant::now();
        let answer = self
            .within(
                "RunPodSandbox",
                self.timeout,
                self.pods.clone().run_pod_sandbox(request),
            )
            .await;
        let calls = &self.counters.calls;
        calls.ran_sandbox(&handler, began.elapsed(), answer.is_err());
        Ok(answer?.pod_sandbox_id)
    }

    /// Stops a sandbox, the containers in it and its network.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.within(
            "StopPodSandbox",
            self.timeout,
            self.pods.clone().stop_pod_sandbox(request),
        )
        .await?;
        Ok(())
    }

    /// Removes a sandbox.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.within(
            "RemovePodSandbox",
            self.timeout,
            self.pods.clone().remove_pod_sandbox(request),
        )
        .await?;
        Ok(())
    }

    /// The sandboxes that the filter lets through; every one with the default filter.
    pub async fn list_pod_sandbox(
        &self,
        filter: v1::PodSandboxFilter,
    ) -> Result<Vec<v1::PodSandbox>, CriError> {
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let answer = self
            .within(
                "ListPodSandbox",
                self.timeout,
                self.pods.clone().list_pod_sandbox(request),
            )
            .await?;
        Ok(answer.items)
    }

    /// One sandbox with its addresses.
    pub async fn pod_sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, CriError> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let answer = self
            .within(
                "PodSandboxStatus",
                self.timeout,
                self.pods.clone().pod_sandbox_status(request),
            )
            .await?;
        answer.status.ok_or_else(|| CriError::empty("PodSandboxStatus"))
    }

    /// Creates a container and returns its id. A runtime skips the newer fields that it does not know.
    pub async fn create_container(
        &self,
        sandbox: String,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
        newer: NewerFields,
    ) -> Result<String, CriError> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox,
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self
            .within(
                "CreateContainer",
                self.timeout,
                newer::create_container(self.channel.clone(), request, newer),
            )
            .await?;
        Ok(answer.container_id)
    }

    /// Starts a container that was created.
    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.within(
            "StartContainer",
            self.timeout,
            self.pods.clone().start_container(request),
        )
        .await?;
        Ok(())
    }

    /// Stops a container: its signal, and SIGKILL after `grace`, which counts in whole seconds, up to [`LONGEST_GRACE`].
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let grace = grace.min(LONGEST_GRACE);
        let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: seconds,
        };
        let deadline = self.timeout.saturating_add(grace);
        self.within(
            "StopContainer",
            deadline,
            self.pods.clone().stop_container(request),
        )
        .await?;
        Ok(())
    }

    /// Updates a container's resources while it runs.
    pub async fn update_container_resources(
        &self,
        id: String,
        resources: v1::LinuxContainerResources,
    ) -> Result<(), CriError> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id,
            linux: Some(resources),
            ..Default::default()
        };
        self.within(
            "UpdateContainerResources",
            self.timeout,
            self.pods.clone().update_container_resources(request),
        )
        .await?;
        Ok(())
    }

    /// The memory that a container uses, in bytes; `None` if the runtime does not report it.
    pub async fn memory_in_use(&self, id: &str) -> Result<Option<u64>, CriError> {
        let request = v1::ContainerStatsRequest {
            container_id: id.to_owned(),
        };
        let answer = self
            .within(
                "ContainerStats",
                self.timeout,
                self.pods.clone().container_stats(request),
            )
            .await?;
        let memory = answer.stats.and_then(|stats| stats.memory);
        // Older runtimes report only memory that cannot be reclaimed at once.
        let usage = memory.and_then(|memory| memory.usage_bytes.or(memory.working_set_bytes));
        Ok(usage.map(|bytes| bytes.value))
    }

    /// What each container has written into its root file system, as far as the runtime has measured it: the ID, bytes,
    /// inodes.
    pub async fn written_layers(&self) -> Result<Vec<(String, u64, u64)>, CriError> {
        let request = v1::ListContainerStatsRequest::default();
        let answer = self
            .within(
                "ListContainerStats",
                self.timeout,
                self.pods.clone().list_container_stats(request),
            )
            .await?;
        let layers = answer.stats.into_iter().filter_map(|stats| {
            let layer = stats.writable_layer?;
            let count = |value: Option<v1::UInt64Value>| value.map_or(0, |value| value.value);
            Some((
                stats.attributes?.id,
                count(layer.used_bytes),
                count(layer.inodes_used),
            ))
        });
        Ok(layers.collect())
    }

    /// Removes a container.
    pub async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.within(
            "RemoveContainer",
            self.timeout,
            self.pods.clone().remove_container(request),
        )
        .await?;
        Ok(())
    }

    /// The containers that the filter lets through; every one with the default filter.
    pub async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>, CriError> {
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let answer = self
            .within(
                "ListContainers",
                self.timeout,
                self.pods.clone().list_containers(request),
            )
            .await?;
        Ok(answer.containers)
    }

    /// One container with times, exit code, mounts and log path, and its stop signal if the runtime reports it.
    pub async fn container_status(
        &self,
        id: &str,
    ) -> Result<(v1::ContainerStatus, Option<StopSignal>), CriError> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let (answer, signal) = self
            .within(
                "ContainerStatus",
                self.timeout,
                newer::container_status(self.channel.clone(), &request),
            )
            .await?;
        let status = answer.status.ok_or_else(|| CriError::empty("ContainerStatus"))?;
        Ok((status, signal))
    }

    /// Has the runtime open a new log file for a container, after the old one was renamed.
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = v1::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        self.within(
            "ReopenContainerLog",
            self.timeout,
            self.pods.clone().reopen_container_log(request),
        )
        .await?;
        Ok(())
    }
}
