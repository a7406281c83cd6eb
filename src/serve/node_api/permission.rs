//! What a request asks permission for (`pkg/kubelet/server/auth.go`; "Kubelet authentication/authorization" of the
//! Kubernetes documentation). Pure.

use axum::http::Method;

/// The verb of the API server's rules.
pub(super) fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // As in the kubelet: no rule has an empty verb, so only who may do everything may.
        _ => "",
    }
}

/// The subresources of `nodes` one of which the caller must be permitted, the narrowest first.
pub(super) fn subresources(path: &str) -> Vec<&'static str> {
    let below = |top: &str| path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    // Narrow rights beside the one for everything (KEP 2862).
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
        assert_eq!(verb(&Method::GET), "get");
        assert_eq!(verb(&Method::POST), "create");
        assert_eq!(verb(&Method::OPTIONS), "");
    }
}
