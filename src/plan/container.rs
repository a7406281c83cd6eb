//! The request for a container (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `pkg/kubelet/kubelet_pods.go`).

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, Device, ImageSpec, KeyValue, LinuxContainerConfig, Mount,
    MountPropagation, PodSandboxConfig,
};

use super::content::Origin;
use super::environment::{self, Environment, Room};
use super::sandbox;
use super::{cgroup, image_volume, pull, security, sub_path, volume};
use crate::model::bounds;
use crate::model::expand::expand;
use crate::model::image_mount::ImageMount;
use crate::model::labels::{self, ContainerAnnotations};
use crate::model::node::{NodePolicy, container_dir};
use crate::model::pod::{Container, Pod, PodName, Propagation};
use crate::model::registry::Keyring;
use crate::model::request::{ContainerRequest, HostsFile, ImageRequest, SandboxRef, SubPathMount};
use crate::model::run_as::RunAs;

/// Where containers mount the pod's hosts file.
const ETC_HOSTS: &str = "/etc/hosts";
/// The maximum length of a file name on ext4 and all other common file systems.
const MAX_FILE_NAME: usize = 255;

/// The sandbox for a container, and the configuration it was created with.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) sandbox: SandboxRef,
    /// It may be large because of the pod's annotations, and is shared.
    pub(super) config: Arc<PodSandboxConfig>,
    /// Whether the pod's runtime handler supports recursive read-only mounts.
    pub(super) recursive_read_only: bool,
}

/// The request for the instance of a container that was restarted `attempt` times before.
pub(super) fn request(
    origin: Origin<'_>,
    container: &Container,
    attempt: u32,
    home: &Home,
    room: &mut Room,
) -> ContainerRequest {
    let Origin { pod, policy, .. } = origin;
    let termination_file = termination_file(pod, container, attempt, policy);
    room.next();
    let (env, mut refusal) = environment::environment(container, origin, room)
        .map_or_else(|why| (Environment::default(), Some(why)), |env| (env, None));
    let (sub_paths, image_mounts) = parts(origin, container, &env, room).unwrap_or_else(|message| {
        refusal.get_or_insert(message);
        Default::default()
    });
    // Without one of them it would write beside the volume.
    let mounts = mounts(origin, container, termination_file.as_deref(), home);
    let devices = devices(origin, container);
    let wrong = unmountable(container, home).or_else(|| security::refusal(container));
    let unknown = mounts.as_ref().err().or(devices.as_ref().err());
    if let Some(message) = wrong.or_else(|| unknown.cloned()) {
        refusal.get_or_insert(message);
    }
    let mut expanded = |texts: &[String]| {
        words(container, texts, &env, room).unwrap_or_else(|message| {
            refusal.get_or_insert(message);
            Vec::new()
        })
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    let config = ContainerConfig {
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: mounts.unwrap_or_default(),
        devices: devices.unwrap_or_default(),
        labels: labels::of_container(&pod.name, &pod.uid, &container.name),
        annotations: ContainerAnnotations::new(pod, container, attempt).write(),
        log_path: format!("{}/{attempt}.log", container.name),
        linux: Some(LinuxContainerConfig {
            resources: Some(cgroup::container_resources(pod, container, policy)),
            security_context: Some(security::of_container(pod, container, policy)),
        }),
        envs: key_values(&env),
        ..of_container_alone(container, attempt)
    };
    ContainerRequest {
        container: container.name.clone(),
        sandbox: home.sandbox.clone(),
        sandbox_config: home.config.clone(),
        config,
        env_files: env.files().to_vec(),
        stop_signal: container.lifecycle.stop_signal.filter(|_| policy.stop_signals),
        termination_file,
        sub_paths,
        image_mounts,
        refusal,
    }
}

/// What a container mounts besides whole volumes: parts of them, and images.
fn parts(
    origin: Origin<'_>,
    container: &Container,
    env: &Environment,
    room: &mut Room,
) -> Result<(Vec<SubPathMount>, Vec<ImageMount>), String> {
    let of_volumes = sub_path::mounts(origin, container, env, room)?;
    let images = image_volume::mounts(origin.pod, container, env, room)?;
    Ok((of_volumes, images))
}

fn of_container_alone(container: &Container, attempt: u32) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt,
        }),
        image: Some(ImageSpec {
            user_specified_image: container.image.clone(),
            ..ImageSpec::default()
        }),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        ..ContainerConfig::default()
    }
}

/// Why a mount of the container cannot be recursively read-only, where it has to be.
fn unmountable(container: &Container, home: &Home) -> Option<String> {
    container.mounts.iter().find_map(|mount| {
        let is_recursive = mount.is_recursively_read_only(home.recursive_read_only);
        let why = is_recursive.err()?;
        Some(format!("failed to resolve recursive read-only mode: {why}"))
    })
}

fn key_values(env: &Environment) -> Vec<KeyValue> {
    let variables = env.iter().map(|(key, value)| KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
    });
    variables.collect()
}

/// A command or its arguments, with the variables expanded; or why Linux could not pass them to the program.
fn words(
    container: &Container,
    texts: &[String],
    env: &Environment,
    room: &mut Room,
) -> Result<Vec<String>, String> {
    let mut words = Vec::with_capacity(texts.len());
    for text in texts {
        let word = expand(text, |name| env.get(name), bounds::EXEC_STRING - 1).map_err(|_| {
            bounds::exec_string_exceeded(&format!("an argument of container {:?}", container.name))
        })?;
        room.take(bounds::exec_bytes(word.len()))
            .map_err(|whose| whose.message(container))?;
        words.push(word);
    }
    Ok(words)
}

/// The image that a container needs before it is created.
pub(super) fn image(keyring: &Result<Keyring, String>, container: &Container) -> ImageRequest {
    let security = &container.security;
    ImageRequest {
        container: container.name.clone(),
        image: container.image.clone(),
        pull: container.pull,
        credentials: pull::credentials(keyring, &container.image),
        run_as: RunAs {
            user: security.run_as_user,
            non_root: security.run_as_non_root,
        },
    }
}

/// The hosts file of the pod, to be written before any of its containers is created.
pub(super) fn hosts_file(pod: &Pod, ips: &[std::net::IpAddr], policy: &NodePolicy) -> HostsFile {
    HostsFile {
        path: hosts_path(pod, policy),
        host_network: pod.namespaces.host_network,
        hostname: pod.hostname.clone(),
        domain: sandbox::domain(pod, policy),
        aliases: pod.host_aliases.clone(),
        ips: ips.to_vec(),
    }
}

/// The link to a container's log, without the container's ID and the extension.
pub(super) fn log_link(name: &PodName, container: &str, policy: &NodePolicy) -> PathBuf {
    let file = format!("{}_{}_{container}", name.name, name.namespace);
    policy.container_logs_dir.join(file)
}

/// The link to the log of an instance as it was created: no longer than a file name can be.
pub(super) fn log_link_of(name: &PodName, container: &str, id: &str, policy: &NodePolicy) -> PathBuf {
    const ENDING: &str = ".log";
    let mut file = format!("{}_{}_{container}-{id}", name.name, name.namespace);
    let longest =
        (0..=MAX_FILE_NAME - ENDING.len()).rfind(|&length| file.is_char_boundary(length.min(file.len())));
    file.truncate(longest.unwrap_or(0));
    policy.container_logs_dir.join(file + ENDING)
}

/// The log file of an instance.
pub(super) fn log_file(pod: &Pod, container: &str, attempt: u32, policy: &NodePolicy) -> PathBuf {
    let file = format!("{container}/{attempt}.log");
    policy.pod_log_dir(&pod.name, &pod.uid).join(file)
}

fn hosts_path(pod: &Pod, policy: &NodePolicy) -> PathBuf {
    policy.pod_dir(&pod.uid).join("etc-hosts")
}

/// `<pod>/containers/<name>/<8 hexadecimal digits>`. The kubelet picks the digits at random; here they are derived from
/// the pod, the container and the attempt, so that repeating a step creates only one file.
fn termination_file(pod: &Pod, container: &Container, attempt: u32, policy: &NodePolicy) -> Option<PathBuf> {
    if container.termination_path.is_empty() {
        return None;
    }
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(format!("{}/{}/{attempt}", pod.uid, container.name).as_bytes());
    let hash = hasher.finish();
    let digits = format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff));
    Some(container_dir(&policy.pod_dir(&pod.uid), &container.name).join(digits))
}

/// Volumes in the manifest's order, the hosts file unless the container mounts something there, the termination message
/// file.
fn mounts(
    origin: Origin<'_>,
    container: &Container,
    termination: Option<&Path>,
    home: &Home,
) -> Result<Vec<Mount>, String> {
    let Origin { pod, policy, .. } = origin;
    let images = pod.image_volumes();
    let volumes = container.mounts.iter().enumerate().map(|(index, mount)| {
        let image = images.get(mount.volume.as_str());
        let host = match (image, &mount.sub_path) {
            (Some(_), _) => PathBuf::new(),
            (None, Some(_)) => {
                volume::host_path(origin, &mount.volume)?;
                volume::sub_path_target(pod, &mount.volume, &container.name, index, policy)
            }
            (None, None) => volume::host_path(origin, &mount.volume)?,
        };
        let propagation = match mount.propagation {
            Propagation::None => MountPropagation::PropagationPrivate,
            Propagation::HostToContainer => MountPropagation::PropagationHostToContainer,
            Propagation::Bidirectional => MountPropagation::PropagationBidirectional,
        };
        Ok(Mount {
            readonly: mount.read_only || volume::is_read_only(pod, &mount.volume),
            // An unsupported one is rejected before this is used.
            recursive_read_only: mount.is_recursively_read_only(home.recursive_read_only) == Ok(true),
            propagation: propagation.into(),
            image: image.map(|image| ImageSpec {
                user_specified_image: image.reference.to_owned(),
                ..ImageSpec::default()
            }),
            ..plain_mount(&absolute(&mount.path), &host)
        })
    });
    let own_hosts = container.mounts.iter().any(|mount| mount.path == ETC_HOSTS);
    let hosts = (!own_hosts).then(|| plain_mount(ETC_HOSTS, &hosts_path(pod, policy)));
    let termination = termination.map(|file| plain_mount(&absolute(&container.termination_path), file));
    volumes
        .chain(hosts.into_iter().chain(termination).map(Ok))
        .collect()
}

/// Volumes as devices, in the manifest's order (`makeBlockVolumes`).
fn devices(origin: Origin<'_>, container: &Container) -> Result<Vec<Device>, String> {
    let devices = container.devices.iter().map(|device| {
        let host = volume::device_path(origin, &device.volume)?;
        let permissions = match volume::is_read_only(origin.pod, &device.volume) {
            true => "r",
            false => "mrw",
        };
        Ok(Device {
            container_path: device.path.clone(),
            host_path: host.to_string_lossy().into_owned(),
            permissions: permissions.to_owned(),
        })
    });
    devices.collect()
}

fn plain_mount(container: &str, host: &Path) -> Mount {
    Mount {
        container_path: container.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        ..Mount::default()
    }
}

/// A relative container path in the manifest is relative to the root.
fn absolute(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{self, RestartPolicy, Volume, VolumeSource};
    use crate::model::sample;
    use crate::model::value::EnvValue;

    fn made(change: impl FnOnce(&mut Pod)) -> ContainerRequest {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        change(&mut pod);
        let home = Home {
            sandbox: SandboxRef::Made,
            config: Default::default(),
            recursive_read_only: false,
        };
        let origin = Origin::sample(&pod);
        request(origin, &pod.containers[0], 3, &home, &mut Room::of_plan())
    }

    fn mount_paths(request: &ContainerRequest) -> Vec<&str> {
        request
            .config
            .mounts
            .iter()
            .map(|mount| mount.container_path.as_str())
            .collect()
    }

    fn mount(path: &str) -> pod::Mount {
        pod::Mount {
            volume: "v".to_owned(),
            sub_path: None,
            path: path.to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Propagation::None,
        }
    }

    fn with_volume(pod: &mut Pod) {
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::EmptyDir {
                medium: Default::default(),
                size_limit: None,
            },
        });
    }

    #[test]
    fn mounts_come_in_the_kubelets_order() {
        let request = made(|pod| {
            with_volume(pod);
            pod.containers[0].mounts = vec![mount("/b"), mount("a")];
        });
        assert_eq!(
            mount_paths(&request),
            ["/b", "/a", "/etc/hosts", "/dev/termination-log"]
        );
    }

    #[test]
    fn an_own_hosts_file_is_left_alone_and_no_message_wanted_is_no_mount() {
        let request = made(|pod| {
            with_volume(pod);
            pod.containers[0].mounts = vec![mount("/etc/hosts")];
            pod.containers[0].termination_path.clear();
        });
        assert_eq!(mount_paths(&request), ["/etc/hosts"]);
        assert_eq!(request.termination_file, None);
    }

    #[test]
    fn containers_do_not_see_the_heat_of_the_machines_processors() {
        let throttle = "/sys/devices/system/cpu/cpu0/thermal_throttle";
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let policy = NodePolicy {
            masked_paths: vec![throttle.to_owned()],
            ..sample::policy()
        };
        let masked = |unmasked_proc| {
            let mut container = pod.containers[0].clone();
            container.security.unmasked_proc = unmasked_proc;
            security::of_container(&pod, &container, &policy).masked_paths
        };
        assert!(
            masked(false).contains(&throttle.to_owned()),
            "{:?}",
            masked(false)
        );
        assert_eq!(masked(true), Vec::<String>::new());
    }

    #[test]
    fn the_termination_file_follows_from_the_instance() {
        let file = |request: ContainerRequest| request.termination_file.unwrap();
        let one = file(made(|_| {}));
        assert_eq!(one, file(made(|_| {})));
        assert_ne!(one, file(made(|pod| pod.uid = sample::uid("u2"))));
        let name = one.file_name().unwrap().to_str().unwrap();
        assert!(
            name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit()),
            "{name}"
        );
        assert_eq!(
            one.parent().unwrap(),
            Path::new("/var/lib/kubelet/pods/u1/containers/c")
        );
    }

    #[test]
    fn command_and_args_see_the_environment() {
        let request = made(|pod| {
            let container = &mut pod.containers[0];
            container.env = vec![
                ("A".to_owned(), EnvValue::Text("x".to_owned())),
                ("B".to_owned(), EnvValue::Text("$(A)-$(NOPE)-$$(A)".to_owned())),
            ];
            container.command = vec!["$(B)".to_owned()];
            container.args = vec!["$(A)".to_owned(), "$$".to_owned()];
        });
        assert_eq!(request.config.command, ["x-$(NOPE)-$(A)"]);
        assert_eq!(request.config.args, ["x", "$"]);
        assert_eq!(request.config.envs[1].value, "x-$(NOPE)-$(A)");
    }

    #[test]
    fn a_link_is_no_longer_than_a_file_name() {
        let name = PodName::new("n".repeat(63), "p".repeat(200));
        let link = log_link_of(&name, "c", "0123", &sample::policy());
        assert_eq!(link.file_name().unwrap().len(), 255);
        let link = log_link_of(&sample::name(), "c", "0123", &sample::policy());
        assert_eq!(link, Path::new("/var/log/containers/p_ns_c-0123.log"));
    }
}
