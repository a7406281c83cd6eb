//! `gantry attach` and `gantry port-forward`, without a cluster.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use crate::manifest;
use crate::node::{Node, SOON, Streaming, USUAL, World};
use crate::process::text;
use crate::wait::wait_for;
use crate::world::program;

pub fn ports_of_a_pod_are_forwarded(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "hello"));
    node.wait_running("web");
    forwards();
}

/// A `gantry port-forward` of the pod `web`; ended with its value.
struct Forward {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    /// Forwards these ports with at most so many descriptors.
    fn start(ports: &[&str], descriptors: u32) -> Forward {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" port-forward web \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(program("gantry"))
            .args(ports)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Forward { child, lines }
    }

    /// The local port. It says "Forwarding from 127.0.0.1:41234 -> 8080", and the same at [::1] where there is IPv6.
    fn port(&mut self, remote: &str) -> u16 {
        let line = self.lines.by_ref().map(|line| line.expect("text")).find(|line| {
            line.starts_with("Forwarding from 127.0.0.1:") && line.ends_with(&format!("-> {remote}"))
        });
        let line = line.expect("it says where");
        let port = line.split([':', ' ']).find_map(|word| word.parse::<u16>().ok());
        port.unwrap_or_else(|| panic!("no port in {line}"))
    }

    fn end(mut self) -> Output {
        self.child.kill().expect("it is ours");
        self.child.wait_with_output().expect("it ends")
    }
}

/// What an HTTP server answers at this local port.
fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("gantry listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // A connection that is refused may be reset before this.
    let _ = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn wait_answer(port: u16) {
    wait_for("the server to answer", SOON, || match get(port) {
        answer if answer.ends_with("hello\n") => Ok(()),
        answer => Err(answer),
    });
}

/// The pod `web` answers `hello` on port 8080, and nothing listens on port 81.
pub fn forwards() {
    let mut forward = Forward::start(&[":8080", ":81"], 1024);
    let (web, nobody) = (forward.port("8080"), forward.port("81"));
    wait_answer(web);
    assert_eq!(get(nobody), "");
    // The others go on.
    assert!(get(web).ends_with("hello\n"));
    let said = forward.end();
    let expected = "port 81: error forwarding port 81 to pod default/web-node-1, uid ";
    assert!(
        String::from_utf8_lossy(&said.stderr).contains(expected),
        "{}",
        text(&said)
    );
}

pub fn forwarding_goes_on_after_descriptors_were_short(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "hello"));
    node.wait_running("web");
    let mut forward = Forward::start(&[":8080"], 40);
    let web = forward.port("8080");
    wait_answer(web);
    // More than it can open.
    let held: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(("127.0.0.1", web)).expect("gantry listens"))
        .collect();
    let mut errors = BufReader::new(forward.child.stderr.take().expect("it is piped")).lines();
    let mut line = errors.by_ref().map(|line| line.expect("text"));
    assert!(
        line.any(|line| line.starts_with("port 8080: cannot accept a connection: Too many open files")),
        "it says so"
    );
    drop(held);
    wait_answer(web);
    forward.end();
}

pub fn a_command_goes_on_while_containerd_restarts(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    node.wait_running("shell");
    let script = "echo up; read line; echo \"got $line\"; exit 5";
    let mut exec = Command::new(program("gantry"))
        .args(["exec", "-i", "shell", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(exec.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "up");
    node.kill_containerd();
    node.start_containerd();
    let mut stdin = exec.stdin.take().expect("it is piped");
    stdin.write_all(b"on\n").expect("it is taken");
    assert_eq!(next(), "got on");
    assert_eq!(exec.wait().expect("it ends").code(), Some(5));
}

pub fn an_agent_that_is_killed_leaves_no_command(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    node.wait_running("shell");
    let exec = Command::new(program("gantry"))
        .args(["exec", "shell", "--", "sleep", "54321"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let count = |node: &Node| {
        let output = node.gantry(&["exec", "shell", "--", "sh", "-c", "ps | grep -c '[s]leep 54321'"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let is = |node: &Node, expected: &str| match count(node) {
        count if count == expected => Ok(()),
        count => Err(format!("{count} such processes")),
    };
    wait_for("the command to run", SOON, || is(node, "1"));
    node.kill_agent();
    let said = exec.wait_with_output().expect("it ends");
    assert!(
        text(&said).contains("gantry stopped before the command ended"),
        "{}",
        text(&said)
    );
    node.start_agent();
    wait_for("the command to be ended", SOON, || is(node, "0"));
    assert!(
        node.agent_log()
            .contains("ended a command of an agent that was killed")
    );
}

pub fn a_process_is_attached_to(node: &mut Node) {
    node.start_agent();
    attaches(node);
}

/// A node whose containerd encrypts its streams.
pub const ENCRYPTED: World = World {
    streaming: Streaming::Encrypted,
    ..USUAL
};

pub fn a_process_is_attached_to_over_tls(node: &mut Node) {
    node.start_agent();
    attaches(node);
}

/// Makes a pod that answers its input, and attaches to it.
pub fn attaches(node: &mut Node) {
    let script = "while read -r line; do echo \"got $line\"; done; echo end >&2; sleep 1000";
    let stdin = "    stdin: true\n    stdinOnce: true\n";
    node.manifest("reads.yaml", &manifest::with("reads", script, stdin));
    node.wait_running("reads");
    let mut attach = Command::new(program("gantry"))
        .args(["attach", "-i", "reads"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = attach.stdin.take().expect("it is piped");
    stdin.write_all(b"one\ntwo\n").expect("it is taken");
    let mut lines = BufReader::new(attach.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!([next(), next()], ["got one", "got two"]);
    // The end of its input reaches the process, whose output goes on.
    drop(stdin);
    let mut errors = BufReader::new(attach.stderr.take().expect("it is piped")).lines();
    assert_eq!(errors.next().expect("a line").expect("text"), "end");
    attach.kill().expect("it is ours");
    attach.wait().expect("it ends");
    // Whoever detaches ends nothing.
    node.wait_running("reads");
}
