//! Much at once by kubectl: a large file into a pod and out of it, and many connections through one forwarded port. What
//! arrives is compared with what was sent.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::side::SIDES;
use super::streams::{end, kubectl, run};
use super::{Sitting, names};
use crate::process::printed;
use crate::report::Report;

/// The size of the file.
const FILE: u64 = 500_000_000;
/// The connections, and what passes through each.
const CONNECTIONS: usize = 50;
const EACH: u64 = 100_000_000;
/// Where the file is in the pod.
const IN_POD: &str = "/tmp/large";

/// How long it took.
struct Bulk {
    to: Duration,
    from: Duration,
    forwarded: Duration,
}

/// Measures both.
pub fn measure(report: &mut Report) {
    let mut sitting = Sitting::begin();
    let [ours, theirs] = SIDES.map(|side| {
        sitting.with(side, |sitting, _| {
            let pod = names("bulk", 1);
            sitting.load.up(&pod);
            let measured = Bulk::measure(&pod[0]);
            sitting.load.down(&pod);
            measured
        })
    });
    report.beside("cp: 500 MB to the pod", ours.to, theirs.to);
    report.beside("cp: 500 MB from the pod", ours.from, theirs.from);
    let what = "port-forward: 50 connections of 100 MB";
    report.beside(what, ours.forwarded, theirs.forwarded);
}

impl Bulk {
    /// Measures with the pod of this name.
    fn measure(pod: &str) -> Bulk {
        let directory = tempfile::tempdir().expect("there is room");
        let (there, back) = (directory.path().join("there"), directory.path().join("back"));
        let file = std::fs::File::create(&there).expect("a new directory");
        let size = FILE.to_string();
        let mut random = Command::new("head");
        random.args(["-c", &size, "/dev/urandom"]).stdout(file);
        assert!(random.status().expect("head starts").success());
        let (there, back) = (there.display().to_string(), back.display().to_string());
        let of_pod = format!("{pod}:{IN_POD}");

        let to = timed(&["cp", &there, &of_pod]);
        let mut inside = kubectl(&["exec", pod, "--", "sha256sum", IN_POD]);
        let inside = sum(&printed(&mut inside, &["kubectl", "exec", "sha256sum"]));
        let from = timed(&["cp", &of_pod, &back]);
        run(pod, &format!("rm {IN_POD}"));
        let local = |file: &str| {
            sum(&printed(
                Command::new("sha256sum").arg(file),
                &["sha256sum", file],
            ))
        };
        let all = [local(&there), inside, local(&back)];
        assert!(all.iter().all(|sum| *sum == all[0]), "{all:?}");
        Bulk {
            to,
            from,
            forwarded: forward(pod),
        }
    }
}

fn sum(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn timed(arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = kubectl(arguments).status();
    assert!(status.expect("kubectl starts").success(), "{arguments:?}");
    begun.elapsed()
}

fn forward(pod: &str) -> Duration {
    // It waits for a line: only a client that sends is heard again by a listener that had no room for it.
    let serve = format!("nc -ll -p 9002 -e sh -c 'read line; exec head -c {EACH} /dev/zero'");
    let serve = format!("({serve} &) >/dev/null 2>&1 </dev/null");
    run(
        pod,
        &format!("{serve}; until netstat -ltn | grep -q ':9002 '; do usleep 10000; done"),
    );
    let mut child = kubectl(&["port-forward", pod, "19002:9002"])
        .spawn()
        .expect("kubectl starts");
    crate::wait::wait_for("the port to be forwarded", Duration::from_secs(20), || {
        let connected = TcpStream::connect(("127.0.0.1", 19002));
        connected.map(drop).map_err(|error| error.to_string())
    });
    let begun = Instant::now();
    // One after the other: the listener has room for two, and its kernel forgets others when the machine is busy.
    let begun_each: Vec<TcpStream> = (0..CONNECTIONS).map(|_| open()).collect();
    let all: Vec<_> = begun_each
        .into_iter()
        .map(|stream| thread::spawn(|| receive(stream)))
        .collect();
    let received: Vec<u64> = all
        .into_iter()
        .map(|connection| connection.join().expect("it is read"))
        .collect();
    assert!(received.iter().all(|size| *size == EACH), "{received:?}");
    let took = begun.elapsed();
    end(&mut child);
    took
}

/// A connection whose first byte has come.
fn open() -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", 19002)).expect("kubectl listens");
    stream.write_all(b"\n").expect("it is open");
    stream.read_exact(&mut [0]).expect("the pod answers");
    stream
}

/// Reads a connection to its end. How much came, with its first byte.
fn receive(mut stream: TcpStream) -> u64 {
    1 + io::copy(&mut stream, &mut io::sink()).expect("it can be read")
}
