//! What the fake runtime has.

use std::collections::{BTreeMap, BTreeSet};

use k8s_cri::v1;
use tonic::Status;

use super::{Call, Shared};

/// When the reason `OOMKilled` is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lag {
    None,
    ReasonAfterExit,
}

pub(crate) struct World {
    pub sandboxes: BTreeMap<String, Sandbox>,
    pub containers: BTreeMap<String, Container>,
    pub images: BTreeMap<String, v1::Image>,
    pub calls: Vec<Call>,
    pub failures: BTreeMap<&'static str, (usize, Status)>,
    pub unsupported: BTreeSet<&'static str>,
    pub held_answers: BTreeSet<&'static str>,
    /// `NetworkReady`
    pub network_ready: bool,
    /// Whether it makes checkpoints of containers; containerd 1.6 does not.
    pub makes_checkpoints: bool,
    /// Its handlers, and whether each makes recursive read-only mounts.
    pub abilities: Vec<(&'static str, bool)>,
    /// Whether these handlers make user namespaces.
    pub user_namespaces: bool,
    /// Whether it follows `supplementalGroupsPolicy`; `None`: it is too old to say.
    pub strict_groups: Option<bool>,
    /// Whether it is containerd; takes effect at the next start.
    pub supports_events: bool,
    /// Images that can be pulled.
    pub registry: BTreeSet<String>,
    /// Images for which a name and a password are asked.
    pub passwords: BTreeMap<String, (String, String)>,
    /// The handler of each sandbox that was asked for.
    pub handlers: Vec<String>,
    /// Who each pull said to be.
    pub pulled_by: Vec<Option<String>>,
    /// How commands end in containers, by their words joined: the code, and what they say.
    pub answers: BTreeMap<String, (i32, String)>,
    /// The seconds that each stop gave, in order.
    pub graces: Vec<i64>,
    /// The stop signal that each container was created with, by its name, where there was one.
    pub stop_signals: BTreeMap<String, i32>,
    /// The parts of images that a container was to mount, one for each of its mounts, as they were last asked for.
    pub image_sub_paths: BTreeMap<String, Vec<String>>,
    /// How much memory each container uses, in bytes, as the test sets it.
    pub memory_in_use: u64,
    next: u64,
}

impl Default for World {
    fn default() -> Self {
        World {
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            calls: Vec::new(),
            failures: BTreeMap::new(),
            unsupported: BTreeSet::new(),
            held_answers: BTreeSet::new(),
            network_ready: true,
            makes_checkpoints: false,
            abilities: Vec::new(),
            user_namespaces: false,
            strict_groups: None,
            supports_events: true,
            registry: BTreeSet::new(),
            passwords: BTreeMap::new(),
            pulled_by: Vec::new(),
            handlers: Vec::new(),
            answers: BTreeMap::new(),
            graces: Vec::new(),
            stop_signals: BTreeMap::new(),
            image_sub_paths: BTreeMap::new(),
            memory_in_use: 1 << 20,
            next: 0,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Sandbox {
    pub config: v1::PodSandboxConfig,
    pub ready: bool,
    pub created: i64,
    pub ip: String,
}

#[derive(Clone)]
pub(crate) struct Container {
    pub sandbox: String,
    pub config: v1::ContainerConfig,
    pub state: v1::ContainerState,
    pub log_path: String,
    pub created: i64,
    pub started: i64,
    pub finished: i64,
    pub code: i32,
    pub reason: String,
    pub image_ref: String,
}

pub(super) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

impl World {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("{:064x}", self.next)
    }

    pub(crate) fn failure(&mut self, call: &str) -> Option<Status> {
        let (times, status) = self.failures.get_mut(call)?;
        *times = times.checked_sub(1)?;
        Some(status.clone())
    }

    /// An image without a user, so root's.
    pub(crate) fn add_image(&mut self, tag: &str) -> &mut v1::Image {
        let id = format!("sha256:{}", self.id());
        self.images.entry(id.clone()).or_insert(v1::Image {
            id,
            repo_tags: vec![tag.to_owned()],
            size: 4096,
            ..Default::default()
        })
    }

    pub(crate) fn image(&self, name: &str) -> Option<&v1::Image> {
        self.images
            .values()
            .find(|image| image.id == name || image.repo_tags.iter().any(|tag| tag == name))
    }

    pub(crate) fn add_sandbox(&mut self, config: v1::PodSandboxConfig) -> Result<String, Status> {
        if self
            .sandboxes
            .values()
            .any(|other| other.config.metadata == config.metadata)
        {
            return Err(Status::unknown("failed to reserve sandbox name: it is reserved"));
        }
        let id = self.id();
        let host_network = namespaces(&config).network == v1::NamespaceMode::Node as i32;
        let ip = if host_network {
            String::new()
        } else {
            format!("10.88.0.{}", self.next)
        };
        self.sandboxes.insert(
            id.clone(),
            Sandbox {
                config,
                ready: true,
                created: now(),
                ip,
            },
        );
        Ok(id)
    }

    pub(crate) fn add_container(
        &mut self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: &v1::PodSandboxConfig,
    ) -> Result<String, Status> {
        if !self.sandboxes.get(sandbox).is_some_and(|sandbox| sandbox.ready) {
            return Err(Status::not_found("the sandbox is not there or not ready"));
        }
        let asked = config
            .image
            .as_ref()
            .map(|image| image.image.as_str())
            .unwrap_or_default();
        let Some(image) = self.image(asked) else {
            return Err(Status::not_found(format!("failed to resolve image {asked:?}")));
        };
        let image_ref = image.id.clone();
        let same = |other: &Container| other.sandbox == sandbox && other.config.metadata == config.metadata;
        if self.containers.values().any(same) {
            return Err(Status::unknown(
                "failed to reserve container name: it is reserved",
            ));
        }
        let id = self.id();
        let log_path = format!("{}/{}", sandbox_config.log_directory, config.log_path);
        let container = Container {
            sandbox: sandbox.to_owned(),
            config,
            state: v1::ContainerState::ContainerCreated,
            log_path,
            created: now(),
            started: 0,
            finished: 0,
            code: 0,
            reason: String::new(),
            image_ref,
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    pub(crate) fn begin_container(&mut self, id: &str) -> Result<(), Status> {
        let container = self.containers.get_mut(id).ok_or_else(|| absent(id))?;
        if container.state != v1::ContainerState::ContainerCreated {
            return Err(Status::unknown(
                "the container is not in the state CONTAINER_CREATED",
            ));
        }
        container.state = v1::ContainerState::ContainerRunning;
        container.started = now();
        // As containerd does it; a log shipper follows the file from here on.
        std::fs::File::create(&container.log_path).map_err(|error| Status::unknown(error.to_string()))?;
        Ok(())
    }

    /// The newest container of that name.
    pub(crate) fn container(&self, name: &str) -> Option<(&String, &Container)> {
        self.containers
            .iter()
            .filter(|(_, container)| container.config.metadata.as_ref().is_some_and(|m| m.name == name))
            .max_by_key(|(_, container)| container.created)
    }

    /// The newest sandbox of the pod of that name.
    pub(crate) fn sandbox(&self, pod: &str) -> Option<(&String, &Sandbox)> {
        self.sandboxes
            .iter()
            .filter(|(_, sandbox)| sandbox.config.metadata.as_ref().is_some_and(|m| m.name == pod))
            .max_by_key(|(_, sandbox)| sandbox.created)
    }
}

impl Shared {
    /// CRI notes the exit, then the events say so. Ending what has ended does nothing.
    pub(crate) fn end_container(&self, id: &str, code: i32, reason: &str) {
        let ended = {
            let mut world = self.world();
            let Some(container) = world.containers.get_mut(id) else {
                return;
            };
            let was_running = container.state == v1::ContainerState::ContainerRunning;
            if was_running {
                container.state = v1::ContainerState::ContainerExited;
                container.code = code;
                container.finished = now();
                container.reason = match (reason, code) {
                    ("", 0) => "Completed".to_owned(),
                    ("", _) => "Error".to_owned(),
                    (reason, _) => reason.to_owned(),
                };
            }
            was_running
        };
        if ended {
            self.send("/tasks/exit", id);
            self.send("/tasks/delete", id);
        }
    }
}

pub(crate) fn namespaces(config: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    let context = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref());
    context
        .and_then(|context| context.namespace_options.clone())
        .unwrap_or_default()
}

pub(crate) fn absent(id: &str) -> Status {
    Status::not_found(format!("an error occurred when try to find {id:?}: not found"))
}
