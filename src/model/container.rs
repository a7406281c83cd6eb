//! A container of a pod, as this node understands it.

use super::port::Port;
use super::probe::{Lifecycle, Probes};
use super::resources::Resources;
use super::restart::{self, RestartAction, RestartPolicy, RestartRule};
use super::security::ContainerSecurity;
use super::value::{EnvFrom, EnvValue, SubPath};

/// A container of the pod, an init container, or an ephemeral one.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The image as the manifest writes it.
    pub image: String,
    /// When to pull; derived from the tag if the manifest does not say.
    pub pull: PullPolicy,
    /// `command`, unexpanded.
    pub command: Vec<String>,
    /// `args`, unexpanded.
    pub args: Vec<String>,
    /// `envFrom`, in order.
    pub env_from: Vec<EnvFrom>,
    /// `env`, in order, unexpanded.
    pub env: Vec<(String, EnvValue)>,
    /// `workingDir`
    pub working_dir: Option<String>,
    /// `ports`, in order.
    pub ports: Vec<Port>,
    /// Requests and limits.
    pub resources: Resources,
    /// What a resize does to it while it runs.
    pub resize: ResizePolicy,
    /// `volumeMounts`, in order.
    pub mounts: Vec<Mount>,
    /// `volumeDevices`, in order.
    pub devices: Vec<VolumeDevice>,
    /// The container's security context merged over the pod's.
    pub security: ContainerSecurity,
    /// `terminationMessagePath`
    pub termination_path: String,
    /// `terminationMessagePolicy: FallbackToLogsOnError`
    pub termination_from_logs: bool,
    /// `stdin`
    pub stdin: bool,
    /// `stdinOnce`
    pub stdin_once: bool,
    /// `tty`
    pub tty: bool,
    /// Its restart policy: its own if stated, else the pod's.
    pub restart: RestartPolicy,
    /// `restartPolicyRules`: what follows certain exit codes, regardless of the policy.
    pub restart_rules: Vec<RestartRule>,
    /// An init container with `restartPolicy: Always`.
    pub sidecar: bool,
    /// The container whose PID namespace an ephemeral container joins (`targetContainerName`).
    pub target: Option<String>,
    /// Its probes.
    pub probes: Probes,
    /// Its lifecycle hooks.
    pub lifecycle: Lifecycle,
    /// The kubelet's hash of the fields that force a restart when they change
    /// (`io.kubernetes.container.hash`, hexadecimal).
    pub hash: u32,
}

impl Container {
    /// Whether it is restarted after this exit code, alone or with all others.
    pub fn restarts_after(&self, code: i32) -> bool {
        match restart::action_after(&self.restart_rules, code) {
            RestartAction::Restart | RestartAction::RestartAllContainers => true,
            RestartAction::ByPolicy => self.restart.restarts_after(code),
        }
    }

    /// Whether all containers of its pod are restarted after this exit code.
    pub fn restarts_all_after(&self, code: i32) -> bool {
        restart::action_after(&self.restart_rules, code) == RestartAction::RestartAllContainers
    }
}

/// `resizePolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResizePolicy {
    /// `cpu`
    pub cpu: OnResize,
    /// `memory`
    pub memory: OnResize,
}

/// What happens to a running container when its resources change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnResize {
    /// It keeps running with the new amounts.
    #[default]
    NotRequired,
    /// It is restarted with them.
    RestartContainer,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where it is missing.
    #[default]
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The name as it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// A volume as a device of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDevice {
    /// The volume's name.
    pub volume: String,
    /// Where in the container.
    pub path: String,
}

/// One entry of `volumeMounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// The part of the volume; `None`: all of it.
    pub sub_path: Option<SubPath>,
    /// Where in the container.
    pub path: String,
    /// `readOnly`
    pub read_only: bool,
    /// `recursiveReadOnly`
    pub recursive_read_only: RecursiveReadOnly,
    /// `mountPropagation`
    pub propagation: Propagation,
}

impl Mount {
    /// Whether mounts below it are read-only too, given whether the runtime supports that; or why it cannot be mounted
    /// at all (`resolveRecursiveReadOnly` in `pkg/kubelet/kubelet_pods.go`).
    pub fn is_recursively_read_only(&self, is_supported: bool) -> Result<bool, String> {
        let volume = &self.volume;
        let wants = "requested recursive read-only mode, but it is not";
        match self.recursive_read_only {
            RecursiveReadOnly::Disabled => Ok(false),
            _ if !self.read_only => Err(format!("volume {volume:?} {wants} read-only")),
            _ if self.propagation != Propagation::None => {
                let propagation = self.propagation.as_str();
                Err(format!(
                    "volume {volume:?} {wants} compatible with propagation {propagation:?}"
                ))
            }
            RecursiveReadOnly::Enabled if !is_supported => {
                Err(format!("volume {volume:?} {wants} supported by the runtime"))
            }
            RecursiveReadOnly::IfPossible | RecursiveReadOnly::Enabled => Ok(is_supported),
        }
    }
}

/// `recursiveReadOnly`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecursiveReadOnly {
    /// Mounts below it are unchanged.
    #[default]
    Disabled,
    /// Read-only too, if the runtime supports it.
    IfPossible,
    /// Read-only too, else not mounted at all.
    Enabled,
}

/// `mountPropagation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// None.
    #[default]
    None,
    /// Mounts of the host appear in the container.
    HostToContainer,
    /// Both ways; privileged containers only.
    Bidirectional,
}

impl Propagation {
    /// As a manifest has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::None => "None",
            Propagation::HostToContainer => "HostToContainer",
            Propagation::Bidirectional => "Bidirectional",
        }
    }
}
