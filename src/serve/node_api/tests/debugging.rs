//! `/debug/`: only where it is configured, and with permission for everything.

use axum::body::Body;
use http_body_util::BodyExt as _;

use super::{Connection, Node, Port};
use crate::serve::SystemLogs;

/// The status code and the text of the answer to a PUT.
async fn put(connection: &mut Connection, path: &str, body: impl Into<Body>) -> (u16, String) {
    let request = hyper::Request::put(path).header("host", "vm");
    connection.0.ready().await.unwrap();
    let response = connection
        .0
        .send_request(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let code = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn the_verbosity_is_set_in_the_kubelets_words() {
    let node = Node::start(false).await;
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    let flag = "/debug/flags/v";
    for (body, code, text) in [
        ("4", 200, "successfully set klog.logging.verbosity to 4"),
        (
            "x",
            400,
            "failed set klog.logging.verbosity x: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "13",
            400,
            "failed set klog.logging.verbosity 13: it is an unlucky number",
        ),
    ] {
        assert_eq!(put(&mut admin, flag, body).await, (code, text.to_owned()));
    }
    assert_eq!(put(&mut admin, flag, "4".repeat(65)).await.0, 413);
    let (code, text) = node.get(flag, Some(node.authority.user("admin")), None).await;
    assert_eq!((code, text.as_str()), (406, "unsupported http method"));
    // Changing it needs more than reading.
    let mut monitor = node.connect(Some(node.authority.user("monitor"))).await;
    assert_eq!(put(&mut monitor, flag, "4").await.0, 403);
}

#[tokio::test]
async fn profiles_are_refused_with_what_to_use_instead() {
    let node = Node::start(false).await;
    let admin = || Some(node.authority.user("admin"));
    for path in [
        "/debug/pprof",
        "/debug/pprof/",
        "/debug/pprof/profile?seconds=1",
        "/debug/pprof/a/b",
    ] {
        let (code, text) = node.get(path, admin(), None).await;
        assert!(
            code == 501 && text.contains("perf record"),
            "{path}: {code} {text}"
        );
        assert_eq!(node.get(path, None, None).await.0, 401, "{path}");
    }
    for path in [
        "/debug",
        "/debug/",
        "/debug/flags",
        "/debug/flags/",
        "/debug/flags/vmodule",
    ] {
        assert_eq!(node.get(path, admin(), None).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn what_the_configuration_disables_says_so() {
    let node = Node::serving(Port {
        // With what the default of everything else is.
        system_logs: Some(SystemLogs::Disabled),
        ..Port::default()
    })
    .await;
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    for (path, text) in [
        ("/debug/flags/v", "flags endpoint is disabled.\n"),
        ("/debug/pprof/heap", "profiling endpoint is disabled.\n"),
    ] {
        assert_eq!(put(&mut admin, path, "4").await, (405, text.to_owned()), "{path}");
        assert_eq!(
            admin.get(path, None).await.unwrap(),
            (405, text.to_owned()),
            "{path}"
        );
    }
}
