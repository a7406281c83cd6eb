//! A WebSocket starts with a GET, for which the kubelet requires only `get`: a user with read access to `nodes/proxy`
//! could run commands in every container of a node.

use super::Node;

#[tokio::test]
async fn who_may_only_read_starts_nothing_by_any_method() {
    let node = Node::start(false).await;
    let ask = async |user: &str, method: &str, path: &str| {
        let user = Some(node.authority.user(user));
        node.ask(method, path, user, None).await
    };
    for path in [
        "/exec/default/web-vm/web?command=id&output=1",
        "/exec/default/web-vm/u1/web?command=id&output=1",
        "/attach/default/web-vm/web?output=1",
        "/portForward/default/web-vm?port=80",
        "/run/default/web-vm/web?cmd=id",
    ] {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let refusal = "Forbidden (user=reader, verb=create, resource=nodes, subresource(s)=[proxy])\n";
            assert_eq!(
                ask("reader", method, path).await,
                (403, refusal.to_owned()),
                "{method} {path}"
            );
            // The streams are not served yet.
            assert_eq!(ask("runner", method, path).await.0, 501, "{method} {path}");
        }
    }
    // It may read, and a path that only looks like one of those leads nowhere.
    assert_eq!(ask("reader", "GET", "/configz").await.0, 200);
    for path in [
        "//exec/default/web-vm/web",
        "/%65xec/default/web-vm/web",
        "/EXEC/default/web-vm/web",
        "/./exec/a/b/c",
    ] {
        assert_eq!(ask("reader", "GET", path).await.0, 404, "{path}");
    }
}
