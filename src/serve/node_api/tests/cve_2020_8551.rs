//! Invented requests filled the kubelet's memory: each requested path and method became a label of its metrics and
//! stayed.

use super::Node;

/// The names and labels of everything that is counted.
fn series(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
    names.collect()
}

#[tokio::test]
async fn cve_2020_8551_nothing_that_a_caller_makes_up_is_counted() {
    let node = Node::start(true).await;
    let page = || node.get("/metrics", Some(node.authority.user("admin")), None);
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    let mut stranger = node.connect(None).await;
    let mut before = Vec::new();
    for number in 0..300 {
        // What is made up counts as `other`, which is there after the first of it.
        if number == 1 {
            page().await;
            page().await;
            before = series(&page().await.1);
            assert!(before.len() > 10, "{before:?}");
        }
        let path = format!("/madeup{number}/healthz/metrics?query{number}");
        let method = format!("MADEUP{number}");
        assert_eq!(admin.ask("GET", &path, None).await.unwrap().0, 404);
        // No rule has a verb for it.
        assert_eq!(stranger.ask(&method, &path, None).await.unwrap().0, 403);
    }
    let (_, after) = page().await;
    assert_eq!(series(&after), before);
    assert!(!after.to_lowercase().contains("madeup"), "{after}");
}
