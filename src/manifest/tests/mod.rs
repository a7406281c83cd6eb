//! Tests from manifests to pods or problems.

mod broken;
mod corpus;
mod cve;
mod fields;
mod meaning;
mod planned;
mod run_as;
mod scalars;
mod security;
mod uids;

use std::path::Path;

use jiff::Timestamp;

use super::context::ManifestContext;
use super::{read, read_with_content};
use crate::model::pod::{Pod, Problem};

fn context() -> ManifestContext {
    ManifestContext {
        node_name: "Node-1".into(),
        privileged_allowed: true,
        allowed_unsafe_sysctls: vec!["net.core.*".into()],
        ..ManifestContext::default()
    }
}

fn now() -> Timestamp {
    "2026-01-31T12:00:00.5Z".parse().unwrap()
}

fn read_bytes(bytes: &[u8]) -> (Vec<Pod>, Vec<Problem>) {
    read(bytes, Path::new("/m/a.yaml"), &context(), now())
}

/// The problems and then the warnings, one a line, without the path of the file.
fn problems(bytes: &[u8]) -> String {
    let content = read_with_content(bytes, Path::new("/m/a.yaml"), &context(), now());
    let mut out = String::new();
    for (mark, found) in [("", &content.problems), ("warning", &content.warnings)] {
        for problem in found {
            let text = problem.to_string();
            out.push_str(&format!("{mark}{}\n", text.strip_prefix("/m/a.yaml").unwrap()));
        }
    }
    out
}

/// The only pod of a valid manifest.
fn pod(manifest: &str) -> Pod {
    let (mut pods, problems) = read_bytes(manifest.as_bytes());
    assert_eq!(problems, []);
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}
