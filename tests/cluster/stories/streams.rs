//! Commands in containers, attached processes and forwarded ports, with kubectl through the API server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio_websockets::Message;

use crate::cluster::Cluster;
use crate::control_plane::ADMIN;
use crate::node::{LONG, SOON};
use crate::objects::{IDLE, pod, web};
use crate::process::text;
use crate::wait::wait_for;
use crate::world::control_plane;

/// What kubectl speaks to the API server: WebSocket, or SPDY as before 1.31.
const WIRES: [&str; 2] = ["true", "false"];

/// A kubectl that speaks one of the two.
fn kubectl(cluster: &Cluster, websocket: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(control_plane("kubectl"));
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websocket)
        .args(["--kubeconfig", ADMIN, "--namespace", &cluster.namespace])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Runs kubectl with this input to its end, which must come soon.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that does not read all of it closes the pipe.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("kubectl ends");
    writer.join().expect("the writer ends");
    output
}

#[track_caller]
fn assert_output(output: &Output, code: i32, out: &str, err: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), out, "{}", text(output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(err), "{err:?} is not in {said:?}");
}

pub fn commands_have_their_streams_through_the_api_server(cluster: &mut Cluster) {
    cluster.create("pods", &pod("web", IDLE));
    cluster.wait_running("web");
    let large: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for websocket in WIRES {
        let run = |words: &[&str], input: &[u8]| {
            with_input(
                kubectl(
                    cluster,
                    websocket,
                    &[&["exec", "-i", "web", "--"], words].concat(),
                ),
                input,
            )
        };
        let shell = |script: &str| {
            let words = ["exec", "web", "--", "sh", "-c", script];
            kubectl(cluster, websocket, &words)
                .output()
                .expect("kubectl starts")
        };
        assert_output(&shell("echo out; echo err >&2"), 0, "out\n", "err\n");
        assert_output(&shell("exit 7"), 7, "", "command terminated with exit code 7");
        // The input's end reaches a process that then has more to say.
        assert_output(
            &run(&["sh", "-c", "wc -c; echo done"], &large),
            0,
            "16000000\ndone\n",
            "",
        );
        // All of a long output arrives, in its order.
        let echoed = run(&["cat"], &large);
        assert!(
            echoed.stdout == large,
            "{} of {} bytes",
            echoed.stdout.len(),
            large.len()
        );
        // A command that does not read its input ends nevertheless.
        assert_output(&run(&["true"], &large), 0, "", "");
        let missing = kubectl(cluster, websocket, &["exec", "web", "--", "no-such-program"]);
        let said = with_input(missing, b"");
        assert!(!said.status.success(), "{}", text(&said));
        assert!(
            text(&said).contains("executable file not found"),
            "{}",
            text(&said)
        );
    }
    // A container that is not there.
    let nowhere = kubectl(
        cluster,
        "true",
        &["exec", "web", "--container=nowhere", "--", "true"],
    );
    assert_output(
        &with_input(nowhere, b""),
        1,
        "",
        "container nowhere is not valid for pod web",
    );
}

pub fn a_client_that_leaves_ends_its_command(cluster: &mut Cluster) {
    cluster.create("pods", &pod("web", IDLE));
    cluster.wait_running("web");
    let sleeps = |cluster: &Cluster| {
        let words = ["exec", "web", "--", "sh", "-c", "ps | grep -c '[s]leep 54321'"];
        let output = kubectl(cluster, "true", &words).output().expect("kubectl starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let (silent, stuck) = (&["exec", "web"][..], &["exec", "-i", "web"][..]);
    for (websocket, words) in WIRES.iter().flat_map(|wire| [(wire, silent), (wire, stuck)]) {
        // It reads nothing of the endless input that one of them sends.
        let zeros = std::fs::File::open("/dev/zero").expect("every machine has it");
        let mut child = kubectl(cluster, websocket, &[words, &["--", "sleep", "54321"]].concat())
            .stdin(zeros)
            .spawn()
            .expect("kubectl starts");
        let count = |expected: &str| match sleeps(cluster) {
            count if count == expected => Ok(()),
            count => Err(format!("{count} such processes")),
        };
        wait_for("the command to run", SOON, || count("1"));
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        wait_for("the command to be ended", SOON, || count("0"));
    }
}

pub fn a_process_is_attached_to(cluster: &mut Cluster) {
    for (name, websocket) in ["ws", "spdy"].into_iter().zip(WIRES) {
        // It reads a line at a time, and ends with its input.
        let mut reader = pod(
            name,
            "while read -r line; do echo \"got $line\"; done; echo end >&2; exit 5",
        );
        reader["spec"]["restartPolicy"] = json!("Never");
        reader["spec"]["containers"][0]["stdin"] = json!(true);
        reader["spec"]["containers"][0]["stdinOnce"] = json!(true);
        cluster.create("pods", &reader);
        cluster.wait_running(name);
        let attached = with_input(
            kubectl(cluster, websocket, &["attach", "-i", name]),
            b"one\ntwo\n",
        );
        assert!(attached.status.success(), "{}", text(&attached));
        assert_eq!(String::from_utf8_lossy(&attached.stdout), "got one\ngot two\n");
        assert!(
            String::from_utf8_lossy(&attached.stderr).contains("end\n"),
            "{}",
            text(&attached)
        );
        cluster.wait("pods", name, "ended by its input", |pod| {
            pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
        });
        what_ends_at_once_is_printed(cluster, websocket);
    }
}

/// kubectl attaches to a process that has ended, or shows its log.
fn what_ends_at_once_is_printed(cluster: &Cluster, websocket: &str) {
    let image = "--image=gantry.local/busybox:1";
    for _ in 0..3 {
        let words = [
            "run",
            "once",
            "-i",
            "--rm",
            "--restart=Never",
            image,
            "--",
            "echo",
            "seen",
        ];
        let output = with_input(kubectl(cluster, websocket, &words), b"");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("seen\n"),
            "{}",
            text(&output)
        );
    }
}

/// A kubectl that forwards a port; ended with its value.
struct Forward {
    child: Child,
    said: BufReader<ChildStdout>,
    port: u16,
}

impl Forward {
    fn start(cluster: &Cluster, websocket: &str, pod: &str, port: u16) -> Forward {
        let mut command = kubectl(cluster, websocket, &["port-forward", pod, &format!(":{port}")]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where");
        // Forwarding from 127.0.0.1:41234 -> 8080
        let port = line
            .split(['>', ' ', ':'])
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no port in {line:?}"));
        Forward { child, said, port }
    }

    /// What an HTTP server answers there.
    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("kubectl listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it is taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Ends it, for what it said as error.
    fn end(mut self) -> String {
        let _ = self.child.kill();
        drop(self.said);
        let output = self.child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

pub fn ports_are_forwarded(cluster: &mut Cluster) {
    let large = "dd if=/dev/urandom of=/srv/large bs=1M count=8 2>/dev/null; sha256sum </srv/large >/srv/sum";
    cluster.create(
        "pods",
        &pod("web", &format!("mkdir -p /srv; {large}; {}", web("hello"))),
    );
    cluster.wait_running("web");
    for websocket in WIRES {
        // kubectl ends with the first connection that is refused, until the server listens.
        let forward = wait_for("the server to answer", SOON, || {
            let forward = Forward::start(cluster, websocket, "web", 8080);
            let answer = forward.get("/index.html");
            match answer.ends_with(b"hello\n") {
                true => Ok(forward),
                false => Err(format!("{}{}", String::from_utf8_lossy(&answer), forward.end())),
            }
        });
        // Connections beside each other, each with all of its bytes.
        let lengths: Vec<usize> = std::thread::scope(|scope| {
            let gets: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| forward.get("/large").len()))
                .collect();
            gets.into_iter().map(|get| get.join().expect("it ends")).collect()
        });
        assert!(lengths.iter().all(|&length| length > 8 << 20), "{lengths:?}");
        let said = forward.end();
        assert!(!said.contains("error"), "{said}");
        // Nobody listens there.
        let nobody = Forward::start(cluster, websocket, "web", 81);
        assert_eq!(nobody.get("/"), b"");
        let said = nobody.end();
        assert!(said.contains("nothing answers on port 81 in the pod"), "{said}");
    }
}

/// What clients speak that know no SPDY, as the Python library: two channels for each port, which begin with its number.
pub fn ports_are_forwarded_over_channels(cluster: &mut Cluster) {
    cluster.create("pods", &pod("web", &web("hello")));
    cluster.wait_running("web");
    let path = format!("{}/portforward?ports=8080&ports=81", cluster.at("pods", "web"));
    let request = b"GET /index.html HTTP/1.0\r\n\r\n";
    for is_text in [false, true] {
        let protocol = match is_text {
            true => "v4.base64.channel.k8s.io",
            false => "v4.channel.k8s.io",
        };
        let sent = match is_text {
            true => Message::text(format!("0{}", STANDARD.encode(request))),
            false => Message::binary([&[0], &request[..]].concat()),
        };
        let of = |messages: &[Message], channel: u8| -> Vec<u8> {
            let data = messages.iter().filter(|message| !message.is_close());
            let read = data.filter_map(|message| {
                let (is, data) = message.as_payload().split_first()?;
                match message.as_text() {
                    Some(text) => Some((is - b'0', STANDARD.decode(&text[1..]).expect("base64"))),
                    None => Some((*is, data.to_vec())),
                }
            });
            let of_this = read.filter(|(is, _)| *is == channel);
            of_this.flat_map(|(_, data)| data).collect()
        };
        let messages = wait_for("the server to answer", SOON, || {
            let messages = cluster.api.messages(&path, protocol, vec![sent.clone()]);
            match of(&messages, 0).ends_with(b"hello\n") {
                true => Ok(messages),
                false => Err(format!("{messages:?}")),
            }
        });
        let (web, nobody) = (8080_u16.to_le_bytes(), 81_u16.to_le_bytes());
        assert!(of(&messages, 0).starts_with(&web), "{messages:?}");
        assert_eq!(of(&messages, 1), web, "{messages:?}");
        assert_eq!(of(&messages, 2), nobody, "{messages:?}");
        let error = of(&messages, 3);
        assert!(error.starts_with(&nobody), "{messages:?}");
        let error = String::from_utf8_lossy(&error[2..]);
        assert!(error.contains("nothing answers on port 81 in the pod"), "{error}");
    }
}

pub fn files_are_copied_in_and_out(cluster: &mut Cluster) {
    cluster.create("pods", &pod("web", IDLE));
    cluster.wait_running("web");
    let directory = tempfile::tempdir().expect("a directory");
    let (there, back) = (directory.path().join("there"), directory.path().join("back"));
    let content: Vec<u8> = (0..4_000_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(&there, &content).expect("room for it");
    let before = Instant::now();
    let paths = |from: &str, to: &str| {
        let output = kubectl(cluster, "true", &["cp", from, to])
            .output()
            .expect("kubectl starts");
        assert!(output.status.success(), "{}", text(&output));
    };
    paths(&there.display().to_string(), "web:/tmp/copied");
    paths("web:/tmp/copied", &back.display().to_string());
    assert!(
        std::fs::read(&back).expect("it is there") == content,
        "another content"
    );
    println!("copied 16 MB both ways in {:?}", before.elapsed());
}
