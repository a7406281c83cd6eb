//! What watchers cost a machine without a cluster: programs like k9s watch everything for as long as they are open, and
//! on most machines nothing changes meanwhile.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cost::{idle, resident};
use crate::idle::wait_ready;
use crate::manifest;
use crate::node::{Node, USUAL, here};
use crate::report::Report;
use crate::wait::wait_for;
use crate::world::repository;

/// How many pods the node has.
const PODS: usize = 50;
/// What is watched, each as a client library watches it.
const WATCHED: [&str; 6] = ["pods", "nodes", "events", "namespaces", "configmaps", "secrets"];
/// How many programs watch everything.
const WATCHERS: usize = 2;
/// Of the kinds that pods do not bring with them, one object each.
const OBJECTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: secret}
";
/// How long the agent is measured without watchers, and with them unless `WATCH_SECONDS` states another time.
const USUALLY: Duration = Duration::from_secs(60);
/// The idle CPU that watchers may add, in milliseconds for each second.
const MOST: f64 = 0.2;

/// How long watchers watch.
pub fn duration() -> Duration {
    let stated = std::env::var("WATCH_SECONDS").ok();
    let seconds = stated.map(|text| text.parse().expect("WATCH_SECONDS is a number"));
    seconds.map_or(USUALLY, Duration::from_secs)
}

/// Measures the agent without watchers, and with them.
pub fn measure(report: &mut Report) {
    let mut node = Node::new(USUAL);
    node.start_agent();
    node.manifest("objects.yaml", OBJECTS);
    for number in 0..PODS {
        let name = format!("watched{number}");
        node.manifest(&format!("{name}.yaml"), &manifest::idle(&name));
    }
    wait_ready(&node, PODS);
    let pid = node.agent_pid();
    let alone = idle(pid, USUALLY);
    let watchers: Vec<Watcher> = (0..WATCHERS)
        .flat_map(|number| WATCHED.map(|what| Watcher::start(number, what)))
        .collect();
    // Lists are read first: a watch begins with all that there is.
    wait_for("the watches to begin", Duration::from_secs(30), || {
        let silent = watchers.iter().find(|watcher| watcher.received() == 0);
        silent.map_or(Ok(()), |watcher| Err(format!("nothing of {}", watcher.what)))
    });
    let before: u64 = watchers.iter().map(Watcher::received).sum();
    let time = duration();
    let watched = idle(pid, time);
    let received = watchers.iter().map(Watcher::received).sum::<u64>() - before;
    let minutes = time.as_secs_f64() / 60.0;
    let what = format!("CPU that {} watches add, per second", watchers.len());
    report.goal(&what, watched - alone, MOST, "ms");
    report.note(format!(
        "idle CPU with {PODS} pods: {alone:.2} ms/s without watches, {watched:.2} ms/s with {} for {minutes:.0} min; \
         resident {:.1} MiB; received by all of them: {:.0} bytes a minute",
        watchers.len(),
        resident(pid),
        received as f64 / minutes
    ));
    for mut watcher in watchers {
        assert!(watcher.is_on(), "the watch of {} has ended", watcher.what);
    }
}

/// A watch whose events go to a file.
struct Watcher {
    what: &'static str,
    child: Child,
    events: PathBuf,
}

impl Watcher {
    fn start(number: usize, what: &'static str) -> Watcher {
        let events = here(&format!("watch-{number}-{what}"));
        // An hour is longer than a server lets a watch last by itself.
        let query = format!("/api/v1/{what}?watch=1&allowWatchBookmarks=true&timeoutSeconds=7200");
        let child = Command::new(repository().join("target/kubectl/own"))
            .args(["--kubeconfig", "/run/gantry/kubeconfig", "get", "--raw", &query])
            .stdin(Stdio::null())
            .stdout(File::create(&events).expect("a private directory"))
            .spawn()
            .expect("kubectl starts");
        Watcher { what, child, events }
    }

    /// The bytes that it has received.
    fn received(&self) -> u64 {
        std::fs::metadata(&self.events).expect("it was created").len()
    }

    fn is_on(&mut self) -> bool {
        self.child.try_wait().expect("it is a child").is_none()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
