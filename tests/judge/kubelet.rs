//! The kubelet's answer: a process of `tests/control-plane/judge` that is asked about each manifest.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::{FILE, NODE};

/// What the kubelet makes of a manifest.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    /// Why it does not run it.
    #[serde(default)]
    pub error: String,
    /// It would have crashed.
    #[serde(default)]
    pub panic: String,
    /// The pod as it would run it.
    pub pod: Option<Value>,
    /// Whether the manifest has what only an API server writes and what does not show in the pod.
    #[serde(default, rename = "ofServer")]
    pub of_server: bool,
}

/// Asks about all of them; the answers are in their order.
pub fn judge<'a>(manifests: impl Iterator<Item = &'a str> + Send) -> Vec<Verdict> {
    let program = program();
    let mut child = Command::new(&program)
        .args([NODE, FILE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}: build it with tests/control-plane/build.sh judge",
                program.display()
            )
        });
    let mut input = child.stdin.take().expect("it is piped");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let verdicts = std::thread::scope(|scope| {
        scope.spawn(move || {
            for manifest in manifests {
                write!(input, "{}\n{manifest}", manifest.len()).expect("the judge listens");
            }
        });
        output
            .lines()
            .map(|line| serde_json::from_str(&line.expect("the judge answers")).expect("it answers in JSON"))
            .collect()
    });
    assert!(child.wait().expect("it ends").success(), "the judge failed");
    verdicts
}

fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    target.join("control-plane/bin/judge")
}
