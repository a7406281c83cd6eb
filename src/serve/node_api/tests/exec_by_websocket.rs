//! A WebSocket starts with a GET, for which the kubelet requires only `get`: a user with read access to `nodes/proxy`
//! could run commands in every container of a node.

use http_body_util::BodyExt as _;

use super::Node;

/// Every path that starts something, and what a request that asks for no upgrade gets from it, by its method: GET and
/// POST, others.
const STARTS: [(&str, u16, u16); 8] = [
    ("/exec/default/web-vm/web?command=id&output=1", 500, 405),
    ("/exec/default/web-vm/u1/web?command=id&output=1", 500, 405),
    ("/attach/default/web-vm/web?output=1", 500, 405),
    ("/attach/default/web-vm/u1/web?output=1", 500, 405),
    ("/portForward/default/web-vm?port=80", 500, 405),
    ("/portForward/default/web-vm/u1?port=80", 500, 405),
    // No upgrade: the command would run, if there were a runtime.
    ("/run/default/web-vm/web?cmd=id", 500, 405),
    ("/run/default/web-vm/u1/web?cmd=id", 500, 405),
];

#[tokio::test]
async fn who_may_only_read_starts_nothing_by_any_method() {
    let node = Node::start(false).await;
    let ask = async |user: &str, method: &str, path: &str| {
        let user = Some(node.authority.user(user));
        node.ask(method, path, user, None).await
    };
    for (path, started, other) in STARTS {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let refusal = "Forbidden (user=reader, verb=create, resource=nodes, subresource(s)=[proxy])\n";
            assert_eq!(
                ask("reader", method, path).await,
                (403, refusal.to_owned()),
                "{method} {path}"
            );
            let expected = match method {
                // The kubelet serves it by POST alone.
                "GET" if path.starts_with("/run") => other,
                "GET" | "POST" => started,
                _ => other,
            };
            let (code, text) = ask("runner", method, path).await;
            assert_eq!(code, expected, "{method} {path}: {text}");
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

#[tokio::test]
async fn what_a_stream_cannot_be_had_for_is_said_as_the_kubelet_says_it() {
    let node = Node::start(false).await;
    let check = async |path: &str, expected: (u16, &str)| {
        let (code, text) = node
            .ask("POST", path, Some(node.authority.user("runner")), None)
            .await;
        assert_eq!((code, text.trim_end()), expected, "{path}");
    };
    let streams = "you must specify at least 1 of stdin, stdout, stderr";
    check("/exec/default/web-vm/web?command=id", (400, streams)).await;
    check("/attach/default/web-vm/web", (400, streams)).await;
    let command = "you must specify at least one command for the container";
    check("/exec/default/web-vm/web?output=1", (400, command)).await;
    let gone = "pod does not exist";
    check("/exec/default/nobody/web?command=id&output=1", (404, gone)).await;
    check("/portForward/default/nobody", (404, gone)).await;
    // Another UID is another pod's.
    check("/portForward/default/web-vm/u2", (404, "pod not found")).await;
    let other = (500, "container not found (\"web\")");
    check("/attach/default/web-vm/u2/web?output=1", other).await;
    let container = "container not found (\"nobody\")";
    check(
        "/exec/default/web-vm/nobody?command=id&output=1",
        (500, container),
    )
    .await;
    check("/run/default/web-vm/nobody?cmd=id", (500, container)).await;
    check(
        "/attach/default/web-vm/web?output=1",
        (500, "Upgrade request required"),
    )
    .await;
}

#[tokio::test]
async fn a_websocket_without_the_tunnel_names_the_ports_to_forward() {
    let node = Node::start(false).await;
    let check = async |path: &str, protocol: &str, expected: (u16, &str)| {
        let request = hyper::Request::get(path)
            .header("host", "vm")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocol)
            .body(axum::body::Body::empty())
            .unwrap();
        let mut connection = node.connect(Some(node.authority.user("runner"))).await;
        let answer = connection.0.send_request(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!((code, text.trim_end()), expected, "{path} {protocol}");
    };
    let (channels, tunnel) = ("v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io");
    let missing = (400, "query parameter \"port\" is required");
    check("/portForward/default/web-vm", channels, missing).await;
    // As with the kubelet, also for a pod that does not exist.
    check("/portForward/default/nobody", channels, missing).await;
    let invalid = (400, "unable to parse \"http\" as a port");
    check("/portForward/default/web-vm?port=http", channels, invalid).await;
    let gone = (404, "pod does not exist");
    check("/portForward/default/nobody?port=80", channels, gone).await;
    check("/portForward/default/nobody", tunnel, gone).await;
}
