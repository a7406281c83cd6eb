//! `gantry exec`: streams, exit codes, terminals, and what becomes of a command whose caller leaves.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use gantry::command::client::{Client, Connection};
use gantry::command::exec::{self, Options};
use gantry::command::streams::{self, Input};
use gantry::cri::{self, Runtime};
use gantry::model::pod::PodName;
use gantry::model::report::PodsReport;
use gantry::serve::World;
use gantry::serve::{self, socket};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use crate::manifest;
use crate::node::{LONG, Node, SOON};
use crate::process::run;
use crate::runtime::SOCKET;
use crate::wait::wait_for;
use crate::world::{CGROUP, program, repository};

const CONTAINER: &str = "exec-story";
const PIPES: &str = "/run/node/exec";

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: u32,
    out: String,
    err: String,
}

/// An agent that serves one pod, whose container was made without it.
struct Served {
    runtime: tokio::runtime::Runtime,
    client: Client,
    _pods: watch::Sender<Arc<PodsReport>>,
}

impl Served {
    fn new() -> Served {
        let archive = repository().join("target/images/demo.tar");
        run(&[
            "ctr",
            "-n",
            "k8s.io",
            "images",
            "import",
            archive.to_str().expect("a plain path"),
        ]);
        let cgroup = format!(
            "{}/exec",
            std::env::var(CGROUP).expect("the outside names the story's cgroup")
        );
        run(&[
            "ctr",
            "-n",
            "k8s.io",
            "run",
            "--detach",
            "--null-io",
            "--cgroup",
            &cgroup,
            "--env",
            "GREETING=hello",
            "--cwd",
            "/tmp",
            "gantry.local/busybox:1",
            CONTAINER,
            "sleep",
            "1000",
        ]);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime in a test");
        let (pods, report) = watch::channel(Arc::new(report()));
        let world = World {
            pods: report,
            node: watch::channel(Arc::default()).1,
            snapshot: watch::channel(Arc::default()).1,
            configz: Arc::default(),
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            runtime: runtime
                .block_on(async { Runtime::new(&cri::Settings::at(PathBuf::from(SOCKET), SOON)) }),
            stream_idle: LONG,
            exec_dir: PathBuf::from(PIPES),
            metrics: Arc::default(),
            health: serve::health::Health::default(),
            changes: gantry::model::changes::changes().0,
            images: gantry::model::image_work::image_worker().0,
            pulls: watch::channel(Default::default()).1,
            stats: gantry::stats::requests().0,
            storage: gantry::stats::storage_requests().0,
            mounted: gantry::stats::mounted_requests().0,
            volumes: Default::default(),
            desired: tokio::sync::watch::channel(Default::default()).1,
            offered: Arc::default(),
        };
        let path = Path::new("/run/node/exec-story.sock");
        runtime.block_on(async {
            let bound = socket::bind(path).expect("a private directory");
            tokio::spawn(serve::run(bound, world, std::future::pending()));
        });
        Served {
            runtime,
            client: Client::new(path),
            _pods: pods,
        }
    }

    /// Runs a command with this input, or none.
    fn exec(&self, command: &[&str], stdin: Option<&[u8]>) -> Result<Ended, (u32, String)> {
        let options = options(command, stdin.is_some(), false);
        let carried = async {
            let connection = exec::connect(&self.client, &options, &mut Vec::new()).await?;
            let input = Input {
                stdin: stdin.map(chunks),
                resized: None,
            };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = streams::carry(connection, input, &mut out, &mut err).await?;
            Ok((code, out, err))
        };
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(SOON, carried).await.expect("in time") });
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        ended
            .map(|(code, out, err)| Ended {
                code,
                out: text(out),
                err: text(err),
            })
            .map_err(|error: gantry::command::CommandError| (error.exit_code(), error.to_string()))
    }

    /// The raw channels of a command (`v5.channel.k8s.io`).
    async fn channels(&self, options: &Options) -> WebSocketStream<Connection> {
        let connection = exec::connect(&self.client, options, &mut Vec::new())
            .await
            .expect("the connection opens");
        ClientBuilder::new().take_over(connection)
    }

    fn shell(&self, script: &str) -> Ended {
        self.exec(&["sh", "-c", script], None).expect("a shell starts")
    }
}

/// The next message: its channel, then its data.
async fn next(connection: &mut WebSocketStream<Connection>) -> Vec<u8> {
    let message = tokio::time::timeout(SOON, connection.next()).await;
    let message = message.expect("in time").expect("a message").expect("no error");
    message.as_payload().to_vec()
}

fn report() -> PodsReport {
    let pod = json!({
        "metadata": {"namespace": "default", "name": "exec-node-1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {"containerStatuses": [{
            "name": "main", "ready": true, "restartCount": 0, "image": "", "imageID": "",
            "containerID": format!("containerd://{CONTAINER}"), "state": {"running": {}},
        }]},
    });
    let name = PodName::new("default", "exec-node-1");
    let pod = Arc::new(serde_json::from_value(pod).expect("a pod"));
    PodsReport {
        pods: [(name, pod)].into(),
        ..PodsReport::default()
    }
}

fn options(command: &[&str], stdin: bool, tty: bool) -> Options {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Options {
        pod: "exec".to_owned(),
        stdin,
        tty,
        command,
        ..Options::default()
    }
}

/// The input in pieces, then its end.
fn chunks(input: &[u8]) -> mpsc::Receiver<Bytes> {
    let pieces: Vec<Bytes> = input.chunks(30_000).map(Bytes::copy_from_slice).collect();
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(piece).expect("room for all");
    }
    receiver
}

/// Commands that run in the container, without the first.
fn others() -> Result<usize, String> {
    let listed = run(&["ctr", "-n", "k8s.io", "task", "ps", CONTAINER]);
    Ok(listed.lines().count().saturating_sub(2)) // the heading, and the container's own
}

fn ended(code: u32, out: &str, err: &str) -> Ended {
    Ended {
        code,
        out: out.to_owned(),
        err: err.to_owned(),
    }
}

pub fn commands_have_their_streams_and_exit_codes(_: &mut Node) {
    let served = Served::new();
    assert_eq!(
        served.shell("echo out; echo err >&2; exit 7"),
        ended(7, "out\n", "err\n")
    );
    assert_eq!(served.shell("kill -9 $$").code, 137);
    assert_eq!(
        served
            .shell("echo $GREETING; pwd; [ -t 1 ] || echo no terminal")
            .out,
        "hello\n/tmp\nno terminal\n"
    );

    let input = b"0123456789abcde\n".repeat(100_000);
    let counted = served.exec(&["wc", "-c"], Some(&input)).expect("wc starts");
    assert_eq!(
        counted,
        ended(0, "1600000\n", ""),
        "the end of input reaches the command, after all of it"
    );
    assert_eq!(
        served.exec(&["cat"], Some(b"")).expect("cat starts"),
        ended(0, "", "")
    );
    let ignored = served.exec(&["true"], Some(&input)).expect("true starts");
    assert_eq!(
        ignored,
        ended(0, "", ""),
        "input that nobody reads holds nothing up"
    );
    let large = served.shell("head -c 20000000 /dev/zero | tr '\\0' x");
    assert_eq!((large.code, large.out.len()), (0, 20_000_000));

    let start = Instant::now();
    assert_eq!(served.shell("sleep 1000 & echo left behind").out, "left behind\n");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "a child that holds the output open holds nothing up"
    );
    assert!(
        Path::new(PIPES)
            .read_dir()
            .expect("made at the first command")
            .next()
            .is_none(),
        "no pipe is left"
    );
}

pub fn commands_that_cannot_start_say_why(_: &mut Node) {
    let served = Served::new();
    let missing = served
        .exec(&["no-such-command"], None)
        .expect_err("it does not exist");
    assert_eq!(
        missing,
        (
            127,
            "exec: \"no-such-command\": executable file not found in $PATH".to_owned()
        )
    );
    let forbidden = served.exec(&["/etc/passwd"], None).expect_err("it is no program");
    assert_eq!(
        forbidden,
        (126, "exec: \"/etc/passwd\": permission denied".to_owned())
    );
    assert_eq!(others(), Ok(0));
}

pub fn a_command_has_a_terminal_of_the_right_size(_: &mut Node) {
    let served = Served::new();
    served.runtime.block_on(async {
        let options = options(
            &["sh", "-c", "read word; stty size; echo $word $TERM"],
            true,
            true,
        );
        let mut connection = served.channels(&options).await;
        for typed in [&b"\x04{\"Width\":132,\"Height\":43}"[..], b"\x00typed\n"] {
            connection
                .send(Message::binary(typed.to_vec()))
                .await
                .expect("it is taken");
        }
        let mut shown = Vec::new();
        loop {
            match next(&mut connection).await.split_first() {
                Some((1, data)) => shown.extend_from_slice(data),
                Some((3, status)) => break assert_eq!(status, br#"{"status":"Success"}"#),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&shown)),
            }
        }
        // What is typed comes back, too: the terminal echoes it.
        assert_eq!(
            String::from_utf8_lossy(&shown),
            "typed\r\n43 132\r\ntyped xterm\r\n"
        );
    });
}

pub fn a_command_ends_when_its_caller_leaves(_: &mut Node) {
    let served = Served::new();
    served.runtime.block_on(async {
        let options = options(&["sh", "-c", "echo up; exec sleep 1000"], true, false);
        let mut connection = served.channels(&options).await;
        // The first message, which is empty, says that the streams are there.
        assert_eq!(next(&mut connection).await, b"\x01");
        assert_eq!(next(&mut connection).await, b"\x01up\n");
        assert_eq!(others(), Ok(1));
    });
    wait_for("the command to be killed", SOON, || match others()? {
        0 => Ok(()),
        left => Err(format!("{left} still run")),
    });
    wait_for("its pipes to be removed", SOON, || {
        match Path::new(PIPES).read_dir() {
            Ok(mut pipes) => pipes.next().map_or(Ok(()), |pipe| Err(format!("{pipe:?}"))),
            Err(error) => Err(error.to_string()),
        }
    });
}

pub fn a_command_that_does_not_read_ends_when_its_caller_leaves(_: &mut Node) {
    let served = Served::new();
    served.runtime.block_on(async {
        let options = options(&["sleep", "1000"], true, false);
        let mut connection = served.channels(&options).await;
        assert_eq!(next(&mut connection).await, b"\x01");
        // More than the pipe and the sockets hold: it leaves with a message under way.
        let piece = [&[0][..], &[b'x'; 32 * 1024]].concat();
        let stuck = Duration::from_secs(1);
        let mut send = async || connection.send(Message::binary(piece.clone())).await;
        while let Ok(sent) = tokio::time::timeout(stuck, send()).await {
            sent.expect("the agent is there");
        }
        assert_eq!(others(), Ok(1));
    });
    wait_for("the command to be killed", SOON, || match others()? {
        0 => Ok(()),
        left => Err(format!("{left} still run")),
    });
}

pub fn many_commands_run_at_once(_: &mut Node) {
    let served = Arc::new(Served::new());
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let served = served.clone();
            std::thread::spawn(move || {
                let got = served
                    .exec(&["cat"], Some(number.to_string().as_bytes()))
                    .expect("cat starts");
                assert_eq!(got, ended(0, &number.to_string(), ""));
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("each gets its own input back");
    }
}

pub fn the_command_line_runs_commands_in_pods(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::shell("shell", "sleep 1000"));
    node.wait_running("shell");
    assert_eq!(
        node.prints(&["exec", "shell", "--", "hostname"]),
        "shell-node-1\n"
    );
    let failed = node.gantry(&["exec", "shell-node-1", "--", "sh", "-c", "echo no >&2; exit 3"]);
    assert_eq!((failed.status.code(), failed.stderr), (Some(3), b"no\n".to_vec()));
    let missing = node.gantry(&["exec", "nobody", "--", "true"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&missing.stderr).lines().count(),
        1,
        "one line"
    );
    let piped = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "echo through | {} exec -i shell -- cat",
            program("gantry").display()
        ))
        .output()
        .expect("sh starts");
    assert_eq!(piped.stdout, b"through\n");
}

pub fn a_terminal_is_passed_on_and_given_back(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::shell("shell", "sleep 1000"));
    node.wait_running("shell");
    // `script` gives what it runs a terminal; what comes after the command shows that it is as it was.
    let gantry = program("gantry");
    let inside = format!(
        "stty rows 30 cols 100; stty -g; {} exec -it shell -- sh -c 'read w; stty size; exit 4'; echo code $?; stty -g",
        gantry.display()
    );
    let mut script = std::process::Command::new("script")
        .args(["--quiet", "--command", &inside, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    // Open until the end: its end would be typed, too.
    let mut keyboard = script.stdin.take().expect("it is piped");
    keyboard.write_all(b"typed\n").expect("script reads it");
    let output = script.wait_with_output().expect("script ends");
    drop(keyboard);
    let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let lines: Vec<&str> = shown.lines().filter(|line| *line != "typed").collect();
    let [before, size, code, after] = lines[..] else {
        panic!("four lines, not {lines:?}")
    };
    assert_eq!((size, code), ("30 100", "code 4"));
    assert_eq!(before, after, "the terminal's settings");
}
