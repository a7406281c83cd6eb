//! A node inside a story: containerd, the agent, and the hands to use them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{kill, logged, stop, text};
use crate::runtime;
use crate::wait::{STEP, wait_for};
use crate::world::{CGROUP, program, repository};

/// Where everything of the story lies, inside its namespaces: on a real disk.
const HERE: &str = "/run/node";
/// Where the agent looks for manifests by default.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where the agent looks for image archives by default.
pub const IMAGES: &str = "/var/lib/gantry/images";
/// The node's address and its neighbour's, as tests/support/isolate.sh gives them.
pub const NODE_IP: &str = "192.0.2.10";
pub const NEIGHBOUR_IP: &str = "192.0.2.1";

/// Long enough for anything that should take a moment, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// Long enough for what takes a grace period.
pub const LONG: Duration = Duration::from_secs(60);

/// Which programs are below the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Containerd {
    /// The one installed on the machine.
    Installed,
    /// One built by tests/containerd/build.sh, by the directory's name.
    Built(&'static str),
}

/// What starts each container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OciRuntime {
    Runc,
    Crun,
}

/// What a story's node is made of.
#[derive(Clone, Copy)]
pub struct World {
    pub containerd: Containerd,
    pub runtime: OciRuntime,
    pub streaming: Streaming,
}

/// How containerd's streaming server speaks to the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    Plain,
    /// With TLS, and a certificate that containerd makes for itself.
    Encrypted,
}

/// What Debian offers and most people run.
pub const USUAL: World = World {
    containerd: Containerd::Installed,
    runtime: OciRuntime::Runc,
    streaming: Streaming::Plain,
};

/// A running node. Whatever it started dies with the story's process namespace.
pub struct Node {
    world: World,
    containerd: Option<Child>,
    agent: Option<Child>,
    verb: &'static str,
    flags: Vec<String>,
}

impl Node {
    /// Starts containerd, with the plugins and the demo image in their places; the agent is not started yet.
    pub fn new(world: World) -> Node {
        std::fs::create_dir_all(MANIFESTS).expect("a private /etc");
        std::fs::create_dir_all(IMAGES).expect("a private /var/lib");
        std::fs::create_dir_all("/opt/cni/bin").expect("a private /opt");
        for plugin in ["loopback", "bridge", "host-local"] {
            std::os::unix::fs::symlink(program("gantry-cni"), Path::new("/opt/cni/bin").join(plugin))
                .expect("a name in an empty directory");
        }
        std::fs::copy(
            repository().join("target/images/demo.tar"),
            Path::new(IMAGES).join("demo.tar"),
        )
        .expect("make test-node has made the demo image");
        let mut node = Node {
            world,
            containerd: None,
            agent: None,
            verb: "run",
            flags: Vec::new(),
        };
        node.write_containerd_config();
        node.start_containerd();
        node
    }

    fn write_containerd_config(&self) {
        let binary = match self.world.runtime {
            OciRuntime::Runc => "runc",
            OciRuntime::Crun => "crun",
        };
        std::fs::write(
            here("containerd.toml"),
            containerd_config(binary, self.world.streaming),
        )
        .expect("a private directory");
    }

    /// Starts containerd and waits until CRI answers.
    pub fn start_containerd(&mut self) {
        let mut command = match self.world.containerd {
            Containerd::Installed => Command::new("containerd"),
            Containerd::Built(version) => {
                let directory = repository().join("target/containerd").join(version);
                let path = std::env::var("PATH").unwrap_or_default();
                let mut command = Command::new(directory.join("containerd"));
                command.env("PATH", format!("{}:{path}", directory.display()));
                command
            }
        };
        command.arg("--config").arg(here("containerd.toml"));
        self.containerd = Some(logged(&mut command, "containerd.log"));
        wait_for("containerd to answer", SOON, runtime::answers);
    }

    /// Kills containerd as a crash would. The containers' shims live on.
    pub fn kill_containerd(&mut self) {
        kill(self.containerd.take());
    }

    /// Which containerd is started.
    #[allow(dead_code)] // storms of faults do
    pub fn containerd_version(&self) -> Containerd {
        self.world.containerd
    }

    /// Has another containerd started from now on.
    #[allow(dead_code)] // storms of faults do
    pub fn set_containerd(&mut self, version: Containerd) {
        self.world.containerd = version;
    }

    /// containerd's process.
    #[allow(dead_code)] // storms of faults do
    pub fn containerd_pid(&self) -> u32 {
        self.containerd.as_ref().expect("containerd runs").id()
    }

    /// Adds a flag to every later start of the agent.
    pub fn flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// Has the agent started as kubeadm starts a kubelet from now on.
    #[allow(dead_code)] // the cluster tier does
    pub fn as_kubelet(&mut self) {
        self.verb = "kubelet";
    }

    /// Starts the agent and waits until it serves.
    pub fn start_agent(&mut self) {
        self.spawn_agent();
        wait_for("the agent to serve", SOON, || {
            let output = self.gantry(&["get", "node", "-o", "json"]);
            if output.status.success() {
                Ok(())
            } else {
                Err(text(&output))
            }
        });
    }

    /// Starts the agent and does not wait.
    pub fn spawn_agent(&mut self) {
        self.spawn_agent_by(Command::new(program("gantry")));
    }

    /// The same in a cgroup, which is given by its directory.
    #[allow(dead_code)] // storms of faults do
    pub fn spawn_agent_in(&mut self, cgroup: &Path) {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(cgroup)
            .arg(program("gantry"));
        self.spawn_agent_by(command);
    }

    /// Starts the agent by a command that only lacks the agent's arguments.
    fn spawn_agent_by(&mut self, mut command: Command) {
        let cgroup = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        command
            .arg(self.verb)
            .arg(format!("--cgroup-root={cgroup}"))
            // How full the machine is does not matter.
            .arg("--image-gc-high-threshold=100")
            // Stories pull faster than people.
            .arg("--registry-qps=0")
            .args(&self.flags);
        // Nor does any pod go because the machine is full, where no configuration says when one does.
        if !self.flags.iter().any(|flag| flag.starts_with("--config=")) {
            let never = [
                "memory.available",
                "nodefs.available",
                "nodefs.inodesFree",
                "imagefs.available",
                "imagefs.inodesFree",
            ];
            let never = never.map(|signal| format!("{signal}<0%")).join(",");
            command.arg(format!("--eviction-hard={never}"));
        }
        self.agent = Some(logged(&mut command, "agent.log"));
    }

    /// Kills the agent as a crash would.
    pub fn kill_agent(&mut self) {
        kill(self.agent.take());
    }

    /// Asks the agent to end, as Ctrl-C does, and waits for it.
    pub fn stop_agent(&mut self) {
        let agent = self.agent.take().expect("the agent runs");
        stop(agent, nix::sys::signal::Signal::SIGINT);
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("the agent runs").id()
    }

    /// Panics where the agent has ended by itself.
    pub fn assert_agent_lives(&mut self) {
        let ended = self.agent_end();
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}");
    }

    /// How the agent has ended by itself, if it has.
    pub fn agent_end(&mut self) -> Option<ExitStatus> {
        let agent = self.agent.as_mut().expect("the agent was started");
        agent.try_wait().expect("our own child")
    }

    /// What the agent has logged.
    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(here("agent.log")).unwrap_or_default()
    }

    /// Puts a manifest in place as careful people and programs do: written beside, renamed into place.
    pub fn manifest(&self, file: &str, content: &str) {
        let hidden = Path::new(MANIFESTS).join(format!(".{file}.new"));
        std::fs::write(&hidden, content).expect("a private directory");
        std::fs::rename(&hidden, Path::new(MANIFESTS).join(file)).expect("a rename inside one directory");
    }

    /// Removes a manifest.
    pub fn remove(&self, file: &str) {
        std::fs::remove_file(Path::new(MANIFESTS).join(file)).expect("the manifest is there");
    }

    /// Runs a command of the command line.
    pub fn gantry(&self, arguments: &[&str]) -> Output {
        Command::new(program("gantry"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// Runs a command of the command line that has to succeed, for what it prints.
    #[track_caller]
    pub fn prints(&self, arguments: &[&str]) -> String {
        let output = self.gantry(arguments);
        assert!(
            output.status.success(),
            "gantry {}: {}",
            arguments.join(" "),
            text(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Every pod that the agent reports.
    pub fn pods(&self) -> Result<Vec<Value>, String> {
        let output = self.gantry(&["get", "pods", "-o", "json"]);
        if !output.status.success() {
            return Err(text(&output));
        }
        let list: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The pod of a manifest with this name, as `v1 Pod`.
    pub fn pod(&self, name: &str) -> Result<Value, String> {
        let full = format!("{name}-node-1");
        self.pods()?
            .into_iter()
            .find(|pod| pod["metadata"]["name"] == full.as_str())
            .ok_or_else(|| format!("no pod {full}"))
    }

    /// The Node object.
    pub fn node(&self) -> Result<Value, String> {
        let output = self.gantry(&["get", "node", "-o", "json"]);
        if !output.status.success() {
            return Err(text(&output));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Waits until a pod is as asked, and returns it.
    #[track_caller]
    pub fn wait_pod(&self, name: &str, what: &str, asked: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("pod {name} to be {what}"), SOON, || {
            let pod = self.pod(name)?;
            if asked(&pod) {
                Ok(pod)
            } else {
                Err(pod["status"].to_string())
            }
        })
    }

    /// Waits until a pod runs with every container ready.
    #[track_caller]
    pub fn wait_running(&self, name: &str) -> Value {
        self.wait_pod(name, "running and ready", is_ready)
    }

    /// Waits until a pod is reported no more and nothing of it is left in the runtime.
    #[track_caller]
    pub fn wait_gone(&self, name: &str) {
        let full = format!("{name}-node-1");
        wait_for(&format!("pod {name} to be gone"), LONG, || {
            if let Ok(pod) = self.pod(name) {
                return Err(pod["status"].to_string());
            }
            let sandboxes = runtime::sandboxes()?;
            let left: Vec<_> = sandboxes
                .into_iter()
                .filter(|sandbox| sandbox.pod == full)
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
    }
}

/// containerd's configuration, with this program to start containers.
pub fn containerd_config(binary: &str, streaming: Streaming) -> String {
    // Without CAP_SYS_RESOURCE no process may lower its oom_score_adj, which the sandbox asks for.
    let restrict = !has_cap_sys_resource();
    let encrypted = streaming == Streaming::Encrypted;
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = {restrict}
  enable_tls_streaming = {encrypted}
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    BinaryName = "{binary}"
"#
    )
}

/// A path of the story's own, kept after it only where the story failed and its logs are shown.
pub fn here(name: &str) -> PathBuf {
    Path::new(HERE).join(name)
}

/// The status of one container.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ]
    .iter()
    .flat_map(|key| pod["status"][*key].as_array().into_iter().flatten())
    .find(|status| status["name"] == name)
    .unwrap_or(&Value::Null)
}

/// Whether a pod is Running and its condition Ready is true.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["status"]["phase"] == "Running"
        && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The address of a pod.
pub fn ip(pod: &Value) -> String {
    pod["status"]["podIP"]
        .as_str()
        .expect("a running pod has an address")
        .to_owned()
}

/// GETs a page in plain HTTP/1.0. `Err` where nothing answers.
pub fn http(address: &str, path: &str) -> Result<String, String> {
    let socket = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let answer = TcpStream::connect_timeout(&socket, Duration::from_secs(2)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    answer.map_err(|error| format!("{address}: {error}"))
}

/// Waits until a page is answered that has this text in it.
#[track_caller]
pub fn wait_http(address: &str, path: &str, expected: &str) {
    wait_for(
        &format!("http://{address}{path} to answer with {expected:?}"),
        SOON,
        || {
            let answer = http(address, path)?;
            if answer.contains(expected) {
                Ok(())
            } else {
                Err(answer)
            }
        },
    );
}

fn has_cap_sys_resource() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells of this process");
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_RESOURCE != 0)
}

/// Runs something and returns how long it took.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = what();
    (value, start.elapsed())
}

/// Watches for as long as given that something stays true.
#[track_caller]
pub fn stays(what: &str, during: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < during {
        if let Err(seen) = look() {
            panic!(
                "{what} no longer held after {:.1} s: {seen}",
                start.elapsed().as_secs_f64()
            );
        }
        std::thread::sleep(STEP);
    }
}
