//! A machine that kubeadm makes a node of: its programs, its containerd, its agent as a service would start it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::node::{NODE_IP, SOON, Streaming, containerd_config};
use crate::process::{kill, logged, printed, stop, text};
use crate::wait::wait_for;
use crate::world::{CGROUP, control_plane, program, repository};

/// What kubeadm and the service's unit call for by name.
const PROGRAMS: &str = "/run/node/bin";
const CONTAINERD: &str = "unix:///run/containerd/containerd.sock";
/// Where kubeadm leaves what the agent is configured by.
const CONFIG: &str = "/var/lib/kubelet/config.yaml";
const FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";
/// And what the machine's owner adds.
const EXTRA_FLAGS: &str = "/etc/default/kubelet";
/// How long one command of kubeadm's may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Who is in the kubelet's place: with `AGENT=kubelet` it is the kubelet itself, by which the stories are proven.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    Gantry,
    Kubelet,
}

impl Agent {
    pub fn asked_for() -> Agent {
        match std::env::var("AGENT").as_deref() {
            Ok("kubelet") => Agent::Kubelet,
            _ => Agent::Gantry,
        }
    }
}

/// A machine with containerd and the images that kubeadm asks for. What runs on it dies with the story's process
/// namespace.
pub struct Host {
    pub name: &'static str,
    pub address: String,
    /// Holds the namespaces of a machine beside this process's own.
    keeper: Option<Child>,
    containerd: Option<Child>,
    agent: Option<Child>,
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in [self.agent.take(), self.containerd.take(), self.keeper.take()] {
            if child.is_some() {
                kill(child);
            }
        }
    }
}

impl Host {
    /// The machine that this process is on.
    pub fn here(images: &[&str]) -> Host {
        Host::furnished("node-1", NODE_IP, None, images)
    }

    /// Another machine on the same network.
    pub fn beside(name: &'static str, address: &str, images: &[&str]) -> Host {
        let story = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        // Where /run/node lies outside, since /run is another one there.
        let directory = repository().join("target/node").join(&story[1..]).join(name);
        std::fs::create_dir_all(&directory).expect("a private directory");
        let mut keeper = Command::new(repository().join("tests/support/isolate.sh"))
            .arg(&directory)
            .args(["sh", "-c", "echo there; exec sleep infinity"])
            .env("BESIDE", format!("{name}={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell script starts");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("a pipe was asked for");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("a pipe can be read");
        assert_eq!(line, "there\n", "the machine {name} could not be made");
        Host::furnished(name, address, Some(keeper), images)
    }

    fn furnished(name: &'static str, address: &str, keeper: Option<Child>, images: &[&str]) -> Host {
        let mut host = Host {
            name,
            address: address.to_owned(),
            keeper,
            containerd: None,
            agent: None,
        };
        for directory in [
            PROGRAMS,
            "/etc/default",
            "/etc/kubernetes/manifests",
            "/opt/cni/bin",
        ] {
            std::fs::create_dir_all(host.path(directory)).expect("a private directory");
        }
        for plugin in ["loopback", "bridge", "host-local", "portmap"] {
            host.link(&program("gantry-cni"), &format!("/opt/cni/bin/{plugin}"));
        }
        let agent = match Agent::asked_for() {
            Agent::Gantry => program("gantry"),
            Agent::Kubelet => control_plane("kubelet"),
        };
        host.link(&agent, &format!("{PROGRAMS}/kubelet"));
        host.link(&control_plane("kubeadm"), &format!("{PROGRAMS}/kubeadm"));
        host.set_flags("");
        // What kubeadm asks of a machine, and systemd does.
        host.run(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        host.run(&["mount", "--make-rshared", "/"]);
        host.write(
            "/run/node/containerd.toml",
            &containerd_config("runc", Streaming::Plain),
        );
        host.start_containerd();
        for image in images {
            let archive = repository().join("target/images").join(format!("{image}.tar"));
            host.run(&["ctr", "--namespace=k8s.io", "images", "import", &shown(&archive)]);
        }
        host.prepare_for_the_kubelet();
        host
    }

    /// What the kubelet finds where gantry brings its own: the image of sandboxes that this containerd asks for, its
    /// cgroup, and settings of the kernel that it would make.
    fn prepare_for_the_kubelet(&self) {
        if Agent::asked_for() == Agent::Gantry {
            return;
        }
        let images = self.run(&["ctr", "--namespace=k8s.io", "images", "list", "--quiet"]);
        let pause = images
            .lines()
            .find(|name| name.contains("/pause:"))
            .expect("its image");
        let wanted = "registry.k8s.io/pause:3.6";
        self.run(&[
            "ctr",
            "--namespace=k8s.io",
            "images",
            "tag",
            "--force",
            pause,
            wanted,
        ]);
        crate::kubelet::prepare(&self.cgroup());
    }

    /// Leaves the pods' network to the node from the agent's next start on, as where no plugin will be installed in the
    /// cluster: gantry brings one, and who has the kubelet writes a configuration.
    pub fn connect_by_itself(&self) {
        if Agent::asked_for() == Agent::Gantry {
            return self.set_flags(" --pod-network=own");
        }
        let network = serde_json::json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.10.0/24"}]],
                    "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]});
        self.write("/etc/cni/net.d/10-pods.conflist", &network.to_string());
    }

    /// What the machine's owner adds to the agent's flags.
    pub fn set_flags(&self, more: &str) {
        let flags = format!("KUBELET_EXTRA_ARGS=\"--cgroup-root={}{more}\"\n", self.cgroup());
        self.write(EXTRA_FLAGS, &flags);
    }

    fn start_containerd(&mut self) {
        let mut command = self.command("containerd");
        command.args(["--config", "/run/node/containerd.toml"]);
        self.containerd = Some(logged(&mut command, &self.log("containerd")));
        wait_for("containerd to answer", SOON, || {
            self.try_run(&["ctr", "--namespace=k8s.io", "version"])
        });
    }

    /// A path of the machine's, as this process reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.keeper {
            None => PathBuf::from(path),
            Some(keeper) => PathBuf::from(format!("/proc/{}/root{path}", keeper.id())),
        }
    }

    fn write(&self, path: &str, content: &str) {
        std::fs::write(self.path(path), content).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn link(&self, to: &Path, path: &str) {
        std::os::unix::fs::symlink(to, self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn log(&self, program: &str) -> String {
        format!("{}-{program}.log", self.name)
    }

    /// Where the pods' cgroups are.
    pub fn cgroup(&self) -> String {
        let story = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        format!("{story}/{}", self.name)
    }

    /// A program on the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match &self.keeper {
            None => Command::new(program),
            Some(keeper) => {
                let mut command = Command::new("nsenter");
                command
                    .args([
                        "--mount",
                        "--net",
                        "--uts",
                        "--ipc",
                        "--target",
                        &keeper.id().to_string(),
                        "--",
                    ])
                    .arg(program);
                command
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{PROGRAMS}:{path}"))
            .stdin(Stdio::null());
        command
    }

    fn try_run(&self, command: &[&str]) -> Result<(), String> {
        let output = self.command(command[0]).args(&command[1..]).output();
        let output = output.map_err(|error| error.to_string())?;
        output.status.success().then_some(()).ok_or_else(|| text(&output))
    }

    /// Runs a command on the machine that has to succeed, for what it prints.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        printed(self.command(command[0]).args(&command[1..]), command)
    }

    /// Runs kubeadm to its end.
    #[track_caller]
    pub fn kubeadm(&self, arguments: &[&str]) -> String {
        self.run(&[&["kubeadm"], arguments].concat())
    }

    /// Runs a command that makes the machine a node, and starts the agent as soon as its configuration is there: the part
    /// of systemd's.
    #[track_caller]
    pub fn install(&mut self, command: &[&str]) {
        let mut asked = self.command(command[0]);
        asked.args(&command[1..]);
        let mut child = logged(&mut asked, &self.log("install"));
        let config = self.path(CONFIG);
        wait_for("the agent's configuration to be written", SOON, || {
            if let Ok(Some(status)) = child.try_wait()
                && !status.success()
            {
                panic!("{}: {status}; see {}", command.join(" "), self.log("install"));
            }
            config.exists().then_some(()).ok_or_else(String::new)
        });
        self.start_agent();
        let status = wait_for(&command.join(" "), PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        assert!(
            status.success(),
            "{}: {status}; see {}",
            command.join(" "),
            self.log("install")
        );
    }

    /// Starts the agent by the line of kubeadm's drop-in, and does not wait.
    pub fn start_agent(&mut self) {
        let mut command = self.command("kubelet");
        command
            .arg("--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf")
            .arg("--kubeconfig=/etc/kubernetes/kubelet.conf")
            .arg(format!("--config={CONFIG}"));
        for (file, variable) in [
            (FLAGS, "KUBELET_KUBEADM_ARGS="),
            (EXTRA_FLAGS, "KUBELET_EXTRA_ARGS="),
        ] {
            let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            let flags = text.lines().find_map(|line| line.strip_prefix(variable));
            command.args(flags.unwrap_or_default().trim_matches('"').split_whitespace());
        }
        self.agent = Some(logged(&mut command, &self.log("agent")));
    }

    /// Asks the agent to end, as systemd does, and waits for it.
    pub fn stop_agent(&mut self) {
        stop(self.agent.take().expect("the agent runs"), Signal::SIGTERM);
    }

    /// The socket of containerd that kubeadm is given.
    pub fn cri_socket() -> String {
        format!("--cri-socket={CONTAINERD}")
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
