//! The permission that a request needs (`pkg/kubelet/server/auth.go`; "Kubelet authentication/authorization" in the
//! Kubernetes documentation). Pure.

use axum::http::Method;

use crate::model::api::StreamVerb;

/// Paths that start something in a container. With WebSocket the request is a GET.
const STARTS: [&str; 4] = ["/exec", "/attach", "/portForward", "/run"];

/// The verb of the RBAC rule. A request that starts something needs `create`, whatever its method: in the kubelet a GET
/// needs only `get` there, too, so a user with read access to `nodes/proxy` can run any command in every container.
/// `streamVerb: ByMethod` is the kubelet's mapping.
pub(super) fn verb(method: &Method, path: &str, streams: StreamVerb) -> &'static str {
    let starts = || STARTS.iter().any(|top| is_below(path, top));
    match *method {
        _ if streams == StreamVerb::Create && starts() => "create",
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // As in the kubelet: no rule has an empty verb, so only a user with all verbs is allowed.
        _ => "",
    }
}

/// The subresources of `nodes`, the narrowest first; the caller needs permission for one of them.
pub(super) fn subresources(path: &str) -> Vec<&'static str> {
    let below = |top: &str| is_below(path, top);
    // Fine-grained permissions besides the one for everything (KEP 2862).
    let narrow = match () {
        () if below("/pods") || below("/runningpods") => Some("pods"),
        () if below("/healthz") => Some("healthz"),
        () if below("/configz") => Some("configz"),
        () => None,
    };
    let usual = match () {
        () if below("/stats") => "stats",
        () if below("/metrics") => "metrics",
        () if below("/logs") => "log",
        () if below("/checkpoint") => "checkpoint",
        () if below("/statusz") => "statusz",
        () if below("/flagz") => "configz",
        () => "proxy",
    };
    narrow.into_iter().chain([usual]).collect()
}

fn is_below(path: &str, top: &str) -> bool {
    path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_kubelets() {
        let check = |path: &str, wanted: &[&str]| assert_eq!(subresources(path), wanted, "{path}");
        check("/pods", &["pods", "proxy"]);
        check("/pods/", &["pods", "proxy"]);
        check("/podsx", &["proxy"]);
        check("/runningpods/", &["pods", "proxy"]);
        check("/healthz/ping", &["healthz", "proxy"]);
        check("/configz", &["configz", "proxy"]);
        check("/stats/summary", &["stats"]);
        check("/metrics", &["metrics"]);
        check("/metrics/cadvisor", &["metrics"]);
        check("/logs/syslog", &["log"]);
        check("/containerLogs/ns/p/c", &["proxy"]);
        check("/checkpoint/ns/p/c", &["checkpoint"]);
        check("/flagz", &["configz"]);
        check("/exec/ns/p/c", &["proxy"]);
        check("/", &["proxy"]);
    }

    #[test]
    fn methods_are_verbs() {
        let check = |method: Method, path: &str, wanted: &str| {
            assert_eq!(verb(&method, path, StreamVerb::Create), wanted, "{method} {path}");
        };
        check(Method::GET, "/pods", "get");
        check(Method::POST, "/pods", "create");
        check(Method::OPTIONS, "/pods", "");
        for top in STARTS {
            for method in [Method::GET, Method::POST, Method::PUT, Method::OPTIONS] {
                check(method.clone(), top, "create");
                check(method.clone(), &format!("{top}/"), "create");
                check(method.clone(), &format!("{top}/ns/p/c"), "create");
            }
            check(Method::GET, &format!("{top}x/ns/p/c"), "get");
        }
        check(Method::GET, "/runningpods/", "get");
        check(Method::GET, "/containerLogs/ns/p/c", "get");
        for (method, wanted) in [
            (Method::GET, "get"),
            (Method::POST, "create"),
            (Method::PUT, "update"),
            (Method::HEAD, ""),
        ] {
            let by_method = verb(&method, "/exec/ns/p/c", StreamVerb::ByMethod);
            assert_eq!(by_method, wanted, "{method}");
        }
    }
}
