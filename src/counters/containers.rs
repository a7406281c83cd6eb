//! Starts and ends of containers.

use super::family::{Counter, Family, Head, Label};

/// Of which list of a pod a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerType {
    /// `spec.containers`
    Container,
    /// `spec.initContainers`
    Init,
    /// `spec.ephemeralContainers`
    Ephemeral,
}

impl ContainerType {
    fn label(self) -> Label {
        let text = match self {
            ContainerType::Container => "container",
            ContainerType::Init => "init_container",
            ContainerType::Ephemeral => "ephemeral_container",
        };
        text.into()
    }
}

/// Starts and ends of containers.
#[derive(Debug)]
pub struct Containers {
    started: Counter<1>,
    errors: Counter<2>,
    terminated: Counter<3>,
    sleeps: Counter<0>,
}

impl Default for Containers {
    fn default() -> Self {
        Containers {
            started: Counter::new(Head {
                name: "kubelet_started_containers_total",
                help: "How often a container was to be started, by its type.",
                labels: ["container_type"],
            }),
            errors: Counter::new(Head {
                name: "kubelet_started_containers_errors_total",
                help: "How often a container could not be started, by its type and the reason.",
                labels: ["container_type", "code"],
            }),
            terminated: Counter::new(Head {
                name: "kubelet_terminated_containers_total",
                help: "How many containers have ended, by their type, exit code and reason.",
                labels: ["container_type", "exit_code", "reason"],
            }),
            sleeps: Counter::new(Head {
                name: "kubelet_sleep_action_terminated_early_total",
                help: "How often the sleep of a hook was cut short by the end of the grace period.",
                labels: [],
            }),
        }
    }
}

impl Containers {
    /// A container was to be started.
    pub fn started(&self, of: ContainerType) {
        self.started.count([of.label()]);
    }

    /// A container could not be started, for the reason that its waiting state shows.
    pub fn failed(&self, of: ContainerType, reason: &'static str) {
        self.errors.count([of.label(), reason.into()]);
    }

    /// A container has ended.
    pub fn terminated(&self, of: ContainerType, exit_code: i32, reason: &str) {
        let labels = [of.label(), exit_code.to_string().into(), reason.to_owned().into()];
        self.terminated.count(labels);
    }

    /// The sleep of a hook was cut short.
    pub fn woken(&self) {
        self.sleeps.count([]);
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.started, &self.errors, &self.terminated, &self.sleeps]
    }
}
