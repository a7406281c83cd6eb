//! Who gets what: each path with each method, for each kind of caller. The second column is what the API server is asked
//! about (verb and subresources of `nodes`), the others are the status codes.
//!
//! The first three columns are those of `pkg/kubelet/server/auth.go`, but for `create` where something is started. The
//! codes of the last column differ from the kubelet's for methods that no program uses: it answers HEAD with 405 for pods,
//! logs, streams and checkpoints, and every method as a GET for health, metrics, `/configz` and the pages of the program.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::{Connection, Node, Port};
use crate::model::api::StreamVerb;

pub(super) const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "OPTIONS"];

/// Every endpoint, and paths that only look like one.
pub(super) const PATHS: &[&str] = &[
    "/",
    "/nothing",
    "/healthz",
    "/healthz/ping",
    "/healthz/log",
    "/healthz/syncloop",
    "/healthz/nothing",
    "/healthzx",
    "/pods",
    "/pods/",
    "/podsx",
    "/runningpods",
    "/runningpods/",
    "/configz",
    "/flagz",
    "/statusz",
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/probes",
    "/metrics/resource",
    "/metrics/slis",
    "/stats/summary",
    "/logs",
    "/logs/",
    "/logs/default_web-vm_u1/",
    "/containerLogs/default/web-vm/web",
    "/checkpoint/default/web-vm/web",
    "/debug/pprof/",
    "/debug/flags/v",
];

/// What runs in containers or connects to them.
pub(super) const STREAMS: &[&str] = &[
    "/exec/default/web-vm/web?command=id&output=1",
    "/exec/default/web-vm/u1/web?command=id&output=1",
    "/attach/default/web-vm/web?output=1",
    "/attach/default/web-vm/u1/web?output=1",
    "/portForward/default/web-vm?port=80",
    "/portForward/default/web-vm/u1?port=80",
    "/run/default/web-vm/web?cmd=id",
    "/run/default/web-vm/u1/web?cmd=id",
];

/// The callers of the table, each on a connection of its own.
struct Callers {
    /// Without credentials, where that is allowed.
    anonymous: Connection,
    /// With a certificate and no permission.
    nobody: Connection,
    /// May `get` nodes/metrics, nodes/stats and nodes/proxy, as monitoring programs may.
    monitor: Connection,
    /// May do everything, as the API server may.
    api_server: Connection,
}

impl Callers {
    async fn connect(node: &Node) -> Callers {
        let user = |name: &str| node.connect(Some(node.authority.user(name)));
        Callers {
            anonymous: node.connect(None).await,
            nobody: user("eve").await,
            monitor: user("monitor").await,
            api_server: user("admin").await,
        }
    }
}

/// What the API server was asked about, from the answer to whom it permits nothing.
fn attributes(refusal: &str) -> String {
    let part = |from: &str, to: &str| {
        let (_, rest) = refusal.split_once(from).unwrap_or_else(|| panic!("{refusal:?}"));
        rest.split_once(to).unwrap().0.to_owned()
    };
    let verb = match part("verb=", ",") {
        verb if verb.is_empty() => "\"\"".to_owned(),
        verb => verb,
    };
    format!("{verb} {}", part("subresource(s)=[", "]"))
}

async fn check(port: Port, paths: &[&str], expected: Expect) {
    let node = Node::serving(Port {
        anonymous: true,
        ..port
    })
    .await;
    let mut callers = Callers::connect(&node).await;
    let mut table = String::from("path and method, asked, anonymous, nobody, monitor, API server\n");
    let mut in_table = BTreeSet::new();
    for path in paths {
        writeln!(table, "{path}").unwrap();
        for method in METHODS {
            let (code, refusal) = callers.nobody.ask("GET", path, None).await.unwrap();
            assert_eq!(code, 403, "{refusal}");
            let nobody = callers.nobody.ask(method, path, None).await.unwrap();
            // The answer to a HEAD has no text; the verb of that method is the same as that of OPTIONS.
            let as_method = if method == "HEAD" { "OPTIONS" } else { method };
            let (_, refusal) = callers.nobody.ask(as_method, path, None).await.unwrap();
            let asked = attributes(&refusal);
            in_table.insert(asked.clone());
            let mut codes = Vec::new();
            for caller in [
                &mut callers.anonymous,
                &mut callers.monitor,
                &mut callers.api_server,
            ] {
                codes.push(caller.ask(method, path, None).await.unwrap().0);
            }
            let [anonymous, monitor, api_server] = codes[..] else {
                unreachable!()
            };
            let nobody = nobody.0;
            writeln!(
                table,
                "    {method:8}{asked:22}{anonymous} {nobody} {monitor} {api_server}"
            )
            .unwrap();
        }
    }
    expected.assert_eq(&table);
    // The API server was asked about nothing else, and about this node alone.
    let asked = node.asked.lock().unwrap().clone();
    for review in asked.iter().filter(|review| review["spec"]["user"] == "eve") {
        let attributes = &review["spec"]["resourceAttributes"];
        assert_eq!(
            (&attributes["resource"], &attributes["name"]),
            (&"nodes".into(), &"vm".into())
        );
        let (verb, one) = (
            attributes["verb"].as_str().unwrap(),
            attributes["subresource"].as_str().unwrap(),
        );
        let is_known = |row: &String| {
            let (row_verb, subresources) = row.split_once(' ').unwrap();
            row_verb.trim_matches('"') == verb
                && subresources.split(' ').any(|subresource| subresource == one)
        };
        assert!(in_table.iter().any(is_known), "{verb} {one}");
    }
}

#[tokio::test]
async fn each_caller_gets_what_it_may() {
    check(
        Port::default(),
        PATHS,
        expect![[r#"
            path and method, asked, anonymous, nobody, monitor, API server
            /
                GET     get proxy             403 403 404 404
                HEAD    "" proxy              403 403 403 404
                POST    create proxy          403 403 403 404
                PUT     update proxy          403 403 403 404
                OPTIONS "" proxy              403 403 403 404
            /nothing
                GET     get proxy             403 403 404 404
                HEAD    "" proxy              403 403 403 404
                POST    create proxy          403 403 403 404
                PUT     update proxy          403 403 403 404
                OPTIONS "" proxy              403 403 403 404
            /healthz
                GET     get healthz proxy     403 403 200 200
                HEAD    "" healthz proxy      403 403 403 200
                POST    create healthz proxy  403 403 403 200
                PUT     update healthz proxy  403 403 403 200
                OPTIONS "" healthz proxy      403 403 403 200
            /healthz/ping
                GET     get healthz proxy     403 403 200 200
                HEAD    "" healthz proxy      403 403 403 200
                POST    create healthz proxy  403 403 403 200
                PUT     update healthz proxy  403 403 403 200
                OPTIONS "" healthz proxy      403 403 403 200
            /healthz/log
                GET     get healthz proxy     403 403 200 200
                HEAD    "" healthz proxy      403 403 403 200
                POST    create healthz proxy  403 403 403 200
                PUT     update healthz proxy  403 403 403 200
                OPTIONS "" healthz proxy      403 403 403 200
            /healthz/syncloop
                GET     get healthz proxy     403 403 200 200
                HEAD    "" healthz proxy      403 403 403 200
                POST    create healthz proxy  403 403 403 200
                PUT     update healthz proxy  403 403 403 200
                OPTIONS "" healthz proxy      403 403 403 200
            /healthz/nothing
                GET     get healthz proxy     403 403 404 404
                HEAD    "" healthz proxy      403 403 403 404
                POST    create healthz proxy  403 403 403 404
                PUT     update healthz proxy  403 403 403 404
                OPTIONS "" healthz proxy      403 403 403 404
            /healthzx
                GET     get proxy             403 403 404 404
                HEAD    "" proxy              403 403 403 404
                POST    create proxy          403 403 403 404
                PUT     update proxy          403 403 403 404
                OPTIONS "" proxy              403 403 403 404
            /pods
                GET     get pods proxy        403 403 200 200
                HEAD    "" pods proxy         403 403 403 200
                POST    create pods proxy     403 403 403 405
                PUT     update pods proxy     403 403 403 405
                OPTIONS "" pods proxy         403 403 403 405
            /pods/
                GET     get pods proxy        403 403 200 200
                HEAD    "" pods proxy         403 403 403 200
                POST    create pods proxy     403 403 403 405
                PUT     update pods proxy     403 403 403 405
                OPTIONS "" pods proxy         403 403 403 405
            /podsx
                GET     get proxy             403 403 404 404
                HEAD    "" proxy              403 403 403 404
                POST    create proxy          403 403 403 404
                PUT     update proxy          403 403 403 404
                OPTIONS "" proxy              403 403 403 404
            /runningpods
                GET     get pods proxy        403 403 307 307
                HEAD    "" pods proxy         403 403 403 307
                POST    create pods proxy     403 403 403 405
                PUT     update pods proxy     403 403 403 405
                OPTIONS "" pods proxy         403 403 403 405
            /runningpods/
                GET     get pods proxy        403 403 200 200
                HEAD    "" pods proxy         403 403 403 200
                POST    create pods proxy     403 403 403 405
                PUT     update pods proxy     403 403 403 405
                OPTIONS "" pods proxy         403 403 403 405
            /configz
                GET     get configz proxy     403 403 200 200
                HEAD    "" configz proxy      403 403 403 200
                POST    create configz proxy  403 403 403 405
                PUT     update configz proxy  403 403 403 405
                OPTIONS "" configz proxy      403 403 403 405
            /flagz
                GET     get configz           403 403 403 200
                HEAD    "" configz            403 403 403 200
                POST    create configz        403 403 403 405
                PUT     update configz        403 403 403 405
                OPTIONS "" configz            403 403 403 405
            /statusz
                GET     get statusz           403 403 403 200
                HEAD    "" statusz            403 403 403 200
                POST    create statusz        403 403 403 405
                PUT     update statusz        403 403 403 405
                OPTIONS "" statusz            403 403 403 405
            /metrics
                GET     get metrics           403 403 200 200
                HEAD    "" metrics            403 403 403 200
                POST    create metrics        403 403 403 405
                PUT     update metrics        403 403 403 405
                OPTIONS "" metrics            403 403 403 405
            /metrics/cadvisor
                GET     get metrics           403 403 200 200
                HEAD    "" metrics            403 403 403 200
                POST    create metrics        403 403 403 405
                PUT     update metrics        403 403 403 405
                OPTIONS "" metrics            403 403 403 405
            /metrics/probes
                GET     get metrics           403 403 200 200
                HEAD    "" metrics            403 403 403 200
                POST    create metrics        403 403 403 405
                PUT     update metrics        403 403 403 405
                OPTIONS "" metrics            403 403 403 405
            /metrics/resource
                GET     get metrics           403 403 200 200
                HEAD    "" metrics            403 403 403 200
                POST    create metrics        403 403 403 405
                PUT     update metrics        403 403 403 405
                OPTIONS "" metrics            403 403 403 405
            /metrics/slis
                GET     get metrics           403 403 200 200
                HEAD    "" metrics            403 403 403 200
                POST    create metrics        403 403 403 405
                PUT     update metrics        403 403 403 405
                OPTIONS "" metrics            403 403 403 405
            /stats/summary
                GET     get stats             403 403 200 200
                HEAD    "" stats              403 403 403 200
                POST    create stats          403 403 403 200
                PUT     update stats          403 403 403 405
                OPTIONS "" stats              403 403 403 405
            /logs
                GET     get log               403 403 403 307
                HEAD    "" log                403 403 403 307
                POST    create log            403 403 403 405
                PUT     update log            403 403 403 405
                OPTIONS "" log                403 403 403 405
            /logs/
                GET     get log               403 403 403 200
                HEAD    "" log                403 403 403 200
                POST    create log            403 403 403 405
                PUT     update log            403 403 403 405
                OPTIONS "" log                403 403 403 405
            /logs/default_web-vm_u1/
                GET     get log               403 403 403 200
                HEAD    "" log                403 403 403 200
                POST    create log            403 403 403 405
                PUT     update log            403 403 403 405
                OPTIONS "" log                403 403 403 405
            /containerLogs/default/web-vm/web
                GET     get proxy             403 403 200 200
                HEAD    "" proxy              403 403 403 200
                POST    create proxy          403 403 403 405
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /checkpoint/default/web-vm/web
                GET     get checkpoint        403 403 403 405
                HEAD    "" checkpoint         403 403 403 405
                POST    create checkpoint     403 403 403 500
                PUT     update checkpoint     403 403 403 405
                OPTIONS "" checkpoint         403 403 403 405
            /debug/pprof/
                GET     get proxy             403 403 501 501
                HEAD    "" proxy              403 403 403 501
                POST    create proxy          403 403 403 405
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /debug/flags/v
                GET     get proxy             403 403 406 406
                HEAD    "" proxy              403 403 403 406
                POST    create proxy          403 403 403 406
                PUT     update proxy          403 403 403 400
                OPTIONS "" proxy              403 403 403 406
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_starts_something_needs_create_by_any_method() {
    check(
        Port::default(),
        STREAMS,
        expect![[r#"
            path and method, asked, anonymous, nobody, monitor, API server
            /exec/default/web-vm/web?command=id&output=1
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /exec/default/web-vm/u1/web?command=id&output=1
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /attach/default/web-vm/web?output=1
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /attach/default/web-vm/u1/web?output=1
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /portForward/default/web-vm?port=80
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /portForward/default/web-vm/u1?port=80
                GET     create proxy          403 403 403 500
                HEAD    create proxy          403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /run/default/web-vm/web?cmd=id
                GET     create proxy          403 403 403 405
                HEAD    create proxy          403 403 403 405
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
            /run/default/web-vm/u1/web?cmd=id
                GET     create proxy          403 403 403 405
                HEAD    create proxy          403 403 403 405
                POST    create proxy          403 403 403 500
                PUT     create proxy          403 403 403 405
                OPTIONS create proxy          403 403 403 405
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_kubelets_mapping_lets_a_get_start_something() {
    let port = Port {
        streams: StreamVerb::ByMethod,
        ..Port::default()
    };
    check(
        port,
        STREAMS,
        expect![[r#"
            path and method, asked, anonymous, nobody, monitor, API server
            /exec/default/web-vm/web?command=id&output=1
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /exec/default/web-vm/u1/web?command=id&output=1
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /attach/default/web-vm/web?output=1
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /attach/default/web-vm/u1/web?output=1
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /portForward/default/web-vm?port=80
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /portForward/default/web-vm/u1?port=80
                GET     get proxy             403 403 500 500
                HEAD    "" proxy              403 403 403 500
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /run/default/web-vm/web?cmd=id
                GET     get proxy             403 403 405 405
                HEAD    "" proxy              403 403 403 405
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
            /run/default/web-vm/u1/web?cmd=id
                GET     get proxy             403 403 405 405
                HEAD    "" proxy              403 403 403 405
                POST    create proxy          403 403 403 500
                PUT     update proxy          403 403 403 405
                OPTIONS "" proxy              403 403 403 405
        "#]],
    )
    .await;
}

#[tokio::test]
async fn whoever_is_not_known_gets_nothing_by_any_path_or_method() {
    let node = Node::start(false).await;
    for path in PATHS.iter().chain(STREAMS) {
        for method in METHODS {
            let (code, text) = node.ask(method, path, None, None).await;
            let body = if method == "HEAD" { "" } else { "Unauthorized" };
            assert_eq!((code, text.as_str()), (401, body), "{method} {path}");
        }
    }
    assert_eq!(node.count("SubjectAccessReview"), 0);
}
