//! Many streams that are cut at once: each client learns why, and nothing of them stays.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use crate::manifest;
use crate::node::{Node, SOON};
use crate::process::text;
use crate::wait::{STEP, wait_for};
use crate::world::program;

/// How many streams of each kind there are.
const EACH: usize = 5;
/// The agent's pipes of commands.
const PIPES: &str = "/run/gantry/exec";
/// What the commands run, as no other process of the story does.
const SLEEP: [&str; 2] = ["sleep", "54321"];
/// How many looks in a row must count the same descriptors.
const LOOKS: usize = 50;

pub fn streams_that_are_cut_leave_nothing(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    let ticks = manifest::with(
        "ticks",
        "while :; do echo up; sleep 0.2; done",
        "    stdin: true\n",
    );
    node.manifest("ticks.yaml", &ticks);
    // It reads nothing, and outlives its connection.
    let talks = "exec nc -ll -p 9000 -e sh -c 'echo up; exec sleep 1000000'";
    node.manifest("talks.yaml", &manifest::shell("talks", talks));
    for pod in ["shell", "ticks", "talks"] {
        node.wait_running(pod);
    }
    // The first ones open what is kept open.
    Crowd::begin(1).leave();
    wait_no_command();
    let before = settled_descriptors(node);

    Crowd::begin(EACH).leave();
    wait_nothing_left(node, before, "their clients were killed");

    let crowd = Crowd::begin(EACH);
    node.kill_containerd();
    node.start_containerd();
    let mut crowd = crowd.without_attached();
    crowd.assert_goes_on();
    crowd.leave();
    wait_nothing_left(node, before, "containerd was restarted");

    let crowd = Crowd::begin(EACH);
    node.stop_agent();
    crowd.assert_cut("gantry is stopping on this node");
    wait_no_command();
    node.start_agent();
    let log = node.agent_log();
    assert!(!log.contains("some streams did not end in time"), "{log}");
    assert!(
        !log.contains("ended a command of an agent that was killed"),
        "{log}"
    );
}

/// The clients.
struct Crowd {
    /// Of commands, half of which do not read the endless input.
    exec: Vec<Client>,
    /// The same of an attached process.
    attach: Vec<Client>,
    forward: Client,
    forwarded: Vec<TcpStream>,
}

impl Crowd {
    /// Starts them, and waits until each has heard of its process.
    fn begin(each: usize) -> Crowd {
        let command = ["--", "sh", "-c", "echo up; exec sleep 54321"];
        let of = |words: &[&str]| {
            let mut clients: Vec<Client> = (0..each).map(|_| Client::start(words)).collect();
            clients
                .iter_mut()
                .for_each(|client| assert_eq!(client.line(), "up"));
            clients
        };
        let exec = [
            of(&[&["exec", "shell"], &command[..]].concat()),
            of(&[&["exec", "-i", "shell"], &command[..]].concat()),
        ];
        let attach = [of(&["attach", "ticks"]), of(&["attach", "-i", "ticks"])];
        let mut forward = Client::start(&["port-forward", "talks", ":9000"]);
        let line = forward.line();
        // Forwarding from 127.0.0.1:41234 -> 9000
        let port = line.split([':', ' ']).find_map(|word| word.parse::<u16>().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line}"));
        let forwarded = (0..2 * each).map(|number| connect(port, number % 2 == 1));
        Crowd {
            exec: exec.into_iter().flatten().collect(),
            attach: attach.into_iter().flatten().collect(),
            forwarded: forwarded.collect(),
            forward,
        }
    }

    /// The clients are killed.
    fn leave(self) {
        assert!(commands() >= self.exec.len(), "{} commands", commands());
        let clients = self.exec.into_iter().chain(self.attach).chain([self.forward]);
        clients.for_each(|client| drop(client.end(true)));
    }

    /// The attached ones, whose streams the runtime has, learn of its end.
    fn without_attached(mut self) -> Crowd {
        for client in std::mem::take(&mut self.attach) {
            client.assert_failed("error attaching to container: the ", "is it restarting?");
        }
        self
    }

    /// The others do not notice.
    fn assert_goes_on(&mut self) {
        assert_eq!(commands(), self.exec.len());
        for client in &mut self.exec {
            assert!(client.child.try_wait().expect("our own child").is_none());
        }
        for stream in &mut self.forwarded {
            stream.set_nonblocking(true).expect("our own socket");
            let read = stream.read(&mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
        }
    }

    /// Each client learns why.
    fn assert_cut(self, why: &str) {
        for client in self.exec {
            client.assert_failed("the command was killed: ", why);
        }
        for client in self.attach {
            client.assert_failed("error attaching to container: ", why);
        }
        for mut stream in self.forwarded {
            stream.set_nonblocking(false).expect("our own socket");
            let mut rest = Vec::new();
            // What is not read resets it.
            let _ = stream.read_to_end(&mut rest);
        }
        let said = self.forward.end(true);
        let lines = String::from_utf8_lossy(&said.stderr).into_owned();
        let expected = "port 9000: error forwarding port 9000 to pod default/talks-node-1, uid ";
        let of = |line: &&str| line.starts_with(expected) && line.ends_with(why);
        assert_eq!(lines.lines().filter(of).count(), 2 * EACH, "{lines}");
    }
}

/// A program that has a stream.
struct Client {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Client {
    fn start(words: &[&str]) -> Client {
        let zeros = File::open("/dev/zero").expect("every machine has it");
        let mut child = Command::new(program("gantry"))
            .args(words)
            .stdin(zeros)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Client { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Waits for its end, or ends it.
    fn end(mut self, is_killed: bool) -> Output {
        if is_killed {
            self.child.kill().expect("our own child");
        }
        // A pipe that nobody reads would keep it.
        let mut rest = Vec::new();
        self.out.read_to_end(&mut rest).expect("it is closed");
        self.child.wait_with_output().expect("it ends")
    }

    /// It ends with a line that has both.
    fn assert_failed(self, what: &str, why: &str) {
        let said = self.end(false);
        assert!(!said.status.success(), "{}", text(&said));
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(
            error.contains(what) && error.contains(why),
            "{error:?} without {what:?} and {why:?}"
        );
    }
}

/// A forwarded connection, on which the pod has spoken; `stuck`: that has sent all that is taken.
fn connect(port: u16, stuck: bool) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("gantry listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut read = [0; 3];
    stream.read_exact(&mut read).expect("the pod speaks");
    assert_eq!(&read, b"up\n");
    if stuck {
        let timeout = Duration::from_millis(50);
        stream.set_write_timeout(Some(timeout)).expect("a timeout");
        while stream.write(&[0; 64 * 1024]).is_ok() {}
    }
    stream
}

/// The commands that run, in any container.
fn commands() -> usize {
    let processes = std::fs::read_dir("/proc").expect("it is mounted").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let expected = SLEEP.map(|word| format!("{word}\0")).concat();
    lines.filter(|line| *line == expected.as_bytes()).count()
}

/// The agent's open descriptors.
fn descriptors(node: &Node) -> Vec<String> {
    let list = std::fs::read_dir(format!("/proc/{}/fd", node.agent_pid())).expect("the agent lives");
    let of = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
    list.flatten()
        .filter_map(of)
        .map(|path| path.display().to_string())
        .collect()
}

/// How many there are when nothing happens.
fn settled_descriptors(node: &Node) -> usize {
    let mut counts = Vec::new();
    wait_for("the agent's descriptors to be the same for a while", SOON, || {
        std::thread::sleep(STEP); // between two looks
        counts.push(descriptors(node).len());
        let last = counts.iter().rev().take(LOOKS);
        let is_settled = counts.len() >= LOOKS && last.clone().all(|count| Some(count) == counts.last());
        match is_settled {
            true => Ok(counts[counts.len() - 1]),
            false => Err(format!("{:?}", last.collect::<Vec<_>>())),
        }
    })
}

#[track_caller]
fn wait_no_command() {
    wait_for("every command to be ended", SOON, || match commands() {
        0 => Ok(()),
        left => Err(format!("{left} run")),
    });
    wait_for("the commands' pipes to be gone", SOON, || {
        let left = Path::new(PIPES).read_dir().into_iter().flatten().count();
        match left {
            0 => Ok(()),
            left => Err(format!("{left} directories")),
        }
    });
}

#[track_caller]
fn wait_nothing_left(node: &Node, before: usize, after: &str) {
    wait_no_command();
    let what = format!("the agent's descriptors to be closed after {after}");
    wait_for(&what, SOON, || match descriptors(node) {
        left if left.len() <= before => Ok(()),
        left => Err(format!("{} instead of {before}: {left:?}", left.len())),
    });
}
