//! The least that anyone can ask of containerd for the running container that the agent makes: the same sandbox and the
//! same container, over a connection that is there, with every directory and file made before.

use std::collections::HashMap;
use std::path::Path;

use containerd_client::tonic::transport::Channel;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerStatusRequest, CreateContainerRequest, DnsConfig, ImageSpec,
    ImageStatusRequest, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListContainersRequest, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, SecurityProfile, StartContainerRequest, StopPodSandboxRequest,
    security_profile::ProfileType,
};
use serde_json::Value;

use crate::world::CGROUP;

/// Where the files lie that are mounted into the containers.
const FILES: &str = "/run/node/raw";

/// Asks containerd.
pub struct Raw {
    runtime: RuntimeServiceClient<Channel>,
    /// The image's id.
    image: String,
    /// What a container does not see, and what it cannot write: taken from the agent's pod.
    masked: Vec<String>,
    readonly: Vec<String>,
}

/// What was made for one pod.
pub struct Made {
    sandbox: String,
    container: String,
}

impl Raw {
    /// Makes the files that the containers share, and learns the image's id, as the agent's image step does.
    pub async fn new(channel: Channel) -> Raw {
        std::fs::create_dir_all(FILES).expect("a private directory");
        for file in ["hosts", "termination-log"] {
            std::fs::write(Path::new(FILES).join(file), "").expect("a private directory");
        }
        let spec = ImageSpec {
            image: "gantry.local/busybox:1".into(),
            ..Default::default()
        };
        let request = ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        let status = ImageServiceClient::new(channel.clone())
            .image_status(request)
            .await;
        let image = status.expect("containerd answers").into_inner().image;
        Raw {
            runtime: RuntimeServiceClient::new(channel),
            image: image.expect("the agent imported it").id,
            masked: Vec::new(),
            readonly: Vec::new(),
        }
    }

    /// A sandbox, a container in it, and its start.
    pub async fn start(&mut self, name: &str) -> Made {
        let config = sandbox_config(name);
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let sandbox = self.runtime.run_pod_sandbox(request).await.expect("a sandbox");
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(self.container_config()),
            sandbox_config: Some(config),
        };
        let container = self.runtime.create_container(request).await.expect("a container");
        let container = container.into_inner().container_id;
        let request = StartContainerRequest {
            container_id: container.clone(),
        };
        self.runtime.start_container(request).await.expect("it starts");
        Made { sandbox, container }
    }

    /// Takes a pod away.
    pub async fn remove(&mut self, made: Made) {
        let request = StopPodSandboxRequest {
            pod_sandbox_id: made.sandbox.clone(),
        };
        self.runtime.stop_pod_sandbox(request).await.expect("it stops");
        let request = RemovePodSandboxRequest {
            pod_sandbox_id: made.sandbox,
        };
        self.runtime.remove_pod_sandbox(request).await.expect("it goes");
    }

    /// Learns from the agent's pod of that name what containers do not see, starts one, and compares what the
    /// low-level runtime was told for the two: a comparison of unlike things would flatter one side.
    pub async fn ask_for_the_same(&mut self, pod: &str) {
        let all = self
            .runtime
            .list_containers(ListContainersRequest::default())
            .await;
        let all = all.expect("containerd answers").into_inner().containers;
        let of_pod = |c: &&k8s_cri::v1::Container| {
            c.labels
                .get("io.kubernetes.pod.name")
                .is_some_and(|name| name == pod)
        };
        let agents = all.iter().find(of_pod).expect("the agent's pod runs");
        let agents = Made {
            sandbox: agents.pod_sandbox_id.clone(),
            container: agents.id.clone(),
        };
        let theirs = self.container_spec(&agents.container).await;
        let paths = |kind: &str| {
            let list = theirs["linux"][kind].as_array().cloned().unwrap_or_default();
            list.iter()
                .filter_map(|path| path.as_str().map(str::to_owned))
                .collect()
        };
        (self.masked, self.readonly) = (paths("maskedPaths"), paths("readonlyPaths"));

        let made = self.start("same").await;
        assert_eq!(
            self.sandbox_spec(&agents.sandbox).await,
            self.sandbox_spec(&made.sandbox).await,
            "the sandboxes, the agent's on the left"
        );
        assert_eq!(
            theirs,
            self.container_spec(&made.container).await,
            "the containers, the agent's on the left"
        );
        self.remove(made).await;
    }

    fn container_config(&self) -> ContainerConfig {
        let mount = |container: &str, host: &str| Mount {
            container_path: container.to_owned(),
            host_path: format!("{FILES}/{host}"),
            ..Default::default()
        };
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "main".into(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: self.image.clone(),
                ..Default::default()
            }),
            command: vec!["sh".into(), "-c".into(), "exec sleep 1000000".into()],
            mounts: vec![
                mount("/etc/hosts", "hosts"),
                mount("/dev/termination-log", "termination-log"),
            ],
            log_path: "main.log".into(),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    cpu_shares: 2,
                    cpu_period: 100_000,
                    oom_score_adj: 1000,
                    ..Default::default()
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    seccomp: Some(seccomp(ProfileType::Unconfined)),
                    masked_paths: self.masked.clone(),
                    readonly_paths: self.readonly.clone(),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    async fn sandbox_spec(&mut self, id: &str) -> Value {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        let status = self.runtime.pod_sandbox_status(request).await;
        comparable(&status.expect("containerd answers").into_inner().info)
    }

    async fn container_spec(&mut self, id: &str) -> Value {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let status = self.runtime.container_status(request).await;
        comparable(&status.expect("containerd answers").into_inner().info)
    }
}

/// What the low-level runtime was told, without what differs between any two pods: names, paths, process ids.
fn comparable(info: &HashMap<String, String>) -> Value {
    let info: Value = serde_json::from_str(&info["info"]).expect("containerd tells JSON");
    let mut spec = info["runtimeSpec"].clone();
    let object = spec.as_object_mut().expect("an OCI runtime specification");
    for own in ["annotations", "hostname", "root"] {
        object.remove(own);
    }
    spec["linux"]["cgroupsPath"].take();
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        mount["source"].take();
    }
    for namespace in spec["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        namespace["path"].take();
    }
    for variable in spec["process"]["env"].as_array_mut().into_iter().flatten() {
        if variable.as_str().is_some_and(|v| v.starts_with("HOSTNAME=")) {
            variable.take();
        }
    }
    spec
}

fn sandbox_config(name: &str) -> PodSandboxConfig {
    let parent = std::env::var(CGROUP).expect("the outside names the cgroup");
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: name.to_owned(),
            namespace: "raw".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: format!("{FILES}/{name}"),
        dns_config: Some(DnsConfig {
            servers: vec!["192.0.2.1".to_owned()],
            ..Default::default()
        }),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("{parent}/{name}"),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(seccomp(ProfileType::RuntimeDefault)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn namespaces() -> NamespaceOption {
    NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    }
}

fn seccomp(profile: ProfileType) -> SecurityProfile {
    SecurityProfile {
        profile_type: profile.into(),
        ..Default::default()
    }
}
