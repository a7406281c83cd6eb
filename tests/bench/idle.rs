//! What the agent costs: its start, and doing nothing with fifty pods.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::cost::{idle, proportional, resident};
use crate::manifest;
use crate::node::{Node, is_ready};
use crate::report::{Report, median};
use crate::wait::wait_for;

/// How many pods the node has.
const PODS: usize = 50;
/// How often the agent is started.
const STARTS: usize = 11;
/// How long it is watched doing nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Measures starts, memory and idle CPU.
pub fn measure(node: &mut Node, report: &mut Report) {
    node.stop_agent();
    let empty = median((0..STARTS).map(|_| start_to_serving(node)).collect());
    report.goal("process start → serving, no pods", millis(empty), 100.0, "ms");

    node.start_agent();
    for number in 0..PODS {
        node.manifest(
            &format!("idle{number}.yaml"),
            &manifest::idle(&format!("idle{number}")),
        );
    }
    let begun = Instant::now();
    wait_ready(node, PODS);
    report.note(format!(
        "50 manifests at once: all ready after {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    node.stop_agent();
    let full = median((0..STARTS).map(|_| start_to_serving(node)).collect());
    report.goal(
        "process start → serving, 50 pods to adopt",
        millis(full),
        100.0,
        "ms",
    );

    node.start_agent();
    let pid = node.agent_pid();
    let used = idle(pid, IDLE);
    report.goal("idle CPU with 50 pods, per second", used, 1.0, "ms");
    report.goal("resident memory with 50 pods", resident(pid), 20.0, "MiB");
    report.note(format!(
        "proportional set size with 50 pods: {:.1} MiB",
        proportional(pid)
    ));
}

/// Waits until so many pods are ready.
pub fn wait_ready(node: &Node, count: usize) {
    wait_for("the pods to be ready", Duration::from_secs(120), || {
        let ready = node.pods()?.iter().filter(|pod| is_ready(pod)).count();
        if ready == count {
            Ok(())
        } else {
            Err(format!("{ready} of {count}"))
        }
    });
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// From the start of the process to an answer on its socket.
fn start_to_serving(node: &mut Node) -> Duration {
    let _ = std::fs::remove_file("/run/gantry/gantry.sock");
    let begun = Instant::now();
    node.spawn_agent();
    let took = loop {
        if answers().is_ok() {
            break begun.elapsed();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the agent does not serve"
        );
        std::thread::sleep(Duration::from_micros(200));
    };
    node.stop_agent();
    took
}

fn answers() -> std::io::Result<()> {
    let mut stream = UnixStream::connect("/run/gantry/gantry.sock")?;
    stream.write_all(b"GET /node HTTP/1.1\r\nHost: gantry\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.ends_with(b"200") {
        Ok(())
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}
