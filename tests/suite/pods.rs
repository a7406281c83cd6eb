//! Pods as the tests of the rooms ask the runtime for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gantry::cgroup::Cgroups;
use gantry::model::pod::{PodName, PodUid, PullPolicy};
use gantry::model::request::{
    ContainerRef, ContainerRequest, HostsFile, ImageRequest, SandboxRef, SandboxRequest,
};
use gantry::model::run_as::RunAs;
use gantry::model::step::{Plan, Step};
use k8s_cri::v1;

/// A node's directories for one test.
pub(crate) struct Directories {
    pub root: tempfile::TempDir,
}

impl Directories {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for part in ["pods", "logs", "links"] {
            std::fs::create_dir(root.path().join(part)).unwrap();
        }
        Directories { root }
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.path().join("pods")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.path().join("logs")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.root.path().join("links")
    }

    /// A cgroup hierarchy of plain files: the machine's own is left alone.
    pub(crate) fn cgroups(&self) -> Cgroups {
        let mount = self.root.path().join("cgroup");
        std::fs::create_dir_all(&mount).unwrap();
        std::fs::write(mount.join("cgroup.controllers"), "cpu memory").unwrap();
        Cgroups::unified(&mount).unwrap()
    }

    /// Creates the cgroup of a pod in it, in which the kernel has killed so many processes for lack of memory.
    pub(crate) fn pod_cgroup(&self, uid: &PodUid, kills: u64) {
        let cgroup = self.root.path().join("cgroup/kubepods").join(format!("pod{uid}"));
        std::fs::create_dir_all(&cgroup).unwrap();
        std::fs::write(cgroup.join("memory.events"), format!("oom_kill {kills}\n")).unwrap();
    }
}

/// A story may end, or fail, while its pods run; as root their tmpfs are mounted, and would outlive their directory.
impl Drop for Directories {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| Path::new(point).starts_with(self.root.path())) {
            let done = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
            // A second panic would end all tests.
            if !std::thread::panicking() {
                done.expect("what a story has mounted can be unmounted");
            }
        }
    }
}

pub(crate) fn name(pod: &str) -> PodName {
    PodName::new("default", pod)
}

pub(crate) fn uid(pod: &str) -> PodUid {
    PodUid(format!("uid-of-{pod}"))
}

fn labels(pod: &str) -> HashMap<String, String> {
    let labels = [
        ("io.kubernetes.pod.name", pod.to_owned()),
        ("io.kubernetes.pod.namespace", "default".to_owned()),
        ("io.kubernetes.pod.uid", uid(pod).0),
    ];
    labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

pub(crate) fn sandbox_config(at: &Directories, pod: &str, attempt: u32) -> v1::PodSandboxConfig {
    let metadata = v1::PodSandboxMetadata {
        name: pod.to_owned(),
        namespace: "default".to_owned(),
        uid: uid(pod).0,
        attempt,
    };
    v1::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: pod.to_owned(),
        log_directory: log_dir(at, pod).to_str().unwrap().to_owned(),
        labels: labels(pod),
        annotations: HashMap::from([("kubernetes.io/config.source".to_owned(), "file".to_owned())]),
        ..Default::default()
    }
}

pub(crate) fn pod_dir(at: &Directories, pod: &str) -> PathBuf {
    at.pods().join(uid(pod).0)
}

pub(crate) fn log_dir(at: &Directories, pod: &str) -> PathBuf {
    at.logs().join(format!("default_{pod}_{}", uid(pod)))
}

pub(crate) fn termination_file(at: &Directories, pod: &str, container: &str) -> PathBuf {
    pod_dir(at, pod)
        .join("containers")
        .join(container)
        .join("0a1b2c3d")
}

pub(crate) fn container_config(
    at: &Directories,
    pod: &str,
    container: &str,
    attempt: u32,
) -> v1::ContainerConfig {
    let mut all_labels = labels(pod);
    all_labels.insert("io.kubernetes.container.name".to_owned(), container.to_owned());
    let annotations = [
        ("io.kubernetes.container.hash", "78725ff3".to_owned()),
        ("io.kubernetes.container.restartCount", attempt.to_string()),
        (
            "io.kubernetes.container.terminationMessagePath",
            "/dev/termination-log".to_owned(),
        ),
        (
            "io.kubernetes.container.terminationMessagePolicy",
            "FallbackToLogsOnError".to_owned(),
        ),
        ("io.kubernetes.pod.terminationGracePeriod", "5".to_owned()),
    ];
    let image = v1::ImageSpec {
        user_specified_image: "busybox".to_owned(),
        ..Default::default()
    };
    let mount = v1::Mount {
        container_path: "/dev/termination-log".to_owned(),
        host_path: termination_file(at, pod, container).to_str().unwrap().to_owned(),
        ..Default::default()
    };
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.to_owned(),
            attempt,
        }),
        image: Some(image),
        labels: all_labels,
        annotations: annotations
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        log_path: format!("{container}/{attempt}.log"),
        mounts: vec![mount],
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext::default()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn image_request(container: &str, image: &str, pull: PullPolicy) -> ImageRequest {
    ImageRequest {
        container: container.to_owned(),
        image: image.to_owned(),
        pull,
        credentials: Ok(Vec::new()),
        run_as: RunAs::default(),
    }
}

pub(crate) fn create(at: &Directories, pod: &str, container: &str) -> Step {
    Step::CreateContainer(Box::new(ContainerRequest {
        container: container.to_owned(),
        sandbox: SandboxRef::Made,
        sandbox_config: sandbox_config(at, pod, 0).into(),
        config: container_config(at, pod, container, 0),
        env_files: Vec::new(),
        stop_signal: None,
        sub_paths: Vec::new(),
        image_mounts: Vec::new(),
        refusal: None,
        termination_file: Some(termination_file(at, pod, container)),
    }))
}

pub(crate) fn start(at: &Directories, pod: &str, container: &str) -> Step {
    let link = at.links().join(format!("{pod}_default_{container}"));
    let log = log_dir(at, pod).join(container).join("0.log");
    Step::StartContainer {
        container: container.to_owned(),
        which: ContainerRef::Made,
        link: Some((link, log)),
    }
}

pub(crate) fn hosts_path(at: &Directories, pod: &str) -> PathBuf {
    pod_dir(at, pod).join("etc-hosts")
}

fn hosts(path: &Path, pod: &str) -> Step {
    Step::WriteHosts(HostsFile {
        path: path.to_owned(),
        host_network: false,
        hostname: pod.to_owned(),
        domain: None,
        aliases: Vec::new(),
        ips: Vec::new(),
    })
}

/// Everything that a new pod needs, in the stages in which the node does it.
pub(crate) fn whole_pod(at: &Directories, pod: &str, containers: &[&str]) -> Plan {
    let each = |step: &dyn Fn(&str) -> Step| containers.iter().map(|c| step(c)).collect::<Vec<_>>();
    let mut sandbox = vec![Step::RunSandbox(Box::new(SandboxRequest {
        config: sandbox_config(at, pod, 0),
        handler: Ok(String::new()),
    }))];
    sandbox.extend(each(&|c| {
        Step::EnsureImage(image_request(c, "busybox", PullPolicy::IfNotPresent))
    }));
    Plan {
        stages: vec![
            vec![Step::EnsurePodDir {
                dir: pod_dir(at, pod),
                logs: log_dir(at, pod),
            }],
            sandbox,
            vec![hosts(&hosts_path(at, pod), pod)],
            each(&|c| create(at, pod, c)),
            each(&|c| start(at, pod, c)),
        ],
        wake_at: None,
        ..Plan::default()
    }
}
