//! CRI's two services over the fake world.

use std::collections::HashMap;

use k8s_cri::v1;
use k8s_cri::v1::image_service_server::ImageService;
use k8s_cri::v1::runtime_service_server::RuntimeService;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::Shared;
use super::world::{Container, Sandbox, absent, namespaces};

#[derive(Clone)]
pub(crate) struct Services(pub Shared);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(value: T) -> Answer<T> {
    Ok(Response::new(value))
}

fn labelled(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn listed_sandbox(id: &str, sandbox: &Sandbox) -> v1::PodSandbox {
    v1::PodSandbox {
        id: id.to_owned(),
        metadata: sandbox.config.metadata.clone(),
        state: i32::from(!sandbox.ready),
        created_at: sandbox.created,
        labels: sandbox.config.labels.clone(),
        annotations: sandbox.config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

fn listed_container(id: &str, container: &Container) -> v1::Container {
    v1::Container {
        id: id.to_owned(),
        pod_sandbox_id: container.sandbox.clone(),
        metadata: container.config.metadata.clone(),
        image: container.config.image.clone(),
        image_ref: container.image_ref.clone(),
        state: container.state as i32,
        created_at: container.created,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        ..Default::default()
    }
}

fn container_status(id: &str, container: &Container) -> v1::ContainerStatus {
    v1::ContainerStatus {
        id: id.to_owned(),
        metadata: container.config.metadata.clone(),
        state: container.state as i32,
        created_at: container.created,
        started_at: container.started,
        finished_at: container.finished,
        exit_code: container.code,
        image: container.config.image.clone(),
        image_ref: container.image_ref.clone(),
        reason: container.reason.clone(),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container.config.mounts.clone(),
        log_path: container.log_path.clone(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl RuntimeService for Services {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        self.0.enter("Version", "").await?;
        answer(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "containerd".into(),
            runtime_version: "1.6.20".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.0.enter("Status", "").await?;
        let network = self.0.world().network_ready;
        let condition = |kind: &str, status| v1::RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: if status {
                String::new()
            } else {
                "NetworkPluginNotReady".into()
            },
            message: if status {
                String::new()
            } else {
                "cni plugin not initialized".into()
            },
        };
        let conditions = vec![
            condition("RuntimeReady", true),
            condition("NetworkReady", network),
        ];
        let status = Some(v1::RuntimeStatus { conditions });
        let world = self.0.world();
        let handler = |&(name, recursive_read_only_mounts): &(&str, bool)| v1::RuntimeHandler {
            name: name.to_owned(),
            features: Some(v1::RuntimeHandlerFeatures {
                recursive_read_only_mounts,
                user_namespaces: world.user_namespaces,
            }),
        };
        answer(v1::StatusResponse {
            status,
            runtime_handlers: world.abilities.iter().map(handler).collect(),
            features: world.strict_groups.map(|strict| v1::RuntimeFeatures {
                supplemental_groups_policy: strict,
            }),
            ..Default::default()
        })
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap_or_default();
        let metadata = config.metadata.clone().unwrap_or_default();
        let about = format!("{}/{}#{}", metadata.namespace, metadata.name, metadata.attempt);
        self.0.world().handlers.push(request.runtime_handler);
        self.0.enter("RunPodSandbox", &about).await?;
        let pod_sandbox_id = self.0.world().add_sandbox(config)?;
        self.0.send("/tasks/start", &pod_sandbox_id);
        self.0.leave("RunPodSandbox").await;
        answer(v1::RunPodSandboxResponse { pod_sandbox_id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.0.enter("StopPodSandbox", &id).await?;
        let within: Vec<String> = {
            let world = self.0.world();
            if !world.sandboxes.contains_key(&id) {
                return Err(absent(&id));
            }
            let within = world
                .containers
                .iter()
                .filter(|(_, container)| container.sandbox == id);
            within.map(|(id, _)| id.clone()).collect()
        };
        for container in within {
            self.0.end_container(&container, 137, "");
        }
        let was_ready = {
            let mut world = self.0.world();
            let sandbox = world.sandboxes.get_mut(&id).ok_or_else(|| absent(&id))?;
            std::mem::replace(&mut sandbox.ready, false)
        };
        if was_ready {
            self.0.send("/tasks/exit", &id);
            self.0.send("/tasks/delete", &id);
        }
        self.0.leave("StopPodSandbox").await;
        answer(v1::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.0.enter("RemovePodSandbox", &id).await?;
        {
            let mut world = self.0.world();
            world.containers.retain(|_, container| container.sandbox != id);
            world.sandboxes.remove(&id);
        }
        self.0.send("/containers/delete", &id);
        self.0.leave("RemovePodSandbox").await;
        answer(v1::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.0.enter("PodSandboxStatus", &id).await?;
        let world = self.0.world();
        let sandbox = world.sandboxes.get(&id).ok_or_else(|| absent(&id))?;
        let network = v1::PodSandboxNetworkStatus {
            ip: sandbox.ip.clone(),
            additional_ips: Vec::new(),
        };
        let namespaces = v1::Namespace {
            options: Some(namespaces(&sandbox.config)),
        };
        let listed = listed_sandbox(&id, sandbox);
        let status = v1::PodSandboxStatus {
            id,
            metadata: listed.metadata,
            state: listed.state,
            created_at: listed.created_at,
            network: Some(network),
            linux: Some(v1::LinuxPodSandboxStatus {
                namespaces: Some(namespaces),
            }),
            labels: listed.labels,
            annotations: listed.annotations,
            runtime_handler: String::new(),
        };
        answer(v1::PodSandboxStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        self.0.enter("ListPodSandbox", "").await?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let world = self.0.world();
        let items = world
            .sandboxes
            .iter()
            .map(|(id, sandbox)| listed_sandbox(id, sandbox));
        let items = items.filter(|item| filter.id.is_empty() || item.id == filter.id);
        let items = items.filter(|item| labelled(&filter.label_selector, &item.labels));
        answer(v1::ListPodSandboxResponse {
            items: items.collect(),
        })
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap_or_default();
        let metadata = config.metadata.clone().unwrap_or_default();
        let about = format!("{}#{}", metadata.name, metadata.attempt);
        self.0.enter("CreateContainer", &about).await?;
        let sandbox_config = request.sandbox_config.unwrap_or_default();
        let container_id = self
            .0
            .world()
            .add_container(&request.pod_sandbox_id, config, &sandbox_config)?;
        self.0.leave("CreateContainer").await;
        answer(v1::CreateContainerResponse { container_id })
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let id = request.into_inner().container_id;
        self.0.enter("StartContainer", &id).await?;
        self.0.world().begin_container(&id)?;
        self.0.send("/tasks/start", &id);
        self.0.leave("StartContainer").await;
        answer(v1::StartContainerResponse {})
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        let id = request.container_id;
        self.0.enter("StopContainer", &id).await?;
        self.0.world().graces.push(request.timeout);
        if !self.0.world().containers.contains_key(&id) {
            return Err(absent(&id));
        }
        self.0.end_container(&id, 143, "");
        self.0.leave("StopContainer").await;
        answer(v1::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.0.enter("RemoveContainer", &id).await?;
        self.0.end_container(&id, 137, "");
        self.0.world().containers.remove(&id);
        self.0.send("/containers/delete", &id);
        self.0.leave("RemoveContainer").await;
        answer(v1::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        self.0.enter("ListContainers", "").await?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let world = self.0.world();
        let items = world
            .containers
            .iter()
            .map(|(id, container)| listed_container(id, container));
        let items = items.filter(|item| filter.id.is_empty() || item.id == filter.id);
        let items = items.filter(|item| labelled(&filter.label_selector, &item.labels));
        answer(v1::ListContainersResponse {
            containers: items.collect(),
        })
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        self.0.enter("ContainerStatus", &id).await?;
        let world = self.0.world();
        let container = world.containers.get(&id).ok_or_else(|| absent(&id))?;
        let status = container_status(&id, container);
        answer(v1::ContainerStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }

    type GetContainerEventsStream = BoxStream<v1::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        Err(Status::unimplemented("unknown method GetContainerEvents"))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let id = request.container_id;
        self.0.enter("UpdateContainerResources", &id).await?;
        let mut world = self.0.world();
        let container = world.containers.get_mut(&id).ok_or_else(|| absent(&id))?;
        container.config.linux.get_or_insert_default().resources = request.linux;
        answer(v1::UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        _: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        self.0.enter("ReopenContainerLog", "").await?;
        Err(Status::unimplemented("unknown method ReopenContainerLog"))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        let command = request.cmd.join(" ");
        self.0.enter("ExecSync", &command).await?;
        let world = self.0.world();
        if !world.containers.contains_key(&request.container_id) {
            return Err(absent(&request.container_id));
        }
        let (exit_code, output) = world.answers.get(&command).cloned().unwrap_or_default();
        answer(v1::ExecSyncResponse {
            stdout: output.into_bytes(),
            stderr: Vec::new(),
            exit_code,
        })
    }

    async fn exec(&self, _: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        self.0.enter("Exec", "").await?;
        Err(Status::unimplemented("unknown method Exec"))
    }

    async fn attach(&self, _: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        self.0.enter("Attach", "").await?;
        Err(Status::unimplemented("unknown method Attach"))
    }

    async fn port_forward(&self, _: Request<v1::PortForwardRequest>) -> Answer<v1::PortForwardResponse> {
        self.0.enter("PortForward", "").await?;
        Err(Status::unimplemented("unknown method PortForward"))
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        let id = request.into_inner().container_id;
        self.0.enter("ContainerStats", &id).await?;
        let memory = v1::MemoryUsage {
            usage_bytes: Some(v1::UInt64Value {
                value: self.0.world().memory_in_use,
            }),
            ..Default::default()
        };
        answer(v1::ContainerStatsResponse {
            stats: Some(v1::ContainerStats {
                memory: Some(memory),
                ..Default::default()
            }),
        })
    }

    async fn list_container_stats(
        &self,
        _: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        self.0.enter("ListContainerStats", "").await?;
        Err(Status::unimplemented("unknown method ListContainerStats"))
    }

    async fn pod_sandbox_stats(
        &self,
        _: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        self.0.enter("PodSandboxStats", "").await?;
        Err(Status::unimplemented("unknown method PodSandboxStats"))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        self.0.enter("ListPodSandboxStats", "").await?;
        Err(Status::unimplemented("unknown method ListPodSandboxStats"))
    }

    async fn update_runtime_config(
        &self,
        _: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        self.0.enter("UpdateRuntimeConfig", "").await?;
        Err(Status::unimplemented("unknown method UpdateRuntimeConfig"))
    }

    async fn checkpoint_container(
        &self,
        request: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        let request = request.into_inner();
        let makes = self.0.world().makes_checkpoints;
        if makes {
            // A runtime that fails later leaves what it has written.
            std::fs::write(&request.location, "archive").unwrap();
        }
        let about = format!("{} within {} s", request.container_id, request.timeout);
        self.0.enter("CheckpointContainer", &about).await?;
        match makes {
            true => answer(v1::CheckpointContainerResponse {}),
            false => Err(Status::unimplemented("unknown method CheckpointContainer")),
        }
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        self.0.enter("ListMetricDescriptors", "").await?;
        Err(Status::unimplemented("unknown method ListMetricDescriptors"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        self.0.enter("ListPodSandboxMetrics", "").await?;
        Err(Status::unimplemented("unknown method ListPodSandboxMetrics"))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        self.0.enter("RuntimeConfig", "").await?;
        Err(Status::unimplemented("unknown method RuntimeConfig"))
    }
}

#[tonic::async_trait]
impl ImageService for Services {
    async fn list_images(&self, _: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        self.0.enter("ListImages", "").await?;
        answer(v1::ListImagesResponse {
            images: self.0.world().images.values().cloned().collect(),
        })
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        self.0.enter("ImageStatus", &name).await?;
        let image = self.0.world().image(&name).cloned();
        answer(v1::ImageStatusResponse {
            image,
            ..Default::default()
        })
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let request = request.into_inner();
        let name = request.image.unwrap_or_default().image;
        self.0.enter("PullImage", &name).await?;
        let shown = request.auth.map(|auth| (auth.username, auth.password));
        {
            let mut world = self.0.world();
            let user = shown.as_ref().map(|(user, _)| user.clone());
            world.pulled_by.push(user);
            let asked = world.passwords.get(&name);
            if asked.is_some_and(|asked| shown.as_ref() != Some(asked)) {
                return Err(Status::unknown(format!("{name}: 401 Unauthorized")));
            }
        }
        let image_ref = {
            let mut world = self.0.world();
            if !world.registry.contains(&name) {
                return Err(Status::unknown(format!("failed to resolve reference {name:?}")));
            }
            match world.image(&name) {
                Some(image) => image.id.clone(),
                None => world.add_image(&name).id.clone(),
            }
        };
        self.0.send("/images/create", "");
        self.0.leave("PullImage").await;
        answer(v1::PullImageResponse { image_ref })
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        self.0.enter("RemoveImage", &name).await?;
        let id = self.0.world().image(&name).map(|image| image.id.clone());
        if let Some(id) = id {
            self.0.world().images.remove(&id);
            self.0.send("/images/delete", "");
        }
        answer(v1::RemoveImageResponse {})
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        self.0.enter("ImageFsInfo", "").await?;
        answer(v1::ImageFsInfoResponse::default())
    }
}
