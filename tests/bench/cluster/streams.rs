//! Streams of one pod, by kubectl through the API server.

use std::fmt;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::rest;
use crate::control_plane::ADMIN;
use crate::cost::resident;
use crate::report::{median, ms};
use crate::world::control_plane;

/// How often what is short is measured.
const TIMES: usize = 15;
/// How much passes where throughput is measured, in MiB.
const MEBIBYTES: u64 = 256;
/// The lines of the log, of 64 bytes each, and what is printed after them.
const LINES: u64 = 1 << 20;
const END: &str = "end\n";
/// How many streams are held open to see what one takes.
const HELD: usize = 40;
/// How long they are left alone before memory is read.
const SETTLING: Duration = Duration::from_secs(3);

/// What was seen.
pub struct Streams {
    exec: Vec<Duration>,
    output: Duration,
    logs: Duration,
    forwarded: Duration,
    connect: Vec<Duration>,
    /// Resident memory that the agent took for each held stream, in KiB.
    pub memory: f64,
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.durations(self);
        let all = all
            .iter()
            .map(|(what, measured, _)| format!("{what} {}", ms(*measured)));
        write!(
            f,
            "{}, memory {:.1} KiB",
            all.collect::<Vec<_>>().join(", "),
            self.memory
        )
    }
}

impl Streams {
    /// The figures that are times, beside those of another.
    pub fn durations(&self, other: &Streams) -> [(&'static str, Duration, Duration); 5] {
        let middle = |all: &[Duration]| median(all.to_vec());
        [
            ("exec: the first byte", middle(&self.exec), middle(&other.exec)),
            ("exec: 256 MiB of output", self.output, other.output),
            ("logs: a million lines", self.logs, other.logs),
            ("port-forward: 256 MiB", self.forwarded, other.forwarded),
            (
                "port-forward: a connection's first byte",
                middle(&self.connect),
                middle(&other.connect),
            ),
        ]
    }
}

/// Measures this process with the pod of this name.
pub fn measure(pid: u32, pod: &str) -> Streams {
    let exec = (0..TIMES).map(|_| first_byte(pod)).collect();
    let output = volume(
        &["exec", pod, "--", "head", "-c", &bytes(), "/dev/zero"],
        MEBIBYTES << 20,
    );
    let logs = log(pod);
    let (forwarded, connect) = forward(pod);
    let memory = held(pid, pod);
    Streams {
        exec,
        output,
        logs,
        forwarded,
        connect,
        memory,
    }
}

fn bytes() -> String {
    (MEBIBYTES << 20).to_string()
}

pub(super) fn kubectl(arguments: &[&str]) -> Command {
    let mut command = Command::new(control_plane("kubectl"));
    command
        .args(["--kubeconfig", ADMIN, "-n", "bench"])
        .args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

pub(super) fn run(pod: &str, script: &str) {
    let status = kubectl(&["exec", pod, "--", "sh", "-c", script]).status();
    assert!(status.expect("kubectl starts").success(), "{script}");
}

/// Until a command's first byte is there; kubectl's own start is in it, the same for both.
fn first_byte(pod: &str) -> Duration {
    let begun = Instant::now();
    let mut child = kubectl(&["exec", pod, "--", "echo", "x"])
        .spawn()
        .expect("kubectl starts");
    let mut byte = [0];
    let mut out = child.stdout.take().expect("it is piped");
    out.read_exact(&mut byte).expect("the command prints");
    let took = begun.elapsed();
    assert!(child.wait().expect("it ends").success());
    took
}

/// Until a long log has passed. The container's own process has written it, so to speak: to its standard output.
fn log(pod: &str) -> Duration {
    let line = "0123456789".repeat(6) + "012";
    run(
        pod,
        &format!("(yes {line} | head -n {LINES}; echo end) >/proc/1/fd/1"),
    );
    crate::wait::wait_for("the log to be written", Duration::from_secs(60), || {
        let last = kubectl(&["logs", pod, "--tail=1"])
            .output()
            .expect("kubectl starts")
            .stdout;
        match String::from_utf8_lossy(&last) {
            last if last == END => Ok(()),
            last => Err(last.into_owned()),
        }
    });
    volume(&["logs", pod], LINES * 64 + END.len() as u64)
}

/// Until so many bytes have passed.
fn volume(arguments: &[&str], expected: u64) -> Duration {
    let begun = Instant::now();
    let mut child = kubectl(arguments).spawn().expect("kubectl starts");
    let mut out = child.stdout.take().expect("it is piped");
    let size = std::io::copy(&mut out, &mut std::io::sink()).expect("it can be read");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(size, expected, "{arguments:?}");
    begun.elapsed()
}

/// A forwarded port: how long a large answer takes, and a connection's first byte.
fn forward(pod: &str) -> (Duration, Vec<Duration>) {
    let serve = format!("nc -ll -p 9000 -e head -c {} /dev/zero", bytes());
    let serve_small = "nc -ll -p 9001 -e echo x";
    // kubectl ends with the first connection that the pod refuses.
    let listening = "until [ $(netstat -ltn | grep -cE ':900[01] ') = 2 ]; do usleep 10000; done";
    run(
        pod,
        &format!("({serve} & {serve_small} &) >/dev/null 2>&1 </dev/null; {listening}"),
    );
    let mut child = kubectl(&["port-forward", pod, "19000:9000", "19001:9001"])
        .spawn()
        .expect("kubectl starts");
    crate::wait::wait_for("the port to be forwarded", Duration::from_secs(20), || {
        answer(19001).map(|_| ())
    });
    let connect = (0..TIMES).map(|_| answer(19001).expect("it answers").0).collect();
    let (took, size) = answer_whole(19000);
    assert_eq!(size, MEBIBYTES << 20);
    end(&mut child);
    (took, connect)
}

fn answer(port: u16) -> Result<(Duration, u8), String> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let mut byte = [0];
    stream.read_exact(&mut byte).map_err(|error| error.to_string())?;
    Ok((begun.elapsed(), byte[0]))
}

fn answer_whole(port: u16) -> (Duration, u64) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("kubectl listens");
    let size = std::io::copy(&mut stream, &mut std::io::sink()).expect("it can be read");
    (begun.elapsed(), size)
}

/// The agent's memory for each of many commands that wait.
fn held(pid: u32, pod: &str) -> f64 {
    let before = resident(pid);
    let mut children: Vec<Child> = (0..HELD)
        .map(|_| {
            let mut command = kubectl(&["exec", "-i", pod, "--", "sh", "-c", "echo up; exec sleep 1000"]);
            command.stdin(Stdio::piped());
            let mut child = command.spawn().expect("kubectl starts");
            let mut byte = [0];
            let out = child.stdout.as_mut().expect("it is piped");
            out.read_exact(&mut byte).expect("the command prints");
            child
        })
        .collect();
    rest(SETTLING);
    let taken = (resident(pid) - before) * 1024.0 / HELD as f64;
    children.iter_mut().for_each(end);
    run(pod, "killall sleep || true");
    taken
}

pub(super) fn end(child: &mut Child) {
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}
