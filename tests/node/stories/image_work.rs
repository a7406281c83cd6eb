//! `gantry images`, `pull` and `import`, with what they show while they work.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};

use super::registry::{REGISTRY, push, start_registry, trust};
use super::top::Terminal;
use crate::manifest;
use crate::node::{IMAGES, Node, SOON, here};
use crate::process::{run, text};
use crate::wait::wait_for;
use crate::world::program;

/// An image whose one layer has so many bytes.
pub(super) const BIG: &str = "gantry.local/big:1";
const BIG_BYTES: usize = 24 << 20;
/// What is left of an archive that is not imported.
const SCRATCH: &str = "/var/lib/gantry/scratch";
/// The registry behind a door.
const BEHIND: &str = "registry.gantry.test:5444";
const DOOR: &str = "127.0.0.1:5444";

/// An archive as `docker save` makes it.
pub(super) fn archive() -> PathBuf {
    let tar_of = |members: &[(&str, &[u8])]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, *bytes)
                .expect("a vector takes it");
        }
        archive.into_inner().expect("a vector takes it")
    };
    // No two parts of it are alike.
    let content: Vec<u8> = (0..BIG_BYTES as u64 / 8)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    let layer = tar_of(&[("big", &content)]);
    let digest = sha256(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest]},
    });
    let images = json!([{"Config": "config.json", "RepoTags": [BIG], "Layers": ["layer.tar"]}]);
    let path = here("big.tar");
    let (config, images) = (config.to_string(), images.to_string());
    let whole = tar_of(&[
        ("config.json", config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", images.as_bytes()),
    ]);
    fs::write(&path, whole).expect("a private directory");
    path
}

fn sha256(bytes: &[u8]) -> String {
    let path = here("bytes");
    fs::write(&path, bytes).expect("a private directory");
    let sum = run(&["sha256sum", path.to_str().expect("a path of ours")]);
    format!("sha256:{}", sum.split_whitespace().next().expect("a sum"))
}

/// A command that runs, and what it has said so far.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(arguments: &[&str], stdin: Stdio) -> Running {
        let mut child = Command::new(program("gantry"))
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = Arc::<Mutex<String>>::default();
        let (into, mut from) = (said.clone(), child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(size @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
                into.lock().expect("no panic").push_str(&text);
            }
        });
        Running { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    fn wait_for(&self, wanted: &str) {
        wait_for(&format!("{wanted:?} to be said"), SOON, || {
            let said = self.said();
            if said.contains(wanted) { Ok(()) } else { Err(said) }
        });
    }

    /// Ctrl-C.
    fn interrupt(self) {
        let pid = i32::try_from(self.child.id()).expect("the kernel's process ids are small");
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGINT).expect("our own child");
        let said = self.said.clone();
        let (code, _) = self.ended();
        let said = said.lock().expect("no panic").clone();
        assert_eq!(code, Some(130), "{said}");
        assert!(said.ends_with("gantry: canceled\n"), "{said}");
    }

    /// The exit code and what was printed.
    fn ended(mut self) -> (Option<i32>, String) {
        let status = wait_for("the command to end", SOON, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}: {}", self.said())),
        });
        let mut printed = String::new();
        let mut out = self.child.stdout.take().expect("it is piped");
        out.read_to_string(&mut printed).expect("text");
        (status.code(), printed)
    }
}

fn listed(node: &Node) -> Vec<Value> {
    let list: Value = serde_json::from_str(&node.prints(&["images", "-o", "json"])).expect("JSON");
    list["items"].as_array().cloned().expect("a list")
}

/// The entry of an image by its name.
pub(super) fn entry(node: &Node, name: &str) -> Option<Value> {
    let has_name = |item: &Value| {
        let names = item["names"].as_array();
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    listed(node).into_iter().find(has_name)
}

fn assert_nothing_left() {
    wait_for("what was sent to be removed", SOON, || {
        let left: Vec<_> = fs::read_dir(SCRATCH)
            .map_err(|error| error.to_string())?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

pub fn archives_are_imported_as_they_are_sent(node: &mut Node) {
    fs::remove_file(Path::new(IMAGES).join("demo.tar")).expect("it was put there");
    node.start_agent();
    // A pod waits for an image that comes with `gantry import`.
    node.manifest("shell.yaml", &manifest::idle("shell"));
    let demo = crate::world::repository().join("target/images/demo.tar");
    let printed = node.prints(&["import", demo.to_str().expect("a path of ours")]);
    assert!(printed.contains("imported gantry.local/busybox:1 ("), "{printed}");
    node.wait_running("shell");
    let busybox = entry(node, "gantry.local/busybox:1").expect("it was imported");
    assert_eq!(busybox["pods"], json!(["default/shell-node-1"]));
    let table = node.prints(&["images"]);
    let row = table
        .lines()
        .find(|line| line.starts_with("gantry.local/busybox:1"));
    assert!(
        row.is_some_and(|row| row.ends_with("default/shell-node-1")),
        "{table}"
    );

    let path = archive();
    let archive = fs::read(&path).expect("it was written");
    let (begin, rest) = archive.split_at(archive.len() / 2);
    a_client_that_leaves_leaves_nothing(begin);
    // As a pipe: the agent has half of it, and waits.
    let mut import = Running::start(&["import", "-"], Stdio::piped());
    let mut input = import.child.stdin.take().expect("it is piped");
    input.write_all(begin).expect("it is read");
    import.wait_for("sending standard input: 12.0 MiB, ");
    input.write_all(rest).expect("it is read");
    drop(input);
    let (code, printed) = import.ended();
    assert_eq!(
        (code, printed.as_str()),
        (Some(0), "imported gantry.local/big:1 (24Mi)\n")
    );
    assert!(entry(node, BIG).is_some());
    let again = node.prints(&["import", path.to_str().expect("a path of ours")]);
    assert_eq!(again, "gantry.local/big:1 was there already (24Mi)\n");
    on_a_terminal(begin, rest);
    assert_nothing_left();
    refusals(node);
    node.assert_agent_lives();
}

fn a_client_that_leaves_leaves_nothing(begin: &[u8]) {
    for how in ["killed", "interrupted"] {
        let mut import = Running::start(&["import", "-"], Stdio::piped());
        let mut input = import.child.stdin.take().expect("it is piped");
        input.write_all(begin).expect("it is read");
        import.wait_for("sending standard input: 12.0 MiB, ");
        if how == "killed" {
            import.child.kill().expect("our own child");
            import.child.wait().expect("our own child");
        } else {
            import.interrupt();
        }
        assert_nothing_left();
    }
}

fn on_a_terminal(begin: &[u8], rest: &[u8]) {
    let pipe = here("pipe.tar");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a private directory");
    let terminal = Terminal::run(&format!("import {}", pipe.display()));
    let mut input = File::options().write(true).open(&pipe).expect("it is read");
    input.write_all(begin).expect("it is read");
    terminal.wait_for("\rsending /run/node/pipe.tar: 12.0 MiB, 0.0 MiB/s\u{1b}[K");
    input.write_all(rest).expect("it is read");
    drop(input);
    terminal.wait_for("gantry.local/big:1 was there already (24Mi)");
    terminal.wait_for("code 0");
    // The line is gone.
    assert!(terminal.text().contains("\r\u{1b}[K"), "{:?}", terminal.text());
}

fn refusals(node: &Node) {
    let refused = |path: &str, expected: &str| {
        let output = node.gantry(&["import", path]);
        assert_eq!(output.status.code(), Some(1), "{path}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{path}: {}", text(&output));
    };
    let broken = here("broken.tar");
    fs::write(&broken, "no archive").expect("a private directory");
    refused(
        broken.to_str().expect("a path of ours"),
        "gantry: /run/node/broken.tar: this is not an image archive: it is damaged or not a tar file",
    );
    refused(
        "/run/missing",
        "gantry: cannot read /run/missing: No such file or directory",
    );
    refused("/run", "gantry: cannot read /run: Is a directory");
    assert_nothing_left();
}

/// Passes connections on to the registry, and so many bytes of its answers.
#[derive(Clone)]
struct Door(Arc<(Mutex<Passed>, Condvar)>);

struct Passed {
    bytes: usize,
    most: usize,
}

impl Door {
    fn open() -> Door {
        let door = Door(Arc::new((
            Mutex::new(Passed {
                bytes: 0,
                most: usize::MAX,
            }),
            Condvar::new(),
        )));
        let listener = TcpListener::bind(DOOR).expect("a private loopback");
        let through = door.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = REGISTRY.rsplit(':').next().expect("a port");
                let Ok(server) = TcpStream::connect(format!("127.0.0.1:{port}")) else {
                    continue;
                };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
                let (mut up, mut up_to) = (clone(&client), clone(&server));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut up, &mut up_to);
                    let _ = up_to.shutdown(Shutdown::Write);
                });
                let through = through.clone();
                std::thread::spawn(move || through.pass(server, client));
            }
        });
        door
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 32 << 10];
        while let Ok(size @ 1..) = from.read(&mut buffer) {
            let passed = self.0.0.lock().expect("no panic");
            let mut passed = self
                .0
                .1
                .wait_while(passed, |passed| passed.bytes >= passed.most)
                .expect("no panic");
            passed.bytes += size;
            drop(passed);
            if to.write_all(&buffer[..size]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Lets so many more bytes pass; `None`: all.
    fn allow(&self, more: Option<usize>) {
        let mut passed = self.0.0.lock().expect("no panic");
        passed.most = more.map_or(usize::MAX, |more| passed.bytes + more);
        self.0.1.notify_all();
    }
}

pub fn an_image_is_pulled_and_the_pull_canceled(node: &mut Node) {
    node.start_agent();
    start_registry(node);
    let path = archive();
    node.prints(&["import", "--quiet", path.to_str().expect("a path of ours")]);
    push(BIG, "team/big:1");
    // Only the registry has it now.
    let id = entry(node, BIG).expect("it was imported")["id"].clone();
    let id = id.as_str().expect("a text");
    run(&["ctr", "-n", "k8s.io", "images", "rm", "--sync", BIG, id]);
    trust(BEHIND);
    let door = Door::open();
    let image = format!("{BEHIND}/team/big:1");
    let output = node.gantry(&["pull", &image]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.ends_with(
            "; the node has no credentials for it: if the registry requires them, add them to \
             /var/lib/kubelet/config.json\n"
        ),
        "{said}"
    );
    let config = json!({"auths": {BEHIND: {"auth": "YW5uOnJpZ2h0"}}}).to_string();
    fs::write("/var/lib/kubelet/config.json", config).expect("a private directory");

    door.allow(Some(8 << 20));
    let pull = Running::start(&["pull", &image], Stdio::null());
    pull.wait_for(" of 24.0 MiB, layers 0 of 1, ");
    pull.interrupt();
    wait_for("the agent to end the pull", SOON, || {
        let log = node.agent_log();
        let is_ended = log.contains("image pull canceled by its client");
        if is_ended { Ok(()) } else { Err(log) }
    });
    assert!(entry(node, &image).is_none());

    door.allow(Some(4 << 20));
    let pull = Running::start(&["pull", &image], Stdio::null());
    pull.wait_for(&format!("pulling {image}: "));
    pull.wait_for(" of 24.0 MiB, layers 0 of 1, ");
    door.allow(None);
    let (code, printed) = pull.ended();
    assert_eq!((code, printed), (Some(0), format!("pulled {image} (24Mi)\n")));
    let again = node.prints(&["pull", &image]);
    assert_eq!(again, format!("{image} is up to date (24Mi)\n"));
    for word in ["right\"", "YW5uOnJpZ2h0"] {
        assert!(!node.agent_log().contains(word), "a password is in the log");
    }
    node.assert_agent_lives();
}
