//! `/logs/`: the files of the log directory, and nothing else.

use std::os::unix::fs::symlink;

use super::{Node, Port};

/// Asks with these headers: the code, a header of the response (empty: none), and the body.
async fn get(node: &Node, path: &str, headers: &[(&str, &str)], name: &str) -> (u16, String, String) {
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    let (code, answered, body) = admin.send("GET", path, headers).await.unwrap();
    let header = answered.get(name).map_or("", |value| value.to_str().unwrap());
    (code, header.to_owned(), body)
}

#[tokio::test]
async fn directories_are_listed_and_files_are_sent() {
    let node = Node::start(false).await;
    let logs = node.changing.temp.path().join("logs");
    std::fs::write(logs.join("sys log"), "0123456789").unwrap();
    let check = async |path: &str, headers: &[(&str, &str)], header: &str, expected: (u16, &str, &str)| {
        let (code, value, body) = get(&node, path, headers, header).await;
        assert_eq!(
            (code, value.as_str(), body.as_str()),
            expected,
            "{path} {headers:?}"
        );
    };
    let page = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a \
                href=\"default_web-vm_u1/\">default_web-vm_u1/</a>\n<a href=\"sys%20log\">sys log</a>\n</pre>\n";
    check(
        "/logs/",
        &[],
        "content-type",
        (200, "text/html; charset=utf-8", page),
    )
    .await;
    let file = "/logs/sys%20log";
    check(
        file,
        &[],
        "content-type",
        (200, "text/plain; charset=utf-8", "0123456789"),
    )
    .await;
    check(file, &[], "content-length", (200, "10", "0123456789")).await;
    check(
        file,
        &[],
        "x-content-type-options",
        (200, "nosniff", "0123456789"),
    )
    .await;
    let range = [("range", "bytes=2-4")];
    check(file, &range, "content-range", (206, "bytes 2-4/10", "234")).await;
    let outside = [("range", "bytes=10-")];
    check(
        file,
        &outside,
        "content-range",
        (416, "bytes */10", "invalid range\n"),
    )
    .await;
    let (_, modified, _) = get(&node, file, &[], "last-modified").await;
    let since = [("if-modified-since", modified.as_str())];
    check(file, &since, "content-type", (304, "", "")).await;
    // Relative links need a directory's path to end in a slash, and that of a file not to.
    let body = "<a href=\"/logs/\">Temporary Redirect</a>.\n\n";
    check("/logs", &[], "location", (307, "logs/", body)).await;
    check("/logs?a=b", &[], "location", (307, "logs/?a=b", body)).await;
    check(
        "/logs/default_web-vm_u1",
        &[],
        "location",
        (301, "default_web-vm_u1/", ""),
    )
    .await;
    check("/logs/sys%20log/", &[], "location", (301, "../sys%20log", "")).await;
    check(
        "/logs/nothing",
        &[],
        "location",
        (404, "", "404 page not found\n"),
    )
    .await;
    // Of several ranges the whole file is sent; of an empty one nothing.
    check(
        file,
        &[("range", "bytes=0-1,3-4")],
        "content-range",
        (200, "", "0123456789"),
    )
    .await;
    std::fs::write(logs.join("empty"), "").unwrap();
    check("/logs/empty", &[], "content-length", (200, "0", "")).await;
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    let (code, headers, body) = admin.send("HEAD", file, &[]).await.unwrap();
    // No rule has a verb for it; who may do everything is answered without the content.
    assert_eq!((code, body.as_str()), (200, ""));
    assert_eq!(headers["content-length"], "10");
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(admin.send(method, file, &[]).await.unwrap().0, 405, "{method}");
    }
}

#[tokio::test]
async fn a_file_larger_than_a_chunk_is_sent_whole_and_one_that_shrinks_is_cut_off() {
    let node = Node::start(false).await;
    let logs = node.changing.temp.path().join("logs");
    let text: String = (0..40_000).map(|line| format!("line {line}\n")).collect();
    std::fs::write(logs.join("big"), &text).unwrap();
    let (code, length, body) = get(&node, "/logs/big", &[], "content-length").await;
    assert_eq!((code, length), (200, text.len().to_string()));
    assert!(body == text, "{} bytes arrived", body.len());

    // More than the socket's buffers hold, so that it is not read to its end before it shrinks.
    let file = std::fs::File::create(logs.join("shrinks")).unwrap();
    file.set_len(256 << 20).unwrap();
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    admin.0.ready().await.unwrap();
    let request = hyper::Request::get("/logs/shrinks").header("host", "vm");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = admin.0.send_request(request).await.unwrap();
    file.set_len(0).unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.is_err(), "the announced length did not arrive");
}

#[tokio::test]
async fn cve_path_traversal_nothing_outside_the_log_directory_is_reached() {
    let node = Node::start(false).await;
    let (temp, logs) = (node.changing.temp.path(), node.changing.temp.path().join("logs"));
    std::fs::write(temp.join("secret"), "SECRET").unwrap();
    symlink(temp.join("secret"), logs.join("absolute")).unwrap();
    symlink("../secret", logs.join("relative")).unwrap();
    symlink("/", logs.join("top")).unwrap();
    symlink("/proc/self/root", logs.join("magic")).unwrap();
    nix::unistd::mkfifo(&logs.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(logs.join("socket")).unwrap();
    symlink("/dev/zero", logs.join("device")).unwrap();
    let mut admin = node.connect(Some(node.authority.user("admin"))).await;
    let mut check = async |path: &str, expected: u16| {
        let (code, _, body) = admin.send("GET", path, &[]).await.unwrap();
        assert_eq!(code, expected, "{path}: {body}");
        assert!(
            !body.contains("SECRET") && !body.contains("root:"),
            "{path}: {body}"
        );
    };
    for path in [
        "/logs/../secret",
        "/logs/%2e%2e/secret",
        "/logs/%2E%2E%2Fsecret",
        "/logs/.%2e/secret",
        "/logs/default_web-vm_u1/../../secret",
        "/logs/default_web-vm_u1/..%2f..%2fsecret",
        "/logs/..",
        "/logs/default_web-vm_u1%00/",
        "/logs/%",
    ] {
        check(path, 400).await;
    }
    for path in [
        "absolute",
        "relative",
        "top/etc/passwd",
        "magic/etc/passwd",
        "device",
        "fifo",
        "socket",
    ] {
        check(&format!("/logs/{path}"), 403).await;
    }
    // Escaped twice, in another form, too long, or meant as an absolute path: there is no such file.
    for path in [
        "/logs/%252e%252e/secret".to_owned(),
        "/logs/%c0%ae%c0%ae/secret".to_owned(),
        "/logs/..%5csecret".to_owned(),
        "/logs//etc/passwd".to_owned(),
        format!("/logs/{}", "a".repeat(300)),
        format!("/logs/{}", "a/".repeat(2000)),
        "//logs/syslog".to_owned(),
    ] {
        check(&path, 404).await;
    }
    check(&format!("/logs/{}", "a/".repeat(3000)), 400).await;
}

#[tokio::test]
async fn what_is_disabled_is_not_served() {
    use crate::serve::SystemLogs;
    let directory = tempfile::tempdir().unwrap();
    let query = "/logs/?query=kubelet";
    let serving = async |system_logs: SystemLogs| {
        Node::serving(Port {
            system_logs: Some(system_logs),
            ..Port::default()
        })
        .await
    };
    let node = serving(SystemLogs::Disabled).await;
    let disabled = "logs endpoint is disabled.\n".to_owned();
    assert_eq!(
        get(&node, "/logs/syslog", &[], "location").await,
        (405, String::new(), disabled)
    );
    // Without the setting a query is ignored, as in the kubelet.
    let node = serving(SystemLogs::Files(directory.path().to_owned())).await;
    assert_eq!(get(&node, query, &[], "location").await.0, 200);
    let node = Node::serving(Port {
        debugging: false,
        ..Port::default()
    })
    .await;
    assert_eq!(get(&node, "/logs/", &[], "location").await.0, 405);
}

/// A program in the place of journalctl: it knows two units and prints how it was called.
fn journalctl(directory: &std::path::Path) -> std::path::PathBuf {
    let script = "#!/bin/sh\nif [ \"$1\" = --field ]; then\n  printf 'kubelet.service\\nsshd@1.service\\n'\n  \
                  exit\nfi\nfor argument; do echo \"$argument\"; done\necho complains >&2\n";
    let path = directory.join("journalctl");
    std::fs::write(&path, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    path
}

#[tokio::test]
async fn a_query_is_answered_by_the_journal_or_from_a_file() {
    use crate::serve::SystemLogs;
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("log");
    std::fs::create_dir_all(files.join("cron")).unwrap();
    std::fs::write(files.join("boot.log"), "of boot\n").unwrap();
    std::fs::write(files.join("cron/cron.log"), "of cron\n").unwrap();
    std::fs::write(directory.path().join("secret"), "SECRET").unwrap();
    let node = Node::serving(Port {
        system_logs: Some(SystemLogs::FilesAndQueries {
            files,
            journalctl: journalctl(directory.path()),
        }),
        ..Port::default()
    })
    .await;
    let check = async |query: &str, expected: (u16, &str)| {
        let (code, _, body) = get(&node, &format!("/logs/{query}"), &[], "content-type").await;
        assert_eq!((code, body.as_str()), expected, "{query}");
    };
    let printed = "--utc\n--no-pager\n--output=short-precise\n--lines=5\n--unit=kubelet\n--unit=sshd@1\n--grep=a \
                   b\ncomplains\n";
    check(
        "?query=kubelet&query=sshd@1&tailLines=5&pattern=a+b",
        (200, printed),
    )
    .await;
    check("?query=/boot.log", (200, "of boot\n")).await;
    check("?query=boot", (200, "of boot\n")).await;
    let both = "of cron\n\nlog not found for nothing\nof boot\n";
    check("?query=cron&query=nothing&query=boot&query=kubelet", (200, both)).await;
    let options =
        "\noptions present and query resolved to log files for [boot]\ntry without specifying options\n";
    check("?query=boot&tailLines=5", (200, options)).await;
    let empty = "query: Invalid value: \"\": query cannot be empty\n";
    check("?query=+", (400, empty)).await;
    let unsafe_name = "query: Invalid value: \"a;b\": input contains unsupported characters or is too long\n";
    check("?query=a;b", (406, unsafe_name)).await;
    let outside = "query: Invalid value: not a path below /var/log\n";
    check("?query=../secret", (406, outside)).await;
    check("?query=/..%2fsecret", (406, outside)).await;
    check("?query=/nothing", (404, "404 page not found\n")).await;
    check("boot.log", (200, "of boot\n")).await;
    check(
        "?sinceTime=2026-11-28T20:51:05Z",
        (406, "query: Required value: options need the name of a service\n"),
    )
    .await;
}
