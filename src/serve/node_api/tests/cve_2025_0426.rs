//! Checkpoint requests, which the kubelet's unauthenticated port accepted, filled the disk. gantry makes a few at a time
//! and keeps a bounded number, for callers with that very permission; `tests/suite/stories/checkpoints.rs` has a runtime
//! that makes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Node, Port};

/// All paths below a directory.
fn files(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        }
        found.insert(path);
    }
}

fn there(node: &Node) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    files(node.directory.path(), &mut found);
    files(node.changing.temp.path(), &mut found);
    found
}

#[tokio::test]
async fn cve_2025_0426_nobody_without_that_permission_makes_a_checkpoint() {
    for debugging in [true, false] {
        let node = Node::serving(Port {
            debugging,
            ..Port::default()
        })
        .await;
        let before = there(&node);
        let path = "/checkpoint/default/web-vm/web";
        for method in ["POST", "GET", "PUT"] {
            let user = |name: &str| Some(node.authority.user(name));
            assert_eq!(node.ask(method, path, None, None).await.0, 401);
            assert_eq!(node.ask(method, path, None, Some("wrong")).await.0, 401);
            assert_eq!(node.ask(method, path, user("eve"), None).await.0, 403);
            let (code, text) = node.ask(method, path, user("admin"), None).await;
            match (debugging, method) {
                // No runtime answers.
                (true, "POST") => {
                    assert_eq!(code, 500, "{text}");
                    let start = "checkpointing of default/web-vm/web failed (rpc error: code = Unavailable";
                    assert!(text.starts_with(start), "{text}");
                }
                (true, _) => assert_eq!(code, 405, "{text}"),
                // As in the kubelet, there is no such path then.
                (false, _) => assert_eq!(code, 404, "{text}"),
            }
        }
        let mut after = there(&node);
        after.remove(&node.changing.temp.path().join("checkpoints"));
        assert_eq!(after, before, "something was written");
        // The request needs a permission of its own, not one that others include.
        let asked = node.asked.lock().unwrap().clone();
        let subresources: BTreeSet<_> = asked
            .iter()
            .filter(|review| review["kind"] == "SubjectAccessReview")
            .map(|review| review["spec"]["resourceAttributes"]["subresource"].to_string())
            .collect();
        assert_eq!(subresources, BTreeSet::from([json!("checkpoint").to_string()]));
    }
}

#[tokio::test]
async fn cve_2025_0426_a_full_directory_stays_as_it_is() {
    let node = Node::start(false).await;
    let directory = node.changing.temp.path().join("checkpoints");
    std::fs::create_dir(&directory).unwrap();
    for number in 0..100 {
        std::fs::write(directory.join(number.to_string()), "").unwrap();
    }
    let before = there(&node);
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    for _ in 0..20 {
        let path = "/checkpoint/default/web-vm/web";
        let (code, text) = admin.ask("POST", path, None).await.unwrap();
        assert_eq!(code, 507, "{text}");
        assert!(text.contains("100 checkpoints are kept in"), "{text}");
    }
    assert_eq!(there(&node), before);
}
