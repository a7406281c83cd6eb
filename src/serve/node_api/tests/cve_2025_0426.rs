//! Checkpoint requests, which the kubelet's unauthenticated port accepted, filled the disk. gantry has no such port,
//! and on this one no checkpoint is made for any caller.

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

#[tokio::test]
async fn cve_2025_0426_no_checkpoint_is_made_for_anybody() {
    for debugging in [true, false] {
        let node = Node::serving(Port {
            debugging,
            ..Port::default()
        })
        .await;
        let there = || {
            let mut found = BTreeSet::new();
            files(node.directory.path(), &mut found);
            files(node.changing.temp.path(), &mut found);
            found
        };
        let before = there();
        let path = "/checkpoint/default/web-vm/web";
        for method in ["POST", "GET", "PUT"] {
            let user = |name: &str| Some(node.authority.user(name));
            assert_eq!(node.ask(method, path, None, None).await.0, 401);
            assert_eq!(node.ask(method, path, None, Some("wrong")).await.0, 401);
            assert_eq!(node.ask(method, path, user("eve"), None).await.0, 403);
            for _ in 0..20 {
                let (code, text) = node.ask(method, path, user("admin"), None).await;
                assert_eq!(
                    (code, text.as_str()),
                    (501, "gantry does not serve /checkpoint/default/web-vm/web yet\n")
                );
            }
        }
        assert_eq!(there(), before, "something was written");
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
