//! What is served, as clients look it up before they ask for anything. Clients that prefer the documents in one (aggregated
//! discovery) accept these as well. Pure.

use serde_json::{Value, json};

use super::kind::{Kind, Scope};
use super::path::{Document, Group, Stream};

/// What may be done with objects.
const READ: &[&str] = &["get", "list", "watch"];
/// What may be done with those of the manifests directory.
const READ_AND_WRITE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// What may be done with objects of this kind.
fn verbs(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ConfigMap | Kind::Pod | Kind::Secret => READ_AND_WRITE,
        Kind::Event | Kind::Namespace | Kind::Node | Kind::Service => READ,
    }
}

/// The document.
pub(super) fn document(document: Document) -> Value {
    match document {
        Document::CoreVersions => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        Document::Groups => {
            let groups: Vec<Value> = Group::ALL.into_iter().map(group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        Document::Group(one) => {
            let mut group = group(one);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Document::Core => resources("v1", core()),
        Document::Resources(group) => {
            let (name, version) = group.name();
            resources(&format!("{name}/{version}"), of_group(group))
        }
    }
}

fn group(group: Group) -> Value {
    let (name, version) = group.name();
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group_version: &str, resources: Vec<Value>) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn core() -> Vec<Value> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.push(objects(kind));
        if kind == Kind::Pod {
            all.extend(Stream::ALL.into_iter().map(stream));
            all.push(json!({
                "name": "pods/ephemeralcontainers",
                "singularName": "",
                "namespaced": true,
                "kind": "Pod",
                "verbs": ["patch"],
            }));
        }
    }
    all
}

fn objects(kind: Kind) -> Value {
    let names = kind.names();
    let mut resource = json!({
        "name": names.plural,
        "singularName": names.singular,
        "namespaced": kind.scope() == Scope::Namespaced,
        "kind": names.kind,
        "verbs": verbs(kind),
    });
    if !names.short.is_empty() {
        resource["shortNames"] = json!(names.short);
    }
    // What `kubectl get all` shows.
    if [Kind::Pod, Kind::Service].contains(&kind) {
        resource["categories"] = json!(["all"]);
    }
    resource
}

fn stream(stream: Stream) -> Value {
    let (kind, verbs): (&str, &[&str]) = match stream {
        Stream::Attach => ("PodAttachOptions", &["create", "get"]),
        Stream::Exec => ("PodExecOptions", &["create", "get"]),
        Stream::Log => ("Pod", &["get"]),
        Stream::PortForward => ("PodPortForwardOptions", &["create", "get"]),
    };
    let name = format!("pods/{}", stream.name());
    json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs})
}

fn of_group(group: Group) -> Vec<Value> {
    match group {
        Group::Authorization => vec![json!({
            "name": "selfsubjectaccessreviews",
            "singularName": "selfsubjectaccessreview",
            "namespaced": false,
            "kind": "SelfSubjectAccessReview",
            "verbs": ["create"],
        })],
        Group::Events => vec![objects(Kind::Event)],
        Group::Metrics => [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)]
            .into_iter()
            .map(|(name, kind, namespaced)| {
                json!({
                    "name": name,
                    "singularName": "",
                    "namespaced": namespaced,
                    "kind": kind,
                    "verbs": ["get", "list"],
                })
            })
            .collect(),
    }
}

/// `/version`, of a version like `v1.36.2`.
pub(super) fn version(kubernetes: &str) -> Value {
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("{kubernetes}+gantry.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": platform(),
    })
}

/// The machine in Go's words.
fn platform() -> String {
    let architecture = match () {
        () if cfg!(target_arch = "x86_64") => "amd64",
        () if cfg!(target_arch = "aarch64") => "arm64",
        () => "unknown",
    };
    format!("linux/{architecture}")
}

/// Whether a client may do this, for `kubectl auth can-i`: what is served may be done by everyone who is let in.
pub(super) fn may(verb: &str, resource: &str, subresource: &str) -> bool {
    let resource_is = |known: &str| resource == known || resource == "*";
    match subresource {
        "" => match Kind::of_plural(resource) {
            Some(kind) => verbs(kind).contains(&verb),
            None => resource == "*" && READ.contains(&verb),
        },
        "ephemeralcontainers" => resource_is("pods") && verb == "patch",
        _ => {
            let mut streams = Stream::ALL.into_iter();
            let stream = streams.find(|stream| stream.name() == subresource);
            resource_is("pods")
                && match stream {
                    Some(Stream::Log) => verb == "get",
                    Some(_) => ["get", "create"].contains(&verb),
                    None => false,
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};

    use super::*;

    #[test]
    fn the_documents_are_kubernetes_own() {
        let core: APIResourceList = serde_json::from_value(document(Document::Core)).unwrap();
        let names: Vec<&str> = core
            .resources
            .iter()
            .map(|resource| resource.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "configmaps",
                "events",
                "namespaces",
                "nodes",
                "pods",
                "pods/attach",
                "pods/exec",
                "pods/log",
                "pods/portforward",
                "pods/ephemeralcontainers",
                "secrets",
                "services",
            ]
        );
        let groups: APIGroupList = serde_json::from_value(document(Document::Groups)).unwrap();
        for (group, api) in Group::ALL.into_iter().zip(&groups.groups) {
            let resources: APIResourceList =
                serde_json::from_value(document(Document::Resources(group))).unwrap();
            let preferred = api.preferred_version.as_ref().unwrap();
            assert_eq!(resources.group_version, preferred.group_version);
            assert_eq!(document(Document::Group(group))["name"], api.name.as_str());
        }
    }

    #[test]
    fn the_version_is_the_nodes() {
        let version = version("v1.36.2");
        assert_eq!(
            (&version["major"], &version["minor"]),
            (&json!("1"), &json!("36"))
        );
        let text = version["gitVersion"].as_str().unwrap();
        assert!(text.starts_with("v1.36.2+gantry."), "{text}");
    }

    #[test]
    fn what_is_served_may_be_done() {
        let check = |verb, resource, part, expected| {
            assert_eq!(may(verb, resource, part), expected, "{verb} {resource}/{part}");
        };
        check("get", "pods", "", true);
        check("watch", "nodes", "", true);
        check("list", "*", "", true);
        check("delete", "pods", "", true);
        check("delete", "nodes", "", false);
        check("patch", "secrets", "", true);
        check("patch", "pods", "ephemeralcontainers", true);
        check("*", "*", "", false);
        check("get", "deployments", "", false);
        check("create", "pods", "exec", true);
        check("get", "pods", "log", true);
        check("create", "pods", "log", false);
        check("create", "nodes", "exec", false);
        check("get", "pods", "binding", false);
    }
}
