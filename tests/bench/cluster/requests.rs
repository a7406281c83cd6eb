//! What the node asks of the API server, as the API server's own audit log has it: each request once, whichever of the
//! two agents sends it, and nobody else's.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};

use serde_json::Value;

use crate::node::here;

/// Both agents are this user. A watch is logged when it begins and once more when it ends, all else when it is answered.
const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ["system:node:node-1"]}
- {level: None}
"#;

/// What the API server is started with, for the log to be there.
pub fn flags() -> Vec<String> {
    std::fs::write(here("audit-policy.yaml"), POLICY).expect("a private directory");
    vec![
        format!("--audit-policy-file={}", here("audit-policy.yaml").display()),
        format!("--audit-log-path={}", here("audit.log").display()),
    ]
}

/// Reads the log as it grows.
#[derive(Default)]
pub struct Log {
    read: u64,
    /// The requests that were counted: the end of a watch is not another request.
    counted: HashSet<String>,
}

impl Log {
    /// The requests since the last call.
    pub fn take(&mut self) -> Counts {
        let mut file = File::open(here("audit.log")).expect("the API server logs");
        file.seek(SeekFrom::Start(self.read))
            .expect("a file can be sought in");
        let mut counts = Counts::default();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        // A line that is being written is read the next time.
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            self.read += line.len() as u64;
            self.count(&line, &mut counts);
            line.clear();
        }
        counts
    }

    fn count(&mut self, line: &str, counts: &mut Counts) {
        let event: Value = serde_json::from_str(line).expect("the audit log is JSON, a line an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !self.counted.insert(text(&event["auditID"])) {
            return;
        }
        let object = &event["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        *counts.0.entry((text(&event["verb"]), resource)).or_default() += 1;
    }
}

/// How many requests of each kind.
#[derive(Debug, Default, Clone)]
pub struct Counts(BTreeMap<(String, String), u32>);

impl Counts {
    /// All of them.
    pub fn all(&self) -> u32 {
        self.0.values().sum()
    }

    /// Those that are about pods: a node's heartbeat (its Lease, its own object) goes on whatever pods do.
    pub fn about_pods(&self) -> u32 {
        let is_heartbeat = |resource: &str| resource == "leases" || resource.starts_with("nodes");
        let about_pods = self.0.iter().filter(|((_, resource), _)| !is_heartbeat(resource));
        about_pods.map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let texts = all
            .iter()
            .map(|((verb, resource), count)| format!("{count} {verb} {resource}"));
        f.write_str(&texts.collect::<Vec<_>>().join(", "))
    }
}
