//! Every endpoint of port 10250, as the API server's own client asks it: the status, the type of the content and the text of
//! errors are the real kubelet's.

use std::collections::BTreeMap;
use std::process::Command;

use crate::process::printed;

/// Requests: the method and the path, in which `{namespace}` is the story's. Its pod `measured` has the container `main`.
const REQUESTS: [&str; 47] = [
    "GET /healthz",
    "GET /healthz/ping",
    "GET /healthz/log",
    "GET /healthz/syncloop",
    "GET /healthz/none",
    "POST /healthz",
    "GET /pods",
    "GET /pods/",
    "POST /pods",
    "GET /runningpods/",
    "GET /runningpods",
    "GET /stats/summary",
    "GET /stats/summary?only_cpu_and_memory=true",
    "GET /stats/",
    "GET /stats/container",
    "GET /spec/",
    "GET /metrics",
    "GET /metrics/cadvisor",
    "GET /metrics/probes",
    "GET /metrics/resource",
    "GET /metrics/slis",
    "GET /metrics/none",
    "GET /configz",
    "GET /flagz",
    "GET /statusz",
    "GET /logs/",
    "GET /logs",
    "GET /logs/none",
    "GET /logs/../../etc/passwd",
    "GET /logs/%2e%2e/%2e%2e/etc/passwd",
    "GET /containerLogs/{namespace}/measured/main",
    "GET /containerLogs/{namespace}/measured/none",
    "GET /containerLogs/{namespace}/none/main",
    "GET /containerLogs/{namespace}/measured/main?tailLines=x",
    "GET /containerLogs/{namespace}/measured/main?tailLines=-1",
    "GET /containerLogs/{namespace}/measured/main?previous=true",
    "GET /exec/{namespace}/measured/main?command=ls&output=1",
    "GET /exec/{namespace}/none/main?command=ls&output=1",
    "POST /exec/{namespace}/measured/main?command=ls",
    "POST /attach/{namespace}/measured/none?output=1",
    "POST /portForward/{namespace}/measured",
    "POST /portForward/{namespace}/none",
    "POST /run/{namespace}/measured/main?cmd=echo%20x",
    "POST /checkpoint/{namespace}/measured/main",
    "GET /debug/flags/v",
    "GET /debug/pprof/",
    "GET /none",
];

/// What differs, with the reason.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "GET /logs/../../etc/passwd",
        "refused; the kubelet redirects to another path, which it does not serve",
    ),
    ("GET /logs/%2e%2e/%2e%2e/etc/passwd", "refused as what it is"),
    (
        "GET /containerLogs/{namespace}/measured/main",
        "the type of the content is stated",
    ),
    (
        "GET /containerLogs/{namespace}/measured/main?previous=true",
        "the type of the content is stated",
    ),
    (
        "GET /debug/pprof/",
        "profiles in Go's format: this is no program in Go",
    ),
];

/// What was answered: the status, the type of the content, and the text of an error.
pub type Endpoints = BTreeMap<&'static str, String>;

/// Asks them all.
pub fn ask(namespace: &str) -> Endpoints {
    let pki = "/etc/kubernetes/pki/apiserver-kubelet-client";
    let all = REQUESTS.iter().map(|request| {
        let (method, path) = request.split_once(' ').expect("two words");
        let url = format!(
            "https://127.0.0.1:10250{}",
            path.replace("{namespace}", namespace)
        );
        let mut command = Command::new("curl");
        command
            .args(["-sSk", "--path-as-is", "--max-time", "60", "-X", method])
            .args(["--cert", &format!("{pki}.crt"), "--key", &format!("{pki}.key")])
            .args(["-w", "\n%{http_code} %{content_type}", &url]);
        let answer = printed(&mut command, &["curl", request]);
        let (body, head) = answer.rsplit_once('\n').expect("a line is added");
        let code = head.split(' ').next().unwrap_or_default();
        let text = match code.starts_with('2') {
            true => String::new(),
            false => format!(": {}", body.trim_end()),
        };
        (*request, format!("{head}{text}"))
    });
    all.collect()
}

/// Compares them.
pub fn compare(theirs: &Endpoints, ours: &Endpoints) {
    let mut wrong = Vec::new();
    for request in REQUESTS {
        let (theirs, ours) = (&theirs[request], &ours[request]);
        let expected = DIFFERENT.iter().find(|(different, _)| *different == request);
        match (theirs == ours, expected) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => wrong.push(format!(
                "{request}\n  the kubelet: {theirs}\n  gantry:      {ours}"
            )),
            (true, Some((_, reason))) => wrong.push(format!("{request} does not differ: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} requests are answered alike", REQUESTS.len() - DIFFERENT.len());
}
