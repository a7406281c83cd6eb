//! A world for each story: private namespaces for network and mounts, in which the test process plays the host, its
//! threads hold the pods' namespaces, and another namespace is the outside. All of it goes with the process,
//! however it ends.
#![allow(dead_code, reason = "no file of stories needs all of it")]

pub(crate) mod frames;
mod isolation;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use gantry_cni::netns;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Our program, where it is not the one that was built beside the tests.
const OURS: &str = "GANTRY_CNI";
/// A directory with plugins to test instead of ours; the reference implementation proves the stories.
const UNDER_TEST: &str = "CNI_PATH_UNDER_TEST";

fn ours_program() -> PathBuf {
    let given = std::env::var_os(OURS);
    given.map_or_else(|| env!("CARGO_BIN_EXE_gantry-cni").into(), PathBuf::from)
}

/// Runs `story` in a process of its own, inside new namespaces.
pub(crate) fn isolated(name: &str, story: impl FnOnce(World)) {
    isolation::isolated(name, || story(World::new()));
}

/// The host of a story.
pub(crate) struct World {
    dir: TempDir,
    plugins: PathBuf,
    /// Whether our own plugins are tested.
    pub(crate) ours: bool,
}

/// What a plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it exited with zero.
    pub(crate) success: bool,
    /// What it wrote to stdout.
    pub(crate) json: Value,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

impl Answer {
    /// The result of a call that must have worked.
    pub(crate) fn ok(self) -> Value {
        assert!(self.success, "{}", self.json);
        self.json
    }

    /// The message of a call that must have failed.
    pub(crate) fn failure(&self) -> (u64, &str) {
        assert!(!self.success, "it should have failed: {}", self.json);
        (
            self.json["code"].as_u64().unwrap(),
            self.json["msg"].as_str().unwrap(),
        )
    }
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let given = std::env::var_os(UNDER_TEST).map(PathBuf::from);
        let ours = given.is_none();
        let plugins = given.unwrap_or_else(|| {
            let plugins = dir.path().join("bin");
            std::fs::create_dir(&plugins).unwrap();
            for name in gantry_cni::skel::Plugin::ALL.map(gantry_cni::skel::Plugin::name) {
                std::os::unix::fs::symlink(ours_program(), plugins.join(name)).unwrap();
            }
            plugins
        });
        // The mount namespace came with the host's /sys, which shows the host's interfaces.
        command("ip", &["link", "set", "lo", "up"]);
        World { dir, plugins, ours }
    }

    /// Where this story's files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the plugins are.
    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }

    /// The configuration most stories use, with `more` on top.
    pub(crate) fn bridge_conf(&self, more: Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "cni0",
            "isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
            "ipam": { "type": "host-local", "subnet": "10.1.0.0/24", "dataDir": self.dir().join("ipam") },
        });
        let (conf_map, more) = (conf.as_object_mut().unwrap(), more.as_object().unwrap().clone());
        conf_map.extend(more);
        conf
    }

    /// The configuration of `portmap` after `previous`.
    pub(crate) fn portmap_conf(&self, previous: &Value, mappings: Value) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": previous,
            "runtimeConfig": { "portMappings": mappings },
        })
    }

    /// Calls the plugin `conf` names, for `pod`.
    pub(crate) fn call(&self, command: &str, pod: &Pod, conf: &Value) -> Answer {
        let netns = pod.netns.path.to_str().unwrap().to_string();
        self.call_with(
            command,
            conf,
            &[
                ("CNI_CONTAINERID", &pod.id),
                ("CNI_NETNS", &netns),
                ("CNI_IFNAME", "eth0"),
            ],
        )
    }

    /// Calls the plugin `conf` names with these variables.
    pub(crate) fn call_with(&self, command: &str, conf: &Value, variables: &[(&str, &str)]) -> Answer {
        let plugin = conf["type"].as_str().unwrap_or("bridge");
        call_raw(
            &self.plugins.join(plugin),
            &self.plugins,
            command,
            conf.to_string().as_bytes(),
            variables,
        )
    }

    /// Calls our own plugin, whichever ones are tested.
    pub(crate) fn call_ours(&self, command: &str, conf: &Value, variables: &[(&str, &str)]) -> Answer {
        let program = self.dir().join(conf["type"].as_str().unwrap());
        let _ = std::os::unix::fs::symlink(ours_program(), &program);
        let input = conf.to_string();
        call_raw(&program, &self.plugins, command, input.as_bytes(), variables)
    }

    /// ADD that must work.
    pub(crate) fn add(&self, pod: &Pod, conf: &Value) -> Value {
        self.call("ADD", pod, conf).ok()
    }

    /// ADD that is killed after `delay`.
    pub(crate) fn kill_during_add(&self, pod: &Pod, conf: &Value, delay: Duration) {
        let mut child = self.spawn("ADD", pod, conf, Stdio::null());
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the plugin that `conf` names, for `pod`, and hands it the configuration.
    pub(crate) fn spawn(&self, command: &str, pod: &Pod, conf: &Value, stdout: Stdio) -> Child {
        let mut child = Command::new(self.plugins.join(conf["type"].as_str().unwrap()))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", &pod.netns.path)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(conf.to_string().as_bytes()).unwrap();
        child
    }

    /// DEL that must work.
    pub(crate) fn del(&self, pod: &Pod, conf: &Value) {
        self.call("DEL", pod, conf).ok();
    }

    /// A namespace that the host reaches as 192.0.2.2 and that knows nobody but the host, 192.0.2.1.
    pub(crate) fn outside(&self) -> Netns {
        let outside = Netns::new();
        let pid = outside.thread.to_string();
        command(
            "ip",
            &[
                "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", &pid,
            ],
        );
        command("ip", &["addr", "add", "192.0.2.1/24", "dev", "up0"]);
        command("ip", &["link", "set", "up0", "up"]);
        outside.command("ip", &["addr", "add", "192.0.2.2/24", "dev", "eth0"]);
        outside.command("ip", &["link", "set", "eth0", "up"]);
        outside
    }

    /// Everything a plugin could leave behind: interfaces, addresses, routes, nftables, files.
    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, String> {
        let mut files: Vec<_> = walk(&self.dir().join("ipam"))
            .into_iter()
            .filter(|path| !path.contains("last_") && !path.ends_with(".new"))
            .collect();
        files.sort();
        [
            ("links", command("ip", &["-o", "-br", "link"])),
            ("addresses", command("ip", &["-o", "-4", "addr"])),
            (
                "routes",
                command("ip", &["route", "show", "table", "all", "type", "unicast"]),
            ),
            ("nftables", command("nft", &["list", "ruleset"])),
            ("files", files.join("\n")),
        ]
        .into()
    }
}

fn walk(dir: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
    let below = |path: PathBuf| {
        if path.is_dir() {
            walk(&path)
        } else {
            vec![path.display().to_string()]
        }
    };
    entries.unwrap_or_default().into_iter().flat_map(below).collect()
}

/// Calls a plugin as a runtime does.
pub(crate) fn call_raw(
    program: &Path,
    path: &Path,
    command: &str,
    input: &[u8],
    variables: &[(&str, &str)],
) -> Answer {
    let mut child = Command::new(program)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("CNI_COMMAND", command)
        .env("CNI_PATH", path)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Answer {
        success: output.status.success(),
        json,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program that must succeed.
pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("the tests need {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace, held by a thread that does nothing else.
pub(crate) struct Netns {
    /// A path to it, for plugins.
    pub(crate) path: PathBuf,
    thread: i32,
    file: File,
    _end: Sender<()>,
}

impl Netns {
    /// A new, empty namespace.
    pub(crate) fn new() -> Self {
        let (ready, made) = channel();
        let (end, ended): (Sender<()>, Receiver<()>) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = ended.recv();
        });
        let thread = made.recv().unwrap();
        let path = PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id()));
        let file = File::open(&path).unwrap();
        Netns {
            path,
            thread,
            file,
            _end: end,
        }
    }

    /// What `ip` takes for the namespace.
    pub(crate) fn pid(&self) -> String {
        self.thread.to_string()
    }

    /// Runs `work` inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::with(&self.file, work).unwrap()
    }

    /// Runs a program inside that must succeed.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> String {
        self.run(|| command(program, arguments))
    }
}

/// A pod: a namespace and a container's name.
pub(crate) struct Pod {
    /// The name runtimes give.
    pub(crate) id: String,
    /// The namespace.
    pub(crate) netns: Netns,
}

impl Pod {
    /// A pod nobody has connected yet.
    pub(crate) fn new(id: &str) -> Self {
        Pod {
            id: id.to_string(),
            netns: Netns::new(),
        }
    }
}

/// The first address of a result.
pub(crate) fn address(result: &Value) -> IpAddr {
    let written = result["ips"][0]["address"].as_str().unwrap();
    written.split('/').next().unwrap().parse().unwrap()
}

/// Listens on all addresses of the current namespace, for TCP and UDP, and tells everybody the address they come
/// from, after `name`. Lives as long as the process.
pub(crate) fn serve(name: &str, port: u16) {
    let listener = TcpListener::bind(("::", port)).unwrap();
    let tcp_name = name.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let peer = stream
                .peer_addr()
                .map(|peer| peer.ip().to_canonical().to_string())
                .unwrap_or_default();
            let _ = (&stream).write_all(format!("{tcp_name} {peer}").as_bytes());
        }
    });
    let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let udp_name = name.to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{udp_name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What the server at `to` says over TCP to somebody in the current namespace.
pub(crate) fn ask_tcp(to: impl Into<SocketAddr>) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_millis(1500))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|error| error.to_string())
}

/// What the server at `to` says over UDP to somebody in the current namespace.
pub(crate) fn ask_udp(to: impl Into<SocketAddr>) -> Result<String, String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    ask_udp_by(&socket, to.into())
}

/// As [`ask_udp`], by a socket of the caller's.
pub(crate) fn ask_udp_by(socket: &UdpSocket, to: SocketAddr) -> Result<String, String> {
    let mut buffer = [0; 100];
    let ask = |buffer: &mut [u8]| {
        socket.set_read_timeout(Some(Duration::from_millis(1000)))?;
        socket.send_to(b"?", to)?;
        socket.recv(buffer)
    };
    let length = ask(&mut buffer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The hardware address of an interface of the current namespace.
pub(crate) fn mac(interface: &str) -> [u8; 6] {
    // /sys shows the interfaces of the namespace that it was mounted in.
    let shown = command("ip", &["-o", "link", "show", interface]);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
    let written = words.nth(1).unwrap();
    let bytes: Vec<u8> = written
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}
